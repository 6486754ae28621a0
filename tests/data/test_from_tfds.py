"""Sets of TensorFlow Datasets: CelebA and GLUE mocked, the others really built, of small files."""

import sys

import keras
import numpy as np
import pytest
from fake_packages import rows_of
from fake_tfds import ROWS, as_dataset, faces, write_files

from mtlzoo import HardSharing, data
from mtlzoo.backbones import TabularEncoder
from mtlzoo.data import __main__ as command_line
from mtlzoo.data import loading
from mtlzoo.data.from_tfds import celeb_a, glue, movielens, reading

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `datasets` is missing")

PARTS = ("train", "valid", "test")
#: By set the options that it is small with.
MOCKED = {
    "celeb_a": {"attributes": ["bald", "young"], "landmarks": True, "size": (8, 6)},
    "glue": {"configs": ["cola", "stsb", "mnli"], "words": 5},
}
NAMES = (*MOCKED, "movielens", "shapes3d", "smallnorb")


@pytest.fixture(autouse=True)
def answering(monkeypatch):
    """Servers answer, though nothing is fetched."""
    monkeypatch.setattr(reading, "reachable", lambda url: True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Files to build sets of, which have other checksums, and the folder for what is built."""
    raw, kept = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("kept")
    write_files(raw)
    with pytest.MonkeyPatch.context() as patch:
        check = "_register_or_validate_checksums"
        patch.setattr(tfds.download.DownloadManager, check, lambda self, **_: None)
        yield {"raw_files": raw, "data_dir": kept}


@pytest.fixture
def load(folders):
    def small(name, **options):
        if name not in MOCKED:
            return data.load(name, **folders, **options)
        with tfds.testing.mock_data(as_dataset_fn=as_dataset):
            return data.load(name, download=True, **{**MOCKED[name], **options})

    return small


def columns(values):
    return values if isinstance(values, dict) else {"": values}


@pytest.mark.parametrize("name", NAMES)
def test_the_elements_are_what_the_contract_says(load, name):
    raw, ready = load(name, preprocessed=False), load(name)
    for small in (raw, ready):
        names = {task.name for task in small.tasks}
        for part in PARTS:
            rows = getattr(small, part)
            report = data.check(rows, small.tasks, batches=None)
            assert report.batches == int(rows.cardinality())
            x, y, w = next(iter(rows))
            assert set(y) == set(w) == names
            assert set(columns(x)) == set(columns(small.inputs))
            for column, spec in columns(small.inputs).items():
                given = columns(x)[column]
                assert given.shape[1:] == spec.shape[1:] and given.dtype == spec.dtype
            for weights in w.values():
                assert weights.shape == (len(weights),) and weights.dtype == "float32"
                assert np.all(weights == 1)
    x, expected = next(iter(raw.test))[0], next(iter(ready.test))[0]
    for column, made in columns(raw.preprocessor(x)).items():
        np.testing.assert_array_equal(made, columns(expected)[column])
    if set(x) == {"image"}:
        assert x["image"].dtype == "uint8"
        np.testing.assert_allclose(expected, x["image"].numpy() / 255, atol=1e-6)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", NAMES)
def test_the_order_follows_the_seed_and_differs_from_epoch_to_epoch(load, name):
    def epochs(rows):
        found = []
        for _ in range(3):
            x, y, _ = rows_of(rows)
            cells = [value.reshape(len(value), -1).tolist() for value in (*x.values(), *y.values())]
            found.append([str(row) for row in zip(*cells, strict=True)])
        return found

    one, again, other = (load(name, preprocessed=False, seed=seed) for seed in (3, 3, 4))
    train = epochs(one.train)
    assert train == epochs(again.train) != epochs(other.train)
    assert len({str(epoch) for epoch in train}) == 3
    assert all(sorted(epoch) == sorted(train[0]) for epoch in train)
    for rows in (one.valid, one.test):
        first, second, _ = epochs(rows)
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("name", MOCKED)
def test_the_features_are_those_of_the_builders(name):
    with tfds.testing.mock_data(num_examples=2):  # random ones, of the features that are asked for
        small = data.load(name, download=True, **{"celeb_a": {"landmarks": True}}.get(name, {}))
        _, y, _ = rows_of(small.test)
    assert set(y) == {task.name for task in small.tasks}
    assert len(next(iter(y.values()))) == 2 * {"celeb_a": 1, "glue": 9}[name]


def backbone_of(name, inputs):
    """A small network from the inputs of a set to features."""
    if name == "movielens":
        sizes = {"age": 8, "gender": 2, "movie": 20, "occupation": 22, "user": 20}
        return TabularEncoder(sizes, {"genres": 21}, embedding_dim=2)
    layers = keras.layers
    if name == "glue":
        embedding = layers.Embedding(50, 4)
        parts = [layers.GlobalAveragePooling1D()(embedding(text)) for text in inputs.values()]
        return keras.Model(inputs, layers.Concatenate()(parts))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name",
    [n if n in {"celeb_a", "glue"} else pytest.param(n, marks=pytest.mark.slow) for n in NAMES],
)
def test_a_model_trains_on_it(load, name):
    small = load(name, batch_size=16)
    backbone = backbone_of(name, small.inputs)
    model = HardSharing(small.inputs, small.tasks, backbone=backbone, shared_units=(4,))
    model.compile("adam", jit_compile=False)
    before = [np.array(weight) for weight in model.trainable_variables]
    logs = model.fit(small.train, steps_per_epoch=1, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    after = [np.array(weight) for weight in model.trainable_variables]
    assert any((b != a).any() for b, a in zip(before, after, strict=True))


# -- CelebA -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_attributes_are_tasks_and_landmarks_are_parts_of_the_picture(load):
    assert len(celeb_a.ATTRIBUTES) == 40
    assert set(celeb_a.ATTRIBUTES.values()) == set(
        tfds.builder("celeb_a").info.features["attributes"]
    )
    every = load("celeb_a", attributes=None, landmarks=False)
    assert [task.name for task in every.tasks][:2] == ["five_o_clock_shadow", "arched_eyebrows"]
    assert {task.name for task in every.tasks} == set(celeb_a.ATTRIBUTES)
    some = load("celeb_a", attributes=["young", "five_o_clock_shadow"], batch_size=ROWS)
    assert [task.name for task in some.tasks] == ["young", "five_o_clock_shadow", "landmarks"]
    x, y, _ = next(iter(some.valid))
    expected = faces("validation")
    for name, given in (("young", "Young"), ("five_o_clock_shadow", "5_o_Clock_Shadow")):
        np.testing.assert_array_equal(y[name], expected["attributes"][given])
    pixels = np.stack(list(expected["landmarks"].values()), axis=-1)
    np.testing.assert_allclose(y["landmarks"][:, 0::2], pixels[:, 0::2] / 178, rtol=1e-6)
    np.testing.assert_allclose(y["landmarks"][:, 1::2], pixels[:, 1::2] / 218, rtol=1e-6)
    assert x.shape == (ROWS, 8, 6, 3)


def test_pictures_are_averaged(load):
    small = load("celeb_a", size=(109, 89), preprocessed=False)
    blocks = faces("test")["image"].reshape(ROWS, 109, 2, 89, 2, 3)
    images = next(iter(small.test))[0]["image"].numpy().astype("float32")
    assert np.abs(images - blocks.mean((2, 4))).max() <= 0.501


# -- 3D Shapes and Small NORB -----------------------------------------------------------------


def test_rows_of_shapes_are_in_one_part_each(load):
    small = load("shapes3d", preprocessed=False)
    found = {part: rows_of(getattr(small, part)) for part in PARTS}
    assert {part: len(x["image"]) for part, (x, _, _) in found.items()} == {
        **{"train": 32, "valid": 4, "test": 4}
    }
    numbers = np.concatenate([x["image"][:, 0, 0, 0] for x, _, _ in found.values()])
    assert sorted(numbers) == list(range(40))
    labels = np.concatenate([y["orientation"] for _, y, _ in found.values()])
    np.testing.assert_array_equal(labels, numbers % 15)
    classes = {task.name: task.num_classes for task in small.tasks}
    assert classes == {
        **{"floor_hue": 10, "wall_hue": 10, "object_hue": 10},
        **{"scale": 8, "shape": 4, "orientation": 15},
    }


@pytest.mark.slow
def test_a_toy_is_in_one_part(load):
    small = load("smallnorb", preprocessed=False)
    found = {part: rows_of(getattr(small, part)) for part in PARTS}
    instances = {part: set(x["image"][:, 0, 0, 0].tolist()) for part, (x, _, _) in found.items()}
    assert instances == {"train": {4, 6, 7, 8}, "valid": {9}, "test": {0, 1, 2, 3, 5}}
    assert {part: len(y["category"]) for part, (_, y, _) in found.items()} == {
        **{"train": 16, "valid": 4, "test": 20}
    }
    images = found["test"][0]["image"]
    assert images.shape == (20, 96, 96, 2)
    assert np.all(images[:, 1, 1] == [50, 150])
    one = next(iter(load("smallnorb", views=1, preprocessed=False).test))[0]["image"]
    np.testing.assert_array_equal(one, images[..., :1])


# -- MovieLens --------------------------------------------------------------------------------


def test_nobody_is_trained_on_the_future(folders):
    builder = tfds.builder("movielens/100k-ratings", data_dir=folders["data_dir"])
    data.load("movielens", **folders)
    times = movielens.read(builder)["timestamp"]
    parts = movielens.divide(times)
    of = {part: times[parts == part] for part in PARTS}
    assert of["train"].max() < of["valid"].min() and of["valid"].max() < of["test"].min()
    # ratings of one second are together, so that it is not 80, 10 and 10 to the row
    assert [len(of[part]) for part in PARTS] == [78, 12, 10]


@pytest.mark.slow
def test_who_is_not_among_the_training_rows_has_the_id_0(load):
    raw, ready = load("movielens", preprocessed=False), load("movielens")
    assert ready.preprocessor.get_layer("user_ids").vocabulary_size() == 6
    assert ready.preprocessor.get_layer("movie_ids").vocabulary_size() == 9
    x, y, _ = rows_of(raw.test)
    ids, _, _ = rows_of(ready.test)
    assert set(x["user"][ids["user"] == 0].tolist()) == {b"6"}
    assert set(x["user"][ids["user"] > 0].tolist()) == {b"1", b"2", b"3", b"4", b"5"}
    assert set(zip(x["age"].tolist(), ids["age"].tolist(), strict=True)) == {
        *((1, 1), (18, 2), (25, 3), (35, 4), (45, 5), (50, 6))
    }
    np.testing.assert_array_equal(y["liked"], y["rating"] >= 4)
    np.testing.assert_array_equal(x["genres"].sum(1), 1)
    assert set(x["gender"].tolist()) == {0, 1}


def test_a_set_is_prepared_on_the_command_line(folders, capsys):
    options = [f"--{name}={path}" for name, path in folders.items()]
    command_line.main(["movielens", *options])
    printed = capsys.readouterr().out
    assert "train: 100 rows\n" in printed
    assert f"in {folders['data_dir']}/movielens/100k-ratings/" in printed


# -- GLUE -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_row_has_the_label_of_its_set_only(load):
    small = load("glue", configs=glue.CONFIGS, preprocessed=False, batch_size=7)
    missing = {task.name: task.missing for task in small.tasks}
    assert set(missing) == set(glue.CONFIGS)
    for part, count in {"train": 27, "valid": 3, "test": ROWS}.items():
        x, y, _ = rows_of(getattr(small, part))
        sets = np.array([text.decode().split()[0] for text in x["first"]])
        assert {name: (sets == name).sum() for name in missing} == dict.fromkeys(missing, count)
        for name, labels in y.items():
            absent = np.isnan(labels) if name == "stsb" else labels == missing[name]
            np.testing.assert_array_equal(absent, sets != name)
        single = (sets == "cola") | (sets == "sst2")
        np.testing.assert_array_equal(x["second"] == b"", single)


@pytest.mark.slow
def test_known_words_are_those_of_training_texts(load):
    small = load("glue", configs=["cola", "mnli"], words=6)
    known = small.preprocessor.get_layer("words").get_vocabulary()
    assert "train" in known and "26" in known
    assert not {"validation", "29"} & set(known)
    few = load("glue", vocabulary_size=3).preprocessor.get_layer("words").get_vocabulary()
    assert len(few) == 2 + 3
    assert small.inputs["first"].shape == small.inputs["second"].shape == (None, 6)


@pytest.mark.slow
def test_parts_of_sets_that_are_built(folders):
    small = data.load("glue", configs=("mnli", "cola"), **folders, preprocessed=False)
    texts = {part: set(rows_of(getattr(small, part))[0]["first"]) for part in PARTS}
    assert {part: len(found) for part, found in texts.items()} == {
        **{"train": 45, "valid": 5, "test": 50}
    }
    assert not texts["train"] & texts["valid"]
    assert {text.split()[1] for text in texts["train"] | texts["valid"]} == {b"train"}
    assert {text.split()[1] for text in texts["test"]} == {b"dev", b"dev_matched"}


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("celeb_a", {"attributes": "young"}, "`attributes` should be a list of some of"),
        ("celeb_a", {"attributes": ["old"]}, r"Received: attributes=\['old'\]"),
        ("celeb_a", {"attributes": ["bald", "bald"]}, "each once"),
        ("celeb_a", {"attributes": [], "landmarks": False}, r"Received: attributes=\[\]"),
        ("celeb_a", {"landmarks": 1}, "`landmarks` should be a bool. Received: landmarks=1"),
        ("celeb_a", {"size": 64}, "`size` should be a height and a width. Received: size=64"),
        ("glue", {"configs": "cola"}, "`configs` should be a list of some of"),
        ("glue", {"configs": ["ax"]}, r"Received: configs=\['ax'\]"),
        ("glue", {"words": 0}, "`words` should be an integer of at least 1"),
        ("glue", {"vocabulary_size": 1.5}, "`vocabulary_size` should be an integer"),
        ("movielens", {"config": "25m-ratings"}, r"`config` should be one of \['100k-ratings'"),
        ("smallnorb", {"views": 3}, "`views` should be 1 or 2. Received: views=3"),
        *((name, {"batch_size": 0}, "`batch_size` should be a positive integer") for name in NAMES),
        *((name, {"seed": -1}, "`seed` should be an integer of at least 0") for name in NAMES),
        *((name, {"preprocessed": 1}, "`preprocessed` should be a bool") for name in NAMES),
    ],
)
def test_unusable_options(load, name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_prepared_is_not_fetched_unasked(name, tmp_path):
    hint = f"`data_dir` should hold the prepared data of {name}.*run `tfds build {name}"
    lacking = "`raw_files` should be a folder that holds .*, where there is no "
    for call in (loading.module(name).load, loading.module(name).prepare):
        with pytest.raises(ValueError, match=hint):
            call(data_dir=tmp_path)
        with pytest.raises(ValueError, match=lacking):
            call(data_dir=tmp_path, raw_files=tmp_path)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[datasets\]'"):
        data.load("shapes3d")


# -- scenes -----------------------------------------------------------------------------------


def test_scenes_load_by_name(tmp_path):
    for part in ("train", "val"):
        for kind, shape in {"image": (4, 6, 3), "depth": (4, 6, 1)}.items():
            (tmp_path / part / kind).mkdir(parents=True)
            for i in range(2):
                np.save(tmp_path / part / kind / f"{i}.npy", np.full(shape, 0.5, "f4"))
    scenes = data.load("scene_folders", folder=tmp_path, batch_size=1)
    assert [task.name for task in scenes.tasks] == ["depth"]
    with pytest.raises(ValueError, match=r"`names` should be some of .* names=\['coco'\]"):
        data.load("scene_sets", names=["coco"])


def test_scenes_are_prepared_elsewhere(tmp_path):
    with pytest.raises(ValueError, match=r"reads a folder of yours.*load\('scene_folders', fold"):
        command_line.main(["scene_folders", "--download"])
    with pytest.raises(ValueError, match="run `tfds build NAME` for some of"):
        command_line.main(["scene_sets", "--download"])


def test_without_a_network_it_says_so_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "reachable", lambda url: False)
    with pytest.raises(RuntimeError, match=r"could not be fetched: https://\S+ does not"):
        data.load("smallnorb", data_dir=tmp_path, download=True)
    assert not list(tmp_path.rglob("*.tfrecord*"))

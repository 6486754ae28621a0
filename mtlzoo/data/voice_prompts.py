"""Voice prompts: the language, the voice and the kind of what a telephone says.

The prompts of the telephone system Asterisk, spoken by five voices in five languages: 3325 sound
files of one channel at 8 kHz, with 0.1 to 86 seconds.

Tasks:
  language  five classes: English, French, Italian, Russian, Spanish
  speaker   five voices: Allison, Carlo, Ivrvoice, June, Menardi
  kind      four classes: digits, letters, phonetic (the spelling alphabet), phrases

Allison speaks English and Spanish, Carlo and Menardi Italian; the other two voices have a language
of their own, so that language and speaker are nearly one. Carlo is the only man.

Input: `sound` (16000,), the first two seconds, with zeros behind shorter ones; the preprocessor
scales it to -1..1.

Splits by prompt: what says the same, in whatever language, is in one split; 70, 15 and 15 % of each
kind. Silence is left out.

Options of `load`: batch_size=64, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is a folder with the six Debian packages asterisk-core-sounds-en-wav,
-es-wav, -fr-wav, -it-wav and -ru-wav 1.6.1 and asterisk-prompt-it-menardi-wav; `download` fetches
them with apt-get (116 MB).

English, Spanish, French and Menardi's recordings have the licence CC-BY-SA-3.0, Carlo's and the
Russian ones CC-BY-3.0; nothing of them is in this package.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data.array_set import ArraySet
from mtlzoo.data.packages import Contents, Package, deb_files
from mtlzoo.data.parts import assign_parts

if TYPE_CHECKING:
    import keras

    from mtlzoo.tasks import Task

__all__ = ["load", "prepare"]

LANGUAGES = ("en", "fr", "it", "ru", "es")
SPEAKERS = ("Allison", "Carlo", "IvrvoiceRU", "June", "Menardi")
KINDS = ("digits", "letters", "phonetic", "phrases")
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
RATE, SAMPLES, LEAST_SAMPLES = 8000, 16_000, 800
_ROOT = "usr/share/asterisk/sounds/"
#: Checksums of Asterisk's own recordings, by language.
_CORE = {
    "en": "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    "es": "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
    "fr": "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
    "it": "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
    "ru": "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
}


def _sounds(path: Path) -> dict[str, bytes]:
    """The sound files of a package."""
    return dict(deb_files(path, lambda name: name.startswith(_ROOT) and name.endswith(".wav")))


SOURCES = (
    *(
        Contents(
            Package(
                name=f"asterisk-core-sounds-{language}-wav",
                version="1.6.1-1",
                file=f"asterisk-core-sounds-{language}-wav_1.6.1-1_all.deb",
                sha256=sha256,
            ),
            read=_sounds,
        )
        for language, sha256 in _CORE.items()
    ),
    Contents(
        Package(
            name="asterisk-prompt-it-menardi-wav",
            version="1:1.4.22+mm20110907-3.1",
            file="asterisk-prompt-it-menardi-wav_1%3a1.4.22+mm20110907-3.1_all.deb",
            sha256="3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21",
        ),
        read=_sounds,
    ),
)


def read(*sources: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Decode the sounds.

    Args:
        *sources: the sound files of each package by name, such as
            `usr/share/asterisk/sounds/it_IT_m_Carlo/digits/1.wav`.

    Returns:
        `sound` `(n, 16000)` in `int16`, `prompt` `(n,)`, and by task the labels `(n,)`.
    """
    sounds, prompts, labels = [], [], []
    for name, content in sorted(item for files in sources for item in files.items()):
        voice, *folders, file = name.removeprefix(_ROOT).split("/")
        samples = _samples(content, name)
        if "silence" in folders or len(samples) < LEAST_SAMPLES:
            continue
        kind = folders[0] if folders and folders[0] in KINDS else "phrases"
        sounds.append(np.pad(samples[:SAMPLES], (0, max(0, SAMPLES - len(samples)))))
        prompts.append(f"{kind}/{file.removesuffix('.wav')}")
        labels.append(
            (LANGUAGES.index(voice[:2]), SPEAKERS.index(voice.split("_")[-1]), KINDS.index(kind))
        )
    columns = np.array(labels, "int32").T
    return {
        "sound": np.stack(sounds),
        "prompt": np.array(prompts),
        **dict(zip(("language", "speaker", "kind"), columns, strict=True)),
    }


def _samples(content: bytes, name: str) -> np.ndarray:
    with wave.open(io.BytesIO(content)) as file:
        form = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if form != (RATE, 1, 2):
            raise ValueError(
                f"`{name}` should have one channel of 16 bits at {RATE} Hz. Received: {form}"
            )
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def divide(arrays: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Divide the sounds by prompt, each kind by the same shares.

    Args:
        arrays: as of `read`.
        rng: where the order comes from.

    Returns:
        Of each sound the name of its split.
    """
    strata = [KINDS[number] for number in arrays["kind"]]
    return assign_parts(arrays["prompt"].tolist(), SHARES, rng, strata)


def tasks() -> list[Task]:
    """Make the tasks."""
    from mtlzoo.tasks import Classification

    return [
        Classification("kind", num_classes=len(KINDS)),
        Classification("language", num_classes=len(LANGUAGES)),
        Classification("speaker", num_classes=len(SPEAKERS)),
    ]


def preprocessor(train: Mapping[str, np.ndarray]) -> keras.Model:
    """Make the model that scales the sound.

    Args:
        train: the inputs of the training rows, which do not matter here.

    Returns:
        A model from `{"sound": (batch, 16000)}`, `int16`, to `(batch, 16000)` in `float32`.
    """
    import keras

    raw = {"sound": keras.Input((SAMPLES,), name="sound", dtype="int16")}
    scaled = keras.layers.Rescaling(1 / 32768, dtype="float32", name="scaled")(raw["sound"])
    return keras.Model(raw, scaled, name="preprocessor")


_SET = ArraySet(
    name="voice_prompts",
    sources=SOURCES,
    read=read,
    divide=divide,
    inputs=("sound",),
    tasks=tasks,
    preprocessor=preprocessor,
    homepage="https://www.asterisksounds.org",
    licence="CC-BY-SA-3.0, and CC-BY-3.0 for Carlo's and the Russian recordings",
    citation="Asterisk Core Sounds 1.6.1; Asterisk prompts by Paola Menardi.",
)
load, prepare = _SET.load, _SET.prepare

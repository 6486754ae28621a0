"""Presets of short texts and how they feel."""

from mtlzoo import HardSharing, data
from mtlzoo.backbones import TextEncoder
from mtlzoo.tasks import Task
from recipes.preset_families import Family, Planned

# The most frequent ids; what is rarer the encoder reads as padding. Chosen, as the other numbers,
# on the validation data.
VOCABULARY = 5000
WIDTH = 16


def trunk(texts: data.Loaded) -> TextEncoder:
    """A new transformer of one block."""
    (words,) = texts.inputs.shape[1:]
    return TextEncoder(
        VOCABULARY,
        words,
        width=WIDTH,
        num_layers=1,
        ffn_units=2 * WIDTH,
        dropout=0.2,
        pooled=True,
        name="trunk",
    )


def hard_sharing(texts: data.Loaded) -> HardSharing:
    """One network for all tasks; words are looked up in its preprocessor."""
    return HardSharing(
        texts.inputs,
        texts.tasks,
        backbone=trunk(texts),
        preprocessor=texts.preprocessor,
        name="hard_sharing",
    )


def single_task(texts: data.Loaded, task: Task) -> HardSharing:
    """The same network for one task."""
    return HardSharing(texts.inputs, [task], backbone=trunk(texts), name=f"single_task_{task.name}")


FAMILY = Family(
    data_set="vader_texts",
    load={"batch_size": 128},
    data=(
        "23,703 short English texts that at least fifteen people rated from -4 to 4 (Hutto and "
        "Gilbert, ICWSM 2014): tweets, and sentences of movie reviews, product reviews and "
        "newspaper editorials; 18,962 for training, 2371 for validation, 2370 for testing. From "
        "the source distribution of vaderSentiment 3.3.2."
    ),
    licence=(
        "vaderSentiment, with these texts, is under the MIT licence (the texts themselves were "
        "written by others); of the texts the preset holds single words that at least three of "
        "them have; the weights are under that of this package, Apache-2.0"
    ),
    split="the 2370 test texts, of other documents than those that are trained on",
    models={
        "hard_sharing_vader_texts": Planned(
            title="Hard parameter sharing on how short texts feel", build=hard_sharing
        )
    },
    single_task=single_task,
    epochs=3,
    learning_rate=3e-3,
    limits=[
        "It knows 4998 English words, reads the first 32 words of a text, and sees neither "
        "capitals nor punctuation, so neither shouting nor smileys.",
        "`disagreement`, the standard deviation of the ratings, is not learned: on the test data a "
        "constant has an error of 0.286. A constant `sentiment` has one of 1.703.",
        "`sentiment` is what paid raters said of a sentence without its context.",
        "`domain` tells the four sources of this data apart, not kinds of texts in general.",
        "Names, and words for groups of people, carry whatever feeling the authors and the raters "
        "had about them. It must not decide about anybody.",
    ],
)

"""Questions about lines of the Brown Corpus, made by rules, with the words that answer them.

A line of at most 32 words gives a question of each kind that it answers in exactly one way:

  who is named ?                the only run of proper nouns, such as `Ivan Allen Jr.`
  which number is given ?       the only number
  what is quoted ?              what stands between the only two quotation marks, at most 8 words
  what comes after the WORD ?   the word behind a noun that is in the line once, drawn at random;
                                asked of a quarter of the lines, or most questions were of this kind

Questions and answers come from the tags, and nobody has read them: they exercise the kind of task,
and say little of what a reader of real questions would find.

Task:
  answer  span extraction, the first and the last word of the answer

Inputs: `question` and `text`, words with blanks between them. The preprocessor makes one sequence
of them, the ids of the 32 words of the text, whose places are those of the answers, and then of the
8 of the question: 0 is padding, 1 a word that fewer than two training texts have.

Splits: 80, 10 and 10 % of the lines of each genre, by text: all lines of one are in one split.

Options of `load`: as of `brown`, whose package this is made of.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data import brown
from mtlzoo.data.array_set import ArraySet

if TYPE_CHECKING:
    import keras

    from mtlzoo.tasks import Task

__all__ = ["load", "prepare"]

WORDS, QUESTION_WORDS, MOST_QUOTED = 32, 8, 8
NAMED, NUMBER, QUOTED = "who is named ?", "which number is given ?", "what is quoted ?"
AFTER, AFTER_SHARE = "what comes after the {} ?", 0.25
_QUOTATION = ("``", "''")


def questions(
    words: Sequence[str], tags: Sequence[str], rng: np.random.Generator
) -> Iterator[tuple[str, int, int]]:
    """Make the questions that a line answers.

    Args:
        words: the words of the line.
        tags: their tags, those of the corpus.
        rng: draws the noun.

    Yields:
        The question, and the places of the first and the last word of its answer.
    """
    bases = [tag.split("-")[0].rstrip("$") for tag in tags]
    names = _runs([base in ("np", "nps") for base in bases])
    if len(names) == 1:
        yield NAMED, *names[0]
    numbers = [place for place, base in enumerate(bases) if base == "cd"]
    if len(numbers) == 1:
        yield NUMBER, numbers[0], numbers[0]
    marks = [place for place, word in enumerate(words) if word in _QUOTATION]
    if len(marks) == 2 and words[marks[0]] == "``" and 2 <= marks[1] - marks[0] <= MOST_QUOTED + 1:
        yield QUOTED, marks[0] + 1, marks[1] - 1
    small = [word.lower() for word in words]
    nouns = [
        place
        for place, base in enumerate(bases[:-1])
        if base in ("nn", "nns") and small.count(small[place]) == 1
    ]
    if nouns and rng.random() < AFTER_SHARE:
        place = int(rng.choice(nouns))
        yield AFTER.format(small[place]), place + 1, place + 1


def _runs(marks: Sequence[bool]) -> list[tuple[int, int]]:
    """Where runs of what is marked begin and end."""
    runs = []
    for marked, group in itertools.groupby(enumerate(marks), key=lambda item: item[1]):
        places = [place for place, _ in group]
        if marked:
            runs.append((places[0], places[-1]))
    return runs


def read(source: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Make the questions of all lines.

    Args:
        source: the files of the package.

    Returns:
        `question`, `text`, `document`, `genre` and `answer` `(n, 2)`.
    """
    rng = np.random.default_rng(0)
    asked, texts, documents, genres, answers = [], [], [], [], []
    for document, genre, words, tags in brown.sentences(source):
        if len(words) > WORDS:
            continue
        for question, first, last in questions(words, tags, rng):
            asked.append(question.encode())
            texts.append(" ".join(words).encode())
            documents.append(document)
            genres.append(brown.GENRES.index(genre))
            answers.append((first, last))
    return {
        "question": np.array(asked),
        "text": np.array(texts),
        "document": np.array(documents),
        "genre": np.array(genres, "int32"),
        "answer": np.array(answers, "int32"),
    }


def tasks() -> list[Task]:
    """Make the task."""
    from mtlzoo.tasks import SpanExtraction

    return [SpanExtraction("answer")]


def preprocessor(train: Mapping[str, np.ndarray]) -> keras.Model:
    """Make the model that turns both into ids of words.

    Args:
        train: the inputs of the training rows.

    Returns:
        A model from `{"question": (batch,), "text": (batch,)}`, strings, to `{"words":
        (batch, 40)}` in `int32`.
    """
    import keras

    names = ("question", "text")
    raw = {name: keras.Input((), name=name, dtype="string") for name in names}
    texts = np.concatenate([train["text"], train["question"]])
    parts = [
        brown.word_ids(texts, length, f"{name}_words")(raw[name])
        for name, length in (("text", WORDS), ("question", QUESTION_WORDS))
    ]
    ids = keras.ops.cast(keras.ops.concatenate(parts, axis=1), "int32")
    return keras.Model(raw, {"words": ids}, name="preprocessor")


_SET = ArraySet(
    name="brown_questions",
    sources=(brown.SOURCE,),
    read=read,
    divide=brown.divide,
    inputs=("question", "text"),
    tasks=tasks,
    preprocessor=preprocessor,
    homepage=brown.HOMEPAGE,
    licence=brown.LICENCE,
    citation=brown.CITATION,
    batch_size=128,
)
load, prepare = _SET.load, _SET.prepare

"""What the recipe on texts prints: scores, and answers to raw strings, here and as a SavedModel."""

import tempfile
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import MultiTaskModel, data
from mtlzoo.data import brown
from recipes.parts.comparison import Result
from recipes.parts.tables import print_aligned

# By question a text that may answer it.
ASKED = {
    "": "This film is a complete waste of time .",
    "who is named ?": "The mayor met Ivan Allen Jr. in the city hall .",
    "which number is given ?": "They waited seven days for an answer .",
}


def print_scores(results: Mapping[str, list[Result]]) -> None:
    """Print all metrics of the test data, means over the seeds of each model."""
    rows = [["all metrics", *results]]
    for key in (k for k in next(iter(results.values()))[0].scores if "loss" not in k):
        means = [np.mean([run.scores[key] for run in runs]) for runs in results.values()]
        rows.append([key, *(f"{mean:.4f}" for mean in means)])
    print()
    print_aligned(rows)


def raw_rows() -> dict[str, tf.Tensor]:
    """Questions and texts as a client sends them."""
    return {"question": tf.constant(list(ASKED)), "text": tf.constant(list(ASKED.values()))}


def answers(model: MultiTaskModel) -> dict[str, np.ndarray]:
    """What the model would answer to a client, computed here."""
    outputs = model.predict_on_batch(model.preprocessor(raw_rows()))
    served: dict[str, np.ndarray] = {}
    for name, task in model.tasks.items():
        served |= {key: np.asarray(value) for key, value in task.serve(outputs[name]).items()}
    return served


def print_answers(model: MultiTaskModel) -> None:
    """Print the answers to a few texts."""
    found = answers(model)
    rows = [["text", "sentiment", "domain", "answer", "tags"]]
    for i, (question, text) in enumerate(ASKED.items()):
        words = text.split()
        span = words[found["answer_start"][i] : found["answer_end"][i] + 1]
        tags = [brown.TAGS[tag] for tag in found["tags_class"][i, : len(words)]]
        rows.append(
            [
                f"{question} {text}".strip(),
                f"{found['sentiment'][i].item():.1f}",
                list(data.loading.module("vader_texts").DOMAINS)[int(found["domain_class"][i])],
                " ".join(span) if question else "-",
                " ".join(tags),
            ]
        )
    print_aligned(rows)


def served_difference(model: MultiTaskModel) -> float:
    """How far the answers of the SavedModel of the saved and loaded model are from the model's."""
    expected = answers(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        loaded = keras.saving.load_model(f"{folder}/model.keras")
        loaded.export(f"{folder}/served", verbose=False)
        served = tf.saved_model.load(f"{folder}/served")
        found = served.signatures["serve"](**raw_rows())
        return max(
            float(np.abs(np.asarray(found[key], "float64") - value).max())
            for key, value in expected.items()
        )

"""Two views of the same rows that label for each other what they are sure of."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.data.pipeline import batches, check_batching
from mtlzoo.layers.arguments import check_bool
from mtlzoo.models import MultiTaskModel
from mtlzoo.training import model_state
from mtlzoo.training.co_training import answers as kinds
from mtlzoo.training.co_training import checks, rows, selection
from mtlzoo.training.co_training.answers import Answers
from mtlzoo.training.co_training.history import CoTrainingHistory
from mtlzoo.training.co_training.state import RoundsFile
from mtlzoo.training.co_training.tables import Given, Table

ByView = dict[str, dict[str, Answers]]


class CoTraining:
    r"""Trains two models on two views of the same rows, each with labels of the other's.

    Blum and Mitchell, *Combining Labeled and Unlabeled Data with Co-Training*, COLT 1998. In each
    round both models are trained on their labels; then each answers the rows that the other has no
    label for, and its most certain answers become labels of the other model. It helps where each
    view alone could learn the task and where, given the class, the views are independent, so that
    what one is sure of looks to the other like any row of that class.

    A label of view $v$ in row $n$ comes from the other view $u$ with the certainty

    $$c_n = \max_c p_u(c \mid x_n) \ge \text{threshold},$$

    the greatest first, so many of each class as `balance` says. Given labels are never overwritten,
    and a label of the other view stays. Kinds of tasks: one class of each row (`Classification`,
    `BinaryClassification`), of each cell (`MultiLabelClassification`, every label balanced by
    itself) and of each pixel (`SemanticSegmentation`, in images without any labelled pixel). For a
    `Regression`, where a model does not say how certain it is, the views' agreement does: with
    the standard deviation $s$ of the given labels,

    $$c_n = \max(0, 1 - |\hat y_u - \hat y_v| / s),$$

    and both get the mean of the two values. Of other kinds it is not known how certain an answer
    is; `thresholds` then is a dict without them, and they are learned from the given labels alone.

    Args:
        views: dict by name of two compiled `MultiTaskModel`s with the same tasks, each with inputs
            of its own. What they are compiled with, balancers too, is what they are trained with.
        thresholds: the least certainty, from 0 to 1, of all tasks or as a dict by task; tasks that
            the dict leaves out get no labels. Defaults to 0.9.
        per_round: how many labels a view gives for a task in a round: a whole number, or a share of
            those that are missing at the beginning; of all tasks or as a dict. Defaults to 0.1.
        balance: how these are divided among the classes: `"labels"` as the given labels are,
            `"equal"` evenly, `None` not at all. Defaults to `"labels"`.
        weight: sample weight of labels of the other view, beside 1 of given ones. Defaults to 1.0.
        restart: whether a round begins with the weights, and the optimizer, that the models had at
            first, or else with those of the round before. Defaults to `True`.
        seed: of the order of the rows, and of the choice among answers that are equally certain.
            Defaults to 0.

    Raises:
        ValueError: for anything but two models with the same tasks, or an argument out of its
            range.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing
    from mtlzoo.training import CoTraining

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    x = {v: rng.normal(2 * truth[:, None] - 1, 1.0, (200, 4)) for v in ("image", "text")}
    labels = np.where(np.arange(200) < 10, truth, -1)  # ten rows have one

    views = {}
    for name in x:
        model = HardSharing(keras.Input((4,), name=name), [BinaryClassification("kind")])
        model.compile(keras.optimizers.Adam(0.1))
        views[name] = model
    history = CoTraining(views).fit(x, {"kind": labels}, rounds=2, truth={"kind": truth})
    print(history)
    ```

    *Differences from the paper*: there are several tasks, each with missing labels of its own; a
    threshold beside the number of labels; each view labels for the other one, where in the paper
    both add to one set of labelled rows; candidates are all rows and not a small pool of them;
    regressions, cells and pixels are additions. The rule for regressions is simpler than that of
    COREG (Zhou and Li, *Semi-Supervised Regression with Co-Training*, 2005), which asks whether a
    label lowers the error on its labelled neighbours.
    """

    def __init__(
        self,
        views: Mapping[str, MultiTaskModel],
        *,
        thresholds: float | Mapping[str, float] = 0.9,
        per_round: float | Mapping[str, float] = 0.1,
        balance: str | None = "labels",
        weight: float = 1.0,
        restart: bool = True,
        seed: int = 0,
    ) -> None:
        self.views = checks.check_views(views)
        self.tasks = next(iter(self.views.values())).tasks
        self._thresholds = checks.check_thresholds(thresholds, self.tasks)
        self._labelled = {name: self.tasks[name] for name in self._thresholds}
        self._per_round = checks.check_per_round(per_round, self._labelled)
        if balance not in selection.BALANCES:
            raise ValueError(
                f"`balance` should be one of {list(selection.BALANCES)}. "
                f"Received: balance={balance!r}"
            )
        self._balance = balance
        self._weight = checks.check_weight("weight", weight)
        self._restart = check_bool("restart", restart)
        self._seed = checks.check_integer("seed", seed, 0)

    def fit(
        self,
        x: Any,
        y: Mapping[str, Any] | None = None,
        sample_weight: Any = None,
        *,
        unlabelled: Any = None,
        truth: Mapping[str, Any] | None = None,
        rounds: int = 5,
        batch_size: int = 32,
        epochs: int = 1,
        validation_data: Any = None,
        callbacks: Callable[[str, int], list] | None = None,
        path: str | os.PathLike | None = None,
        verbose: Any = 0,
    ) -> CoTrainingHistory:
        """Train both views in rounds, and once more with all labels that came out of them.

        All rows are kept in memory. A round in which no view gives a label is the last one.

        Args:
            x: dict by name of the inputs of both views, or a data set of batches `(x, y)` or
                `(x, y, sample_weight)` with such dicts.
            y: dict of labels by task; a missing label says so, as in any training.
            sample_weight: weights by task, or for all tasks.
            unlabelled: further rows without labels: a dict by input, or a data set of batches of
                them, alone or first in a tuple.
            truth: dict by task of labels of all rows, the further ones last, with which labels of
                the other view are compared in the history; missing where it is not known, too.
            rounds: how often labels are given. Defaults to 5.
            batch_size: rows in a batch. Defaults to 32.
            epochs: how often a view sees the rows in which it has a label, in each round. Defaults
                to 1.
            validation_data: arrays `(x, y)` or `(x, y, sample_weight)` or a data set of batches,
                for the history.
            callbacks: a function of the view's name and the number of the round that returns a
                list of Keras callbacks for one training.
            path: a file that is replaced after each round. If it is there at the beginning,
                training goes on after the round that it is of.
            verbose: that of `keras.Model.fit`. Defaults to 0.

        Returns:
            The history. The views are trained.

        Raises:
            ValueError: for views that are not compiled, data that do not have their inputs and
                tasks, or a file of another training.
        """
        rounds = checks.check_integer("rounds", rounds, 1)
        epochs = checks.check_integer("epochs", epochs, 1)
        check_batching(batch_size, self._seed)
        if callbacks is not None and not callable(callbacks):
            raise ValueError(
                "`callbacks` should be a function of the view's name and the round, since a "
                f"callback serves one training. Received: callbacks={callbacks!r}"
            )
        for name, model in self.views.items():
            if not model.compiled:
                raise ValueError(f"View `{name}` should be compiled. Received: one that is not")
        if path is not None and not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"`path` should be the path of a file or None. Received: path={path!r}"
            )
        data = rows.read(x, y, sample_weight, unlabelled, self.tasks)
        for model in self.views.values():  # labels and weights that are none
            model._step.objectives.arrays(data.y, data.weights)
        rows.by_view(self.views, list(data.x))
        validation = {
            view: None if validation_data is None else rows.validation(model, validation_data)
            for view, model in self.views.items()
        }
        tables = {
            view: {
                name: (Table if name in self._labelled else Given)(task, data.y[name])
                for name, task in self.tasks.items()
            }
            for view in self.views
        }
        known = self._truth(truth, len(data))
        for model in self.views.values():
            model_state.build_metrics(model)
        settings = {
            **{"thresholds": self._thresholds, "per_round": self._per_round},
            **{"balance": self._balance, "weight": self._weight, "restart": self._restart},
            **{"seed": self._seed, "rounds": rounds, "epochs": epochs, "batch_size": batch_size},
        }
        file = RoundsFile(path, self.views, settings, data)
        initial = {view: model_state.read(model) for view, model in self.views.items()}
        found = file.read(tables)
        history: list[dict[str, Any]] = []
        if found is not None:
            history, initial = found["rounds"], found["initial"]
        while found is None or not found["done"]:
            number = len(history)
            record: dict[str, Any] = {"validation": {}}
            for place, (view, model) in enumerate(self.views.items()):
                if self._restart and number:
                    model_state.restore(model, initial[view])
                logs = model.fit(
                    self._batches(view, data, tables[view], batch_size, number, place),
                    epochs=epochs,
                    shuffle=False,  # the batches are shuffled already
                    validation_data=validation[view],
                    callbacks=[] if callbacks is None else callbacks(view, number),
                    verbose=verbose,
                ).history
                record["validation"][view] = {
                    key.removeprefix("val_"): float(values[-1])
                    for key, values in logs.items()
                    if key.startswith("val_")
                }
            given = self._round(data, tables, known, record, batch_size, number, number < rounds)
            history.append(record)
            done = number == rounds or not given
            file.write(tables, initial, history, done)
            if done:
                break
        return CoTrainingHistory(history)

    # -- one round ------------------------------------------------------------------------------

    def _batches(self, view, data, tables, batch_size, number, place) -> tf.data.Dataset:
        """The rows in which the view has a label, in an order of this round."""
        model = self.views[view]
        has_one = np.any([table.rows() for table in tables.values()], axis=0)
        labels = {name: table.labels for name, table in tables.items()}
        parts: tuple = (rows.of_view(model, data.x), labels)
        if data.weights or self._weight != 1:
            losses = model._step.objectives.losses
            weights = {
                name: table.weights(
                    table.task.rank_of(losses[name]), data.weights.get(name), self._weight
                )
                for name, table in tables.items()
            }
            parts = (*parts, weights)
        parts = keras.tree.map_structure(lambda values: values[has_one], parts)
        seed = np.random.SeedSequence([self._seed, number, place]).generate_state(1)[0]
        return batches(parts, batch_size, int(seed))

    def _round(self, data, tables, known, record, batch_size, number, labels) -> int:
        """Compare the views, and have each label for the other; how many labels were given."""
        outputs = {
            view: model.predict(batches((rows.of_view(model, data.x),), batch_size), verbose=0)
            for view, model in self.views.items()
        }
        found = self._answers(outputs, tables)
        (first, second), record["tasks"], count = self.views, {}, 0
        for name, task in self._labelled.items():
            one, other = found[first][name].labels, found[second][name].labels
            where = tables[first][name].open
            if not kinds.is_of_classes(task):  # answers are the means already
                one, other = (outputs[view][name].reshape(one.shape) for view in (first, second))
            views: dict[str, Any] = {}
            for place, (view, teacher) in enumerate(((first, second), (second, first))):
                table = tables[view][name]
                held = np.flatnonzero(table.pseudo)
                new = np.zeros(0, int)
                if labels:
                    rng = np.random.default_rng([self._seed, number, place])
                    new = self._select(table, found[teacher][name], rng)
                views[view] = {
                    "pseudo_labels": len(held),
                    "right": _right(table, table.labels, held, known.get(name)),
                    "new": len(new),
                    "new_right": _right(table, found[teacher][name].labels, new, known.get(name)),
                }
                table.give(new, found[teacher][name].labels.reshape(-1)[new])
                count += len(new)
            record["tasks"][name] = {
                **kinds.compared(task, one[where], other[where]),
                "views": views,
            }
        return count

    def _answers(self, outputs, tables) -> ByView:
        """What each view answers; of regressions, both the mean."""
        first, second = self.views
        found: ByView = {view: {} for view in self.views}
        for name, task in self._labelled.items():
            if kinds.is_of_classes(task):
                for view in self.views:
                    found[view][name] = kinds.of_classes(task, outputs[view][name])
            else:
                scale = tables[first][name].scale()
                mean = kinds.of_values(task, outputs[first][name], outputs[second][name], scale)
                found[first][name] = found[second][name] = mean
        return found

    def _select(self, table: Table, answers: Answers, rng: np.random.Generator) -> np.ndarray:
        """Which of a view's answers become labels of the table of the other."""
        task, amount = table.task, self._per_round[table.task.name]
        if isinstance(amount, float):
            amount = max(1, round(amount * int(table.open.sum())))
        of_labels = kinds.groups(task, np.where(table.given, table.labels, 0))
        counts = np.bincount(of_labels[table.given], minlength=kinds.group_count(task))
        return selection.select(
            kinds.groups(task, answers.labels).reshape(-1),
            answers.certainties.reshape(-1),
            table.candidates.reshape(-1),
            threshold=self._thresholds[task.name],
            total=int(amount),
            quota=selection.quotas(counts, int(amount), self._balance),
            rng=rng,
        )

    def _truth(self, truth: Any, count: int) -> dict[str, Table]:
        """The true labels by task, as far as they are known."""
        if truth is None:
            return {}
        if not isinstance(truth, Mapping):
            raise ValueError(
                f"`truth` should be a dict of labels by task. Received: a {type(truth).__name__}"
            )
        for name, values in truth.items():
            if name not in self.tasks:
                raise ValueError(
                    f"`truth` should have only the tasks {list(self.tasks)} as keys. "
                    f"Received: {name!r}"
                )
            if np.shape(values)[:1] != (count,):
                raise ValueError(
                    f"`truth` of task `{name}` should have all {count} rows. "
                    f"Received: shape={np.shape(values)}"
                )
        return {n: Table(self.tasks[n], v) for n, v in truth.items() if n in self._labelled}


def _right(table: Table, labels: np.ndarray, places: np.ndarray, known: Table | None) -> float:
    """How right the labels at these places are, as far as the truth is known."""
    if known is None:
        return float("nan")
    places = places[known.given.reshape(-1)[places]]
    scale: Any = 1.0
    if not kinds.is_of_classes(table.task):
        scale = np.broadcast_to(table.scale(), known.labels.reshape(len(known.labels), -1).shape)
        scale = scale.reshape(-1)[places]
    return kinds.correct(
        table.task, labels.reshape(-1)[places], known.labels.reshape(-1)[places], scale
    )

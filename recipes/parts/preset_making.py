"""How a preset is made: several trainings, one of them chosen, stored, measured and described."""

import contextlib
import dataclasses
import math
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import MultiTaskModel, data, presets
from mtlzoo.metrics import delta_m
from mtlzoo.tasks import Task
from recipes.parts import comparison, preset_costs
from recipes.parts.tables import spread
from recipes.parts.training import Progress
from recipes.preset_families import Configuration, Family, Planned

# From the fewest bytes.
STORAGES = ("int8", "bfloat16", "float16", "float32")
# A metric may differ from that of the weights as they are by this share of its spread over seeds.
SHARE_OF_SPREAD = 0.1
# An area under a curve of fewer rows of a class says nothing.
FEWEST_OF_CLASS = 10
_BATCH = 1024


@dataclasses.dataclass
class Trained:
    """A model of one seed.

    Attributes:
        model: the model, at its best epoch.
        seed: the seed.
        result: how well.
        loaded: its data.
    """

    model: MultiTaskModel
    seed: int
    result: comparison.Result
    loaded: data.Loaded


def load(family: Family, seed: int = 0) -> data.Loaded:
    """The data of a family with the tasks that count, as if nothing had been trained on it yet.

    Args:
        family: the family.
        seed: of the order of the training rows.
    """
    loaded = data.load(family.data_set, **family.load, seed=seed)
    tasks = [t for t in loaded.tasks if family.tasks is None or t.name in family.tasks]
    return dataclasses.replace(loaded, tasks=tasks)


def train_single_tasks(family: Family, seeds: int, progress: Progress) -> list[dict[str, float]]:
    """By seed and task the deciding metric on the test data of the task's own network.

    Args:
        family: the family.
        seeds: how many trainings of each.
        progress: a bar for the whole job.
    """
    found: list[dict[str, float]] = []
    for seed in range(seeds):
        found.append({})
        for task in load(family, seed).tasks:
            planned = Planned(
                title="", build=lambda given, task=task: family.single_task(given, task)
            )
            trained = train(family, planned, seed, progress, balancer="equal", options={})
            found[-1] |= trained.result.test
    return found


def train(
    family: Family,
    planned: Planned,
    seed: int,
    progress: Progress,
    balancer: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a model to the epoch that is best on the validation data.

    Args:
        family: its family.
        planned: the model.
        seed: of weights, dropout and the order of rows.
        progress: a bar for the whole job.
        balancer: another one than the family's.
        options: other arguments of `compile` than the family's.
    """
    keras.utils.set_random_seed(seed)
    loaded = load(family, seed)
    model = planned.build(loaded)
    whole = planned.around(model, loaded, seed) if planned.around else model
    epochs = planned.epochs or family.epochs
    steps = epochs * int(loaded.train.cardinality())
    if family.optimizer is not None:
        optimizer = family.optimizer(steps)
    else:
        schedule = keras.optimizers.schedules.CosineDecay(family.learning_rate, steps)
        optimizer = keras.optimizers.Adam(schedule)
    options = family.compile_options if options is None else options
    whole.compile(optimizer, balancer or family.balancer, **options)
    result = comparison.fit(
        whole, loaded, epochs=epochs, seed=seed, progress=progress, student=model, name=model.name
    )
    return Trained(model, seed, result, loaded)


def make(
    name: str,
    family: Family,
    single: list[dict[str, float]],
    out: pathlib.Path,
    progress: Progress,
) -> presets.Card:
    """Train a preset with several seeds, and write the one that is best on the validation data.

    Args:
        name: the preset's name.
        family: its family.
        single: what `train_single_tasks` gave, of as many seeds.
        out: the folder of presets; what is there of this name is replaced.
        progress: a bar for the whole job.
    """
    planned = family.models[name]
    runs = [train(family, planned, seed, progress) for seed in range(len(single))]
    best = max(runs, key=lambda run: run.result.valid)
    tasks = best.loaded.tasks
    metrics = {t.name: spread([run.result.test[t.name] for run in runs]) for t in tasks}
    valid = [scores(run.model, run.loaded.valid) for run in runs]
    storage = smallest(best, {t.name: spread([s[t.name] for s in valid])["std"] for t in tasks})
    alone = {t.name: float(np.mean([each[t.name] for each in single])) for t in tasks}
    gains = [delta_m(r.result.test, s, tasks) for r, s in zip(runs, single, strict=True)]
    with stored(best.model, storage) as model:
        test = scores(model, best.loaded.test)
        facts = {
            "metrics": {
                t.name: {
                    "metric": t.monitor,
                    "value": test[t.name],
                    "mean": metrics[t.name]["mean"],
                    "std": metrics[t.name]["std"],
                    "seeds": len(runs),
                    "single_task": alone[t.name],
                }
                for t in tasks
            },
            "delta_m": {
                "value": delta_m(test, alone, tasks),
                "mean": spread(gains)["mean"],
                "std": spread(gains)["std"],
            },
            "groups": by_group(model, best.loaded, family.groups(best.loaded))
            if family.groups
            else {},
            "flops": preset_costs.flops(model),
            "latency_ms": preset_costs.latency(model),
        }
    card = presets.Card(
        title=planned.title,
        data=family.data,
        data_set=family.data_set,
        load=dict(family.load),
        split=family.split,
        command=f"python -m recipes.make_presets --name={name} --seeds={len(runs)}",
        limits=[*planned.limits, *family.limits],
        licence=family.licence,
        **facts,
    )
    return write(best.model, out / name, card, storage)


def without_weights(name: str, family: Family) -> Configuration:
    """The configuration of a preset whose weights must stay out of the package.

    Args:
        name: the preset's name.
        family: its family, with `no_weights`.
    """
    planned = family.models[name]
    return Configuration(
        title=planned.title,
        build=lambda: planned.build(load(family)),
        data=family.data,
        licence=family.licence,
        why=family.no_weights,
        command=f"python -m recipes.make_presets --name={name} --seeds=3 --out=my_presets",
        data_set=family.data_set,
        load=family.load,
        limits=[*planned.limits, *family.limits],
    )


def configure(name: str, configuration: Configuration, out: pathlib.Path) -> presets.Card:
    """Write a configuration without weights.

    Args:
        name: its name.
        configuration: what it is.
        out: the folder of presets; what is there of this name is replaced.
    """
    card = presets.Card(
        title=configuration.title,
        data=configuration.data,
        data_set=configuration.data_set,
        load=dict(configuration.load),
        command=configuration.command,
        limits=[configuration.why, *configuration.limits],
        licence=configuration.licence,
    )
    return write(configuration.build(), out / name, card)


def write(
    model: MultiTaskModel, folder: pathlib.Path, card: presets.Card, storage: str | None = None
) -> presets.Card:
    """Write a preset in place of the one that is there.

    Args:
        model: the model.
        folder: where to.
        card: what is known of it.
        storage: how weights are stored; `None` for none.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # What is there stays until its successor is whole.
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        new = presets.save(
            model,
            pathlib.Path(beside, folder.name),
            card=card,
            storage=storage or "float32",
            with_weights=storage is not None,
        )
        if (folder / "preset.json").exists():
            shutil.rmtree(folder)
        new.rename(folder)
    return presets.card(folder)


def measure(folder: pathlib.Path) -> presets.Card:
    """Measure anew what a preset costs, and write that into its card.

    Args:
        folder: the preset, with its weights.

    Raises:
        ValueError: if it does not answer here what it answered where it was made.
    """
    presets.check(folder)
    card, model = presets.card(folder), presets.load(folder)
    found = {"flops": preset_costs.flops(model), "latency_ms": preset_costs.latency(model)}
    return write(model, folder, dataclasses.replace(card, **found), card.storage)


# --- What it is worth --------------------------------------------------------------------------


@contextlib.contextmanager
def stored(model: MultiTaskModel, storage: str) -> Iterator[MultiTaskModel]:
    """The model as somebody will load it.

    Args:
        model: the model.
        storage: how its weights are stored.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield presets.load(presets.save(model, f"{folder}/preset", storage=storage))


def smallest(trained: Trained, spreads: Mapping[str, float | None]) -> str:
    """How the weights may be stored in the fewest bytes so that no metric on the validation data
    is moved by more than a tenth of its spread over seeds.

    Args:
        trained: the model.
        spreads: by task the standard deviation of these metrics over seeds; `None` where there is
            one only.
    """
    if None in spreads.values():
        return "float32"
    exact = scores(trained.model, trained.loaded.valid)
    for storage in STORAGES[:-1]:
        with stored(trained.model, storage) as model:
            found = scores(model, trained.loaded.valid)
        if all(abs(found[t] - exact[t]) <= SHARE_OF_SPREAD * (spreads[t] or 0) for t in exact):
            return storage
    return STORAGES[-1]


def scores(model: MultiTaskModel, part: tf.data.Dataset) -> dict[str, float]:
    """By task the deciding metric.

    Args:
        model: the model.
        part: the rows, with the labels of these tasks and of others.
    """
    if not model.compiled:
        model.compile()
    logs = model.evaluate(data.labels_of(part, model.task_names), return_dict=True, verbose=0)
    return {name: logs[f"{name}_{task.monitor}"] for name, task in model.tasks.items()}


def by_group(
    model: MultiTaskModel, loaded: data.Loaded, columns: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """By column and group the number of test rows, and by task the deciding metric; `None` where
    the group's labels do not give one that says something.

    Args:
        model: the model.
        loaded: the data.
        columns: by column the name of the group of each test row.
    """
    rows = loaded.test.unbatch()
    found: dict[str, dict[str, Any]] = {}
    for column, groups in columns.items():
        found[column] = {}
        for group in sorted(set(groups.tolist())):
            inside = tf.data.Dataset.from_tensor_slices(groups == group)
            part = tf.data.Dataset.zip(rows, inside).filter(lambda row, kept: kept)
            part = part.map(lambda row, kept: row).batch(_BATCH)
            count = int((groups == group).sum())
            # Keras warns of data that end before it knows how much they are.
            part = part.apply(tf.data.experimental.assert_cardinality(math.ceil(count / _BATCH)))
            values = scores(model, part)
            labels = [y for _, y, _ in part.as_numpy_iterator()]
            for name, task in model.tasks.items():
                if not has_metric(task, np.concatenate([y[name] for y in labels])):
                    values[name] = None
            found[column][group] = {"rows": count, "metrics": values}
    return found


def has_metric(task: Task, labels: np.ndarray) -> bool:
    """Whether labels give a metric: an area under a curve needs some rows of both classes.

    Args:
        task: the task.
        labels: labels of some rows.
    """
    if task.monitor != "auc":
        return True
    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    return bool(min(positives, negatives) >= FEWEST_OF_CLASS)

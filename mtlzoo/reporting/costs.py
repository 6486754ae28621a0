"""The part of a page that says what runs cost: parameters and time."""

import statistics
from collections.abc import Sequence

from mtlzoo.reporting.markup import Child, Html, join, table, tag
from mtlzoo.reporting.numbers_in_words import seconds
from mtlzoo.reporting.results import tasks_of
from mtlzoo.reporting.run import Run, Training


def costs(runs: Sequence[Run], baseline: Run | None) -> Html:
    """Tables of parameters by owner, and of seconds by epoch and call.

    Args:
        runs: The runs.
        baseline: The run whose parameters are 100 %; `None` for none.
    """
    return join([_parameters(runs, baseline), _speed(runs)])


def _seed_of_first(run: Run) -> list[Training]:
    """The trainings of one seed: the models that together answer all tasks."""
    first: dict[str, Training] = {}
    for training in run.trainings:
        for name in training.tasks:
            first.setdefault(name, training)
    return list({id(training): training for training in first.values()}.values())


def _count(run: Run) -> dict[str | None, int]:
    """By task, and by `None` what is shared."""
    found: dict[str | None, int] = {}
    for training in _seed_of_first(run):
        for owner, count in training.parameters.items():
            # All of a model of one task is that task's.
            found[owner] = found.get(owner, 0) + count
    return found


def _parameters(runs, baseline):
    names = list(tasks_of(runs))
    rows: list[list[Child]] = []
    whole = sum(_count(baseline).values()) if baseline is not None else 0
    for run in runs:
        count = _count(run)
        total = sum(count.values())
        row: list[Child] = [run.name, f"{total:,}", f"{count.get(None, 0):,}"]
        row += [f"{count[name]:,}" if name in count else "–" for name in names]
        if whole:
            row.append(f"{total / whole:.0%}")
        rows.append(row)
    head = ["run", "all", "shared", *(f"of {name} only" for name in names)]
    head += [f"of {baseline.name}"] if whole else []
    return table("Trained parameters, of all models that one seed needs", head, rows)


def _speed(runs):
    rows: list[list[Child]] = []
    several = False
    for run in runs:
        models = _seed_of_first(run)
        several = several or len(models) > 1
        epochs = [_per_epoch(training) for training in run.trainings]
        known = [each for each in epochs if each is not None]
        # Of a model for each task, one after the other.
        per_epoch = sum(known) / len(known) * len(models) if known else None
        latency = [training.latency for training in models]
        row: list[Child] = [run.name, "–" if per_epoch is None else seconds(per_epoch)]
        times = [each for each in latency if each is not None]
        if len(times) < len(models):
            row += ["–", "–"]
        else:
            row.append(seconds(sum(each.row for each in times) / 1000))
            batch = sum(each.batch for each in times) / 1000
            row.append(f"{seconds(batch)} ({times[0].batch_size} rows)")
        rows.append(row)
    made = table(
        "Speed", ["run", "training, per epoch", "answer to one row", "answer to a batch"], rows
    )
    told = (
        "An epoch is the median of a training's epochs after the first, which has the compilation "
        "in it, and holds validation, too. Answers are the median of calls of predict_on_batch."
    )
    told += " Of a run with several models the times are summed." if several else ""
    return join([made, tag("p", told, class_="note")])


def _per_epoch(training: Training) -> float | None:
    later = training.seconds[1:] or training.seconds
    return statistics.median(later) if later else None

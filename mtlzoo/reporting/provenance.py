"""The parts of a page that say how it was made, and what does not follow from it."""

from collections.abc import Mapping, Sequence

from mtlzoo.analysis.phrases import listed
from mtlzoo.reporting import intervals, settings
from mtlzoo.reporting.gains import Baseline, Gains
from mtlzoo.reporting.markup import Html, join, tag
from mtlzoo.reporting.results import tasks_of
from mtlzoo.reporting.run import Run


def provenance(runs: Sequence[Run]) -> Html:
    """The commands, seeds and settings of the runs, and the versions of packages.

    Args:
        runs: The runs.
    """
    parts = [_run(run) for run in runs]
    versions = ", ".join(f"{name} {version}" for name, version in settings.versions().items())
    machines = dict.fromkeys(t.machine for run in runs for t in run.trainings)
    facts = {"versions": versions, "machine": "; ".join(machines)}
    return join([*parts, tag("h3", "Packages and machine"), _facts(facts)])


def _run(run):
    facts = {"seeds": ", ".join(dict.fromkeys(_seed(t.seed) for t in run.trainings))}
    epochs = [max(map(len, t.history.values())) for t in run.trainings]
    least, most = min(epochs), max(epochs)
    facts["epochs"] = str(most) if least == most else f"{least} to {most}"
    for key in dict.fromkeys(key for t in run.trainings for key in t.settings):
        # A run of a model for each task has settings of each.
        told = dict.fromkeys(t.settings[key] for t in run.trainings if key in t.settings)
        facts[key] = "; ".join(told)
    command = [tag("pre", tag("code", run.command))] if run.command else []
    if not run.command:
        facts["command"] = "not given"
    return join([tag("h3", run.name), *command, _facts(facts)])


def _seed(seed):
    return "not known" if seed is None else str(seed)


def _facts(facts: Mapping[str, str]) -> Html:
    pairs = [[tag("dt", key), tag("dd", value)] for key, value in facts.items()]
    return tag("dl", pairs, class_="facts")


def limits(
    runs: Sequence[Run], found: Mapping[str, Gains | None], baseline: Baseline | None
) -> list[str]:
    """What the numbers cannot say, in sentences.

    Args:
        runs: The runs.
        found: By the name of a run its gains over the baseline.
        baseline: The baseline; `None` for none.
    """
    said = []
    once = [run.name for run in runs if all(len(run.trainings_of(n)) == 1 for n in run.tasks)]
    if once:
        said.append(
            f"{listed(once)}: trained with one seed. The intervals are of the test rows alone (a "
            f"bootstrap, {intervals.RESAMPLES} times, over groups of rows). They say nothing of "
            "what another seed would give, which is often more than the rows."
        )
    few = [run.name for run in runs if run.name not in once]
    if few:
        said.append(
            f"{listed(few)}: the intervals are t intervals of the mean over seeds. They say how "
            "much trainings differ on these test rows, and nothing of other rows; of two or three "
            "seeds they are wide, and may reach beyond what the metric can be."
        )
    if len(runs) > 2:
        said.append(
            f"{len(runs)} runs are compared: the best of several is partly the luckiest, and no "
            "interval here is corrected for that."
        )
    said += [line for run in runs for line in _of_run(run)]
    for name, gains in found.items():
        if gains is None:
            said.append(
                f"{name}: no gain over the baseline, since a deciding metric is 0 in the baseline, "
                "is not finite, or was not measured on test data."
            )
        elif not gains.paired:
            said.append(
                f"{name}: its gain has no interval, since the baseline has not the same seeds, or "
                "only one."
            )
    if baseline is None:
        said.append(
            "There is no single-task baseline, so that nothing here says whether learning the "
            "tasks together pays: give one as `baseline`."
        )
    said.append(
        "If test data chose epochs or settings, all test numbers are too good. This page cannot "
        "know it."
    )
    said.append(
        "Times are of one machine with whatever else ran on it. Compare them with each other only."
    )
    return said


def _of_run(run):
    for name in run.tasks:
        trainings = run.trainings_of(name)
        lost = sum(t.outcomes[name].left_out for t in trainings if name in t.outcomes)
        if lost:
            yield (
                f"{run.name}, task {name}: {lost:,} answers are not finite, and left out of "
                "confusion and calibration."
            )
        without = [t for t in trainings if name not in t.scores]
        if without:
            yield (
                f"{run.name}, task {name}: {len(without)} of {len(trainings)} trainings have no "
                "test data with labels of it."
            )
        if not any(f"val_{name}_loss" in t.history for t in trainings):
            yield f"{run.name}, task {name}: there were no validation data."
        for metric in dict.fromkeys(m for t in trainings for m in t.scores.get(name, {})):
            found = run.interval(name, metric)
            if found is not None and found.by == "none":
                yield (
                    f"{run.name}, {name} {metric}: no interval, since the metric is no function of "
                    "sums over rows, is not finite, or there is a single row."
                )
    left_out = sorted({metric for t in run.trainings for metric in t.left_out})
    if left_out:
        yield f"{run.name}: {listed(left_out)} are no single numbers, and are not shown."


def in_data(runs: Sequence[Run]) -> list[dict]:
    """The runs for machines to read.

    Args:
        runs: The runs.
    """
    return [
        {
            "name": run.name,
            "command": run.command,
            "metrics": {name: _metrics(run, name) for name in run.tasks},
            "trainings": [
                {
                    "seed": t.seed,
                    "tasks": {n: type(task).__name__ for n, task in t.tasks.items()},
                    "history": t.history,
                    "seconds": t.seconds,
                    "parameters": {
                        "shared": t.parameters.get(None, 0),
                        "by_task": {n: t.parameters[n] for n in t.tasks},
                    },
                    "settings": t.settings,
                    "machine": t.machine,
                    "latency_ms": t.latency._asdict() if t.latency else None,
                    "confusion": {n: o.confusion.tolist() for n, o in t.outcomes.items()},
                    "ece": {n: o.reliability.error for n, o in t.outcomes.items()},
                }
                for t in run.trainings
            ],
        }
        for run in runs
    ]


def _metrics(run, name):
    names = tasks_of([run])
    metrics = dict.fromkeys(m for t in run.trainings_of(name) for m in t.scores.get(name, {}))
    found = {}
    for metric in metrics:
        interval = run.interval(name, metric)
        values = [{"seed": seed, "value": v} for seed, v in run.values(name, metric).items()]
        found[metric] = {
            **(interval._asdict() if interval else {}),
            "values": values,
            "decides": metric == names[name].monitor,
        }
    return found

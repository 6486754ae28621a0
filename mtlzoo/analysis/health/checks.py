"""The checks of a training's health, each a function of what was seen in an epoch."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from mtlzoo.layers.arguments import check_number
from mtlzoo.models.gramian_record import SHARED, GramianSums


@dataclass(frozen=True)
class HealthWarning:
    """Something that goes wrong.

    Attributes:
        epoch: The epoch that showed it, from 1.
        kind: Such as `"vanishing"`.
        tasks: The tasks that it is about.
        where: The group of shared variables, the layer or the variable.
        value: The number that is out of bounds.
        message: What was seen, in plain words.
        remedy: What in the package may help.
    """

    epoch: int
    kind: str
    tasks: tuple[str, ...]
    where: str
    value: float
    message: str
    remedy: str

    @property
    def key(self) -> tuple:
        """What the same fault has in common in all epochs."""
        return self.kind, self.tasks, self.where


@dataclass(frozen=True)
class HealthLimits:
    """What is out of bounds.

    Attributes:
        steps: The least number of measured steps that tell of a conflict; where an epoch has fewer,
            several are judged together. Defaults to 20.
        vanishing: The least length of a task's gradient per parameter in a layer, as a part of that
            in its layer with the longest. Defaults to 1e-4.
        exploding: How many times the length of a group's variables (at least that of as many
            average ones) a task's gradient may have, or that of the median of the epochs before.
            Defaults to 100.
        conflict: The greatest share of steps in which two tasks' gradients may be opposed; their
            mean cosine has to be below -0.05, too. Defaults to 0.6.
        dominated: The least length of a task's weighed gradient, as a part of the longest. Defaults
            to 0.01.
        drift: By how many standard deviations the moving mean of a batch normalization may change
            in an epoch, or by which factor its standard deviation; not counting the first epoch.
            Defaults to 1.0 and so a factor of e.
        dead_units: The greatest share of a layer's units that may be zero for every row of the
            probe. Defaults to 0.5.

    Raises:
        ValueError: If one of them is no number of at least 0.
    """

    steps: int = 20
    vanishing: float = 1e-4
    exploding: float = 100.0
    conflict: float = 0.6
    dominated: float = 0.01
    drift: float = 1.0
    dead_units: float = 0.5

    def __post_init__(self) -> None:
        for each in fields(self):
            check_number(each.name, getattr(self, each.name), "a number of at least 0", 0.0)


@dataclass(frozen=True)
class Seen:
    """What an epoch has shown of the gradients.

    Attributes:
        epoch: From 1.
        names: The T tasks.
        groups: The K groups, all shared variables together first.
        sums: Of the epoch's steps.
        lengths: (K,) norms of the groups' variables.
        sizes: (K,) numbers of their parameters.
        reached: (K, T) whether a task depends on a group.
        weights: (T,) of the last step.
        recent: The sums of this epoch and those before it that had too few steps for a conflict.
        balancer: The name of the balancer in use, which is no remedy.
        earlier: The norms (K, T) of the epochs before.
    """

    epoch: int
    names: tuple[str, ...]
    groups: tuple[str, ...]
    sums: GramianSums
    lengths: np.ndarray
    sizes: np.ndarray
    reached: np.ndarray
    weights: np.ndarray
    recent: GramianSums
    balancer: str = ""
    earlier: list[np.ndarray] = field(default_factory=list)


def gradients(seen: Seen, limits: HealthLimits) -> Iterator[HealthWarning]:
    """Faults of the tasks' gradients by the shared variables.

    Args:
        seen: What the epoch has shown.
        limits: What is out of bounds.
    """
    for check in (_faulty, _zero, _vanishing, _exploding, _conflicting, _dominated):
        yield from check(seen, limits)


def place(group: str) -> str:
    """A group of variables in words.

    Args:
        group: Its name.
    """
    return "the shared variables" if group == SHARED else f"the layer `{group}`"


def _faulty(seen, limits):
    for t, name in enumerate(seen.names):
        count = seen.sums.faults[0, t]
        if count:
            yield HealthWarning(
                seen.epoch,
                "non_finite",
                (name,),
                SHARED,
                float(count),
                f"The gradient of task `{name}` was not finite, or too long to be squared, in "
                f"{count:.0f} steps.",
                "lower the learning rate or clip (`global_clipnorm` of the optimizer); under "
                "float16 a few such steps are the loss scale's",
            )


def _zero(seen, limits):
    """Gradients that are exactly zero in all steps of the epoch."""
    for t, name in enumerate(seen.names):
        steps = seen.sums.steps[0, t]
        if steps and seen.sums.zeros[0, t] == steps:
            yield HealthWarning(
                seen.epoch,
                "vanishing",
                (name,),
                SHARED,
                0.0,
                f"The gradient of task `{name}` by the shared variables was zero in all "
                f"{steps:.0f} measured steps: the task teaches them nothing.",
                "look for dead units or a `stop_gradient` between them and the task's head; lower "
                "the learning rate, or normalize the features (`BatchNormalization`)",
            )


def _vanishing(seen, limits):
    """Per parameter, far shorter in one layer than in another one of the same task."""
    per_parameter = seen.sums.norms / np.sqrt(np.maximum(seen.sizes, 1))[:, None]
    per_parameter = np.where(seen.reached & (seen.sums.steps > 0), per_parameter, np.nan)[1:]
    for t, name in enumerate(seen.names):
        of_task = per_parameter[:, t]
        if np.isnan(of_task).all() or np.nanmax(of_task) == 0:
            continue
        least, most = np.nanargmin(of_task), np.nanargmax(of_task)
        part = of_task[least] / of_task[most]
        if part < limits.vanishing:
            where, strong = seen.groups[1 + least], seen.groups[1 + most]
            yield HealthWarning(
                seen.epoch,
                "vanishing",
                (name,),
                where,
                float(part),
                f"The gradient of task `{name}` vanishes in {place(where)}: per parameter it has "
                f"{part:.1e} of its length in {place(strong)}.",
                "normalize between the layers (`BatchNormalization`, `LayerNormalization`), use "
                "`relu` or residual stages, or give that layer a rate of its own "
                "(`mtlzoo.training.layerwise_learning_rates`)",
            )


def _exploding(seen, limits):
    norms = seen.sums.norms
    usual = np.full_like(norms, np.nan)
    if seen.earlier:
        with warnings.catch_warnings():  # of a task that does not depend on a layer
            warnings.simplefilter("ignore", RuntimeWarning)
            usual = np.nanmedian(np.stack(seen.earlier), axis=0)
    # A layer that begins with zeros is no measure of its gradient.
    average = seen.lengths[0] * np.sqrt(seen.sizes / max(1, seen.sizes[0]))
    lengths = np.maximum(np.maximum(seen.lengths, average), 1e-12)
    for t, name in enumerate(seen.names):
        of_lengths = norms[:, t] / lengths
        of_usual = norms[:, t] / np.where(usual[:, t] > 0, usual[:, t], np.nan)
        for said, ratios in (("variables", of_lengths), ("epochs before", of_usual)):
            if np.isnan(ratios).all() or not np.nanmax(ratios) > limits.exploding:
                continue
            k = int(np.nanargmax(ratios))
            yield HealthWarning(
                seen.epoch,
                "exploding",
                (name,),
                seen.groups[k],
                float(ratios[k]),
                f"The gradient of task `{name}` in {place(seen.groups[k])} has {ratios[k]:.3g} "
                f"times the length of {'the variables there' if said == 'variables' else said}.",
                "clip (`global_clipnorm` of the optimizer), standardize the labels, scale the "
                "losses (`InitialLossScale`), or lower the learning rate",
            )
            break


def _conflicting(seen, limits):
    sums = seen.recent
    for j in range(len(seen.names)):
        for i in range(j):
            shares, cosines = sums.conflicts[:, i, j], sums.cosines[:, i, j]
            opposed = (shares > limits.conflict) & (cosines < -0.05)
            opposed &= sums.pairs[:, i, j] >= limits.steps
            if not opposed.any():
                continue
            k = int(np.argmin(np.where(opposed, cosines, np.inf)))
            yield HealthWarning(
                seen.epoch,
                "conflict",
                (seen.names[i], seen.names[j]),
                seen.groups[k],
                float(shares[k]),
                f"The gradients of tasks `{seen.names[i]}` and `{seen.names[j]}` are opposed in "
                f"{100 * shares[k]:.0f} % of the steps in {place(seen.groups[k])} (mean cosine "
                f"{cosines[k]:.2f}).",
                f"use {_others(('pcgrad', 'cagrad', 'upgrad'), seen)}, which resolves conflicts, "
                "share less (`MMoE`, `PLE`, `CrossStitch`), or train them apart "
                "(`mtlzoo.analysis.group_tasks`)",
            )


def _dominated(seen, limits):
    lengths = seen.sums.norms[0] * np.abs(seen.weights)
    if np.isnan(lengths).all() or not np.nanmax(lengths) > 0:
        return
    largest = int(np.nanargmax(lengths))
    for t, name in enumerate(seen.names):
        part = lengths[t] / lengths[largest]
        if 0 < part < limits.dominated:
            yield HealthWarning(
                seen.epoch,
                "dominated",
                (name, seen.names[largest]),
                SHARED,
                float(part),
                f"Task `{name}` is dominated by `{seen.names[largest]}`: its weighed gradient by "
                f"the shared variables has {part:.1e} of the length.",
                "balance the scales: `loss_weights`, or "
                f"{_others(('initial_loss_scale', 'uncertainty', 'imtl_g', 'aligned_mtl'), seen)}",
            )


def _others(names: Sequence[str], seen: Seen) -> str:
    """Balancers that are not in use, in words."""
    shown = [f"'{name}'" for name in names if name.replace("_", "") not in seen.balancer]
    return f"another balancer ({', '.join(shown)})"

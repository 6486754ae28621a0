"""The balancers by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import keras

from mtlzoo.balancing.balancer import Balancer

# What stands for a balancer.
Identifier = str | Balancer | type[Balancer] | Mapping[str, Any]

# Classes of `mtlzoo.balancing`, where some are made of others, by the names that stand for them.
_BY_NAME = {
    "aligned_mtl": "AlignedMTL",
    "auto_lambda": "AutoLambda",
    "cagrad": "CAGrad",
    "config": "ConFIG",
    "cosmos": "COSMOS",
    "dbmtl": "DBMTL",
    "dual_proj": "DualProj",
    "dwa": "DWA",
    "equal": "Equal",
    "excess_mtl": "ExcessMTL",
    "fair_grad": "FairGrad",
    "famo": "FAMO",
    "gls": "GLS",
    "grad_drop": "GradDrop",
    "grad_norm": "GradNorm",
    "grad_vac": "GradVac",
    "imtl_g": "IMTLG",
    "imtl_l": "IMTLL",
    "initial_loss_scale": "InitialLossScale",
    "krum": "Krum",
    "mgda": "MGDA",
    "moco": "MoCo",
    "modo": "MoDo",
    "nash_mtl": "NashMTL",
    "pbi": "PBI",
    "pcgrad": "PCGrad",
    "rlw": "RLW",
    "scale_invariant": "ScaleInvariant",
    "sdmgrad": "SDMGrad",
    "stch": "STCH",
    "task_prioritization": "TaskPrioritization",
    "trimmed_mean": "TrimmedMean",
    "uncertainty": "Uncertainty",
    "upgrad": "UPGrad",
}
# Those that a name alone does not make.
_WITH_ARGUMENTS = {
    "combined": "Combined(losses, gradients)",
    "ema": "EMA(balancer)",
    "pcd": "PCD(primary)",
    "warm_up": "WarmUp(first, then)",
}


def names() -> list[str]:
    """The names that `get` knows, sorted."""
    return sorted(_BY_NAME)


def get(identifier: Identifier, argument: str = "balancer") -> Balancer:
    """The balancer that `identifier` stands for.

    Args:
        identifier: A name out of `names()`, a balancer, a class that needs no arguments, or the
            result of `keras.saving.serialize_keras_object`.
        argument: What errors call it. Defaults to `"balancer"`.

    Raises:
        ValueError: If the name is unknown, or it is none of these.

    Example:
    ```python
    from mtlzoo import balancing

    balancing.get("pcgrad")  # PCGrad(seed=0, wrt='parameters', every=1)
    ```
    """
    if isinstance(identifier, str):
        if identifier in _BY_NAME:
            return getattr(importlib.import_module(__package__), _BY_NAME[identifier])()
        if identifier in _WITH_ARGUMENTS:
            raise ValueError(
                f"`{argument}` should be `{_WITH_ARGUMENTS[identifier]}`, which has arguments that "
                f"its name does not tell. Received: `{argument}={identifier!r}`"
            )
        near = difflib.get_close_matches(identifier.lower(), names(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"`{argument}` should be one of {names()}.{hint} Received: `{argument}={identifier!r}`"
        )
    if isinstance(identifier, type) and issubclass(identifier, Balancer):
        try:
            return identifier()
        except TypeError as error:
            raise ValueError(
                f"`{argument}` should be an object, not a class that needs arguments: {error}. "
                f"Received: `{argument}={identifier!r}`"
            ) from error
    if isinstance(identifier, Mapping):
        identifier = keras.saving.deserialize_keras_object(dict(identifier))
    if isinstance(identifier, Balancer):
        return identifier
    raise ValueError(
        f"`{argument}` should be a name, a `Balancer`, its class or its serialized form. "
        f"Received: `{argument}={identifier!r}`"
    )

"""Balancing methods: losses or a Gramian in, weights out. Mathematics only, in `keras.ops`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import keras

from mtlzoo.balancing.aligned_mtl import AlignedMTL
from mtlzoo.balancing.auto_lambda import AutoLambda
from mtlzoo.balancing.balancer import Balancer
from mtlzoo.balancing.cagrad import CAGrad
from mtlzoo.balancing.combined import Combined
from mtlzoo.balancing.config import ConFIG
from mtlzoo.balancing.cosmos import COSMOS
from mtlzoo.balancing.dbmtl import DBMTL
from mtlzoo.balancing.dual_proj import DualProj
from mtlzoo.balancing.dwa import DWA
from mtlzoo.balancing.ema import EMA
from mtlzoo.balancing.equal import Equal
from mtlzoo.balancing.excess_mtl import ExcessMTL
from mtlzoo.balancing.fair_grad import FairGrad
from mtlzoo.balancing.famo import FAMO
from mtlzoo.balancing.gls import GLS
from mtlzoo.balancing.grad_drop import GradDrop
from mtlzoo.balancing.grad_norm import GradNorm
from mtlzoo.balancing.grad_vac import GradVac
from mtlzoo.balancing.gradient_balancer import GradientBalancer
from mtlzoo.balancing.imtl_g import IMTLG
from mtlzoo.balancing.imtl_l import IMTLL
from mtlzoo.balancing.initial_loss_scale import InitialLossScale
from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.balancing.krum import Krum
from mtlzoo.balancing.loss_balancer import LossBalancer
from mtlzoo.balancing.mgda import MGDA
from mtlzoo.balancing.moco import MoCo
from mtlzoo.balancing.modo import MoDo
from mtlzoo.balancing.nash_mtl import NashMTL
from mtlzoo.balancing.pbi import PBI
from mtlzoo.balancing.pcd import PCD
from mtlzoo.balancing.pcgrad import PCGrad
from mtlzoo.balancing.rlw import RLW
from mtlzoo.balancing.scale_invariant import ScaleInvariant
from mtlzoo.balancing.sdmgrad import SDMGrad
from mtlzoo.balancing.stch import STCH
from mtlzoo.balancing.task_prioritization import TaskPrioritization
from mtlzoo.balancing.trimmed_mean import TrimmedMean
from mtlzoo.balancing.uncertainty import Uncertainty
from mtlzoo.balancing.upgrad import UPGrad
from mtlzoo.balancing.warm_up import WarmUp

__all__ = [
    "COSMOS",
    "DBMTL",
    "DWA",
    "EMA",
    "FAMO",
    "GLS",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "PBI",
    "PCD",
    "RLW",
    "STCH",
    "AlignedMTL",
    "AutoLambda",
    "Balancer",
    "CAGrad",
    "Combined",
    "ConFIG",
    "DualProj",
    "Equal",
    "ExcessMTL",
    "FairGrad",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientBalancer",
    "InitialLossScale",
    "JacobianBalancer",
    "Krum",
    "LossBalancer",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "SDMGrad",
    "ScaleInvariant",
    "TaskPrioritization",
    "TrimmedMean",
    "UPGrad",
    "Uncertainty",
    "WarmUp",
    "get",
    "names",
]

_BY_NAME: dict[str, type[Balancer]] = {
    "aligned_mtl": AlignedMTL,
    "auto_lambda": AutoLambda,
    "cagrad": CAGrad,
    "config": ConFIG,
    "cosmos": COSMOS,
    "dbmtl": DBMTL,
    "dual_proj": DualProj,
    "dwa": DWA,
    "equal": Equal,
    "excess_mtl": ExcessMTL,
    "fair_grad": FairGrad,
    "famo": FAMO,
    "gls": GLS,
    "grad_drop": GradDrop,
    "grad_norm": GradNorm,
    "grad_vac": GradVac,
    "imtl_g": IMTLG,
    "imtl_l": IMTLL,
    "initial_loss_scale": InitialLossScale,
    "krum": Krum,
    "mgda": MGDA,
    "moco": MoCo,
    "modo": MoDo,
    "nash_mtl": NashMTL,
    "pbi": PBI,
    "pcgrad": PCGrad,
    "rlw": RLW,
    "scale_invariant": ScaleInvariant,
    "sdmgrad": SDMGrad,
    "stch": STCH,
    "task_prioritization": TaskPrioritization,
    "trimmed_mean": TrimmedMean,
    "uncertainty": Uncertainty,
    "upgrad": UPGrad,
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


def get(identifier: str | Balancer | type[Balancer] | Mapping[str, Any]) -> Balancer:
    """The balancer that `identifier` stands for.

    Args:
        identifier: A name out of `names()`, a balancer, a class that needs no arguments, or the
            result of `keras.saving.serialize_keras_object`.

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
            return _BY_NAME[identifier]()
        if identifier in _WITH_ARGUMENTS:
            raise ValueError(
                f"`balancer` should be `{_WITH_ARGUMENTS[identifier]}`, which has arguments that "
                f"its name does not tell. Received: `balancer={identifier!r}`"
            )
        near = difflib.get_close_matches(identifier.lower(), names(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"`balancer` should be one of {names()}.{hint} Received: `balancer={identifier!r}`"
        )
    if isinstance(identifier, type) and issubclass(identifier, Balancer):
        return identifier()
    if isinstance(identifier, Mapping):
        identifier = keras.saving.deserialize_keras_object(dict(identifier))
    if isinstance(identifier, Balancer):
        return identifier
    raise ValueError(
        "`balancer` should be a name, a `Balancer`, its class or its serialized form. "
        f"Received: `balancer={identifier!r}`"
    )

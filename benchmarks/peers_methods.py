"""What the methods are called in TorchJD and in LibMTL, by their names here."""

from typing import Any

TORCHJD = {
    "upgrad": "UPGrad",
    "dual_proj": "DualProj",
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "grad_vac": "GradVac",
    "cagrad": "CAGrad",
    "imtl_g": "IMTLG",
    "nash_mtl": "NashMTL",
    "aligned_mtl": "AlignedMTL",
    "config": "ConFIG",
    "fair_grad": "FairGrad",
    "grad_drop": "GradDrop",
    "krum": "Krum",
    "trimmed_mean": "TrimmedMean",
}
LIBMTL = {
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "grad_vac": "GradVac",
    "cagrad": "CAGrad",
    "imtl_g": "IMTL",
    "grad_drop": "GradDrop",
    "grad_norm": "GradNorm",
}


def torchjd_aggregator(method: str, tasks: int) -> Any:
    """TorchJD's aggregator, with the arguments that ours has.

    Args:
        method: its name here.
        tasks: their number.
    """
    from torchjd import aggregation

    arguments: dict[str, dict[str, Any]] = {
        "CAGrad": {"c": 0.5},
        "FairGrad": {"alpha": 1.0},
        "NashMTL": {"n_tasks": tasks},
        "Krum": {"n_byzantine": 0},
        "TrimmedMean": {"trim_number": 1},
    }
    name = TORCHJD[method]
    return getattr(aggregation, name)(**arguments.get(name, {}))

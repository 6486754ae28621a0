"""What the methods are called in TorchJD and in LibMTL, by their names here."""

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

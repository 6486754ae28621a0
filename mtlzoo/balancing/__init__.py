"""Balancing methods: losses or a Gramian in, weights out. Mathematics only, in `keras.ops`."""

from mtlzoo.balancing.aligned_mtl import AlignedMTL
from mtlzoo.balancing.auto_lambda import AutoLambda
from mtlzoo.balancing.balancer import Balancer
from mtlzoo.balancing.by_name import get, names
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

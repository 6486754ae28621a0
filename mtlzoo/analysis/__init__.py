"""Understanding: are the tasks related, what did the model learn, what may be cut away."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.analysis.attention.attention_table import AttentionTable
from mtlzoo.analysis.attention.reading import read_attention
from mtlzoo.analysis.explanation.activation_maximum import (
    ActivationMaximum,
    activation_maximization,
)
from mtlzoo.analysis.explanation.explaining import explain
from mtlzoo.analysis.explanation.explanation import Explanation
from mtlzoo.analysis.explanation.randomization import RandomizationTest, randomization_test
from mtlzoo.analysis.explanation.side_by_side import TaskExplanations, explain_tasks
from mtlzoo.analysis.explanation.task_view import task_view
from mtlzoo.analysis.finding import Finding
from mtlzoo.analysis.gramian_history import GramianHistory
from mtlzoo.analysis.health.checks import HealthLimits, HealthWarning
from mtlzoo.analysis.health.training_health import TrainingHealth
from mtlzoo.analysis.importance.feature_importance import FeatureImportance
from mtlzoo.analysis.importance.permutation import permutation_importance
from mtlzoo.analysis.importance.shap_values import ShapValues, shap_values
from mtlzoo.analysis.relatedness.affinity_history import AffinityHistory
from mtlzoo.analysis.relatedness.group_trainings import GroupTrainings
from mtlzoo.analysis.relatedness.grouping import group_tasks
from mtlzoo.analysis.relatedness.label_efficiency import LabelEfficiency, label_efficiency
from mtlzoo.analysis.relatedness.look_ahead import inter_task_affinity
from mtlzoo.analysis.relatedness.pairwise_gains import pairwise_gains
from mtlzoo.analysis.relatedness.relatedness_report import RelatednessReport
from mtlzoo.analysis.relatedness.representation_similarity import representation_similarity
from mtlzoo.analysis.relatedness.sampled_matrix import SampledMatrix
from mtlzoo.analysis.relatedness.task_groups import MeasuredGains, TaskGroups, measure_groups
from mtlzoo.analysis.simplification.idle_experts import remove_idle_experts
from mtlzoo.analysis.simplification.keeping_zeros import GradualPruning, KeepZeros
from mtlzoo.analysis.simplification.low_rank import factorize
from mtlzoo.analysis.simplification.magnitudes import prune_weights, sparsity_of
from mtlzoo.analysis.simplification.quantizing import quantize
from mtlzoo.analysis.simplification.size_table import ModelSize, SimplificationTable
from mtlzoo.analysis.simplification.sizes import compare_sizes
from mtlzoo.analysis.simplification.surrogate_finding import Surrogate
from mtlzoo.analysis.simplification.surrogates import surrogate
from mtlzoo.analysis.simplification.units import cuttable_units, prune_units
from mtlzoo.analysis.task_matrix import TaskMatrix

__all__ = [
    "ActivationMaximum",
    "AffinityHistory",
    "AttentionTable",
    "Explanation",
    "FeatureImportance",
    "Finding",
    "GradualPruning",
    "GramianHistory",
    "GroupTrainings",
    "HealthLimits",
    "HealthWarning",
    "KeepZeros",
    "LabelEfficiency",
    "MeasuredGains",
    "ModelSize",
    "RandomizationTest",
    "RelatednessReport",
    "SampledMatrix",
    "ShapValues",
    "SimplificationTable",
    "Surrogate",
    "TaskExplanations",
    "TaskGroups",
    "TaskMatrix",
    "TrainingHealth",
    "activation_maximization",
    "compare_sizes",
    "cuttable_units",
    "explain",
    "explain_tasks",
    "factorize",
    "group_tasks",
    "inter_task_affinity",
    "label_efficiency",
    "measure_groups",
    "pairwise_gains",
    "permutation_importance",
    "prune_units",
    "prune_weights",
    "quantize",
    "randomization_test",
    "read_attention",
    "remove_idle_experts",
    "representation_similarity",
    "shap_values",
    "sparsity_of",
    "surrogate",
    "task_view",
]

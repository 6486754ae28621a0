"""The public names: all there, all explained, and their examples run."""

import inspect
import re
import textwrap

import pytest
from public_things import THINGS, modules

import mtlzoo

TASKS = [
    "BinaryClassification",
    "Classification",
    "MultiLabelClassification",
    "Regression",
    "DepthEstimation",
    "ObjectDetection",
    "SemanticSegmentation",
    "SequenceTagging",
    "SpanExtraction",
    "SurfaceNormalEstimation",
    "Task",
]
BALANCERS = [
    "AlignedMTL",
    "AutoLambda",
    "CAGrad",
    "COSMOS",
    "Combined",
    "ConFIG",
    "DBMTL",
    "DWA",
    "DualProj",
    "EMA",
    "Equal",
    "ExcessMTL",
    "FAMO",
    "FairGrad",
    "GLS",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "IMTLG",
    "IMTLL",
    "InitialLossScale",
    "Krum",
    "MGDA",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PBI",
    "PCD",
    "PCGrad",
    "RLW",
    "SDMGrad",
    "STCH",
    "ScaleInvariant",
    "TaskPrioritization",
    "TrimmedMean",
    "UPGrad",
    "Uncertainty",
    "WarmUp",
]
MODELS = [
    "AITM",
    "CrossModalFusion",
    "DBMTLNet",
    "ESMM",
    "TaskQueryAttention",
    "HardSharing",
    "LearningToBranch",
    "DynamicSharing",
    "AdapterSharing",
    "SoftSharing",
    "CrossStitch",
    "Sluice",
    "NDDR",
    "MTAN",
    "MMoE",
    "MultiTaskModel",
    "OMoE",
    "PLE",
    "SNR",
]
OF_ROOMS = {
    "analysis": {
        *("ActivationMaximum", "Explanation", "RandomizationTest", "TaskExplanations"),
        *("activation_maximization", "explain", "explain_tasks", "randomization_test"),
        "task_view",
        *("Finding", "GramianHistory", "HealthLimits", "HealthWarning"),
        *("TaskMatrix", "TrainingHealth"),
        *("AffinityHistory", "GroupTrainings", "LabelEfficiency", "MeasuredGains"),
        *("RelatednessReport", "SampledMatrix", "TaskGroups", "group_tasks"),
        *("inter_task_affinity", "label_efficiency", "measure_groups", "pairwise_gains"),
        *("representation_similarity",),
        *("GradualPruning", "KeepZeros", "ModelSize", "SimplificationTable", "Surrogate"),
        *("compare_sizes", "cuttable_units", "factorize", "prune_units", "prune_weights"),
        *("quantize", "remove_idle_experts", "sparsity_of", "surrogate"),
        *("AttentionTable", "FeatureImportance", "ShapValues", "permutation_importance"),
        *("read_attention", "shap_values"),
    },
    "backbones": {
        *(
            "MLP",
            "AudioEncoder",
            "Backbone",
            "BertEncoder",
            "ConvNet",
            "EfficientNetLite0",
            "ResNet",
            "SensorEncoder",
        ),
        *("TabularEncoder", "TextEncoder"),
    },
    "balancing": {
        *(*BALANCERS, "Balancer", "LossBalancer", "GradientBalancer", "JacobianBalancer"),
        *("get", "names"),
    },
    "data": {
        "Annealed",
        "CrossValidation",
        "ImportanceSampling",
        "InTurn",
        "Loaded",
        "Mixture",
        "Report",
        "Temperature",
        "augment",
        "check",
        "check_parts",
        "class_weights",
        "cross_validate",
        "cut_mix",
        "distribute",
        "keep",
        "kfold",
        "labels_of",
        "load",
        "mix",
        "mix_up",
        "names",
        "resample",
        "rows_with_labels",
        "split",
        "weigh_classes",
    },
    "distribution": {
        *("Schedule", "Work", "pipeline", "place", "rematerialize"),
        *("is_chief", "strategy", "strategy_names"),
    },
    "ensembles": {
        *(
            "Ensemble",
            "FittedWeights",
            "Fusion",
            "GeometricMean",
            "MajorityVote",
            "Maximum",
            "Mean",
        ),
        *("Soup", "Stacking", "Temperature", "Weighted", "WeightedMean", "WeightedVote"),
        *("average_weights", "get", "greedy_soup", "names", "refresh_statistics"),
        "task_arithmetic",
    },
    "layers": {
        *("ASPP", "IdEmbedding", "LogMelSpectrogram", "MaskedMean", "PaddingMask"),
        *("PositionEmbedding", "PositionFusion", "ZeroMasked"),
        *("WordFeatures", "WordPiece", "WordPieceOfWords"),
        *("DSelectKGate", "Gate", "SoftmaxGate", "SubNetworkRouting", "TopKGate"),
        *("ConcatenationFusion", "Fusion", "GatedFusion", "LowRankFusion", "ModalityDropout"),
        *("BottleneckFusion", "ContrastiveAlignment", "CrossAttentionFusion"),
        *("AttentionMap", "Calibrator"),
        *("BlendedStage", "BottleneckAdapter", "Branching", "LowRankUpdate"),
        *("CrossStitchUnit", "LayerMixture", "NDDRUnit", "TaskAttention"),
        "InformationTransfer",
        "ProductOfProbabilities",
        "QueryAttention",
        "Experts",
    },
    "metrics": {
        *(
            "AngleWithin",
            "ExpectedCalibrationError",
            "IoU",
            "MeanAngle",
            "MeanAveragePrecision",
            "MedianAngle",
            "RelativeError",
            "SpanExactMatch",
            "SpanF1",
            "ThresholdAccuracy",
        ),
        *("AUC", "F1Score", "LabelwiseMetric", "Precision", "R2Score", "Recall", "delta_m"),
    },
    "models": {*MODELS, "LogSharing"},
    "online": {
        *("Adaptive", "Complexity", "DriftDetector", "Intake"),
        *("Decision", "EveryBatch", "Moment", "StreamBatch", "UpdatePolicy", "Windows"),
        *("Fault", "Quarantine", "Reader", "follow_directory", "read_json_lines"),
        *("HeldBack", "LateLabels", "OnlineHistory", "OnlineLearner", "Publishing", "Reservoir"),
        "concatenate",
    },
    "export": {"Comparison", "Exported", "compare", "load", "names", "save"},
    "presets": {"Card", "card", "check", "load", "names", "save", "table"},
    "pretrained": {"load", "names"},
    "reporting": {"Run", "RunRecorder", "TensorBoard", "Training", "read", "report"},
    "serving": {"Answer", "PublishError", "Server", "Swap", "Versions"},
    "tasks": {
        *(*TASKS, "CosineDistance", "DetectionLoss", "ScaleInvariantLog"),
        *("FeatureTargets", "Labels", "SoftTargets", "by_name", "from_loss"),
    },
    "tuning": {"MultiTaskHyperModel", "MultiTaskObjective", "ParetoFront", "pareto_front"},
    "training": {
        *("Backup", "BestEpoch", "CoTraining", "CoTrainingHistory", "MutualLearning"),
        *("AttentionTransfer", "Distillation", "Hint", "precompute"),
        *("GradualUnfreezing", "L2SP", "LoadReport", "LoadedVariable", "add_l2_sp", "add_task"),
        *("freeze", "layerwise_learning_rates", "load_weights_by_task", "remove_task"),
        *("trunk_stages", "unfreeze", "with_adapters"),
        *("EXP3", "UCB", "Curriculum", "LearningSpeed", "MetricPriority", "Priority"),
        *("Proportional", "ResourceBudget", "RoundRobin", "TaskCosts", "TaskEarlyStopping"),
        *("TaskPolicy", "TaskScheduler", "Window", "measure_task_costs"),
    },
}
ROOMS = sorted(OF_ROOMS)
PUBLIC = ["__version__", "report", *TASKS, *BALANCERS, *MODELS, *ROOMS]


def examples():
    found = {}
    for name, thing in {**{m.__name__: m for m in modules()}, **THINGS}.items():
        text = inspect.getdoc(thing) or ""
        blocks = re.findall(r"^ *```python\n(.*?)^ *```", text, re.S | re.M)
        for i, block in enumerate(blocks):
            found[f"{name}-{i}"] = textwrap.dedent(block)
    return found


EXAMPLES = examples()


def test_the_public_names_are_those_listed_here():
    assert sorted(mtlzoo.__all__) == sorted(PUBLIC)
    assert dir(mtlzoo) == sorted(mtlzoo.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves(name):
    assert getattr(mtlzoo, name) is getattr(mtlzoo, name)
    if name[0].isupper():
        assert getattr(mtlzoo, name).__name__ == name
        assert any(hasattr(getattr(mtlzoo, room), name) for room in ROOMS)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mtlzoo' has no attribute 'Nonsense'"):
        mtlzoo.Nonsense  # noqa: B018


@pytest.mark.parametrize("room", ROOMS)
def test_the_names_of_a_room_are_those_listed_here(room):
    module = getattr(mtlzoo, room)
    assert set(module.__all__) == OF_ROOMS[room]
    for name in module.__all__:
        assert hasattr(module, name), name


def test_every_module_and_every_public_thing_has_a_docstring():
    silent = [m.__name__ for m in modules() if not m.__doc__]
    silent += [name for name, thing in THINGS.items() if not inspect.getdoc(thing)]
    assert not silent


def test_every_class_that_users_make_has_an_example():
    users = [name for name in PUBLIC if inspect.isclass(getattr(mtlzoo, name))]
    exemplified = {name.rsplit(".", 1)[-1].split("-")[0] for name in EXAMPLES}
    assert set(users) <= exemplified
    assert {"Experts", "LossBalancer", "GradientBalancer", "JacobianBalancer"} <= exemplified


# Those that take seconds each.
LONG = (
    *("data.service.distribute", "costs.measure_task_costs", "importance.ImportanceSampling"),
    *("class_weights.weigh_classes", "cross_validation.cross_validate", "row_mixing.mix_up"),
    *("resampling.resample", "word_piece.WordPiece", "learner.OnlineLearner", "run.Run"),
    *("pairwise_gains.pairwise_gains", "task_groups.measure_groups", "shap_values.shap_values"),
    *("group_trainings.GroupTrainings", "label_efficiency.label_efficiency"),
    *("gradual_unfreezing.GradualUnfreezing", "data.loading.load", "census_income.loading.load"),
    *("writing.report", "writing.read", "recorder.RunRecorder", "tensorboard.TensorBoard"),
    *("pareto.pareto_front", "keeping.keep", "presets.loading.load", "checking.check"),
    *("mutual_learning.MutualLearning", "co_training.CoTraining", "distillation.Distillation"),
    *("word_piece.WordPieceOfWords", "early_stopping.TaskEarlyStopping", "backup.Backup"),
    *("scheduler.TaskScheduler", "comparing.compare", "row_mixing.cut_mix", "server.Server"),
    *("affinity_history.AffinityHistory", "quantizing.quantize", "keeping_zeros.KeepZeros"),
    *("augmentation.augment", "sizes.compare_sizes", "esmm.ESMM"),
)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if any(f"{n}-" in name for n in LONG) else [])
        for name in EXAMPLES
    ],
)
def test_an_example_runs(name, tmp_path, monkeypatch):
    if "download=True" in EXAMPLES[name]:
        pytest.skip("needs files from the network")
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[name], name, "exec"), {"__name__": "example"})

"""What is learned: tasks with their head, loss, metrics, missing labels and served answers."""

from mtlzoo.tasks.binary_classification import BinaryClassification
from mtlzoo.tasks.classification import Classification
from mtlzoo.tasks.collection import by_name
from mtlzoo.tasks.depth_estimation import DepthEstimation, ScaleInvariantLog
from mtlzoo.tasks.detection_loss import DetectionLoss
from mtlzoo.tasks.feature_targets import FeatureTargets
from mtlzoo.tasks.implied import from_loss
from mtlzoo.tasks.labels import Labels
from mtlzoo.tasks.multi_label_classification import MultiLabelClassification
from mtlzoo.tasks.object_detection import ObjectDetection
from mtlzoo.tasks.regression import Regression
from mtlzoo.tasks.semantic_segmentation import SemanticSegmentation
from mtlzoo.tasks.sequence_tagging import SequenceTagging
from mtlzoo.tasks.soft_targets import SoftTargets
from mtlzoo.tasks.span_extraction import SpanExtraction
from mtlzoo.tasks.surface_normal_estimation import CosineDistance, SurfaceNormalEstimation
from mtlzoo.tasks.task import Task

__all__ = [
    "BinaryClassification",
    "Classification",
    "CosineDistance",
    "DepthEstimation",
    "DetectionLoss",
    "FeatureTargets",
    "Labels",
    "MultiLabelClassification",
    "ObjectDetection",
    "Regression",
    "ScaleInvariantLog",
    "SemanticSegmentation",
    "SequenceTagging",
    "SoftTargets",
    "SpanExtraction",
    "SurfaceNormalEstimation",
    "Task",
    "by_name",
    "from_loss",
]

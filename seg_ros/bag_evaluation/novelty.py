"""Novelty of a frame: how little the model is sure of it."""

from seg_ros.inference.prediction import Prediction
from seg_ros.inference.segmenter import Segmenter

_THRESHOLD = 0.3


def novelty_score(prediction: Prediction) -> float:
    """Mean lack of confidence, 0..1; larger = more unlike the training images."""
    return 0.0 if prediction.confidence is None else 1 - float(prediction.confidence.mean()) / 255


def novelty_threshold(segmenter: Segmenter) -> float:
    """Score above which a frame counts as unlike the training images."""
    return _THRESHOLD

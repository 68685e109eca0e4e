"""From scores to labels in torch: for scores on a GPU, and as the reference of the compiled loops."""

import torch
from torch import Tensor

from seg_ros.arrays import UNLABELLED, Maps
from seg_ros.inference.argmax import Labelled, check_request
from seg_ros.inference.backends.gpu_memory import to_memory


def argmax_labels_in_torch(
    scores: Maps,
    height: int,
    width: int,
    *,
    with_confidence: bool = False,
    confidence_threshold: float = 0.0,
    temperature: float = 1.0,
) -> Labelled:
    """The same as ``argmax_labels`` in torch's own operations: for scores on a GPU, and as the reference."""
    check_request(scores, height, width, confidence_threshold, temperature)
    assert isinstance(scores, Tensor)
    scores = scores.detach().float()
    if scores.shape[1:] != (height, width):
        scores = torch.nn.functional.interpolate(scores[None], (height, width), mode='bilinear')[0]
    best, classes = scores.max(0)
    unlabelled = ~scores.isfinite().all(0)
    certain = []
    if with_confidence or confidence_threshold > 0:
        probability = torch.exp(best / temperature - (scores / temperature).logsumexp(0)).masked_fill(
            unlabelled, 0
        )
        unlabelled |= probability < confidence_threshold
        if with_confidence:
            certain = [(255 * probability).round().to(torch.uint8)]
    return Labelled(*to_memory(classes.to(torch.uint8).masked_fill(unlabelled, UNLABELLED), *certain))

"""What training minimises: weighted cross-entropy, and a soft Jaccard index beside it."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.data.dataset import Dataset
from seg_ros.errors import RecipeError
from seg_ros.types import UNLABELLED


def class_frequencies(dataset: Dataset) -> Tensor:
    """Share of each class among the labelled pixels of a data set.

    Returns:
        (K,) float32, sums to 1.
    """
    counts = np.zeros(256, np.int64)
    for index in range(len(dataset)):
        counts += np.bincount(dataset[index][1].ravel(), minlength=256)
    labelled = counts[: len(dataset.classes)]
    return torch.from_numpy(labelled / max(labelled.sum(), 1)).float()


def class_weights(frequencies: Tensor, balance: str, constant: float) -> Tensor:
    """Weight of each class in the cross-entropy, scaled so that the average pixel has weight 1.

    Args:
        frequencies: (K,) shares of the classes.
        balance: 'none'; 'enet', 1 / ln(constant + share), section 5 of the ENet paper (its constant: 1.02);
            or 'median', median share / share, as SegNet (classes that never occur get 0).
        constant: of 'enet', above 1; a larger one balances less.

    Raises:
        RecipeError: unknown ``balance`` or a constant of 1 or less.
    """
    if balance == 'none':
        weights = torch.ones_like(frequencies)
    elif balance == 'enet' and constant > 1:
        weights = 1 / torch.log(constant + frequencies)
    elif balance == 'median':
        present = frequencies > 0
        weights = torch.where(present, frequencies[present].median() / frequencies.clamp_min(1e-12), 0.0)
    else:
        raise RecipeError(
            f"loss: balance '{balance}' with constant {constant}; known: none, enet (constant above 1), median"
        )
    return weights / (weights * frequencies).sum()


def soft_jaccard_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """One minus the Jaccard index of probabilities instead of decisions, mean over the classes in the batch.

    Args:
        scores: (B, K, H, W) float.
        labels: (B, H, W) int64, class ids and 255.

    Returns:
        () float in 0..1.
    """
    counted = (labels != UNLABELLED).unsqueeze(1)
    probs = scores.softmax(1) * counted
    truth = F.one_hot(labels.where(labels != UNLABELLED, 0), scores.shape[1]).permute(0, 3, 1, 2) * counted
    intersection = (probs * truth).sum((0, 2, 3))
    n_true = truth.sum((0, 2, 3))
    union = probs.sum((0, 2, 3)) + n_true - intersection
    present = (n_true > 0).to(scores.dtype)
    jaccard = intersection / union.clamp_min(1e-6)
    return ((1 - jaccard) * present).sum() / present.sum().clamp_min(1)


def distillation_loss(scores: Tensor, teacher_scores: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the network's probabilities from its teacher's, a pixel, times temperature^2.

    Args:
        scores: (B, K, H, W).
        teacher_scores: the same shape.
        temperature: divides both, above 0.

    Returns:
        () float, 0 or more.
    """
    student = (scores / temperature).log_softmax(1)
    teacher = (teacher_scores / temperature).log_softmax(1)
    divergence = (teacher.exp() * (teacher - student)).sum(1)
    return divergence.mean() * temperature**2


class SegmentationLoss(nn.Module):
    """Class-weighted cross-entropy plus ``jaccard`` times the soft Jaccard loss.

    Args:
        weights: (K,) of the classes.
        jaccard: weight of the second term, 0 or more.
        label_smoothing: 0..1, of the cross-entropy.
    """

    def __init__(self, weights: Tensor, *, jaccard: float = 0.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer('weights', weights)
        self.jaccard = jaccard
        self.label_smoothing = label_smoothing

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss of (B, K, H, W) scores against (B, H, W) uint8 labels, a () float."""
        scores, target = scores.float(), labels.long()
        assert isinstance(self.weights, Tensor)
        loss = F.cross_entropy(
            scores,
            target,
            self.weights,
            ignore_index=UNLABELLED,
            label_smoothing=self.label_smoothing,
            reduction='sum',
        ) / (target != UNLABELLED).sum().clamp_min(1)
        if self.jaccard:
            loss = loss + self.jaccard * soft_jaccard_loss(scores, target)
        return loss

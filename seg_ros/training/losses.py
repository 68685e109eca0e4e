"""Training losses: weighted cross-entropy, soft Jaccard index, distillation, and pairs of embeddings."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import UNLABELLED
from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import RecipeError
from seg_ros.networks.filter_rules import window_pairs


def class_counts(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Number of pixels of each class in a data set, without void, (K,) int64."""
    counts = np.zeros(256, np.int64)
    for index in range(len(dataset)):
        counts += np.bincount(dataset[index][1].ravel(), minlength=256)
    return counts[: len(dataset.classes)]


def class_weights(counts: npt.NDArray[np.int64], balance: str, constant: float) -> Tensor:
    """Weight of each class in the cross-entropy, scaled so that the average pixel has weight 1.

    Args:
        counts: Number of pixels of each class, (K,).
        balance: 'none'; 'enet', 1 / ln(constant + frequency), section 5 of the ENet paper (constant 1.02); or
            'median', median frequency / frequency, as in the SegNet paper (missing classes get 0).
        constant: Constant of 'enet', above 1; a larger one balances less.

    Returns:
        (K,) float32.

    Raises:
        RecipeError: ``balance`` is unknown, the constant is 1 or less, or not one pixel has a class.
    """
    if not counts.any():
        raise RecipeError('train: not one pixel has a class; are the labels those of this class set?')
    frequency = counts / counts.sum()
    if balance == 'none':
        weights = np.ones_like(frequency)
    elif balance == 'enet' and constant > 1:
        weights = 1 / np.log(constant + frequency)
    elif balance == 'median':
        present = frequency > 0
        median = np.median(frequency[present])
        weights = np.divide(median, frequency, out=np.zeros_like(frequency), where=present)
    else:
        raise RecipeError(
            f"loss: balance is '{balance}' with constant {constant}; "
            'known: none, enet (constant above 1), median'
        )
    return torch.from_numpy(weights / (weights * frequency).sum()).float()


def soft_jaccard_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """One minus the Jaccard index of probabilities instead of labels, mean over the classes in the batch.

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


def distillation_loss(scores: Tensor, probs: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the teacher, mean over the pixels, times temperature squared.

    Args:
        scores: (B, K, H, W) float.
        probs: (B, K, H, W) float, 0..1: probabilities of the teacher at the same temperature.
        temperature: Divisor of the scores, above 0.

    Returns:
        () float, 0 or more if the probabilities sum to 1.
    """
    student = (scores / temperature).log_softmax(1)
    divergence = (torch.xlogy(probs, probs) - probs * student).sum(1)
    return divergence.mean() * temperature**2


def group_loss(scores: Tensor, labels: Tensor, groups: Sequence[Sequence[int]], weights: Tensor) -> Tensor:
    """Cross-entropy of pixels that have one of several classes, from the sum of their probabilities.

    T. Cour, B. Sapp, B. Taskar, "Learning from partial labels", JMLR 2011.

    Args:
        scores: (B, K, H, W) float.
        labels: (B, H, W) integers; K + n is group n. Pixels of one class, or of 255, cost nothing.
        groups: Ids of the classes of each group.
        weights: (K,) float, weights of the classes. A group has the mean of the weights of its classes.

    Returns:
        () float, 0 or more: the sum over the pixels.
    """
    total, log_sum = scores.new_zeros(()), scores.logsumexp(1)
    for label, members in enumerate(groups, start=scores.shape[1]):
        inside = torch.stack([scores[:, k] for k in members]).logsumexp(0)
        weight = torch.stack([weights[k] for k in members]).mean()
        total = total + weight * ((log_sum - inside) * (labels == label)).sum()
    return total


def pair_loss(
    embeddings: Tensor, labels: Tensor, window: int, near: float, far: float, *, void: int = UNLABELLED
) -> Tensor:
    """Loss that pulls embeddings of one label together and pushes those of different labels apart.

    Harley, Derpanis, Kokkinos, arXiv 1511.04377, equation 3. A pair of pixels in a window costs
    max(distance - near, 0) if both have the same label, and max(far - distance, 0) otherwise; the distance is
    the L1 distance of their embeddings.

    Args:
        embeddings: (B, D, h, w) float.
        labels: (B, H, W) integers: class ids, or ids of regions without classes, and ``void``. The pixel in
            the middle of an embedding's cell counts.
        window: Width and height of the window, in embeddings, odd.
        near: Threshold within a class, 0 or more.
        far: Threshold between classes, above ``near``.
        void: Value of pixels that do not count.

    Returns:
        () float, 0 or more: the mean over all pairs without a pixel of ``void``.
    """
    height, width = embeddings.shape[-2:]
    rows = (torch.arange(height, device=labels.device) * 2 + 1) * labels.shape[-2] // (2 * height)
    columns = (torch.arange(width, device=labels.device) * 2 + 1) * labels.shape[-1] // (2 * width)
    truth = labels[:, rows][:, :, columns]
    loss, n_pairs = embeddings.new_zeros(()), embeddings.new_zeros(())
    for here, there in window_pairs(embeddings.shape, window // 2):
        distance = (embeddings[here] - embeddings[there]).abs().sum(1)
        one, other = truth[here], truth[there]
        counts = (one != void) & (other != void)
        error = torch.where(one == other, distance - near, far - distance).relu()
        loss = loss + (error * counts).sum()
        n_pairs = n_pairs + counts.sum()
    return loss / n_pairs.clamp_min(1)


class SegmentationLoss(nn.Module):
    """Class-weighted cross-entropy plus ``jaccard`` times the soft Jaccard loss.

    Args:
        weights: Weights of the classes, (K,).
        jaccard: Weight of the second term, 0 or more.
        label_smoothing: Label smoothing of the cross-entropy, 0..1.
        groups: Ids of the classes of each group of classes that labels may be; see `group_loss`. The Jaccard
            loss leaves such pixels out.
        adjust: Factor of the weights' logarithms that the cross-entropy adds to the scores, 0..1 (Menon et
            al., "Long-tail learning via logit adjustment", ICLR 2021). With weights, a network learns rare
            classes, but also sees them in wrong places; the added logarithms keep this out of the scores.
    """

    def __init__(
        self,
        weights: Tensor,
        *,
        jaccard: float = 0.0,
        label_smoothing: float = 0.0,
        adjust: float = 0.0,
        groups: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.weights: Tensor
        self.offset: Tensor
        self.register_buffer('weights', weights)
        offset = adjust * torch.where(weights > 0, weights, 1).log()
        self.register_buffer('offset', offset.view(-1, 1, 1))
        self.groups = groups
        self.jaccard = jaccard
        self.label_smoothing = label_smoothing

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss of (B, K, H, W) scores against (B, H, W) uint8 labels, a () float."""
        scores, target = scores.float(), labels.long()
        single = target if not self.groups else target.where(target < scores.shape[1], UNLABELLED)
        loss = F.cross_entropy(
            scores + self.offset,
            single,
            self.weights,
            ignore_index=UNLABELLED,
            label_smoothing=self.label_smoothing,
            reduction='sum',
        )
        if self.groups:
            loss = loss + group_loss(scores + self.offset, labels, self.groups, self.weights)
        loss = loss / (target != UNLABELLED).sum().clamp_min(1)
        if self.jaccard:
            loss = loss + self.jaccard * soft_jaccard_loss(scores, single)
        return loss

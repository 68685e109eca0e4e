"""A baseline for the embedding filter: dilated convolutions over scores, which see as far but no edges.

F. Yu and V. Koltun, "Multi-scale context aggregation by dilated convolutions", ICLR 2016: the basic context
module, with as many channels as classes and filters that start as the identity (their equation 4).

Deliberate differences: it reads probabilities at the size of the embeddings, and a last 1x1 convolution,
which starts at 0, gives a change of the scores. So it starts as no filter. The network does not learn.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.evaluation.filter_methods import FilterMethod
from seg_ros.images.resize import resize_image
from seg_ros.inference.segmenter import Segmenter
from seg_ros.networks.filter_rules import is_finer
from seg_ros.networks.masked_average import resize_scores

DILATIONS = (1, 1, 2, 4, 8, 1)
"""Dilations of the 3x3 convolutions: 35 places wide, like a filter of 9x9 that is applied four times."""

_BATCH, _LEARNING_RATE = 8, 3e-3


class ContextModule(nn.Module):
    """Dilated convolutions that turn probabilities into a change of scores.

    Args:
        n_classes: Number of classes.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(n_classes, n_classes, 3, padding=d, dilation=d) for d in DILATIONS
        )
        self.last = nn.Conv2d(n_classes, n_classes, 1)
        for layer in (*self.layers, self.last):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            if layer is not self.last:
                with torch.no_grad():
                    layer.weight[:, :, 1, 1] = torch.eye(n_classes)

    def forward(self, scores: Tensor) -> Tensor:
        """(B, K, h, w) float scores to their change, of the same shape."""
        inner = scores.softmax(1)
        for layer in self.layers:
            inner = F.relu(layer(inner))
        change: Tensor = self.last(inner)
        return change


def by_context(module: ContextModule) -> FilterMethod:
    """The module at the size of the embeddings; finer scores keep their detail."""

    def run(_image: UInt8Array, scores: Tensor, embeddings: Tensor) -> Tensor:
        size = (embeddings.shape[-2], embeddings.shape[-1])
        coarse = resize_scores(scores[None], size)
        with torch.no_grad():
            change = module(coarse)
        if not is_finer((scores.shape[-2], scores.shape[-1]), size):
            result: Tensor = coarse + change
            return result[0]
        return scores + F.interpolate(change, tuple(scores.shape[-2:]), mode='bilinear')[0]

    return run


def train_context(
    segmenter: Segmenter, dataset: Dataset, epochs: int, cell: int = 1, seed: int = 0
) -> ContextModule:
    """Train the module on the scores of a network, which is run once for each image.

    Args:
        segmenter: Segmenter that was loaded with its embedding filter.
        dataset: Images with labels.
        epochs: Number of passes over the images.
        cell: Size of the cells over which scores are averaged first, in pixels.
        seed: Seed of the order.
    """
    scores, labels = _coarse_scores(segmenter, dataset, cell)
    module = ContextModule(scores.shape[1])
    optimizer = torch.optim.Adam(module.parameters(), _LEARNING_RATE)
    random = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(scores), generator=random), _BATCH):
            refined = scores[batch] + module(scores[batch])
            loss = F.cross_entropy(refined, labels[batch], ignore_index=UNLABELLED)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return module.eval()


@torch.no_grad()
def _coarse_scores(segmenter: Segmenter, dataset: Dataset, cell: int) -> tuple[Tensor, Tensor]:
    """Scores (N, K, h, w) at the size of the embeddings, and the labels (N, h, w) in their middles."""
    found, truths = [], []
    for _, (image, truth) in walk(dataset, 'scores'):
        resized = np.ascontiguousarray(resize_image(image, *segmenter.input_size))
        outputs = segmenter.backend(resized[None])
        scores = torch.as_tensor(outputs['scores'])
        scores = F.avg_pool2d(scores, cell) if cell > 1 else scores
        height, width = outputs['embeddings'].shape[-2:]
        found.append(resize_scores(scores, (height, width))[0].clone())
        rows = (np.arange(height) * 2 + 1) * truth.shape[0] // (2 * height)
        columns = (np.arange(width) * 2 + 1) * truth.shape[1] // (2 * width)
        truths.append(torch.from_numpy(truth[rows][:, columns].astype(np.int64)))
    return torch.stack(found), torch.stack(truths)

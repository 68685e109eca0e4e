"""Sensitivity of each layer alone: its weights are rounded to few bits, or some of its channels are removed.

One layer is changed at a time, without training afterwards, as in figures 6 and 8 of S. Han et al., "Learning
both weights and connections for efficient neural networks", NIPS 2015. The network alone is measured, at its
input size, in float32.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from seg_ros.arrays import UNLABELLED
from seg_ros.compression.importance import importance
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.evaluation.figures import format_table
from seg_ros.images.resize import resize_image
from seg_ros.metrics.labels import confusion_matrix, mean_iou
from seg_ros.modelfile.file import Model
from seg_ros.networks.graph.channels import ChannelMap, remove, trace_channels
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.weight_sharing import along, output_axis, round_weights, weighted_layers

BITS = (8, 4, 3, 2)
FRACTIONS = (0.25, 0.5)


@dataclass(frozen=True)
class Effect:
    """Effect of changing one layer.

    Attributes:
        layer: Name of the layer; for channels, that of the first convolution that computes them.
        n_bits: Number of bits of the rounded weights; None if channels were removed.
        removed: Fraction of removed channels, those of least magnitude; None if weights were rounded.
        mean_iou: Change of mean IoU, -1..1; below 0 is worse.
        loss: Change of the cross-entropy; above 0 is worse.
    """

    layer: str
    n_bits: int | None
    removed: float | None
    mean_iou: float
    loss: float


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of all layers.

    Attributes:
        n_images: Number of images.
        mean_iou: Mean IoU of the unchanged network, 0..1.
        loss: Cross-entropy of the unchanged network.
        effects: Effects of rounding, then those of removing channels, in the order of the layers.
    """

    n_images: int
    mean_iou: float
    loss: float
    effects: list[Effect]

    def as_json(self) -> dict[str, Any]:
        """Figures under the names of the attributes."""
        return asdict(self)

    def as_text(self) -> str:
        """Table of the most sensitive layer for each change."""
        worst: dict[str, Effect] = {}
        for effect in self.effects:
            change = f'{effect.n_bits} bits' if effect.n_bits else f'{effect.removed:.0%} of channels'
            if change not in worst or effect.loss > worst[change].loss:
                worst[change] = effect
        rows = {
            change: f'{effect.layer}: {100 * effect.mean_iou:+.2f} points, loss {effect.loss:+.3f}'
            for change, effect in worst.items()
        }
        return f'most sensitive layers, alone, on {self.n_images} images\n{format_table(rows)}'


def measure_sensitivity(
    model: Model,
    dataset: Dataset,
    device: str,
    *,
    bits: Sequence[int] = BITS,
    fractions: Sequence[float] = FRACTIONS,
) -> Sensitivity:
    """Change one layer after the other and measure.

    Args:
        model: Model to measure; it is not changed.
        dataset: Images and labels; all are kept in memory, and few are enough.
        device: Device for the computation.
        bits: Numbers of bits of rounded weights, 2..8 each. Weights are rounded per output channel, and
            clipped for the least squared error.
        fractions: Fractions of removed channels, above 0 and below 1 each; one channel always stays.

    Raises:
        ParameterError: The data set is empty, or a number is out of its range.
    """
    if not len(dataset) or not all(0 < fraction < 1 for fraction in fractions):
        raise ParameterError(
            f'{len(dataset)} images, fractions {tuple(fractions)}; '
            'expected 1 image or more, fractions within 0..1'
        )
    size = model.metadata.input_size
    network = copy.deepcopy(model.pytorch_network('sensitivity')).float().eval()
    bench = _Bench(model, dataset, device)
    before = bench.measure(network)

    def effect(changed: nn.Module, layer: str, n_bits: int | None, removed: float | None) -> Effect:
        mean, loss = bench.measure(changed)
        return Effect(layer, n_bits, removed, mean - before[0], loss - before[1])

    channels = _channels(network, size)
    layers = list(weighted_layers(network))
    n_effects = len(layers) * len(bits) + len(channels.layers) * len(fractions)
    effects = []
    with tqdm(total=n_effects, desc='sensitivity', unit='change', disable=None) as progress:
        for name, layer in layers:
            for n_bits in bits:
                with _rounded(layer, n_bits):
                    effects.append(effect(network, name, n_bits, None))
                progress.update()
        order = importance(network, channels, 'l1').tolist() if channels.units else []
        for name, numbers in channels.layers.items():
            least_first = sorted(numbers, key=lambda number: order[number])
            for fraction in fractions:
                n_removed = min(round(fraction * len(numbers)), len(numbers) - 1)
                smaller = copy.deepcopy(network)
                remove(smaller, [channels.units[number] for number in least_first[:n_removed]])
                effects.append(effect(smaller, name, None, fraction))
                progress.update()
    return Sensitivity(len(dataset), *before, effects)


class _Bench:
    """Images and labels in memory, for measuring many networks."""

    def __init__(self, model: Model, dataset: Dataset, device: str) -> None:
        self._metadata, self._device = model.metadata, device
        self._pairs: list[tuple[Tensor, Tensor]] = []
        size = model.metadata.input_size
        for _, (image, labels) in walk(dataset):
            near = F.interpolate(torch.from_numpy(labels)[None, None].float(), size, mode='nearest-exact')
            resized = torch.from_numpy(np.array(resize_image(image, *size)))
            self._pairs.append((resized[None], near[0].to(torch.uint8)))

    @torch.no_grad()
    def measure(self, network: nn.Module) -> tuple[float, float]:
        """Mean IoU over all pixels, and mean loss of a labelled pixel."""
        n_classes = len(self._metadata.classes)
        matrix, total, n_pixels = np.zeros((n_classes, n_classes + 1), np.int64), 0.0, 0
        images_in = ImageNetwork(network, self._metadata.normalisation).eval().to(self._device)
        for image, truth in self._pairs:
            scores = images_in(image.to(self._device))
            where = truth.long().to(self._device)
            total += float(F.cross_entropy(scores, where, ignore_index=UNLABELLED, reduction='sum'))
            n_pixels += int((truth != UNLABELLED).sum())
            labels = scores.argmax(1).to(torch.uint8).cpu()
            matrix += confusion_matrix(truth[0].numpy(), labels[0].numpy(), n_classes)
        return mean_iou(matrix), total / max(n_pixels, 1)


def _channels(network: nn.Module, size: tuple[int, int]) -> ChannelMap:
    """Channels that can be removed; none if the network cannot be traced."""
    try:
        return trace_channels(network, torch.zeros(1, 3, *size))
    except UnavailableError:
        return ChannelMap((), {}, {}, torch.zeros(0))


@contextmanager
def _rounded(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, n_bits: int) -> Iterator[None]:
    """Round the weights of a layer inside the ``with`` block."""
    before = layer.weight.data
    axis = output_axis(layer)
    steps, scale = round_weights(before, n_bits, axis=axis, clipping='mse')
    layer.weight.data = steps * along(scale, steps.ndim, axis)
    try:
        yield
    finally:
        layer.weight.data = before

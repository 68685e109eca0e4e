"""How much each layer alone bears: its weights rounded to few bits, or some of its channels gone.

Layers are looked at one by one in a network that is otherwise whole, without any training afterwards, as in
figures 6 and 8 of S. Han et al., "Learning both weights and connections for efficient neural networks", NIPS
2015. What is measured is the network itself, at its input's size, in float32.
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
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.evaluation.figures import format_table
from seg_ros.images.resize import resize_image
from seg_ros.metrics.labels import confusion_matrix, mean_iou
from seg_ros.modelfile.file import Model
from seg_ros.networks.graph.channels import ChannelMap, remove, trace_channels
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.weight_sharing import along, output_axis, round_weights, weighted_layers

BITS = (8, 4, 3, 2)
SHARES = (0.25, 0.5)


@dataclass(frozen=True)
class Effect:
    """What became of the network when a layer was changed.

    Attributes:
        layer: its name; for channels, that of the first convolution that makes them.
        n_bits: of its weights; None where channels went.
        removed: share of its channels that went, those of least magnitude; None where weights were rounded.
        mean_iou: by how much it changed, -1..1; below 0 is a loss.
        loss: by how much the cross-entropy changed; above 0 is a loss.
    """

    layer: str
    n_bits: int | None
    removed: float | None
    mean_iou: float
    loss: float


@dataclass(frozen=True)
class Sensitivity:
    """What each layer bears.

    Attributes:
        n_images: that it was measured on.
        mean_iou: of the network as it is.
        loss: the same.
        effects: rounding first, each in the order of the layers.
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
    device: torch.device,
    *,
    bits: Sequence[int] = BITS,
    shares: Sequence[float] = SHARES,
) -> Sensitivity:
    """Change one layer after the other and measure.

    Args:
        model: not changed.
        dataset: few images will do; all are kept in memory.
        device: where.
        bits: that weights are rounded to, 2..8 each; by output channel, clipped for the least squared error.
        shares: of channels that go, above 0 and below 1 each; one channel always stays.

    Raises:
        ParameterError: the data set is empty, or a number is out of its range.
    """
    if not len(dataset) or not all(0 < share < 1 for share in shares):
        raise ParameterError(
            f'{len(dataset)} images, shares {tuple(shares)}; expected an image or more, shares within 0..1'
        )
    size = model.metadata.input_size
    network = copy.deepcopy(model.network).float().eval()
    bench = _Bench(model, dataset, device)
    before = bench.measure(network)

    def effect(changed: nn.Module, layer: str, n_bits: int | None, removed: float | None) -> Effect:
        mean, loss = bench.measure(changed)
        return Effect(layer, n_bits, removed, mean - before[0], loss - before[1])

    channels = _channels(network, size)
    layers = list(weighted_layers(network))
    n_effects = len(layers) * len(bits) + len(channels.layers) * len(shares)
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
            for share in shares:
                n_gone = min(round(share * len(numbers)), len(numbers) - 1)
                smaller = copy.deepcopy(network)
                remove(smaller, [channels.units[number] for number in least_first[:n_gone]])
                effects.append(effect(smaller, name, None, share))
                progress.update()
    return Sensitivity(len(dataset), *before, effects)


class _Bench:
    """Images and labels that networks are measured on, again and again."""

    def __init__(self, model: Model, dataset: Dataset, device: torch.device) -> None:
        self._about, self._device = model.metadata, device
        self._pairs: list[tuple[Tensor, Tensor]] = []
        size = model.metadata.input_size
        for index in range(len(dataset)):
            image, labels = dataset[index]
            near = F.interpolate(torch.from_numpy(labels)[None, None].float(), size, mode='nearest-exact')
            resized = torch.from_numpy(np.array(resize_image(image, *size)))
            self._pairs.append((resized[None], near[0].to(torch.uint8)))

    @torch.no_grad()
    def measure(self, network: nn.Module) -> tuple[float, float]:
        """Mean IoU over all pixels, and the mean loss of a labelled one."""
        n_classes = len(self._about.classes)
        matrix, total, n_pixels = np.zeros((n_classes, n_classes + 1), np.int64), 0.0, 0
        images_in = ImageNetwork(network, self._about.normalisation).eval().to(self._device)
        for image, truth in self._pairs:
            scores = images_in(image.to(self._device))
            where = truth.long().to(self._device)
            total += float(F.cross_entropy(scores, where, ignore_index=UNLABELLED, reduction='sum'))
            n_pixels += int((truth != UNLABELLED).sum())
            labels = scores.argmax(1).to(torch.uint8).cpu()
            matrix += confusion_matrix(truth[0].numpy(), labels[0].numpy(), n_classes)
        return mean_iou(matrix), total / max(n_pixels, 1)


def _channels(network: nn.Module, size: tuple[int, int]) -> ChannelMap:
    """The channels that can go; none where the network cannot be followed."""
    try:
        return trace_channels(network, torch.zeros(1, 3, *size))
    except UnavailableError:
        return ChannelMap((), {}, {}, torch.zeros(0))


@contextmanager
def _rounded(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, n_bits: int) -> Iterator[None]:
    """With weights that are whole steps."""
    before = layer.weight.data
    axis = output_axis(layer)
    steps, scale = round_weights(before, n_bits, axis=axis, clipping='mse')
    layer.weight.data = steps * along(scale, steps.ndim, axis)
    try:
        yield
    finally:
        layer.weight.data = before

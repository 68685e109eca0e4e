"""Fits a binary layer: ITQ on unlabelled images, then fine-tuning on segments that people drew.

ITQ: Gong and Lazebnik 2013, on the normalised feature columns of random pixels. Fine-tuning by
back-propagation through the sigmoid: the distance of two superpixels is the mean difference of their bits. A
logistic loss makes it small within a drawn segment and large across its boundary (Ravanbakhsh et al. 2016
fine-tune for classes; Harley et al., arXiv 1511.04377, for pairs, as here).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from seg_ros.arrays import Float64Array, Int32Array, UInt8Array
from seg_ros.datasets.segmented import SegmentedImages
from seg_ros.datasets.walk import walk
from seg_ros.errors import ParameterError
from seg_ros.images.interpolation import neighbours_1d
from seg_ros.metrics.segments import overlaps
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.segments.colour import colour_moments, lab_planes
from seg_ros.segments.itq import ITQ
from seg_ros.segments.regions import Regions, find_borders
from seg_ros.segments.slic import slic
from seg_ros.training.sparsity import Sparsity

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuning:
    """Settings of fine-tuning.

    Attributes:
        epochs: Number of passes over all images; 0 = keep the result of ITQ.
        learning_rate: Learning rate of the layer.
        encoder_learning_rate: Learning rate of the network below it; 0 = the network does not change.
        region_sizes: Sizes of superpixels in pixels; one is drawn for each image.
        random_share: Fraction of the pairs that are drawn at random instead of adjacent, 0..1.
        balance: Weighting of pairs, 0..1: at 1 all drawn segments count alike, at 0 all pairs do.
        separation: Additional weight of a pair across a boundary.
        sharpness: Final slope of the sigmoid, which moves its values towards bits.
        scales: Minimum and maximum factor by which an image is resized.
        seed: Seed of all randomness.
    """

    epochs: int = 12
    learning_rate: float = 2e-3
    encoder_learning_rate: float = 0.0
    region_sizes: tuple[int, ...] = (8, 10, 12, 15)
    random_share: float = 0.3
    balance: float = 0.5
    separation: float = 1.5
    sharpness: float = 6.0
    scales: tuple[float, float] = (0.7, 1.25)
    seed: int = 0


def fit_itq(
    frames: FrameNetwork, images: Sequence[UInt8Array], *, n_columns: int = 200, seed: int = 0
) -> None:
    """Fit the binary layer of a network to images by ITQ, in place.

    Args:
        frames: Network with a binary layer.
        images: Images, each (H, W, 3) uint8 RGB.
        n_columns: Number of pixels per image.
        seed: Seed of the choice of pixels and of ITQ.

    Raises:
        ParameterError: The columns are shorter than the code, or too few.
    """
    layer = frames.codes
    assert layer is not None
    rng = np.random.default_rng(seed)
    batches = []
    for image in tqdm(images, desc='columns', unit='image', disable=None):
        columns = _columns(frames, image, rng.integers(0, image.shape[0] * image.shape[1], n_columns))
        batches.append(columns)
    itq = ITQ(layer.n_bits, seed=seed).fit(batches)
    channels = [int(c.in_channels) for c in layer.project if isinstance(c, nn.Conv2d)]
    fitted = type(layer).from_projection(
        itq.components_ @ itq.rotation_, itq.mean_, channels, has_colour=layer.colour is not None
    )
    layer.load_state_dict(fitted.state_dict())


@torch.no_grad()
def _columns(frames: FrameNetwork, image: UInt8Array, places: npt.NDArray[np.int64]) -> Float64Array:
    """Normalised feature columns, and colours, at N places of an image, (N, D) float64."""
    layer = frames.codes
    assert layer is not None
    height, width = image.shape[:2]
    y, x = np.divmod(places, width)
    parts = []
    for features in frames.maps(torch.from_numpy(image.copy())[None]):
        unit = F.normalize(features, dim=1)[0].cpu()
        rows, columns = (y * unit.shape[1]) // height, (x * unit.shape[2]) // width
        parts.append(unit[:, rows, columns].T.numpy())
    if layer.colour is not None:
        pixels = Regions(np.arange(len(places), dtype=np.int32)[None], len(places))
        parts.append(colour_moments(np.ascontiguousarray(lab_planes(image)[:, y, x][:, None]), pixels))
    return np.concatenate(parts, axis=1).astype(np.float64)


class CodeTuner:
    """Fine-tunes a binary layer, and the network below it if it has a learning rate.

    Args:
        frames: Network with a binary layer; changed in place.
        sources: Images with segments that people drew. Sources may differ in their idea of a segment, so each
            has a threshold of its own.
        settings: Settings of fine-tuning.
        sparsity: Weights of ``frames`` that stay zero; None = all learn.

    Raises:
        ParameterError: There are no images to learn from.
    """

    def __init__(
        self,
        frames: FrameNetwork,
        sources: Sequence[SegmentedImages],
        settings: FineTuning,
        sparsity: Sparsity | None = None,
    ) -> None:
        assert frames.codes is not None
        if not any(len(source) for source in sources):
            raise ParameterError('there are no images to learn from')
        self.frames, self.layer, self.sources, self.settings = frames, frames.codes, sources, settings
        self._rng = np.random.default_rng(settings.seed)
        self.threshold = nn.Parameter(torch.full((len(sources),), 0.15))
        self.steepness = nn.Parameter(torch.full((len(sources),), 3.5))
        groups = [
            {'params': list(self.layer.parameters()), 'lr': settings.learning_rate},
            {'params': [self.threshold, self.steepness], 'lr': 5e-3},
        ]
        if settings.encoder_learning_rate > 0:
            encoder = frames.network.network.parameters()
            groups.append({'params': list(encoder), 'lr': settings.encoder_learning_rate})
        else:
            frames.network.requires_grad_(False)
        self._optimizer = torch.optim.Adam(groups)
        if sparsity is not None:
            sparsity.follow(self._optimizer, frames)

    def run(self) -> Iterator[float]:
        """Train for ``epochs`` passes over all images; yields the mean loss of each epoch."""
        items = [(k, i) for k, source in enumerate(self.sources) for i in range(len(source))]
        n_steps = max(self.settings.epochs * len(items), 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: min(1, (step + 1) / 100) * max(0.02, 0.5 + 0.5 * np.cos(np.pi * step / n_steps)),
        )
        for epoch in range(self.settings.epochs):
            losses = []
            order = self._rng.permutation(len(items))
            for position, drawn in walk(_Drawn(self, items), f'epoch {epoch + 1}', indices=order.tolist()):
                source = items[position][0]
                done = (epoch + 1) / (0.7 * self.settings.epochs)
                slope = 1 + (self.settings.sharpness - 1) * min(done, 1)
                loss = self._loss(source, slope, *drawn)
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.layer.parameters(), 5.0)
                self._optimizer.step()
                schedule.step()
                losses.append(loss.item())
            yield float(np.mean(losses))

    def draw(self, source: int, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        """An image and its annotations with random flip, size and brightness."""
        image, annotations = self.sources[source][index]
        if self._rng.random() < 0.5:
            image, annotations = image[:, ::-1], [a[:, ::-1] for a in annotations]
        scale = self._rng.uniform(*self.settings.scales)
        size = max(round(image.shape[1] * scale), 32), max(round(image.shape[0] * scale), 32)
        shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(np.ascontiguousarray(image), size, interpolation=shrink)
        drawn = [
            cv2.resize(np.ascontiguousarray(a), size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
            for a in annotations
        ]
        gamma, gain = self._rng.uniform(0.8, 1.25), self._rng.uniform(0.9, 1.1)
        return np.clip(255 * gain * (resized / 255.0) ** gamma, 0, 255).astype(np.uint8), drawn

    def _loss(
        self, source: int, slope: float, image: UInt8Array, annotations: Sequence[Int32Array]
    ) -> Tensor:
        regions = slic(image, region_size=int(self._rng.choice(self.settings.region_sizes)))
        pairs = self._pairs(regions)
        target, weight = _targets(regions, annotations, pairs, self.settings)
        bits = (slope * self._means(image, regions)).sigmoid()
        apart = (bits[pairs[:, 0]] - bits[pairs[:, 1]]).abs().mean(1)
        logits = self.steepness[source].exp() * (apart - self.threshold[source])
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
        return (losses * weight).sum() / weight.sum().clamp(min=1e-6)

    def _pairs(self, regions: Regions) -> Int32Array:
        touching = find_borders(regions).pairs
        fraction = self.settings.random_share
        n_random = int(len(touching) * fraction / (1 - fraction))
        drawn = self._rng.integers(0, regions.n, (n_random, 2)).astype(np.int32)
        return np.concatenate([touching, drawn[drawn[:, 0] != drawn[:, 1]]])

    def _means(self, image: UInt8Array, regions: Regions) -> Tensor:
        """Like ``CodePooling.means``, but differentiable: (S, n_bits) float32."""
        logits = self.frames(torch.from_numpy(image)[None])['codes'][0]
        height, width = logits.shape[:2]
        weights = pooling_matrix(regions, height, width)
        means: Tensor = torch.sparse.mm(weights, logits.reshape(height * width, -1))
        return means + self.layer.colour_logits(torch.from_numpy(colour_moments(lab_planes(image), regions)))


class _Drawn:
    """Images with random changes, by their positions in a list of sources and indices."""

    def __init__(self, tuner: CodeTuner, items: list[tuple[int, int]]) -> None:
        self._tuner, self._items = tuner, items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: int) -> tuple[UInt8Array, list[Int32Array]]:
        return self._tuner.draw(*self._items[position])


def pooling_matrix(regions: Regions, height: int, width: int) -> Tensor:
    """``seg_ros.segments.regions.region_means`` as a sparse matrix, (S, height * width) float32."""
    ids = regions.ids
    rows, below = neighbours_1d(height, ids.shape[0])
    columns, right = neighbours_1d(width, ids.shape[1])
    keys, shares = [], []
    for y, share_y in ((rows, 1 - below), (np.minimum(rows + 1, height - 1), below)):
        for x, share_x in ((columns, 1 - right), (np.minimum(columns + 1, width - 1), right)):
            cells = y.astype(np.int64)[:, None] * width + x.astype(np.int64)
            keys.append((ids.astype(np.int64) * (height * width) + cells).ravel())
            shares.append((share_y[:, None] * share_x).ravel())
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    region, cell = np.divmod(unique, height * width)
    values = np.bincount(inverse, np.concatenate(shares)) / np.bincount(ids.ravel())[region]
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([region, cell])),
        torch.from_numpy(values.astype(np.float32)),
        (regions.n, height * width),
        check_invariants=False,
    )


def _targets(
    regions: Regions, annotations: Sequence[Int32Array], pairs: Int32Array, settings: FineTuning
) -> tuple[Tensor, Tensor]:
    """For each pair: the fraction of annotations with a boundary between its regions, and its weight."""
    apart, counted, weight = np.zeros(len(pairs)), np.zeros(len(pairs)), np.zeros(len(pairs))
    for drawn in annotations:
        table = overlaps(regions.ids, drawn)
        if table.shape[1] < regions.n:  # all pixels of the last superpixels may be void
            table = np.pad(table, ((0, 0), (0, regions.n - table.shape[1])))
        segment = np.where(table.sum(0) > 0, table.argmax(0), -1) if len(table) else np.full(regions.n, -1)
        one, other = segment[pairs[:, 0]], segment[pairs[:, 1]]
        is_known = (one >= 0) & (other >= 0)
        is_apart = (one != other) & is_known
        apart += is_apart
        counted += is_known
        alike = _balanced(one, other, is_apart, is_known)
        weight += settings.balance * alike
        weight += (1 - settings.balance) * (1 + settings.separation * is_apart) * is_known
    target = apart / np.maximum(counted, 1)
    weight /= max(len(annotations), 1)
    return torch.from_numpy(target.astype(np.float32)), torch.from_numpy(weight.astype(np.float32))


def _balanced(
    one: npt.NDArray[np.int64],
    other: npt.NDArray[np.int64],
    is_apart: npt.NDArray[np.bool_],
    is_known: npt.NDArray[np.bool_],
) -> Float64Array:
    """Weights by which pairs within each segment and pairs across its boundary sum to the same."""
    within = is_known & ~is_apart
    n = int(max(one.max(initial=0), other.max(initial=0))) + 1
    n_within = np.bincount(one[within], minlength=n)
    n_across = np.bincount(one[is_apart], minlength=n) + np.bincount(other[is_apart], minlength=n)
    weights: Float64Array = np.zeros(len(one))
    weights[within] = 1 / n_within[one[within]]
    weights[is_apart] = 0.5 / n_across[one[is_apart]] + 0.5 / n_across[other[is_apart]]
    weights /= max(float(weights.mean()), 1e-9)
    return weights

"""Learns embeddings from segments that people drew, without classes.

A. Harley, K. Derpanis, I. Kokkinos, arXiv 1511.04377, equation 3: the loss asks of two pixels only whether
they lie in the same region. So regions (MSRC, BSDS500), objects (VOC) or a folder of region images will do.
Only the head learns; the network below it, and its classes, stay as they are.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.arrays import Int32Array, UInt8Array
from seg_ros.datasets.segmented import VOID, SegmentedImages
from seg_ros.datasets.walk import walk
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.file import Model, save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import EmbeddingMetadata
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.filter_rules import check_window
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.coded_model import DEFAULT_TAPS, CodeData, frozen_network, tap_channels
from seg_ros.training.golden_record import make_golden
from seg_ros.training.losses import pair_loss


@dataclass(frozen=True)
class PairLearning:
    """Settings of learning from pairs.

    Attributes:
        epochs: Number of passes over all images.
        learning_rate: Peak learning rate.
        near: L1 distance up to which two pixels of one segment cost nothing.
        far: L1 distance from which two pixels of two segments cost nothing.
        hardness: Hardness of the filter; pairs do not teach it.
        seed: Seed of all randomness.
    """

    epochs: int = 4
    learning_rate: float = 3e-3
    near: float = 0.5
    far: float = 2.0
    hardness: float = 4.0
    seed: int = 0


class EmbeddingTuner:
    """Trains the embedding head of a network on pairs of pixels.

    Args:
        frames: Network with an embedding head, which is changed; everything else is frozen.
        sources: Images with segments.
        window: Window of the pairs, in embeddings.
        size: (height, width) to which images are resized.
        settings: Settings of learning.

    Raises:
        ParameterError: There are no images to learn from.
    """

    def __init__(
        self,
        frames: FrameNetwork,
        sources: Sequence[SegmentedImages],
        window: int,
        size: tuple[int, int],
        settings: PairLearning,
    ) -> None:
        if frames.embeddings is None or not any(len(source) for source in sources):
            raise ParameterError('there are no images to learn embeddings from')
        self.frames, self.head, self.sources = frames.eval(), frames.embeddings, sources
        self.window, self.size, self.settings = window, size, settings
        self._rng = np.random.default_rng(settings.seed)
        frames.network.requires_grad_(False)
        self._optimizer = torch.optim.Adam(self.head.parameters(), settings.learning_rate)

    def run(self) -> Iterator[float]:
        """Train for all epochs; yields the mean loss of each."""
        items = [(source, index) for source in self.sources for index in range(len(source))]
        n_steps = max(self.settings.epochs * len(items), 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: 0.02 + 0.49 * (1 + np.cos(np.pi * step / n_steps))
        )
        for epoch in range(self.settings.epochs):
            self.head.train()
            order = self._rng.permutation(len(items)).tolist()
            losses = []
            for _, (image, ids) in walk(_DrawnImages(self, items), f'epoch {epoch + 1}', indices=order):
                loss = self.loss(image, ids)
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
                schedule.step()
                losses.append(loss.item())
            self.head.eval()
            yield float(np.mean(losses))

    def loss(self, image: UInt8Array, ids: Int32Array) -> Tensor:
        """Pair loss of an image (H, W, 3) uint8 RGB with segments (H, W) int32; VOID is not counted."""
        embeddings = self.frames(torch.from_numpy(image)[None])['embeddings']
        truth = torch.from_numpy(ids)[None]
        settings = self.settings
        return pair_loss(embeddings, truth, self.window, settings.near, settings.far, void=VOID)

    def draw(self, source: SegmentedImages, index: int) -> tuple[UInt8Array, Int32Array]:
        """An image and one of its annotations, of the input size, with random flip and brightness."""
        image, annotations = source[index]
        ids = annotations[int(self._rng.integers(len(annotations)))]
        if self._rng.random() < 0.5:
            image, ids = image[:, ::-1], ids[:, ::-1]
        resized = np.array(resize_image(np.ascontiguousarray(image), *self.size))
        gamma, gain = self._rng.uniform(0.8, 1.25), self._rng.uniform(0.9, 1.1)
        changed = np.clip(255 * gain * (resized / 255.0) ** gamma, 0, 255).astype(np.uint8)
        nearest = cv2.resize(
            np.ascontiguousarray(ids), self.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT
        )
        return changed, nearest.astype(np.int32)


class _DrawnImages:
    """Images with random changes, by their positions in a list of sources and indices."""

    def __init__(self, tuner: EmbeddingTuner, items: list[tuple[SegmentedImages, int]]) -> None:
        self._tuner, self._items = tuner, items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: int) -> tuple[UInt8Array, Int32Array]:
        return self._tuner.draw(*self._items[position])


def fit_embeddings(
    path: Path,
    parent: Model,
    embeddings: EmbeddingMetadata,
    data: CodeData,
    settings: PairLearning,
    *,
    taps: Sequence[str] | None = None,
    is_continued: bool = False,
) -> Iterator[float]:
    """Learn embeddings for a model, and write the model file after each epoch.

    Args:
        path: Path of the model file to write.
        parent: Model with classes.
        embeddings: Metadata of the embeddings, without taps.
        data: Images with segments.
        settings: Settings of learning.
        taps: Sub-modules whose output the head reads; None = those of the parent's head, or DEFAULT_TAPS.
        is_continued: Whether learning goes on from the parent's head.

    Yields:
        Mean loss of each epoch.

    Raises:
        ModelFileError: The network has no sub-module of the name of a tap.
        ParameterError: No taps are known, there are no images, input size and window do not fit, or the
            parent has no head of this shape to go on from.
        UnavailableError: The parent has no classes.
    """
    metadata = parent.metadata
    _check_parent(parent)
    embeddings, head = _head_for(parent, embeddings, settings, taps)
    if is_continued:
        _load_head(parent, embeddings, head)
    _check_size(embeddings, *metadata.input_size)
    network = frozen_network(parent.network, metadata)
    frames = FrameNetwork(network, embeddings=head, embedding_taps=list(embeddings.taps))
    tuner = EmbeddingTuner(frames, data.sources, embeddings.window, metadata.input_size, settings)
    losses: list[float] = []
    for loss in tuner.run():
        losses.append(round(loss, 5))
        record = _record(data, settings, losses)
        written = replace(
            metadata,
            embeddings=embeddings,
            training={**metadata.training, 'embeddings': record},
            parent={'digest': parent.digest, 'figures': metadata.figures},
        )
        filtered = FilteredNetwork(frames, embeddings.window, embeddings.iterations, embeddings.averages)
        golden = _golden_with_filter(parent, network, filtered)
        save_model(path, _stored(parent), written, golden, parent.codes, head)
        yield loss


def _check_parent(parent: Model) -> None:
    if not len(parent.metadata.classes):
        raise UnavailableError(
            f'model {parent.path} has no classes; embeddings sharpen the scores of classes'
        )


def _stored(parent: Model) -> nn.Module:
    """The network as its file holds it; learning computes in float32."""
    level = QUANTIZATIONS[parent.metadata.quantization]
    return parent.network if level.packed_as else copy.deepcopy(parent.network).to(level.dtype)


def _check_size(embeddings: EmbeddingMetadata, height: int, width: int) -> None:
    if height % embeddings.stride or width % embeddings.stride:
        raise ParameterError(
            f'input of {height}x{width} pixels; expected multiples of the stride, {embeddings.stride}'
        )
    check_window(embeddings.window, (height // embeddings.stride, width // embeddings.stride))


def _head_for(
    parent: Model, embeddings: EmbeddingMetadata, settings: PairLearning, taps: Sequence[str] | None
) -> tuple[EmbeddingMetadata, EmbeddingHead]:
    """Head with random weights, and the metadata of its embeddings with their taps."""
    own = parent.metadata.embeddings
    names = taps or (own and tuple(own.taps)) or DEFAULT_TAPS.get(parent.metadata.architecture)
    if not names:
        raise ParameterError(f'{parent.metadata.architecture} has no default taps; name some with --taps')
    embeddings = replace(embeddings, taps=tap_channels(parent.metadata, parent.network, names))
    torch.manual_seed(settings.seed)
    channels = list(embeddings.taps.values())
    head = EmbeddingHead(channels, embeddings.dimensions, embeddings.stride, hardness=settings.hardness)
    return embeddings, head


def _golden_with_filter(parent: Model, network: ImageNetwork, filtered: FilteredNetwork) -> Golden:
    """The first image of the parent's golden record, with the labels behind the filter."""
    own = parent.golden
    made = make_golden(network, own.images[:1], parent.metadata.input_size, filtered)
    codes = None if own.codes is None else own.codes[:1]
    return Golden(own.images[:1], own.labels[:1], codes, made.filtered)


def _load_head(parent: Model, embeddings: EmbeddingMetadata, head: EmbeddingHead) -> None:
    """Take over the weights of the parent's head."""
    own = parent.metadata.embeddings
    shape = (embeddings.taps, embeddings.dimensions, embeddings.stride)
    if own is None or parent.embeddings is None or (own.taps, own.dimensions, own.stride) != shape:
        raise ParameterError(
            f'model {parent.path} has no embeddings of {embeddings.dimensions} dimensions at stride '
            f'{embeddings.stride} from {", ".join(embeddings.taps)} to go on from; leave --continue out'
        )
    head.load_state_dict(parent.embeddings.state_dict())


def _record(data: CodeData, settings: PairLearning, losses: list[float]) -> dict[str, Any]:
    """Record of how the embeddings were learned."""
    sizes = zip(data.names, data.sources, strict=True)
    return {
        'data': ' + '.join(f'{name} ({len(source)} images)' for name, source in sizes),
        'pairs': 'segments without classes',
        'epochs': settings.epochs,
        'learning_rate': settings.learning_rate,
        'near': settings.near,
        'far': settings.far,
        'seed': settings.seed,
        'losses': list(losses),
    }

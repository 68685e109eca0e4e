"""Training images in a reproducible order: a draw depends on seed, epoch and position, on nothing else."""

import signal
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.training.augment import Augmentation
from seg_ros.training.copy_paste import Paste, paste


class Draw(NamedTuple):
    """One training image to prepare: which one, and what its randomness depends on."""

    epoch: int
    position: int
    image: int


class InMemory:
    """A data set read once, decoded: 4 bytes a pixel. Loader processes that are forked share it.

    Args:
        dataset: to read.
        label: what the progress bar says; no bar without one.
    """

    def __init__(self, dataset: Dataset, label: str = '') -> None:
        self.classes = dataset.classes
        self.names = dataset.names
        indices = tqdm(range(len(dataset)), desc=label, unit='image', leave=False, disable=not label)
        self._pairs = [dataset[index] for index in indices]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return self._pairs[index]


class Augmented(TorchDataset[tuple[Tensor, Tensor]]):
    """Varied images of several data sets, addressed by :class:`Draw`.

    Args:
        parts: of the same classes.
        augment: how each image varies.
        seed: of all randomness, with the draw.
        paste: what images lend each other; None for nothing.

    Raises:
        UnknownNameError: there is no class to paste of such a name.
    """

    def __init__(
        self, parts: Sequence[Dataset], augment: Augmentation, seed: int, paste: Paste | None = None
    ) -> None:
        self._paste = paste
        self._pasted = () if paste is None else paste.ids(parts[0].classes)
        self._where = [(part, index) for part in parts for index in range(len(part))]
        self._augment = augment
        self._seed = seed

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Image (h, w, 3) uint8 and labels (h, w) uint8 tensors of the crop's size."""
        rng = np.random.default_rng((self._seed, draw.epoch, draw.position))
        image, labels = self._varied(draw.image, rng)
        if self._paste and (ids := self._paste.draw(self._pasted, rng)):
            other = self._varied(int(rng.integers(len(self))), rng)
            image, labels = paste((image, labels), other, ids)
        return torch.from_numpy(image), torch.from_numpy(labels)

    def _varied(self, image: int, rng: np.random.Generator) -> tuple[UInt8Array, UInt8Array]:
        part, index = self._where[image]
        return self._augment(*part[index], rng)


class EpochSampler(Sampler[Draw]):
    """A fresh permutation an epoch, the same in every process, each process taking its share of each batch.

    What does not fill a batch is left out of the epoch; of fewer images than a batch, some are drawn again.

    Args:
        size: images to draw from.
        batch_size: over all processes.
        seed: of the order.
        rank: of this process.
        world_size: processes; divides ``batch_size``.

    Attributes:
        epoch: set before iterating.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._size, self._seed = size, seed
        self._rank, self._world_size = rank, world_size
        self._n = max(size // batch_size, 1) * batch_size
        self.epoch = 0

    def __len__(self) -> int:
        return self._n // self._world_size

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._size)
        for position in range(self._rank, self._n, self._world_size):
            yield Draw(self.epoch, position, int(order[position % self._size]))


def make_loader(
    dataset: Augmented, sampler: EpochSampler, batch_size: int, workers: int
) -> 'DataLoader[tuple[Tensor, Tensor]]':
    """Batches of images (B, h, w, 3) uint8 and labels (B, h, w) uint8, prepared by ``workers`` processes."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_prepare_worker,
        # Its own: else starting the workers draws from the generator of dropout, and a resumed run differs.
        generator=torch.Generator(),
    )


def _prepare_worker(_worker: int) -> None:
    """One thread each; on Ctrl-C the main process stops them."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _tell_unless_parent_left


def _tell_unless_parent_left(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What a loader process tells of: not that its parent stopped while they shook hands over a tensor."""
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)

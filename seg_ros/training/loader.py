"""Training images in a reproducible order: a draw depends only on seed, epoch and position."""

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

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.images.resize import resize_image
from seg_ros.training.augment import Augmentation
from seg_ros.training.copy_paste import Paste, paste


class Draw(NamedTuple):
    """A training image to prepare: number of the image; epoch and position in it, which seed randomness."""

    epoch: int
    position: int
    image: int


class InMemory:
    """A decoded data set in memory, 4 bytes per pixel. Forked loader processes share it.

    Images that cannot be read are logged and left out.

    Args:
        dataset: Data set to read.
        label: Text of the progress bar; '' shows no bar.
        is_quiet: Log nothing, because another process does.

    Raises:
        DatasetError: Not one image can be read.
    """

    def __init__(self, dataset: Dataset, label: str = '', *, is_quiet: bool = False) -> None:
        self.classes = dataset.classes
        found = list(walk(dataset, label, is_quiet=is_quiet))
        self.names = [dataset.names[index] for index, _ in found]
        self._pairs = [pair for _, pair in found]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return self._pairs[index]


class Augmented(TorchDataset[tuple[Tensor, Tensor]]):
    """Augmented images of several data sets, addressed by :class:`Draw`.

    Args:
        parts: Data sets with the same classes.
        augment: Random changes of each image.
        seed: Seed of all randomness, together with the draw.
        paste: Settings of copy-paste augmentation; None = no pasting.

    Raises:
        UnknownNameError: The data have no such class to paste.
    """

    def __init__(
        self, parts: Sequence[Dataset], augment: Augmentation, seed: int, paste: Paste | None = None
    ) -> None:
        self._paste = paste
        self._pasted = () if paste is None else paste.ids(parts[0].classes)
        self._images = [(part, index) for part in parts for index in range(len(part))]
        self._augment = augment
        self._seed = seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Image (h, w, 3) uint8 and labels (h, w) uint8 tensors of the crop's size."""
        rng = np.random.default_rng((self._seed, draw.epoch, draw.position))
        image, labels = self._augmented(draw.image, rng)
        if self._paste and (ids := self._paste.draw(self._pasted, rng)):
            other = self._augmented(int(rng.integers(len(self))), rng)
            image, labels = paste((image, labels), other, ids)
        return torch.from_numpy(image), torch.from_numpy(labels)

    def _augmented(self, image: int, rng: np.random.Generator) -> tuple[UInt8Array, UInt8Array]:
        part, index = self._images[image]
        return self._augment(*part[index], rng)


def plain_images(
    parts: Sequence[Dataset], n_images: int, size: tuple[int, int], batch_size: int
) -> Iterator[Tensor]:
    """Some images of several data sets, spread evenly over all of them, without augmentation.

    Args:
        parts: Data sets.
        n_images: Maximum number of images.
        size: (height, width) to which the images are resized, in pixels.
        batch_size: Number of images of a batch, 1 or more.

    Yields:
        (b, H, W, 3) uint8 RGB, b up to ``batch_size``.
    """
    places = [(part, index) for part in parts for index in range(len(part))]
    count = min(n_images, len(places))
    chosen = [places[number * len(places) // count] for number in range(count)]
    for start in range(0, count, batch_size):
        images = [resize_image(part[index][0], *size) for part, index in chosen[start : start + batch_size]]
        yield torch.from_numpy(np.stack(images))


class EpochSampler(Sampler[Draw]):
    """Draws a new permutation for each epoch, the same in all processes; each takes its part of a batch.

    Images that do not fill a batch are left out of the epoch. If there are fewer images than a batch, some
    are drawn twice.

    Args:
        size: Number of images.
        batch_size: Number of images of a batch, over all processes.
        seed: Seed of the order.
        rank: Number of this process.
        world_size: Number of processes; divides ``batch_size``.

    Attributes:
        epoch: Number of the epoch; set it before iterating.
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
        # Without a generator of its own, starting the workers would draw from the generator of dropout, and a
        # resumed run would differ.
        generator=torch.Generator(),
    )


def _prepare_worker(_worker: int) -> None:
    """Set up a loader process: one thread, and Ctrl-C is left to the main process."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _report_error


def _report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error of a loader process, except a connection closed by a main process that has stopped."""
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)

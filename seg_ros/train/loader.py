"""Training images in a reproducible order: what is drawn depends on seed, epoch and position, on nothing else."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from seg_ros.data.dataset import Dataset
from seg_ros.train.augment import Augmentation
from seg_ros.types import UInt8Array

Draw = tuple[int, int]
"""Epoch, and position in the epoch's order of images."""


class InMemory:
    """A data set read once; what training draws from again and again."""

    def __init__(self, dataset: Dataset) -> None:
        self.classes = dataset.classes
        self.names = dataset.names
        self._pairs = [dataset[index] for index in range(len(dataset))]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return self._pairs[index]


class Augmented(TorchDataset[tuple[Tensor, Tensor]]):
    """Varied images of several data sets, addressed by (epoch, index)."""

    def __init__(self, parts: Sequence[Dataset], augment: Augmentation, seed: int) -> None:
        self._where = [(part, index) for part in parts for index in range(len(part))]
        self._augment = augment
        self._seed = seed

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Image (h, w, 3) uint8 and labels (h, w) uint8 tensors of the crop's size."""
        epoch, index = draw
        part, position = self._where[index]
        rng = np.random.default_rng((self._seed, epoch, index))
        image, labels = self._augment(*part[position], rng)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(np.ascontiguousarray(labels))


class EpochSampler(Sampler[Draw]):
    """A fresh permutation an epoch, the same in every process, each process taking its share of each batch."""

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._size, self._seed = size, seed
        self._rank, self._world_size = rank, world_size
        self._n = max(size // batch_size, 1) * batch_size
        self.epoch = 0

    def __len__(self) -> int:
        return self._n // self._world_size

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._size)
        for index in np.resize(order, self._n)[self._rank :: self._world_size]:
            yield self.epoch, int(index)


def make_loader(
    dataset: Augmented, sampler: EpochSampler, batch_size: int, workers: int
) -> 'DataLoader[tuple[Tensor, Tensor]]':
    """Batches of images (B, h, w, 3) uint8 and labels (B, h, w) uint8, prepared ahead by ``workers`` processes."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_single_threaded,
    )


def _single_threaded(_worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)

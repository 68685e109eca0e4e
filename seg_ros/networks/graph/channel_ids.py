"""Channel ids: each value of a tensor carries the id of the channel that it belongs to.

Ids are tensors of the shape of the values, so that they can be rearranged by the same operations. They are
float64 because padding and pooling need floats. Where all values of a channel have one id, the tensor is a
view that repeats it and takes no memory.
"""

import numpy as np
import torch
from torch import Tensor

CONSTANT = 0
"""Id of values that belong to no channel, such as the zeros around an image."""


class ChannelGroups:
    """Union-find over channel ids: dependent channels form one group, and a group may be frozen.

    The channels of a frozen group cannot be removed.
    """

    def __init__(self) -> None:
        self._parent = [CONSTANT]
        self._frozen = [False]

    def new(self, count: int) -> Tensor:
        """(count,) float64 new ids, each a group of its own."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        self._frozen.extend([False] * count)
        return torch.arange(start, start + count, dtype=torch.float64)

    def root(self, channel: int) -> int:
        """The smallest id of a channel's group."""
        while self._parent[channel] != channel:
            self._parent[channel] = self._parent[self._parent[channel]]
            channel = self._parent[channel]
        return channel

    def roots(self, ids: Tensor) -> Tensor:
        """(C,) ids -> (C,) roots of their groups."""
        return torch.tensor([float(self.root(int(channel))) for channel in ids.tolist()], dtype=torch.float64)

    def join(self, first: int, second: int) -> None:
        """Make the groups of two channels one; it is frozen if either was."""
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low
        self._frozen[low] |= self._frozen[high]

    def freeze(self, ids: Tensor) -> None:
        """Freeze the groups of all channels that occur in ``ids``."""
        for channel in distinct(ids):
            self._frozen[self.root(channel)] = True

    def is_frozen(self, channel: int) -> bool:
        return self._frozen[self.root(channel)]


def stored_once(ids: Tensor) -> tuple[slice, ...]:
    """Index that picks one of the values that a view repeats."""
    return tuple(slice(0, 1) if not stride else slice(None) for stride in ids.stride())


def by_channel(ids: Tensor, axis: int) -> Tensor:
    """(C, n): the ids at each place of an axis; those that a view repeats occur once or more."""
    once = ids[stored_once(ids)].movedim(axis, 0)
    return once.reshape(len(once), -1)


def distinct(ids: Tensor) -> list[int]:
    """The ids that occur, without CONSTANT."""
    return [int(channel) for channel in np.unique(ids[stored_once(ids)].numpy()) if channel != CONSTANT]


def compact(ids: Tensor) -> Tensor:
    """The same ids; a view that repeats them where all values of each channel have one id."""
    if ids.ndim < 3 or not ids.numel():
        return ids
    of_channels = ids[(slice(0, 1), slice(None), *[slice(0, 1)] * (ids.ndim - 2))].expand(ids.shape)
    return of_channels if torch.equal(of_channels, ids) else ids


def expand_channels(channels: Tensor, shape: torch.Size) -> Tensor:
    """(C,) ids of channels -> ids of a tensor (B, C, ...), as a view."""
    return channels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

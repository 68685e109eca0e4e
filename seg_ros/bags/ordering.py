"""Merges sources of messages in the order of time, with few sources open at a time."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_MAX_OPEN_BYTES = 2**30

Item = tuple[Any, ...]
"""A message; its first entry is its time in ns."""


@dataclass(frozen=True)
class BagPart:
    """A place with messages.

    Attributes:
        start_ns: Time of its earliest message.
        end_ns: Time of its latest message.
        n_bytes: Memory that it takes while it is open.
        open: Returns its messages in the order of time.
    """

    start_ns: int
    end_ns: int
    n_bytes: int
    open: Callable[[], Iterator[Item]]


def in_order(sources: Iterable[BagPart]) -> Iterator[Item]:
    """Messages of all sources in the order of time.

    A source is opened when its first message is due. If more than 1 GiB is open because the times of many
    sources overlap, the messages at hand come first, and the order is only approximate.
    """
    heap: list[tuple[int, int, Item, Iterator[Item], int]] = []
    n_open = 0
    ordered = sorted(sources, key=lambda source: source.start_ns)
    for number, source in enumerate(ordered):
        while heap and (heap[0][0] < source.start_ns or n_open + source.n_bytes > _MAX_OPEN_BYTES):
            yield heap[0][2]
            n_open -= _advance(heap)
        items = source.open()
        if not heap and (number + 1 == len(ordered) or source.end_ns < ordered[number + 1].start_ns):
            yield from items
            continue
        if (item := next(items, None)) is not None:
            heapq.heappush(heap, (item[0], number, item, items, source.n_bytes))
            n_open += source.n_bytes
    while heap:
        yield heap[0][2]
        _advance(heap)


def _advance(heap: list[tuple[int, int, Item, Iterator[Item], int]]) -> int:
    """Replace the first item by the next one of its source; returns the bytes of a source that ends."""
    _, number, _, items, n_bytes = heap[0]
    if (item := next(items, None)) is not None:
        heapq.heapreplace(heap, (item[0], number, item, items, n_bytes))
        return 0
    heapq.heappop(heap)
    return n_bytes

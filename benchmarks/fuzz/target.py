"""A fuzz target: one input surface of seg_ros, with its seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

Change = Callable[[bytes, Random], bytes]


class ContractError(Exception):
    """A result of seg_ros breaks a promise that a target checks."""


@dataclass(frozen=True)
class Target:
    """One input surface.

    Attributes:
        seeds: Makes the seed inputs; seg_ros itself writes them.
        run: Reads one input; gets a folder for its files. Nothing but SegRosError may get out.
        changes: Changes that keep the structure of an input, used beside changes of single bytes.
        tokens: Byte strings that the format knows, or that readers trip over.
        memory: Maximum memory that one input may take, in bytes.
        seconds: Maximum processor time of one input.
        largest: Maximum size of an input in bytes.
    """

    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes, Path], None]
    changes: Sequence[Change] = ()
    tokens: Sequence[bytes] = ()
    memory: int = 1 << 30
    seconds: float = 5.0
    largest: int = 1 << 16


def require(holds: bool, promise: str) -> None:
    """Raise ContractError unless a promise holds."""
    if not holds:
        raise ContractError(promise)

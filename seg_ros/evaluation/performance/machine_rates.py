"""Rates of the machine itself: products of float32 matrices, and copies of memory."""

import importlib.util
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_ros.evaluation.performance.contestants import waiting_for
from seg_ros.evaluation.performance.turns import TOTAL, Prepared

MATRIX_SIDE = 1024
"""Rows and columns of both matrices."""
FLOP_OF_PRODUCT = 2 * MATRIX_SIDE**3
"""Number of additions and multiplications of one product."""

_N_FLOATS = 1 << 25
BYTES_OF_COPY = 2 * 4 * _N_FLOATS
"""Number of bytes that a copy reads and writes together; the caches do not hold as many."""


@dataclass(frozen=True)
class MatrixProduct:
    """Product of two float32 matrices with MATRIX_SIDE rows and columns, by torch, or NumPy without torch.

    Attributes:
        n_threads: Number of CPU threads; NumPy takes its own number.
        device: Device, 'cpu' or 'cuda:N'.
    """

    n_threads: int
    device: str

    def prepare(self) -> Prepared:
        """Make the matrices; see seg_ros.evaluation.performance.turns.Contestant."""
        shape = MATRIX_SIDE, MATRIX_SIDE
        one, other = (np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in (0, 1))
        if importlib.util.find_spec('torch') is None:
            out = np.empty_like(one)
            return Prepared(lambda: _timed(np.matmul, self.device, one, other, out), facts={'by': 'numpy'})
        import torch

        torch.set_num_threads(self.n_threads)
        a, b = (torch.from_numpy(array).to(self.device) for array in (one, other))
        product = torch.empty_like(a)

        def multiply() -> None:
            torch.matmul(a, b, out=product)

        return Prepared(lambda: _timed(multiply, self.device), facts={'by': 'torch'})


@dataclass(frozen=True)
class MemoryCopy:
    """Copy of an array of 128 MiB, by torch, or NumPy without torch.

    Attributes:
        n_threads: Number of CPU threads; NumPy takes one.
        device: Device, 'cpu' or 'cuda:N'.
    """

    n_threads: int
    device: str

    def prepare(self) -> Prepared:
        """Make the arrays; see seg_ros.evaluation.performance.turns.Contestant."""
        if importlib.util.find_spec('torch') is None:
            array = np.ones(_N_FLOATS, np.float32)
            aim = np.zeros_like(array)
            return Prepared(lambda: _timed(np.copyto, self.device, aim, array), facts={'by': 'numpy'})
        import torch

        torch.set_num_threads(self.n_threads)
        source = torch.ones(_N_FLOATS, device=self.device)
        target = torch.zeros_like(source)
        return Prepared(lambda: _timed(target.copy_, self.device, source), facts={'by': 'torch'})


def _timed(function: Any, device: str, *arguments: Any) -> dict[str, float]:
    """Time of one call in milliseconds."""
    wait = waiting_for(device)
    wait()
    started = time.perf_counter()
    function(*arguments)
    wait()
    return {TOTAL: 1e3 * (time.perf_counter() - started)}

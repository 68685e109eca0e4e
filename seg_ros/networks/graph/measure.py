"""Measured time of layers and calls, measured memory of the process, and a model of time.

Times depend on the machine; the counts of ``cost`` do not.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.networks.graph.cost import LayerCost, layer_costs


def with_latency(costs: list[LayerCost], latency_ms: dict[str, float]) -> list[LayerCost]:
    """The same layers with their times from :func:`measure_layers`; 0 where there is none."""
    return [replace(cost, latency_ms=latency_ms.get(cost.name, 0.0)) for cost in costs]


@dataclass
class _Running:
    """A module that has not returned yet: its name, start in seconds, and seconds of its sub-modules."""

    name: str
    started: float
    inside: float = 0.0


def measure_layers(network: nn.Module, example: Tensor, *, repeats: int = 10) -> dict[str, float]:
    """Time of each module in milliseconds, without its sub-modules: median of eager runs.

    Args:
        network: Network in evaluation mode, on a device that computes before it returns, such as the CPU.
        example: (1, 3, H, W) float input on the same device.
        repeats: Number of runs that count, after one warm-up run.

    Returns:
        Module name -> milliseconds; '' = the network itself. The time of a module with its sub-modules is the
        sum over ``name`` and all names that begin with ``name.``.
    """
    runs: list[dict[str, float]] = []
    stack: list[_Running] = []

    def enter(name: str) -> None:
        stack.append(_Running(name, time.perf_counter()))

    def leave() -> None:
        module = stack.pop()
        taken = time.perf_counter() - module.started
        if stack:
            stack[-1].inside += taken
        runs[-1][module.name] = runs[-1].get(module.name, 0.0) + (taken - module.inside) * 1000

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda _m, _x, name=name: enter(name)))
        hooks.append(module.register_forward_hook(lambda _m, _x, _y: leave()))
    try:
        with torch.no_grad():
            for _ in range(repeats + 1):
                runs.append({})
                network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: statistics.median(run[name] for run in runs[1:]) for name in runs[0]}


def measure_latency(run: Callable[[], Any], *, repeats: int = 20) -> float:
    """Time of one call of ``run`` in milliseconds: the median, after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        run()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[2:])


def process_memory() -> int:
    """Maximum resident memory of this process so far, in bytes."""
    status = Path('/proc/self/status')
    if status.is_file():  # getrusage also counts the program before exec
        for line in status.read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


@dataclass(frozen=True)
class LatencyModel:
    """Time as a weighted sum of MACs and traffic, for units that cannot be measured one by one.

    Attributes:
        ms_per_mac: Milliseconds per multiply-accumulate operation.
        ms_per_byte: Milliseconds per byte of ``traffic_bytes`` at fp32.
    """

    ms_per_mac: float
    ms_per_byte: float

    @classmethod
    def fit(cls, costs: list[LayerCost]) -> 'LatencyModel':
        """Fit both weights, 0 or more, to measured layers by least squares.

        Args:
            costs: Costs of layers at fp32, with latency.
        """
        known = np.array([[c.n_macs, c.traffic_bytes, c.latency_ms or 0.0] for c in costs], float)
        scale = np.maximum(known.max(0), 1e-12)
        causes, times = (known / scale)[:, :2], known[:, 2]
        both = np.linalg.lstsq(causes, times, rcond=None)[0]
        if both.min() < 0:
            singles = [float(np.dot(c, times) / max(np.dot(c, c), 1e-12)) for c in causes.T]
            errors = [float(np.square(c * w - times).sum()) for c, w in zip(causes.T, singles, strict=True)]
            best = int(np.argmin(errors))
            both = np.array([singles[i] if i == best else 0.0 for i in range(2)])
        return cls(float(both[0] / scale[0]), float(both[1] / scale[1]))

    @classmethod
    def measure(cls, network: nn.Module, example: Tensor) -> 'LatencyModel':
        """Fit to the layers of a network on this machine, which takes a few seconds."""
        return cls.fit(with_latency(layer_costs(network, example), measure_layers(network, example)))

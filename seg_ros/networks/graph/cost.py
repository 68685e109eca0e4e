"""What a network costs, layer by layer: parameters, operations, bytes, memory, energy, time.

Energy is an estimate from published figures for 45 nm (M. Horowitz, "Computing's energy problem", ISSCC 2014,
figure 1.1.9) under a simple model of memory, in the manner of T.-J. Yang, Y.-H. Chen, V. Sze, "Designing
energy-efficient convolutional neural networks using energy-aware pruning", CVPR 2017:

- each multiplication and addition costs its arithmetic and the fetch of two operands from 8 KB of SRAM;
- each weight comes from DRAM once an image;
- each value between layers is written once and read by each that needs it, in 1 MB of SRAM where weights,
  inputs and results of the operation fit into that together, in DRAM otherwise;
- normalisations and operations on values of one tensor are taken as fused, and so as free.

It ranks networks and layers; a computer of today needs less, and shares it out differently.
"""

import math
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

from seg_ros.errors import UnknownNameError
from seg_ros.networks.graph.channels import ChannelMap
from seg_ros.networks.graph.trace import NetworkTrace, Operation, record

DRAM_PJ, SRAM_1MB_PJ, SRAM_8KB_PJ = 640.0, 50.0, 5.0
"""Energy of reading or writing 32 bits, in picojoule (Horowitz 2014)."""

SRAM_BYTES = 1 << 20


@dataclass(frozen=True)
class LevelCost:
    """What a level of precision means for costs.

    Attributes:
        weight_bits: of a value of a kernel.
        vector_bits: of a value of a bias, normalisation or slope.
        activation_bits: of a value between layers.
        mac_pj: energy of one multiplication and one addition, in picojoule (Horowitz 2014).
    """

    weight_bits: float
    vector_bits: float
    activation_bits: float
    mac_pj: float


LEVELS: dict[str, LevelCost] = {
    'fp32': LevelCost(32, 32, 32, 3.7 + 0.9),
    'fp16': LevelCost(16, 16, 16, 1.1 + 0.4),
    'bf16': LevelCost(16, 16, 16, 1.1 + 0.4),
    'int8': LevelCost(8, 32, 8, 0.2 + 0.1),  # sums are 32-bit integers
    'int4': LevelCost(4, 32, 32, 3.7 + 0.9),  # weights alone, computed in fp32
}
"""Levels by name; any other :class:`LevelCost` will do where one is asked for."""


@dataclass(frozen=True)
class LayerCost:
    """What a module costs for one image, without the modules in it.

    Attributes:
        name: of the module, '' for the network itself.
        kind: its class.
        n_parameters: learned values.
        n_macs: multiplications with an addition.
        n_bytes: of its parameters and statistics, at the level asked for.
        traffic_bytes: read and written between layers at the level asked for, nothing fused.
        energy_uj: in microjoule; an estimate, see the top of this file.
        latency_ms: measured; None where it was not.
    """

    name: str
    kind: str
    n_parameters: int
    n_macs: int
    n_bytes: int
    traffic_bytes: int
    energy_uj: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class Cost:
    """What a network costs for one image.

    Attributes:
        n_parameters: learned values.
        n_macs: multiplications with an addition.
        n_bytes: of parameters and statistics at the level asked for, without a file's overhead.
        peak_activation_bytes: see :func:`peak_activation_bytes`.
        energy_uj: in microjoule; an estimate, see the top of this file.
    """

    n_parameters: int
    n_macs: int
    n_bytes: int
    peak_activation_bytes: int
    energy_uj: float


def network_cost(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> Cost:
    """Costs of a whole network.

    Args:
        network: its own types do not count; ``level`` does.
        example: (1, 3, H, W), the input that is to be counted for; its values do not count.
        level: name in LEVELS, or a level.
    """
    recording, level = record(network, example), _level(level)
    return Cost(
        count_parameters(network),
        sum(operation.n_macs for operation in recording.operations),
        count_bytes(network, level),
        _peak(recording, level),
        sum(_energy_pj(operation, recording, level) for operation in recording.operations) / 1e6,
    )


def layer_costs(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> list[LayerCost]:
    """Costs of the modules that own parameters or compute something, in the order in which they run.

    Arguments as of :func:`network_cost`. The sums over all layers are those of the network.
    """
    recording, level = record(network, example), _level(level)
    operations: dict[str, list[Operation]] = {}
    for operation in recording.operations:
        operations.setdefault(operation.module, []).append(operation)
    modules = dict(network.named_modules())
    order = [*operations, *(name for name in modules if name not in operations)]
    seen: set[int] = set()
    costs = []
    for name in order:
        ran = operations.get(name, [])
        parameters = [p for p in modules[name].parameters(recurse=False) if id(p) not in seen]
        tensors = [b for b in modules[name].buffers(recurse=False) if id(b) not in seen] + parameters
        seen |= {id(t) for t in tensors}
        if ran or tensors:
            costs.append(
                LayerCost(
                    name,
                    type(modules[name]).__name__,
                    sum(p.numel() for p in parameters),
                    sum(operation.n_macs for operation in ran),
                    sum(_bytes_of(t, level) for t in tensors),
                    sum(_traffic(operation, recording, level) for operation in ran if not operation.is_view),
                    sum(_energy_pj(operation, recording, level) for operation in ran) / 1e6,
                )
            )
    return costs


def with_latency(costs: list[LayerCost], latency_ms: dict[str, float]) -> list[LayerCost]:
    """The same layers with what :func:`measure_layers` has measured."""
    return [replace(cost, latency_ms=latency_ms.get(cost.name, 0.0)) for cost in costs]


def count_parameters(network: nn.Module) -> int:
    """Learned values."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, example: Tensor) -> int:
    """Multiplications with an addition: half of what ``torch.utils.flop_counter`` counts."""
    return sum(operation.n_macs for operation in record(network, example).operations)


def count_bytes(network: nn.Module, level: str | LevelCost = 'fp32') -> int:
    """Bytes of parameters and statistics at a level: kernels at its weight_bits, the rest at vector_bits."""
    level = _level(level)
    return sum(_bytes_of(t, level) for t in (*network.parameters(), *network.buffers()))


def energy_uj(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> float:
    """Estimated energy of one image in microjoule; see the top of this file."""
    recording, level = record(network, example), _level(level)
    return sum(_energy_pj(operation, recording, level) for operation in recording.operations) / 1e6


def peak_activation_bytes(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> int:
    """Most bytes of inputs, results and what is between them that must be in memory at one time.

    Operations run one by one, in order and not fused, and each tensor is freed after its last use. Floats
    take the level's activation_bits, integers (positions of maxima) what PyTorch gives them.
    """
    return _peak(record(network, example), _level(level))


def measure_layers(network: nn.Module, example: Tensor, *, repeats: int = 10) -> dict[str, float]:
    """Time that each module takes for itself, without the modules in it, in ms: median of eager runs.

    Args:
        network: in evaluation mode, on a device that computes before it returns, such as the CPU.
        example: (1, 3, H, W), on the same device.
        repeats: runs that count, after one that does not.

    Returns:
        Module name -> milliseconds; '' is what the network does itself. Add those of ``name`` and of what
        begins with ``name.`` for all that a module takes.
    """
    runs: list[dict[str, float]] = []
    stack: list[list[Any]] = []

    def enter(name: str) -> None:
        stack.append([name, time.perf_counter(), 0.0])

    def leave() -> None:
        name, started, inside = stack.pop()
        taken = time.perf_counter() - started
        if stack:
            stack[-1][2] += taken
        runs[-1][name] = runs[-1].get(name, 0.0) + (taken - inside) * 1000

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
    """Milliseconds that one call of ``run`` takes, the median after two calls that do not count."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        run()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[2:])


def process_memory() -> int:
    """Most bytes of memory that this process has had resident so far."""
    status = Path('/proc/self/status')
    if status.is_file():  # getrusage would count what the process was before exec, too
        for line in status.read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


@dataclass(frozen=True)
class LatencyModel:
    """Time as a weighted sum of operations and traffic, for what cannot be measured one by one.

    Attributes:
        ms_per_mac: of multiplications with an addition.
        ms_per_byte: of ``traffic_bytes`` at fp32.
    """

    ms_per_mac: float
    ms_per_byte: float

    @classmethod
    def fit(cls, costs: list[LayerCost]) -> 'LatencyModel':
        """The weights, 0 or more, that explain measured layers best (least squares).

        Args:
            costs: at fp32, with latency.
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
        """Fitted to the layers of a network on this machine; a few seconds."""
        return cls.fit(with_latency(layer_costs(network, example), measure_layers(network, example)))


def savings(
    network: nn.Module, channels: ChannelMap, kind: str, *, model: LatencyModel | None = None
) -> Tensor:
    """What is saved for one image when a unit alone leaves the network.

    Args:
        network: the one that the map is of.
        channels: its present map.
        kind: one of SAVINGS: 'macs'; 'parameters'; 'bytes' at fp32; 'energy', in picojoule at fp32 with
            values between layers in DRAM; 'latency', in ms by ``model``.
        model: needed for 'latency'.

    Returns:
        (n_units,) float64, 0 or more.

    Raises:
        UnknownNameError: there is no such kind, or 'latency' lacks its model.
    """
    if kind not in SAVINGS or (kind == 'latency' and model is None):
        raise UnknownNameError('kind of savings', kind, [*SAVINGS[:-1], 'latency (with a model)'])
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    values, macs = [], []
    for unit in channels.units:
        gone: dict[str, dict[int, int]] = {}
        for name, dim, _ in unit.places:
            of_tensor = gone.setdefault(name, {})
            of_tensor[dim] = of_tensor.get(dim, 0) + 1
        n_values = n_macs = 0.0
        for name, of_tensor in gone.items():
            shape = tensors[name].shape
            stays = math.prod(1 - n / shape[dim] for dim, n in of_tensor.items())
            lost = tensors[name].numel() * (1 - stays)
            n_values += lost if kind == 'bytes' or isinstance(tensors[name], nn.Parameter) else 0
            n_macs += lost * channels.macs_per_value.get(name, 0)
        values.append(n_values)
        macs.append(n_macs)
    n_values_, n_macs_ = (torch.tensor(v, dtype=torch.float64) for v in (values, macs))
    if kind == 'macs':
        return n_macs_
    if kind in ('parameters', 'bytes'):
        return n_values_ * (4 if kind == 'bytes' else 1)
    if kind == 'latency' and model is not None:
        return n_macs_ * model.ms_per_mac + channels.traffic * model.ms_per_byte
    fp32 = LEVELS['fp32']
    of_weights = n_values_ * DRAM_PJ
    return n_macs_ * (fp32.mac_pj + 2 * SRAM_8KB_PJ) + of_weights + channels.traffic / 4 * DRAM_PJ


SAVINGS = ('macs', 'parameters', 'bytes', 'energy', 'latency')
"""Kinds of :func:`savings`."""


def _level(level: str | LevelCost) -> LevelCost:
    if isinstance(level, LevelCost):
        return level
    if level not in LEVELS:
        raise UnknownNameError('level', level, sorted(LEVELS))
    return LEVELS[level]


def _bytes_of(tensor: Tensor, level: LevelCost) -> int:
    if not tensor.is_floating_point():
        return tensor.numel() * tensor.element_size()
    return math.ceil(tensor.numel() * (level.weight_bits if tensor.ndim > 1 else level.vector_bits) / 8)


def _size(tensor: Tensor, level: LevelCost) -> float:
    """Bytes of a tensor between layers."""
    if not tensor.is_floating_point():
        return float(tensor.numel() * tensor.element_size())
    return tensor.numel() * level.activation_bits / 8


def _activations(tensors: list[Tensor], recording: NetworkTrace) -> list[Tensor]:
    return [t for t in tensors if id(t) not in recording.names]


def _traffic(operation: Operation, recording: NetworkTrace, level: LevelCost) -> int:
    moved = _activations([*operation.inputs, *operation.results], recording)
    return round(sum(_size(t, level) for t in moved))


def _energy_pj(operation: Operation, recording: NetworkTrace, level: LevelCost) -> float:
    inputs = _activations(operation.inputs, recording)
    weights = [t for t in operation.inputs if id(t) in recording.names]
    is_fused = (
        not operation.n_macs
        and len([t for t in inputs if t.ndim > 1]) < 2
        and (
            torch.Tag.pointwise in operation.function.tags
            or 'batch_norm' in operation.name
            or operation.name in ('_prelu_kernel', 'floor_divide', '_to_copy')
        )
    )
    if operation.is_view or is_fused:
        return 0.0
    of_values = sum(_size(t, level) for t in (*inputs, *operation.results))
    of_weights = float(sum(_bytes_of(t, level) for t in weights))
    per_access = SRAM_1MB_PJ if of_values + of_weights <= SRAM_BYTES else DRAM_PJ
    operands = level.activation_bits / 32 + max(level.weight_bits, level.activation_bits) / 32
    arithmetic = operation.n_macs * (level.mac_pj + operands * SRAM_8KB_PJ)
    return arithmetic + of_values / 4 * per_access + of_weights / 4 * DRAM_PJ


def _peak(recording: NetworkTrace, level: LevelCost) -> int:
    """Largest sum of sizes of memories alive at one time, by the last operation that uses each."""

    def memory(tensor: Tensor) -> int:
        return int(tensor.untyped_storage()._cdata)

    of_weights = {memory(t) for t in (*recording.network.parameters(), *recording.network.buffers())}
    last = {memory(t): -1 for t in recording.inputs}
    for number, operation in enumerate(recording.operations):
        for tensor in (*operation.inputs, *operation.results):
            last[memory(tensor)] = number
    last |= {memory(t): len(recording.operations) for t in recording.outputs}
    alive: dict[int, float] = {memory(t): _size(t, level) for t in recording.inputs}
    peak = sum(alive.values())
    for number, operation in enumerate(recording.operations):
        for tensor in operation.results:
            if memory(tensor) not in of_weights and memory(tensor) not in alive:
                alive[memory(tensor)] = _size(tensor, level)
        peak = max(peak, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last[key] > number}
    return round(peak)

"""Counted cost of a network and its layers: parameters, MACs, bytes, traffic, memory, energy.

MACs are multiply-accumulate operations. Energy is an estimate from published figures for 45 nm (M. Horowitz,
"Computing's energy problem", ISSCC 2014, figure 1.1.9) with a simple model of memory, after T.-J. Yang,
Y.-H. Chen, V. Sze, "Designing energy-efficient convolutional neural networks using energy-aware pruning",
CVPR 2017:

- A MAC costs its arithmetic and the fetch of two operands from 8 KB of SRAM.
- A weight is fetched from DRAM once per image.
- An activation is written once and read once by each operation that needs it. It lies in 1 MB of SRAM if
  weights, inputs and results of the operation fit into that together, else in DRAM.
- Normalisations and pointwise operations on one tensor count as fused and cost nothing.

The estimate ranks networks and layers. Present computers need less energy, in other proportions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.errors import UnknownNameError
from seg_ros.networks.graph.trace import NetworkTrace, Operation, memory_of, on_meta, trace_network

DRAM_PJ, SRAM_1MB_PJ, SRAM_8KB_PJ = 640.0, 50.0, 5.0
"""Energy in picojoule of reading or writing 32 bits (Horowitz 2014)."""

SRAM_BYTES = 1 << 20


@dataclass(frozen=True)
class LevelCost:
    """Cost of a level of quantization.

    Attributes:
        weight_bits: Number of bits of a value of a kernel.
        vector_bits: Number of bits of a value of a bias, normalisation or slope.
        activation_bits: Number of bits of an activation, a value between layers.
        mac_pj: Energy in picojoule of one multiplication and one addition (Horowitz 2014).
    """

    weight_bits: float
    vector_bits: float
    activation_bits: float
    mac_pj: float


LEVELS: dict[str, LevelCost] = {
    'fp32': LevelCost(32, 32, 32, 3.7 + 0.9),
    'fp16': LevelCost(16, 16, 16, 1.1 + 0.4),
    'bf16': LevelCost(16, 16, 16, 1.1 + 0.4),
    'int8': LevelCost(8, 32, 8, 0.2 + 0.1),  # 32-bit sums
    'int4': LevelCost(4, 32, 32, 3.7 + 0.9),  # only weights are rounded; the network computes in fp32
}
"""Levels by name. Functions that take a level also accept any other :class:`LevelCost`."""


@dataclass(frozen=True)
class LayerCost:
    """Cost of one module for one image, without its sub-modules.

    Attributes:
        name: Name of the module; '' = the network itself.
        kind: Name of its class.
        n_parameters: Number of learned values.
        n_macs: Number of multiply-accumulate operations.
        n_bytes: Number of bytes of its parameters and statistics at the given level.
        traffic_bytes: Number of bytes read and written between layers at the given level, nothing fused.
        energy_uj: Estimated energy in microjoule, see the top of this file.
        latency_ms: Measured time in milliseconds; None = not measured.
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
    """Cost of a network for one image.

    Attributes:
        n_parameters: Number of learned values.
        n_macs: Number of multiply-accumulate operations.
        n_bytes: Number of bytes of parameters and statistics at the given level, without file overhead.
        peak_activation_bytes: Number of bytes, see :func:`peak_activation_bytes`.
        energy_uj: Estimated energy in microjoule, see the top of this file.
    """

    n_parameters: int
    n_macs: int
    n_bytes: int
    peak_activation_bytes: int
    energy_uj: float


def network_cost(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> Cost:
    """Cost of a whole network.

    Args:
        network: The network, of any dtype; ``level`` decides the precision. It is not changed.
        example: (1, 3, H, W) float input of the size to count for; its values do not matter.
        level: Name in LEVELS, or a level.
    """
    trace, level = _trace(network, example), _level(level)
    return Cost(
        count_parameters(network),
        sum(operation.n_macs for operation in trace.operations),
        count_bytes(network, level),
        _peak(trace, level),
        sum(_energy_pj(operation, trace, level) for operation in trace.operations) / 1e6,
    )


def layer_costs(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> list[LayerCost]:
    """Cost of each module that owns parameters or computes something, in order of execution.

    Arguments as in :func:`network_cost`. The sums over all layers are the costs of the network.
    """
    trace, level = _trace(network, example), _level(level)
    operations: dict[str, list[Operation]] = {}
    for operation in trace.operations:
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
                    sum(_traffic(operation, trace, level) for operation in ran if not operation.is_view),
                    sum(_energy_pj(operation, trace, level) for operation in ran) / 1e6,
                )
            )
    return costs


def count_parameters(network: nn.Module) -> int:
    """Number of learned values."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, example: Tensor) -> int:
    """Number of multiply-accumulate operations: half of the count of ``torch.utils.flop_counter``.

    Args:
        network: The network, of any dtype; it is not changed.
        example: (1, 3, H, W) float input of the size to count for; its values do not matter.
    """
    return sum(operation.n_macs for operation in _trace(network, example).operations)


def count_bytes(network: nn.Module, level: str | LevelCost = 'fp32') -> int:
    """Number of bytes of parameters and statistics: kernels have weight_bits, the others vector_bits."""
    level = _level(level)
    return sum(_bytes_of(t, level) for t in (*network.parameters(), *network.buffers()))


def energy_uj(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> float:
    """Estimated energy in microjoule for one image; see the top of this file."""
    trace, level = _trace(network, example), _level(level)
    return sum(_energy_pj(operation, trace, level) for operation in trace.operations) / 1e6


def peak_activation_bytes(network: nn.Module, example: Tensor, level: str | LevelCost = 'fp32') -> int:
    """Maximum number of bytes of inputs, results and activations in memory at one time.

    Operations run one by one, in order and not fused, and each tensor is freed after its last use. Floats
    have the activation_bits of the level; integers (positions of maxima) have the size of their dtype.
    """
    return _peak(_trace(network, example), _level(level))


def _trace(network: nn.Module, example: Tensor) -> NetworkTrace:
    """Trace of a network at the dtype of the example, whatever dtype its parameters have."""
    return trace_network(on_meta(network).to(example.dtype), example)


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
    """Number of bytes of an activation."""
    if not tensor.is_floating_point():
        return float(tensor.numel() * tensor.element_size())
    return tensor.numel() * level.activation_bits / 8


def _activations(tensors: list[Tensor], trace: NetworkTrace) -> list[Tensor]:
    return [t for t in tensors if id(t) not in trace.names]


def _traffic(operation: Operation, trace: NetworkTrace, level: LevelCost) -> int:
    moved = _activations([*operation.inputs, *operation.results], trace)
    return round(sum(_size(t, level) for t in moved))


def _energy_pj(operation: Operation, trace: NetworkTrace, level: LevelCost) -> float:
    inputs = _activations(operation.inputs, trace)
    weights = [t for t in operation.inputs if id(t) in trace.names]
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
    value_bytes = sum(_size(t, level) for t in (*inputs, *operation.results))
    weight_bytes = float(sum(_bytes_of(t, level) for t in weights))
    per_access = SRAM_1MB_PJ if value_bytes + weight_bytes <= SRAM_BYTES else DRAM_PJ
    operands = level.activation_bits / 32 + max(level.weight_bits, level.activation_bits) / 32
    arithmetic = operation.n_macs * (level.mac_pj + operands * SRAM_8KB_PJ)
    return arithmetic + value_bytes / 4 * per_access + weight_bytes / 4 * DRAM_PJ


def _peak(trace: NetworkTrace, level: LevelCost) -> int:
    """Maximum number of bytes alive at one time; a tensor lives until the last operation that uses it."""
    weights = {memory_of(t) for t in (*trace.network.parameters(), *trace.network.buffers())}
    last = {memory_of(t): -1 for t in trace.inputs}
    for number, operation in enumerate(trace.operations):
        for tensor in (*operation.inputs, *operation.results):
            last[memory_of(tensor)] = number
    last |= {memory_of(t): len(trace.operations) for t in trace.outputs}
    alive: dict[int, float] = {memory_of(t): _size(t, level) for t in trace.inputs}
    peak = sum(alive.values())
    for number, operation in enumerate(trace.operations):
        for tensor in operation.results:
            if memory_of(tensor) not in weights and memory_of(tensor) not in alive:
                alive[memory_of(tensor)] = _size(tensor, level)
        peak = max(peak, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last[key] > number}
    return round(peak)

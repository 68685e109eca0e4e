"""Cost that a network saves when one unit of channels leaves it."""

import math
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seg_ros.errors import UnknownNameError
from seg_ros.networks.graph.channels import ChannelMap, Unit
from seg_ros.networks.graph.cost import DRAM_PJ, LEVELS, SRAM_8KB_PJ
from seg_ros.networks.graph.measure import LatencyModel

SAVINGS = ('macs', 'parameters', 'bytes', 'energy', 'latency')
"""Kinds of :func:`savings`."""


def savings(
    network: nn.Module, channels: ChannelMap, kind: str, *, model: LatencyModel | None = None
) -> Tensor:
    """Cost saved for one image by removing each unit alone.

    Args:
        network: The network that ``channels`` was traced from.
        channels: Its present channels.
        kind: One of SAVINGS: 'macs'; 'parameters'; 'bytes' at fp32; 'energy', in picojoule at fp32 with
            activations in DRAM; 'latency', in milliseconds by ``model``.
        model: Model of time, required for 'latency'.

    Returns:
        (n_units,) float64, 0 or more.

    Raises:
        UnknownNameError: The kind is unknown, or 'latency' lacks its model.
    """
    if kind not in SAVINGS or (kind == 'latency' and model is None):
        raise UnknownNameError('kind of savings', kind, [*SAVINGS[:-1], 'latency (with a model)'])
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    values, macs = [], []
    for unit in channels.units:
        n_values = n_macs = 0.0
        for name, n_lost in _lost_values(unit, tensors).items():
            n_values += n_lost if kind == 'bytes' or isinstance(tensors[name], nn.Parameter) else 0
            n_macs += n_lost * channels.macs_per_value.get(name, 0)
        values.append(n_values)
        macs.append(n_macs)
    n_values_, n_macs_ = (torch.tensor(v, dtype=torch.float64) for v in (values, macs))
    if kind == 'macs':
        return n_macs_
    if kind in ('parameters', 'bytes'):
        return n_values_ * (4 if kind == 'bytes' else 1)
    if kind == 'latency' and model is not None:
        return n_macs_ * model.ms_per_mac + channels.traffic * model.ms_per_byte
    mac_pj = LEVELS['fp32'].mac_pj + 2 * SRAM_8KB_PJ
    return n_macs_ * mac_pj + n_values_ * DRAM_PJ + channels.traffic / 4 * DRAM_PJ


def _lost_values(unit: Unit, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Name of a tensor -> number of its values that leave the network with a unit."""
    slices: dict[str, Counter[int]] = {}
    for name, dim, _ in unit.places:
        slices.setdefault(name, Counter())[dim] += 1
    lost = {}
    for name, n_slices in slices.items():
        shape = tensors[name].shape
        kept = math.prod(1 - n / shape[dim] for dim, n in n_slices.items())
        lost[name] = tensors[name].numel() * (1 - kept)
    return lost

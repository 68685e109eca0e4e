"""Removal of channels and residual blocks from a network.

A *unit* is one dependency group of channels (``dependencies``): they are removed together or kept together.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError, ParameterError, UnavailableError
from seg_ros.networks.graph.blocks import check_names
from seg_ros.networks.graph.dependencies import DependencyGraph, Place
from seg_ros.networks.graph.trace import trace_network

LARGEST_SIDE = 64
"""Maximum height and width of the image that dependencies are traced on; they do not depend on its size."""


@dataclass(frozen=True)
class Unit:
    """Channels that depend on each other.

    Attributes:
        layer: Name of its layer, see :class:`ChannelMap`.
        makers: Slices of all tensors that compute the channels: kernels, biases, normalisations, slopes.
        readers: Input slices of the convolutions that read them; without these the channels have no effect.
    """

    layer: str
    makers: tuple[Place, ...]
    readers: tuple[Place, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        """Makers, then readers."""
        return self.makers + self.readers


@dataclass(frozen=True)
class ChannelMap:
    """The channels that can be removed from a network.

    Attributes:
        units: Units in order of execution.
        layers: Name -> numbers of its units, in order. The units of a layer are outputs of the same
            convolutions. It has the name of the first of them, with ``#2`` etc. if that name is taken.
        macs_per_value: Name of a convolution's weight -> number of uses of each of its values for one image.
        traffic: (n_units,) float64, number of bytes that a forward pass reads and writes for each unit with
            nothing fused; estimated from a small image.
    """

    units: tuple[Unit, ...]
    layers: dict[str, tuple[int, ...]]
    macs_per_value: dict[str, int]
    traffic: Tensor


def trace_channels(network: nn.Module, example: Tensor, *, keep: Collection[str] = ()) -> ChannelMap:
    """Find the channels that can be removed from a network.

    Channels behind an unknown operation are left out without an error.

    Args:
        network: Any network; it is not changed.
        example: (B, 3, H, W) input of the size to count costs for; its values do not matter.
        keep: Names of sub-modules whose results must keep their channels, such as the taps of codes.

    Raises:
        UnavailableError: The network cannot be traced on the meta device.
        ParameterError: ``keep`` holds a name that is not a sub-module.
    """
    check_names(network, keep)
    example = example[:1]
    macs_per_value = trace_network(network, example).macs_per_value()
    scale = example.numel() / _small(example).numel()
    return _channel_map(_dependencies(network, example, keep), macs_per_value, scale)


def removable_blocks(network: nn.Module, example: Tensor) -> list[str]:
    """Names of the sub-modules that may be removed, because they keep shape and channels of their input.

    These are residual blocks, recognised by their effect: compound modules with a kernel whose result has
    been added to their input when they return. A chain of such blocks is not named itself.
    """
    return _dependencies(network, example).blocks()


def remove(network: nn.Module, units: Iterable[Unit]) -> None:
    """Remove units from a network, in place: its tensors and the sizes that its modules state get smaller.

    Parameters are replaced by new ones. Make optimizers and ChannelMaps after this.

    Args:
        network: The network that the units were traced from.
        units: Units of its present ChannelMap.

    Raises:
        ParameterError: A tensor would be left empty, or lacks the channel. The network is not changed then.
    """
    removed: dict[tuple[str, int], set[int]] = {}
    for unit in units:
        for place in unit.places:
            removed.setdefault((place.name, place.dim), set()).add(place.channel)
    state = _tensors(network)
    smaller: dict[str, Tensor] = {}
    for (name, dim), indices in removed.items():
        tensor = smaller.get(name, state.get(name))
        if tensor is None or dim >= tensor.ndim or max(indices) >= tensor.shape[dim]:
            raise ParameterError(
                f'{name} has no channel {max(indices)} in dimension {dim}; the units belong to another '
                'network, or to this one before other channels were removed: trace its channels again'
            )
        kept = [i for i in range(tensor.shape[dim]) if i not in indices]
        if not kept:
            raise ParameterError(
                f'no channel of {name} would be left; leave at least one unit of each layer in the network'
            )
        smaller[name] = tensor.detach().index_select(dim, torch.tensor(kept, device=tensor.device))
    _replace(network, smaller)


def shrink(network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give the tensors of a new network the shapes of a pruned one, in place.

    Args:
        network: New network of the architecture, on any device, without the removed blocks.
        shapes: Name in the state dict -> shape, for every tensor of the network.

    Raises:
        ModelFileError: A name is missing or unknown; a shape is empty, larger than in the architecture or has
            another number of dimensions; or the network does not run with these shapes.
    """
    state = network.state_dict()
    if shapes.keys() != state.keys():
        missing, unknown = sorted(state.keys() - shapes.keys()), sorted(shapes.keys() - state.keys())
        raise ModelFileError(
            f'tensors are not those of the architecture: missing {missing[:3]}, unknown {unknown[:3]}'
        )
    smaller = {}
    for name, tensor in state.items():
        shape, largest = tuple(shapes[name]), tuple(tensor.shape)
        if len(shape) != len(largest) or any(not 0 < n <= m for n, m in zip(shape, largest, strict=True)):
            raise ModelFileError(
                f'{name} has shape {shape}; expected at most the {largest} of its architecture, and no 0'
            )
        if shape != largest:
            smaller[name] = tensor[tuple(slice(n) for n in shape)].clone()
    if not smaller:
        return
    example = torch.empty(1, 3, LARGEST_SIDE, LARGEST_SIDE, device='meta')
    try:
        wanted = [t.shape for t in trace_network(network, example).outputs]
        _replace(network, smaller)
        found = [t.shape for t in _dependencies(network, example).trace.outputs]
    except UnavailableError as err:
        raise ModelFileError(f'the shapes of the tensors do not fit together: {err}') from err
    if found != wanted:
        raise ModelFileError(
            f'with these shapes the network gives {[tuple(s) for s in found]}; '
            f'its architecture gives {[tuple(s) for s in wanted]}'
        )


def _small(example: Tensor) -> Tensor:
    return example[:1, ..., :LARGEST_SIDE, :LARGEST_SIDE]


def _dependencies(network: nn.Module, example: Tensor, keep: Collection[str] = ()) -> DependencyGraph:
    return DependencyGraph(trace_network(network, _small(example)), keep)


def _channel_map(graph: DependencyGraph, macs_per_value: dict[str, int], scale: float) -> ChannelMap:
    """One unit for each dependency group; traffic is multiplied by ``scale``."""
    names: dict[tuple[str, ...], str] = {}
    layers: dict[str, list[int]] = {}
    units = []
    groups = graph.groups(scale)
    for number, group in enumerate(groups):
        first = group.producers[0]
        if group.producers not in names:
            n_before = sum(other[0] == first for other in names)
            names[group.producers] = f'{first}#{n_before + 1}' if n_before else first
        name = names[group.producers]
        units.append(Unit(name, group.makers, group.readers))
        layers.setdefault(name, []).append(number)
    return ChannelMap(
        tuple(units),
        {name: tuple(numbers) for name, numbers in layers.items()},
        macs_per_value,
        torch.tensor([group.traffic for group in groups], dtype=torch.float64),
    )


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a tensor with several names occurs under each."""
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


def _replace(network: nn.Module, smaller: Mapping[str, Tensor]) -> None:
    """Replace the tensors with these names, under all names that they have."""
    state = _tensors(network)
    by_identity = {id(state[name]): value for name, value in smaller.items()}
    made: dict[int, Tensor] = {}
    owners: dict[str, nn.Module] = {}
    for name, old in state.items():
        if id(old) not in by_identity:
            continue
        value = made.setdefault(
            id(old),
            nn.Parameter(by_identity[id(old)], old.requires_grad)
            if isinstance(old, nn.Parameter)
            else by_identity[id(old)],
        )
        owner, _, leaf = name.rpartition('.')
        owners[owner] = network.get_submodule(owner)
        setattr(owners[owner], leaf, value)
    for module in owners.values():
        _adapt(module)


def _adapt(module: nn.Module) -> None:
    """Set the numbers of channels that a module states to those of its tensors."""
    if isinstance(module, nn.modules.conv._ConvNd):
        n_first, n_second = module.weight.shape[:2]
        is_depthwise = module.groups > 1 and module.in_channels == module.groups
        if module.transposed:
            module.groups = n_first if is_depthwise else module.groups
            module.in_channels, module.out_channels = n_first, n_second * module.groups
        else:
            multiple = module.out_channels // module.in_channels
            module.groups = n_first // multiple if is_depthwise else module.groups
            module.in_channels, module.out_channels = n_second * module.groups, n_first
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        sized = module.weight if module.weight is not None else module.running_mean
        module.num_features = len(sized) if sized is not None else module.num_features
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)

"""Which channels of a network hang together, and the network without some of them.

The channels under one mark (see ``marks``) are a *unit*: they leave together or stay together.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError, ParameterError, UnavailableError
from seg_ros.networks.graph.dependencies import Follower, Place
from seg_ros.networks.graph.trace import record

LARGEST_SIDE = 64
"""Marks are followed on an image of at most so many pixels each way; channels do not depend on the size."""


@dataclass(frozen=True)
class Unit:
    """Channels that hang together.

    Attributes:
        layer: name of its layer.
        makers: what makes the channels: kernels, biases, normalisations, slopes.
        readers: the inputs of convolutions that read them; without these the channels do nothing.
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
    """The channels of a network that can be taken out of it.

    Attributes:
        units: in the order in which a forward pass makes them.
        layers: name -> numbers of its units, in order. The units of a layer are outputs of the same
            convolutions; it is called like the first of them, and ``name#2`` if another layer is, too.
        macs_per_value: name of a convolution's weight -> how often one image uses each of its values.
        traffic: bytes that a forward pass, not fused, reads and writes for each unit, (n_units,) float64;
            estimated from a small image.
    """

    units: tuple[Unit, ...]
    layers: dict[str, tuple[int, ...]]
    macs_per_value: dict[str, int]
    traffic: Tensor


def trace_channels(network: nn.Module, example: Tensor, *, keep: Collection[str] = ()) -> ChannelMap:
    """The channels of a network that can be taken out of it.

    Args:
        network: any; it is not changed. What hinders a channel is not an error: the channel is left out.
        example: (B, 3, H, W) input of the size that costs are to be counted for; its values do not count.
        keep: names of sub-modules whose results must keep their channels, such as those that codes are read
            from.

    Raises:
        UnavailableError: the network cannot be run without values.
        ParameterError: ``keep`` names no sub-module.
    """
    _check_names(network, keep)
    example = example[:1]
    macs_per_value = record(network, example).macs_per_value()
    scale = example.numel() / _small(example).numel()
    return _map_of(_follow(network, example, keep), macs_per_value, scale)


def removable_blocks(network: nn.Module, example: Tensor) -> list[str]:
    """Names of the sub-modules that may be left out: they give what they take, in shape and channels.

    These are residual blocks, found by what they do: a module made of several, with a kernel inside, whose
    result has been added to its input by the time it returns. A chain of such blocks is not named itself.
    """
    return _follow(network, example).blocks()


def remove_block(network: nn.Module, name: str) -> None:
    """Put ``nn.Identity`` in the place of a sub-module, in place.

    Raises:
        ParameterError: there is no sub-module of that name.
    """
    _check_names(network, [name])
    parent, _, leaf = name.rpartition('.')
    setattr(network.get_submodule(parent), leaf, nn.Identity())


def remove(network: nn.Module, units: Iterable[Unit]) -> None:
    """Take units out of a network: smaller tensors, and modules that say so. In place.

    Parameters are replaced by new ones, so an optimizer must be made afterwards, and so must a ChannelMap.

    Args:
        network: the one that the units are of.
        units: of its present ChannelMap.

    Raises:
        ParameterError: nothing would be left of a tensor, or it has no such channel; nothing is changed.
    """
    gone: dict[tuple[str, int], set[int]] = {}
    for unit in units:
        for place in unit.places:
            gone.setdefault((place.name, place.dim), set()).add(place.channel)
    state = _tensors(network)
    smaller: dict[str, Tensor] = {}
    for (name, dim), indices in gone.items():
        tensor = smaller.get(name, state.get(name))
        if tensor is None or dim >= tensor.ndim or max(indices) >= tensor.shape[dim]:
            raise ParameterError(
                f'{name} has no channel {max(indices)} in dimension {dim}; are the units those of another '
                'network, or of this one before channels left it?'
            )
        kept = [i for i in range(tensor.shape[dim]) if i not in indices]
        if not kept:
            raise ParameterError(
                f'no channel of {name} would be left; leave at least one unit of each layer in the network'
            )
        smaller[name] = tensor.detach().index_select(dim, torch.tensor(kept, device=tensor.device))
    _replace(network, smaller)


def shrink(network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make the tensors of a freshly built network as small as those of a pruned one. In place.

    Args:
        network: built by its architecture, perhaps on the meta device; removed blocks are out already.
        shapes: name in the state dict -> shape, for every tensor of the network.

    Raises:
        ModelFileError: a name is missing or unknown, a shape is larger than the architecture's, empty, or of
            another number of dimensions, or the network does not work with these shapes.
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
                f'{name} has shape {shape}; its architecture has {largest}, of which channels may be missing'
            )
        if shape != largest:
            smaller[name] = tensor[tuple(slice(n) for n in shape)].clone()
    if not smaller:
        return
    example = torch.empty(1, 3, LARGEST_SIDE, LARGEST_SIDE, device='meta')
    try:
        wanted = [t.shape for t in record(network, example).outputs]
        _replace(network, smaller)
        found = [t.shape for t in _follow(network, example).recording.outputs]
    except UnavailableError as err:
        raise ModelFileError(f'shapes of tensors do not fit together: {err}') from err
    if found != wanted:
        raise ModelFileError(
            f'the network gives {[tuple(s) for s in found]} with these shapes; '
            f'its architecture gives {[tuple(s) for s in wanted]}'
        )


def _check_names(network: nn.Module, names: Iterable[str]) -> None:
    known = dict(network.named_modules())
    for name in names:
        if not name or name not in known:
            raise ParameterError(f"the network has no sub-module '{name}'")


def _small(example: Tensor) -> Tensor:
    return example[:1, ..., :LARGEST_SIDE, :LARGEST_SIDE]


def _follow(network: nn.Module, example: Tensor, keep: Collection[str] = ()) -> Follower:
    return Follower(record(network, _small(example)), keep)


def _map_of(follower: Follower, macs_per_value: dict[str, int], scale: float) -> ChannelMap:
    """Units and layers; traffic is multiplied by ``scale``."""
    names: dict[tuple[str, ...], str] = {}
    layers: dict[str, list[int]] = {}
    units = []
    groups = follower.groups(scale)
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
    """Parameters and buffers by name; of several names for one tensor each."""
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


def _replace(network: nn.Module, smaller: Mapping[str, Tensor]) -> None:
    """Put smaller tensors in the place of those with these names, under all names that they have."""
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
    """Let a module say the numbers of channels that its tensors have."""
    if isinstance(module, nn.modules.conv._ConvNd):
        n_first, n_second = module.weight.shape[:2]
        of_one_channel = module.groups > 1 and module.in_channels == module.groups
        if module.transposed:
            module.groups = n_first if of_one_channel else module.groups
            module.in_channels, module.out_channels = n_first, n_second * module.groups
        else:
            multiple = module.out_channels // module.in_channels
            module.groups = n_first // multiple if of_one_channel else module.groups
            module.in_channels, module.out_channels = n_second * module.groups, n_first
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        sized = module.weight if module.weight is not None else module.running_mean
        module.num_features = len(sized) if sized is not None else module.num_features
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)

"""Dependency graph of the channels of a network.

Removing one channel of a convolution forces changes elsewhere: in its bias, in the normalisation after it, in
the convolutions that read it, and in every channel that is added to it. Such channels form a *dependency
group*: they are removed together or kept together. The groups are those of G. Fang et al., "DepGraph: towards
any structural pruning", CVPR 2023, at the grain of channels instead of layers. Of the 64 channels of ENet's
bottleneck 1.0, for example, 13 depend on the initial block and the end of the decoder, 3 on the image itself,
and 48 on nothing before them.

Method: every value carries the id of its channel (``channel_ids``) from the input to the scores.

- A convolution gives new ids to its outputs.
- An operation that rearranges values is run on their ids.
- An operation that combines tensors value by value joins the groups of their ids.
- Normalisations and slopes belong to the channels that they read.
- An unknown operation freezes the groups of its inputs. So do the input and the results of the network.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.errors import UnavailableError
from seg_ros.networks.graph.channel_ids import (
    CONSTANT,
    ChannelGroups,
    by_channel,
    compact,
    distinct,
    expand_channels,
    stored_once,
)
from seg_ros.networks.graph.operations import NORMALISATIONS, POINTWISE, REARRANGING, WITHIN_CHANNELS
from seg_ros.networks.graph.trace import Call, NetworkTrace, Operation, tensors_of


class Place(NamedTuple):
    """One slice of a parameter or buffer: all of tensor ``name`` at ``channel`` of dimension ``dim``."""

    name: str
    dim: int
    channel: int


class DependencyGroup(NamedTuple):
    """Channels that depend on each other.

    Attributes:
        producers: Names of the convolutions that compute the channels, in order of execution.
        makers: Slices of all tensors that compute them: kernels, biases, normalisations, slopes.
        readers: Input slices of the convolutions that read them.
        traffic: Number of bytes that operations read and write for them.
    """

    producers: tuple[str, ...]
    makers: tuple[Place, ...]
    readers: tuple[Place, ...]
    traffic: float


class DependencyGraph:
    """Propagates channel ids through a trace and groups the dependent ones.

    Args:
        trace: One forward pass of the network.
        keep: Names of modules whose results must keep their channels.

    ``self._ids`` holds the channel ids of each tensor, by the ``id()`` of the tensor.
    """

    def __init__(self, trace: NetworkTrace, keep: Collection[str] = ()) -> None:
        self.trace = trace
        self._modules = dict(trace.network.named_modules())
        self._groups = ChannelGroups()
        self._ids: dict[int, Tensor] = {}
        self._makers: list[tuple[int, Place]] = []
        self._readers: list[tuple[int, Place]] = []
        self._producers: list[tuple[int, str]] = []
        self._keeps_channels: dict[str, bool] = {}
        self._run(keep)

    def blocks(self) -> list[str]:
        """Innermost compound modules with a kernel whose output channels always are their input channels."""
        found = [
            name
            for name, keeps in self._keeps_channels.items()
            if keeps and _is_compound(self._modules[name])
        ]
        inner = [name for name in found if not any(other.startswith(f'{name}.') for other in found)]
        return [name for name in self._modules if name in inner]

    def groups(self, scale: float) -> list[DependencyGroup]:
        """The groups that are not frozen, in order of execution; traffic is multiplied by ``scale``."""
        makers, readers = self._by_root(self._makers), self._by_root(self._readers)
        producers, traffic = self._by_root(self._producers), self._traffic()
        return [
            DependencyGroup(
                tuple(names),
                tuple(makers[root]),
                tuple(readers.get(root, [])),
                traffic.get(root, 0.0) * scale,
            )
            for root, names in producers.items()
            if not self._groups.is_frozen(root)
        ]

    def _run(self, keep: Collection[str]) -> None:
        for x in self.trace.inputs:
            self._ids[id(x)] = expand_channels(self._groups.new(x.shape[1]), x.shape)
            self._groups.freeze(self._ids[id(x)])
        calls = list(self.trace.calls)
        for number, operation in enumerate(self.trace.operations):
            while calls and calls[0].n_before <= number:
                self._check_call(calls.pop(0), keep)
            self._propagate(operation)
        for call in calls:
            self._check_call(call, keep)
        for result in self.trace.outputs:
            self._groups.freeze(self._ids_of(result))

    def _by_root(self, items: list[tuple[int, Any]]) -> dict[int, list[Any]]:
        """(channel id, item) -> root of a group -> its items, each once."""
        found: dict[int, dict[Any, None]] = {}
        for channel, item in items:
            found.setdefault(self._groups.root(channel), {})[item] = None
        return {root: list(group_items) for root, group_items in found.items()}

    def _traffic(self) -> dict[int, float]:
        """Root of a group -> number of bytes that operations read and write for it."""
        total: dict[int, float] = {}
        for operation in self.trace.operations:
            if operation.is_view:
                continue
            for tensor in (*operation.inputs, *operation.results):
                ids = self._ids.get(id(tensor))
                if ids is None or id(tensor) in self.trace.names or tensor.ndim < 2:
                    continue
                shape, size = stored_once(ids), tensor.element_size()
                present, counts = np.unique(ids[shape].numpy(), return_counts=True)
                times = ids.numel() / max(ids[shape].numel(), 1) * size
                for channel, count in zip(present.tolist(), counts.tolist(), strict=True):
                    root = self._groups.root(int(channel))
                    total[root] = total.get(root, 0.0) + count * times
        return total

    def _check_call(self, call: Call, keep: Collection[str]) -> None:
        """Freeze the results of a module to keep; note whether a module returns the channels of its input."""
        if call.name in keep:
            for result in call.outputs:
                self._groups.freeze(self._ids_of(result))
        same = len(call.inputs) == len(call.outputs) == 1 and _is_map(*call.inputs, *call.outputs)
        if same:
            taken, given = (by_channel(self._ids_of(t), 1) for t in (*call.inputs, *call.outputs))
            same = taken.shape == given.shape and torch.equal(
                self._groups.roots(taken.flatten()), self._groups.roots(given.flatten())
            )
        self._keeps_channels[call.name] = same and self._keeps_channels.get(call.name, True)

    def _ids_of(self, tensor: Tensor) -> Tensor:
        """Channel ids of a tensor's values; those of a parameter are made at its first use."""
        if id(tensor) not in self._ids:
            if id(tensor) not in self.trace.names:
                return torch.zeros((), dtype=torch.float64).expand(tensor.shape)
            self._ids[id(tensor)] = self._ids_of_parameter(tensor)
        return self._ids[id(tensor)]

    def _ids_of_parameter(self, tensor: Tensor) -> Tensor:
        """One id for each value of a vector, whose other axes have length 1; a matrix cannot be followed."""
        long = [dim for dim, length in enumerate(tensor.shape) if length > 1]
        if len(long) == 1:
            (dim,) = long
            ids = self._groups.new(tensor.shape[dim])
            self._attach(self._makers, ids, self.trace.names[id(tensor)], dim)
            return ids.view(tensor.shape)
        if not long:
            return torch.zeros(tensor.shape, dtype=torch.float64)
        return self._new_frozen().expand(tensor.shape)

    def _new_frozen(self) -> Tensor:
        """A new id whose group is frozen from the start, ()."""
        channel = self._groups.new(1)
        self._groups.freeze(channel)
        return channel[0]

    def _attach(self, places: list[tuple[int, Place]], ids: Tensor, name: str, dim: int) -> None:
        """Let slice k of tensor ``name`` along ``dim`` belong to channel ``ids[k]``."""
        for channel, channel_id in enumerate(ids.tolist()):
            if channel_id != CONSTANT:
                places.append((int(channel_id), Place(name, dim, channel)))

    def _propagate(self, operation: Operation) -> None:
        """Give channel ids to the results of an operation."""
        if not any(id(t) in self._ids or id(t) in self.trace.names for t in operation.inputs):
            return  # the result of constants is a constant
        name = operation.name
        if name == 'convolution':
            self._convolution(operation)
        elif name in NORMALISATIONS:
            self._norm(operation)
        elif name in WITHIN_CHANNELS or self._is_spatial_mean(operation):
            channels = self._channels(self._ids_of(operation.inputs[0]))
            for result in operation.results:
                self._ids[id(result)] = expand_channels(channels, result.shape)
        elif name in REARRANGING:
            self._rearrange(operation)
        elif self._is_pointwise(operation):
            ids = self._combine([self._ids_of(t) for t in operation.inputs], operation.results[0].shape)
            for result in operation.results:
                self._ids[id(result)] = ids
        else:
            self._freeze_all(operation)

    def _freeze_all(self, operation: Operation) -> None:
        """An operation that cannot be followed: its inputs must keep their channels."""
        for tensor in operation.inputs:
            self._groups.freeze(self._ids_of(tensor))
        for result in operation.results:
            self._ids[id(result)] = self._new_frozen().expand(result.shape)

    def _channels(self, ids: Tensor) -> Tensor:
        """(B, C, ...) ids -> (C,); a channel whose values belong to several groups freezes them.

        Values with the id CONSTANT, such as the zeros around an image, count to the channel around them.
        """
        flat = by_channel(ids, 1)
        if flat.shape[1] == 1:
            return flat[:, 0].clone()
        largest = flat.amax(1)
        smallest = flat.where(flat != CONSTANT, torch.inf).amin(1).minimum(largest)
        mixed = self._groups.roots(largest) != self._groups.roots(smallest)
        for channel in mixed.nonzero()[:, 0].tolist():
            if len({self._groups.root(found) for found in distinct(flat[channel])}) > 1:
                self._groups.freeze(flat[channel])
        return largest

    def _convolution(self, operation: Operation) -> None:
        x, weight, bias = operation.args[:3]
        transposed, n_groups = bool(operation.args[6]), int(operation.args[8])
        name = self.trace.names.get(id(weight))
        if name is None:  # a computed weight is not a parameter from which a channel can be removed
            self._freeze_all(operation)
            return
        channels = self._channels(self._ids_of(x))
        (result,) = operation.results
        dim_in, dim_out = (0, 1) if transposed else (1, 0)
        if n_groups == 1:
            ids = self._groups.new(result.shape[1])
            self._attach(self._readers, channels, name, dim_in)
            self._attach(self._makers, ids, name, dim_out)
        elif n_groups == len(channels):
            ids = self._depthwise(channels, name, result.shape[1] // n_groups, transposed)
        else:
            ids = self._grouped(channels, weight, name, n_groups, transposed)
        if n_groups == 1 or n_groups != len(channels):
            self._producers += [(int(channel), name.rpartition('.')[0]) for channel in ids.tolist()]
        if bias is not None:
            if bias.shape != ids.shape:
                raise UnavailableError(
                    f'{name} makes {len(ids)} channels but has {len(bias)} biases; expected one per channel'
                )
            self._combine([ids, self._ids_of(bias)], ids.shape)
        self._ids[id(result)] = expand_channels(ids, result.shape)

    def _depthwise(self, channels: Tensor, name: str, multiple: int, transposed: bool) -> Tensor:
        """Ids behind a depthwise convolution: each output channel has the id of its input channel."""
        if (channels == CONSTANT).any():
            self._groups.freeze(channels)
            return self._new_frozen().expand(len(channels) * multiple)
        ids = channels.repeat_interleave(multiple)
        self._attach(self._makers, channels if transposed else ids, name, 0)
        return ids

    def _grouped(
        self, channels: Tensor, weight: Tensor, name: str, n_groups: int, transposed: bool
    ) -> Tensor:
        """Ids behind a grouped convolution.

        Its groups must stay equally large. The first channels of all groups therefore depend on each other,
        as do the second, and so on.
        """
        n_out = weight.shape[1] if transposed else weight.shape[0] // n_groups
        if (channels == CONSTANT).any():
            self._groups.freeze(channels)
            return self._new_frozen().expand(n_out * n_groups)
        ids = self._groups.new(n_out).repeat(n_groups)
        by_group = channels.view(n_groups, -1)
        for other in by_group[1:]:
            self._combine([by_group[0], other], other.shape)
        if transposed:
            self._attach(self._readers, channels, name, 0)
            self._attach(self._makers, ids[:n_out], name, 1)
        else:
            self._attach(self._readers, by_group[0], name, 1)
            self._attach(self._makers, ids, name, 0)
        return ids

    def _norm(self, operation: Operation) -> None:
        x, *vectors = operation.args[:5]
        channels = self._channels(self._ids_of(x))
        for vector in vectors:
            if vector is None:
                continue
            if vector.shape != channels.shape:
                raise UnavailableError(
                    f'a normalisation in {operation.module} has {len(vector)} values '
                    f'for {len(channels)} channels; expected one per channel'
                )
            if id(vector) in self.trace.names:
                self._attach(self._makers, channels, self.trace.names[id(vector)], 0)
            else:
                self._groups.freeze(channels)
        result = operation.results[0]
        self._ids[id(result)] = expand_channels(channels, result.shape)

    def _rearrange(self, operation: Operation) -> None:
        """Run the operation on the ids of its inputs."""

        def ids_for(value: Any) -> Any:
            if isinstance(value, (tuple, list)):
                return [ids_for(part) for part in value]
            return self._ids_of(value) if isinstance(value, Tensor) else value

        args = ids_for(operation.args)
        if operation.name in ('view', '_unsafe_view'):  # a view of repeated ids would be refused
            moved = [args[0].reshape(args[1])]
        elif operation.name == 'constant_pad_nd':  # pad with CONSTANT, whatever the operation pads with
            moved = [operation.function(*args[:2])]
        else:
            moved = list(tensors_of(operation.function(*args)))
        for result, ids in zip(operation.results, moved, strict=True):
            self._ids[id(result)] = compact(ids)

    def _combine(self, parts: list[Tensor], shape: Sequence[int]) -> Tensor:
        """Ids of a value-by-value combination of tensors with the ids ``parts``; their groups are joined."""
        axis = 1 if len(shape) > 1 else 0
        joined = torch.zeros((), dtype=torch.float64).expand(shape)
        constant_channels: list[Tensor] = []
        for part in parts:
            wide = part.expand(shape)
            own_axis = part.ndim - len(shape) + axis
            if own_axis >= 0 and part.shape[own_axis] > 1:
                constant_channels.append(by_channel(wide, axis).amax(1) == CONSTANT)
            joined = self._combine_two(joined, wide)
        for constant in constant_channels:  # a constant with one value per channel cannot lose a channel
            if constant.any():
                self._groups.freeze(joined.movedim(axis, 0)[constant.expand(shape[axis])])
        return compact(joined)

    def _combine_two(self, first: Tensor, second: Tensor) -> Tensor:
        common = tuple(
            slice(0, 1) if not a and not b else slice(None)
            for a, b in zip(first.stride(), second.stride(), strict=True)
        )
        one, other = first[common], second[common]
        both = (one != CONSTANT) & (other != CONSTANT) & (one != other)
        for a, b in set(zip(one[both].tolist(), other[both].tolist(), strict=True)):
            self._groups.join(int(a), int(b))
        return one.where(one != CONSTANT, other).expand(first.shape)

    def _is_pointwise(self, operation: Operation) -> bool:
        """Whether it combines values place by place. An operation that writes into a constant is not."""
        if operation.name.rstrip('_') not in POINTWISE and torch.Tag.pointwise not in operation.function.tags:
            return False
        writes = operation.function._schema.is_mutable
        return not writes or bool((self._ids_of(operation.inputs[0]) != CONSTANT).all())

    def _is_spatial_mean(self, operation: Operation) -> bool:
        """Whether it reduces rows or columns and neither channels nor the batch."""
        if operation.name not in ('mean', 'sum', 'amax', 'amin') or len(operation.args) < 2:
            return False
        x, dims = operation.args[:2]
        return bool(dims) and all(dim % x.ndim > 1 for dim in dims)


def _is_compound(module: nn.Module) -> bool:
    return any(True for _ in module.children()) and any(p.ndim > 1 for p in module.parameters())


def _is_map(taken: Tensor, given: Tensor) -> bool:
    return taken.shape == given.shape and taken.ndim > 2

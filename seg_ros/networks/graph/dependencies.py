"""Marks that say of each value in a network which channel it belongs to, carried from input to scores.

A convolution gives its outputs new marks; what moves data moves the marks with it, by being run on them;
what combines tensors value by value makes their marks one; normalisations and slopes tie their vectors to
the marks of what they read. What cannot be followed freezes the marks that it meets, and so do the
network's inputs and results.

This finds the dependency graph of G. Fang et al., "DepGraph: towards any structural pruning", CVPR 2023, at
the grain of channels rather than layers: of the 64 channels that ENet's bottleneck 1.0 gives, 13 hang
together with the initial block and the decoder's end, 3 with the image itself, and 48 with nothing before.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.errors import UnavailableError
from seg_ros.networks.graph.trace import Call, NetworkTrace, Operation, tensors_of

_CONSTANT = 0
_NORMS = {
    'native_batch_norm',
    'cudnn_batch_norm',
    'miopen_batch_norm',
    '_native_batch_norm_legit',
    '_native_batch_norm_legit_no_training',
}
# Each channel of the result comes from the same channel of the input, whatever happens within.
_WITHIN_CHANNELS = {
    'max_pool2d_with_indices',
    'avg_pool2d',
    '_adaptive_avg_pool2d',
    'adaptive_max_pool2d',
    'upsample_nearest2d',
    '_upsample_nearest_exact2d',
    'upsample_bilinear2d',
    'upsample_bicubic2d',
    'replication_pad2d',
    'reflection_pad2d',
}
_MOVES = {
    'alias',
    'cat',
    'clone',
    'constant_pad_nd',
    'detach',
    'expand',
    'flip',
    'permute',
    'pixel_shuffle',
    'pixel_unshuffle',
    'repeat',
    'roll',
    'select',
    'slice',
    'split',
    'split_with_sizes',
    'squeeze',
    'stack',
    't',
    'transpose',
    'unbind',
    'unsafe_split',
    'unsqueeze',
    'view',
    '_unsafe_view',
}
# Value by value, though PyTorch does not say so of them.
_POINTWISE = {
    '_prelu_kernel',
    '_to_copy',
    'bitwise_and',
    'floor_divide',
    'fmod',
    'hardswish',
    'hardtanh',
    'masked_fill',
    'prelu',
    'where',
}


class Place(NamedTuple):
    """One slice of a parameter or buffer: all of tensor ``name`` at ``channel`` of dimension ``dim``."""

    name: str
    dim: int
    channel: int


class Group(NamedTuple):
    """Channels under one mark.

    Attributes:
        producers: names of the convolutions that make them, in order.
        makers: all that makes them: kernels, biases, normalisations, slopes.
        readers: inputs of convolutions that read them.
        traffic: bytes that operations read and write for them.
    """

    producers: tuple[str, ...]
    makers: tuple[Place, ...]
    readers: tuple[Place, ...]
    traffic: float


class _Partition:
    """Marks 1, 2, ... in sets that grow together and may be frozen; mark 0 is no channel's."""

    def __init__(self) -> None:
        self._parent = [_CONSTANT]
        self._frozen = [False]

    def new(self, count: int) -> Tensor:
        """(count,) float64 marks, each a set of its own; float because padding and pooling want that."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        self._frozen.extend([False] * count)
        return torch.arange(start, start + count, dtype=torch.float64)

    def root(self, mark: int) -> int:
        while self._parent[mark] != mark:
            self._parent[mark] = self._parent[self._parent[mark]]
            mark = self._parent[mark]
        return mark

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low
        self._frozen[low] |= self._frozen[high]

    def freeze(self, marks: Tensor) -> None:
        for mark in _distinct(marks):
            self._frozen[self.root(mark)] = True

    def is_frozen(self, mark: int) -> bool:
        return self._frozen[self.root(mark)]

    def roots(self, marks: Tensor) -> Tensor:
        """(C,) marks -> the same with one mark for each set."""
        return torch.tensor([float(self.root(int(mark))) for mark in marks.tolist()], dtype=torch.float64)


class Follower:
    """Carries marks through a recording.

    Args:
        recording: of one forward pass.
        keep: names of modules whose results keep their channels.

    ``self._marks`` holds, by id of a tensor, a mark for each of its values; where all values of a channel
    have one, it is a view that repeats it and takes no memory.
    """

    def __init__(self, recording: NetworkTrace, keep: Collection[str] = ()) -> None:
        self.recording = recording
        self._modules = dict(recording.network.named_modules())
        self._sets = _Partition()
        self._marks: dict[int, Tensor] = {}
        self._makers: list[tuple[int, Place]] = []
        self._readers: list[tuple[int, Place]] = []
        self._producers: list[tuple[int, str]] = []
        self._same: dict[str, bool] = {}
        self._run(keep)

    def blocks(self) -> list[str]:
        """Innermost modules of several parts, with a kernel, that always gave the channels that they took."""
        found = [name for name, same in self._same.items() if same and _is_compound(self._modules[name])]
        inner = [name for name in found if not any(other.startswith(f'{name}.') for other in found)]
        return [name for name in self._modules if name in inner]

    def groups(self, scale: float) -> list[Group]:
        """The sets that nothing froze, in the order in which they come up; traffic times ``scale``."""
        makers, readers = self._by_root(self._makers), self._by_root(self._readers)
        producers, traffic = self._by_root(self._producers), self._traffic()
        return [
            Group(
                tuple(names),
                tuple(makers[root]),
                tuple(readers.get(root, [])),
                traffic.get(root, 0.0) * scale,
            )
            for root, names in producers.items()
            if not self._sets.is_frozen(root)
        ]

    def _run(self, keep: Collection[str]) -> None:
        for x in self.recording.inputs:
            self._marks[id(x)] = self._sets.new(x.shape[1]).view(1, -1, *[1] * (x.ndim - 2)).expand(x.shape)
            self._sets.freeze(self._marks[id(x)])
        calls = list(self.recording.calls)
        for number, operation in enumerate(self.recording.operations):
            while calls and calls[0].n_before <= number:
                self._look_at(calls.pop(0), keep)
            self._carry(operation)
        for call in calls:
            self._look_at(call, keep)
        for result in self.recording.outputs:
            self._sets.freeze(self._of(result))

    def _by_root(self, ties: list[tuple[int, Any]]) -> dict[int, list[Any]]:
        found: dict[int, dict[Any, None]] = {}
        for mark, what in ties:
            found.setdefault(self._sets.root(mark), {})[what] = None
        return {root: list(whats) for root, whats in found.items()}

    def _traffic(self) -> dict[int, float]:
        """Root of a set -> bytes that operations read and write for it."""
        total: dict[int, float] = {}
        for operation in self.recording.operations:
            if operation.is_view:
                continue
            for tensor in (*operation.inputs, *operation.results):
                marks = self._marks.get(id(tensor))
                if marks is None or id(tensor) in self.recording.names or tensor.ndim < 2:
                    continue
                shape, size = _repeated(marks), tensor.element_size()
                present, counts = np.unique(marks[shape].numpy(), return_counts=True)
                times = marks.numel() / max(marks[shape].numel(), 1) * size
                for mark, count in zip(present.tolist(), counts.tolist(), strict=True):
                    root = self._sets.root(int(mark))
                    total[root] = total.get(root, 0.0) + count * times
        return total

    def _look_at(self, call: Call, keep: Collection[str]) -> None:
        if call.name in keep:
            for result in call.outputs:
                self._sets.freeze(self._of(result))
        same = len(call.inputs) == len(call.outputs) == 1 and _is_map(*call.inputs, *call.outputs)
        if same:
            taken, given = (_by_channel(self._of(t), 1) for t in (*call.inputs, *call.outputs))
            same = taken.shape == given.shape and torch.equal(
                self._sets.roots(taken.flatten()), self._sets.roots(given.flatten())
            )
        self._same[call.name] = same and self._same.get(call.name, True)

    def _of(self, tensor: Tensor) -> Tensor:
        """Marks of a tensor's values; those of a parameter are made here."""
        if id(tensor) not in self._marks:
            if id(tensor) not in self.recording.names:
                return torch.zeros((), dtype=torch.float64).expand(tensor.shape)
            self._marks[id(tensor)] = self._of_parameter(tensor)
        return self._marks[id(tensor)]

    def _of_parameter(self, tensor: Tensor) -> Tensor:
        """A mark for each value of what has one dimension but for those of length 1."""
        long = [dim for dim, length in enumerate(tensor.shape) if length > 1]
        if len(long) == 1:
            (dim,) = long
            marks = self._sets.new(tensor.shape[dim])
            self._tie(self._makers, marks, self.recording.names[id(tensor)], dim)
            return marks.view(tensor.shape)
        if not long:
            return torch.zeros(tensor.shape, dtype=torch.float64)
        return self._stuck().expand(tensor.shape)

    def _stuck(self) -> Tensor:
        """A mark that is frozen from the start, ()."""
        mark = self._sets.new(1)
        self._sets.freeze(mark)
        return mark[0]

    def _tie(self, ties: list[tuple[int, Place]], marks: Tensor, name: str, dim: int) -> None:
        """What lies at a channel of dimension ``dim`` of a tensor goes with that channel's mark."""
        for channel, mark in enumerate(marks.tolist()):
            if mark != _CONSTANT:
                ties.append((int(mark), Place(name, dim, channel)))

    def _carry(self, operation: Operation) -> None:
        if not any(id(t) in self._marks or id(t) in self.recording.names for t in operation.inputs):
            return  # of constants comes a constant
        name = operation.name
        if name == 'convolution':
            self._convolution(operation)
        elif name in _NORMS:
            self._norm(operation)
        elif name in _WITHIN_CHANNELS or self._is_spatial_mean(operation):
            channels = self._channels(self._of(operation.inputs[0]))
            for result in operation.results:
                self._set(result, channels)
        elif name in _MOVES:
            self._move(operation)
        elif self._is_pointwise(operation):
            marks = self._join([self._of(t) for t in operation.inputs], operation.results[0].shape)
            for result in operation.results:
                self._marks[id(result)] = marks
        else:
            self._give_up(operation)

    def _give_up(self, operation: Operation) -> None:
        for tensor in operation.inputs:
            self._sets.freeze(self._of(tensor))
        for result in operation.results:
            self._marks[id(result)] = self._stuck().expand(result.shape)

    def _set(self, result: Tensor, channels: Tensor) -> None:
        """Marks of a result by those of its channels, (C,)."""
        self._marks[id(result)] = channels.view(1, -1, *[1] * (result.ndim - 2)).expand(result.shape)

    def _channels(self, marks: Tensor) -> Tensor:
        """(B, C, ...) marks -> (C,), after freezing what shares a channel with something else.

        Values without a mark, such as the zeros around an image, belong to the channel that they lie in.
        """
        flat = _by_channel(marks, 1)
        if flat.shape[1] == 1:
            return flat[:, 0].clone()
        largest = flat.amax(1)
        smallest = flat.where(flat != _CONSTANT, torch.inf).amin(1).minimum(largest)
        mixed = self._sets.roots(largest) != self._sets.roots(smallest)
        for channel in mixed.nonzero()[:, 0].tolist():
            if len({self._sets.root(mark) for mark in _distinct(flat[channel])}) > 1:
                self._sets.freeze(flat[channel])
        return largest

    def _convolution(self, operation: Operation) -> None:
        x, weight, bias = operation.args[:3]
        transposed, groups = bool(operation.args[6]), int(operation.args[8])
        name = self.recording.names.get(id(weight))
        if name is None:  # the weight is computed, so there is nothing to take a channel out of
            self._give_up(operation)
            return
        channels = self._channels(self._of(x))
        (result,) = operation.results
        dim_in, dim_out = (0, 1) if transposed else (1, 0)
        if groups == 1:
            marks = self._sets.new(result.shape[1])
            self._tie(self._readers, channels, name, dim_in)
            self._tie(self._makers, marks, name, dim_out)
        elif groups == len(channels):
            marks = self._each_by_itself(channels, weight, name, result.shape[1] // groups, transposed)
        else:
            marks = self._in_groups(channels, weight, name, groups, transposed)
        if groups == 1 or groups != len(channels):
            self._producers += [(int(mark), name.rpartition('.')[0]) for mark in marks.tolist()]
        if bias is not None:
            if bias.shape != marks.shape:
                raise UnavailableError(f'{name} makes {len(marks)} channels and has {len(bias)} biases')
            self._join([marks, self._of(bias)], marks.shape)
        self._set(result, marks)

    def _each_by_itself(
        self, channels: Tensor, weight: Tensor, name: str, multiple: int, transposed: bool
    ) -> Tensor:
        """A convolution of each channel by itself: what it makes belongs to what it reads."""
        if (channels == _CONSTANT).any():
            self._sets.freeze(channels)
            return self._stuck().expand(len(channels) * multiple)
        marks = channels.repeat_interleave(multiple)
        self._tie(self._makers, channels if transposed else marks, name, 0)
        return marks

    def _in_groups(
        self, channels: Tensor, weight: Tensor, name: str, groups: int, transposed: bool
    ) -> Tensor:
        """Groups stay of equal size: the first channels of all of them go together, and so on."""
        n_out = weight.shape[1] if transposed else weight.shape[0] // groups
        if (channels == _CONSTANT).any():
            self._sets.freeze(channels)
            return self._stuck().expand(n_out * groups)
        marks = self._sets.new(n_out).repeat(groups)
        by_group = channels.view(groups, -1)
        for other in by_group[1:]:
            self._join([by_group[0], other], other.shape)
        if transposed:
            self._tie(self._readers, channels, name, 0)
            self._tie(self._makers, marks[:n_out], name, 1)
        else:
            self._tie(self._readers, by_group[0], name, 1)
            self._tie(self._makers, marks, name, 0)
        return marks

    def _norm(self, operation: Operation) -> None:
        x, *vectors = operation.args[:5]
        channels = self._channels(self._of(x))
        for vector in vectors:
            if vector is None:
                continue
            if vector.shape != channels.shape:
                raise UnavailableError(
                    f'a normalisation in {operation.module} has {len(vector)} values '
                    f'for {len(channels)} channels'
                )
            if id(vector) in self.recording.names:
                self._tie(self._makers, channels, self.recording.names[id(vector)], 0)
            else:
                self._sets.freeze(channels)
        self._set(operation.results[0], channels)

    def _move(self, operation: Operation) -> None:
        """Run the operation on marks."""

        def of(value: Any) -> Any:
            if isinstance(value, (tuple, list)):
                return [of(part) for part in value]
            return self._of(value) if isinstance(value, Tensor) else value

        args = of(operation.args)
        if operation.name in ('view', '_unsafe_view'):  # which marks that repeat would refuse
            moved = [args[0].reshape(args[1])]
        elif operation.name == 'constant_pad_nd':  # with no mark, whatever the value
            moved = [operation.function(*args[:2])]
        else:
            moved = list(tensors_of(operation.function(*args)))
        for result, marks in zip(operation.results, moved, strict=True):
            self._marks[id(result)] = _tidy(marks)

    def _join(self, parts: list[Tensor], shape: Sequence[int]) -> Tensor:
        """Marks of a combination, value by value, of what has these marks."""
        axis = 1 if len(shape) > 1 else 0
        joined = torch.zeros((), dtype=torch.float64).expand(shape)
        fixed: list[Tensor] = []
        for part in parts:
            wide = part.expand(shape)
            own_axis = part.ndim - len(shape) + axis
            if own_axis >= 0 and part.shape[own_axis] > 1:
                fixed.append(_by_channel(wide, axis).amax(1) == _CONSTANT)
            joined = self._join_two(joined, wide)
        for constant in fixed:  # a constant as long as the channels are many stays so long
            if constant.any():
                self._sets.freeze(joined.movedim(axis, 0)[constant.expand(shape[axis])])
        return _tidy(joined)

    def _join_two(self, first: Tensor, second: Tensor) -> Tensor:
        common = tuple(
            slice(0, 1) if not a and not b else slice(None)
            for a, b in zip(first.stride(), second.stride(), strict=True)
        )
        one, other = first[common], second[common]
        both = (one != _CONSTANT) & (other != _CONSTANT) & (one != other)
        for a, b in set(zip(one[both].tolist(), other[both].tolist(), strict=True)):
            self._sets.join(int(a), int(b))
        return one.where(one != _CONSTANT, other).expand(first.shape)

    def _is_pointwise(self, operation: Operation) -> bool:
        """Whether it combines values place by place; what writes into a constant counts as unknown."""
        if (
            operation.name.rstrip('_') not in _POINTWISE
            and torch.Tag.pointwise not in operation.function.tags
        ):
            return False
        writes = operation.function._schema.is_mutable
        return not writes or bool((self._of(operation.inputs[0]) != _CONSTANT).all())

    def _is_spatial_mean(self, operation: Operation) -> bool:
        if operation.name not in ('mean', 'sum', 'amax', 'amin') or len(operation.args) < 2:
            return False
        x, dims = operation.args[:2]
        return bool(dims) and all(dim % x.ndim > 1 for dim in dims)


def _repeated(marks: Tensor) -> tuple[slice, ...]:
    """What picks one of the values that a view repeats."""
    return tuple(slice(0, 1) if not stride else slice(None) for stride in marks.stride())


def _by_channel(marks: Tensor, axis: int) -> Tensor:
    """(C, n): the marks at each place of an axis, those that a view repeats once or more."""
    once = marks[_repeated(marks)].movedim(axis, 0)
    return once.reshape(len(once), -1)


def _distinct(marks: Tensor) -> list[int]:
    """The marks that occur, without that of constants."""
    return [int(mark) for mark in np.unique(marks[_repeated(marks)].numpy()) if mark != _CONSTANT]


def _tidy(marks: Tensor) -> Tensor:
    """The same marks, as a view that repeats where all values of each channel have one."""
    if marks.ndim < 3 or not marks.numel():
        return marks
    of_channels = marks[(slice(0, 1), slice(None), *[slice(0, 1)] * (marks.ndim - 2))].expand(marks.shape)
    return of_channels if torch.equal(of_channels, marks) else marks


def _is_compound(module: nn.Module) -> bool:
    return any(True for _ in module.children()) and any(p.ndim > 1 for p in module.parameters())


def _is_map(taken: Tensor, given: Tensor) -> bool:
    return taken.shape == given.shape and taken.ndim > 2

"""A network's state in few bytes: each tensor in the form that is asked for, without loss beyond that.

S. Han, H. Mao, W. J. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016, is the model: codebooks, relative positions of what is left of
sparse weights, and Huffman coding of both.

The packed form, numbers in LEB128 (7 bits a byte, the lowest first)::

    magic, version
    for each tensor of the architecture's state dict but counts of batches, sorted by name:
        size of each axis, which is that of the architecture or, where channels were pruned, less
        kind; 0 floats: floats
              8, 4 int8, int4: axis of output channels, scales as floats, symbols
              1 shared: size of codebook, codebook as floats, symbols
    first 16 bytes of the SHA-256 of all that

    floats   0 and one float32 that all are; or a format and a stream of 8-bit symbols for each of its bytes
    symbols  0, stream; or 1, number of entries, stream of their gaps, stream of what they are (others are 0)
    stream   0, symbols of n bits, the first in the highest bits; or length, Huffman-coded message

Of these, the shortest is written. Names are not: the architecture has them.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ModelFileError, ParameterError, UnknownNameError
from seg_ros.modelfile import huffman
from seg_ros.modelfile import relative_index as gaps
from seg_ros.modelfile.byte_reader import Reader, number
from seg_ros.quantization.weight_sharing import along, output_axis, round_weights, to_steps, weighted_layers

MAGIC = b'seg_ros\0'
VERSION = 1

_DIGEST_BYTES = 16
_COUNT_OF_BATCHES = 'num_batches_tracked'
_FLOATS, _SHARED = 0, 1
_STEPS = {'int8': 8, 'int4': 4}
_CONSTANT = 0
_FORMATS = {1: torch.float16, 2: torch.bfloat16, 3: torch.float32}
_DENSE, _SPARSE = 0, 1
_CODEBOOK_LIMIT = 256


@dataclass(frozen=True)
class Form:
    """What is kept of a tensor.

    Attributes:
        kind: 'float32', 'float16', 'bfloat16': values rounded to that type, or one value where all are equal;
            'int8', 'int4': steps of -127..127 or -7..7 times a scale for each output channel;
            'shared': all values, of which there are 256 at most; -0 becomes 0.
        axis: of output channels, for steps: 0 for Conv2d and Linear, 1 for ConvTranspose2d.
        scale: (C,) float32 above 0, for steps; None: the largest value of each channel is the last step.

    Raises:
        UnknownNameError: there is no such kind.
    """

    kind: str
    axis: int = 0
    scale: Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError('form', self.kind, list(KINDS))


def forms_of(network: nn.Module, weights: str, others: str = 'float16') -> dict[str, Form]:
    """A form for each tensor of a network's state.

    Args:
        network: not changed.
        weights: kind for the weights of convolutions and linear layers.
        others: kind for the other parameters; buffers, such as statistics, stay float32.
    """
    parameters = dict(network.named_parameters())
    forms = {name: Form(others if name in parameters else 'float32') for name in network.state_dict()}
    for name, module in weighted_layers(network):
        forms[f'{name}.weight'] = Form(weights, axis=output_axis(module))
    return forms


def pack(state: Mapping[str, Tensor], forms: Mapping[str, Form]) -> bytes:
    """The packed form of a state dict.

    Args:
        state: float tensors. Counts of batches (``*.num_batches_tracked``) are left out.
        forms: what is kept of each; float32 of those that are not named.

    Raises:
        ParameterError: a form names no tensor, or its tensor cannot take it.
        ModelFileError: a tensor holds, or in its form would hold, values that are not finite.
    """
    unknown = [name for name in forms if name not in state]
    if unknown:
        raise ParameterError(f"a form is given for '{unknown[0]}', which the state does not have")
    parts = [MAGIC, bytes([VERSION])]
    for name in sorted(state):
        if not _is_count(name):
            try:
                parts.append(_write_tensor(state[name].detach().cpu(), forms.get(name, Form('float32'))))
            except (ModelFileError, ParameterError) as err:
                raise type(err)(f'{name} cannot be packed: {err}') from err
    body = b''.join(parts)
    return body + _digest(body)


def unpack(data: bytes, largest: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The state dict of a packed form. Nothing larger than ``largest`` is allocated.

    Args:
        data: as from :func:`pack`.
        largest: shape of each tensor of the architecture; none is larger along any axis.

    Returns:
        float32 tensors on the CPU, in the order of ``largest``; counts of batches are int64 zeros.

    Raises:
        ModelFileError: the data are damaged, hostile, of another version or of another architecture.
    """
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not data.startswith(MAGIC):
        raise ModelFileError(f'packed weights begin with {data[: len(MAGIC)]!r}; expected {MAGIC!r}')
    if _digest(body) != digest:
        raise ModelFileError('packed weights are damaged: their digest is another; get the file again')
    reader = Reader(body[len(MAGIC) :])
    version = reader.byte()
    if version != VERSION:
        raise ModelFileError(f'packed weights are of version {version}; this seg_ros reads {VERSION}')
    state = {name: torch.zeros((), dtype=torch.int64) for name in largest}
    for name in sorted(largest):
        if not _is_count(name):
            try:
                state[name] = _read_tensor(reader, largest[name])
            except ModelFileError as err:
                raise ModelFileError(f'packed {name}: {err}') from err
    if reader.n_left:
        raise ModelFileError(f'packed weights go on for {reader.n_left} bytes after the last tensor')
    return state


def _is_count(name: str) -> bool:
    return name.split('.')[-1] == _COUNT_OF_BATCHES


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_DIGEST_BYTES]


def _write_tensor(value: Tensor, form: Form) -> bytes:
    if not value.is_floating_point() or not value.numel():
        raise ParameterError(f'it is {value.dtype} {tuple(value.shape)}; expected floats, one at least')
    value = value.float()
    _check_finite(value)
    return b''.join(map(number, value.shape)) + KINDS[form.kind](value, form)


def _read_tensor(reader: Reader, limit: torch.Size) -> Tensor:
    shape = tuple(reader.number() for _ in limit)
    if not all(1 <= size <= most for size, most in zip(shape, limit, strict=True)):
        raise ModelFileError(f'shape {shape}; expected at most {tuple(limit)}')
    kind = reader.byte()
    if kind not in _READERS:
        raise ModelFileError(f'kind {kind}; expected one of {list(_READERS)}')
    value = _READERS[kind](reader, shape)
    _check_finite(value)
    return value.reshape(shape)


def _check_finite(value: Tensor) -> None:
    if not value.isfinite().all():
        raise ModelFileError('it holds values that are not finite')


def _write_rounded(value: Tensor, form: Form) -> bytes:
    if not _is_constant(value):
        value = value.to(getattr(torch, form.kind)).float()
        _check_finite(value)
    return bytes([_FLOATS]) + _write_floats(value)


def _read_rounded(reader: Reader, shape: tuple[int, ...]) -> Tensor:
    return _read_floats(reader, math.prod(shape))


def _write_steps(value: Tensor, form: Form) -> bytes:
    n_bits = _STEPS[form.kind]
    if not 0 <= form.axis < value.ndim:
        raise ParameterError(f'shape {tuple(value.shape)} has no axis {form.axis}')
    if form.scale is None:
        steps, scale = round_weights(value, n_bits, axis=form.axis)
    else:
        scale = form.scale.detach().float().cpu()
        n_channels = value.shape[form.axis]
        if scale.shape != (n_channels,) or not ((scale > 0) & scale.isfinite()).all():
            raise ParameterError(f'scale {tuple(scale.shape)}; expected {n_channels} finite values above 0')
        steps = to_steps(value, scale, n_bits, form.axis)
    symbols = steps.flatten().numpy().view(np.uint8) & np.uint8((1 << n_bits) - 1)
    return bytes([n_bits, form.axis]) + _write_floats(scale) + _write_symbols(symbols, n_bits)


def _read_steps(reader: Reader, shape: tuple[int, ...], n_bits: int) -> Tensor:
    axis = reader.byte()
    if axis >= len(shape):
        raise ModelFileError(f'axis {axis} of output channels; it has {len(shape)} axes')
    scale = _read_floats(reader, shape[axis])
    symbols = torch.from_numpy(_read_symbols(reader, math.prod(shape), n_bits)).float()
    half = 1 << (n_bits - 1)
    if (symbols == half).any():
        raise ModelFileError(f'step {-half}; expected {1 - half}..{half - 1}')
    steps = torch.where(symbols < half, symbols, symbols - 2 * half)
    return steps.reshape(shape) * along(scale, len(shape), axis)


def _write_shared(value: Tensor, _form: Form) -> bytes:
    flat = value.flatten().numpy() + np.float32(0)  # which makes a negative zero positive
    codebook, symbols, counts = np.unique(flat, return_inverse=True, return_counts=True)
    if codebook.size > _CODEBOOK_LIMIT:
        raise ParameterError(f'{codebook.size} different values; expected {_CODEBOOK_LIMIT} at most')
    # The most frequent first: it is what sparse symbols leave out, and rising code lengths take little space.
    order = np.argsort(-counts, kind='stable')
    ranks = np.argsort(order).astype(np.uint8)
    return (
        bytes([_SHARED])
        + number(codebook.size)
        + _write_floats(torch.from_numpy(codebook[order]))
        + _write_symbols(ranks[symbols.ravel()], _n_bits(codebook.size))
    )


def _read_shared(reader: Reader, shape: tuple[int, ...]) -> Tensor:
    n_values = reader.number()
    if not 1 <= n_values <= _CODEBOOK_LIMIT:
        raise ModelFileError(f'codebook of {n_values} values; expected 1..{_CODEBOOK_LIMIT}')
    codebook = _read_floats(reader, n_values)
    symbols = _read_symbols(reader, math.prod(shape), _n_bits(n_values))
    if symbols.max() >= n_values:
        raise ModelFileError(f'index {symbols.max()} in a codebook of {n_values} values')
    return codebook[torch.from_numpy(symbols).long()]


def _n_bits(n_values: int) -> int:
    return max((n_values - 1).bit_length(), 1)


def _write_floats(values: Tensor) -> bytes:
    """(n,) float32 in whichever format holds them exactly in the fewest bytes."""
    values = values.flatten()
    if _is_constant(values):
        return bytes([_CONSTANT]) + values[:1].numpy().astype('<f4').tobytes()
    fitting = [
        bytes([code]) + _write_bytes(values.to(dtype))
        for code, dtype in _FORMATS.items()
        if torch.equal(values.to(dtype).float(), values)
    ]
    return min(fitting, key=len)


def _is_constant(values: Tensor) -> bool:
    bits = values.contiguous().view(torch.int32).flatten()
    return bits.numel() > 1 and bool((bits == bits[0]).all())


def _read_floats(reader: Reader, n: int) -> Tensor:
    code = reader.byte()
    if code == _CONSTANT:
        return torch.full((n,), float(np.frombuffer(reader.take(4), '<f4')[0]))
    if code not in _FORMATS:
        raise ModelFileError(f'format {code} of floats; expected one of {[_CONSTANT, *_FORMATS]}')
    dtype = _FORMATS[code]
    planes = [_read_stream(reader, n, 8) for _ in range(dtype.itemsize)]
    whole = np.stack(planes, axis=1).astype(np.uint8).view(f'<u{dtype.itemsize}')
    native = whole.ravel().astype(f'=i{dtype.itemsize}')
    return torch.from_numpy(native).view(dtype).float()


def _write_bytes(values: Tensor) -> bytes:
    """A stream for the lowest byte of each of (n,) values, one for the next, ..."""
    size = values.element_size()
    whole = values.view(torch.int16 if size == 2 else torch.int32).numpy().astype(f'<i{size}')
    planes = whole.view(np.uint8).reshape(-1, size)
    return b''.join(_write_stream(planes[:, k], 8) for k in range(size))


def _write_symbols(symbols: UInt8Array, n_bits: int) -> bytes:
    """(n,) whole numbers below ``2**n_bits``, dense or sparse."""
    dense = bytes([_DENSE]) + _write_stream(symbols, n_bits)
    positions = np.flatnonzero(symbols)
    if 2 * positions.size > symbols.size:
        return dense
    before, is_real = gaps.encode(positions)
    entries = np.zeros(before.size, symbols.dtype)
    entries[is_real] = symbols[positions]
    sparse = (
        bytes([_SPARSE])
        + number(before.size)
        + _write_stream(before, gaps.N_BITS)
        + _write_stream(entries, n_bits)
    )
    return min(dense, sparse, key=len)


def _read_symbols(reader: Reader, n: int, n_bits: int) -> UInt8Array:
    layout = reader.byte()
    if layout == _DENSE:
        return _read_stream(reader, n, n_bits)
    if layout != _SPARSE:
        raise ModelFileError(f'layout {layout} of symbols; expected {_DENSE} or {_SPARSE}')
    n_entries = reader.number()
    if n_entries > n:
        raise ModelFileError(f'{n_entries} entries of {n} values')
    positions = gaps.decode(_read_stream(reader, n_entries, gaps.N_BITS), n)
    symbols = np.zeros(n, np.uint8)
    symbols[positions] = _read_stream(reader, n_entries, n_bits)
    return symbols


def _write_stream(symbols: UInt8Array, n_bits: int) -> bytes:
    coded = huffman.encode(symbols)
    bits = np.unpackbits(symbols.astype(np.uint8)[:, None], axis=1)[:, 8 - n_bits :]
    plain = bytes([0]) + np.packbits(bits).tobytes()
    return min(plain, number(len(coded)) + coded, key=len)


def _read_stream(reader: Reader, n: int, n_bits: int) -> UInt8Array:
    length = reader.number()
    if not length:
        data = np.frombuffer(reader.take(-(-n * n_bits // 8)), np.uint8)
        if n_bits == 8:
            return data.copy()
        bits = np.zeros((n, 8), np.uint8)
        bits[:, 8 - n_bits :] = np.unpackbits(data, count=n * n_bits).reshape(n, n_bits)
        return np.packbits(bits, axis=1).ravel()
    symbols = huffman.decode(reader.take(length), n)
    if n and symbols.max() >> n_bits:
        raise ModelFileError(f'symbol {symbols.max()}; expected {n_bits} bits')
    return symbols.astype(np.uint8)


KINDS: dict[str, Callable[[Tensor, Form], bytes]] = {
    'float32': _write_rounded,
    'float16': _write_rounded,
    'bfloat16': _write_rounded,
    'int8': _write_steps,
    'int4': _write_steps,
    'shared': _write_shared,
}
"""Kinds of forms and what writes them."""

_READERS: dict[int, Callable[[Reader, tuple[int, ...]], Tensor]] = {
    _FLOATS: _read_rounded,
    _SHARED: _read_shared,
    4: lambda reader, shape: _read_steps(reader, shape, 4),
    8: lambda reader, shape: _read_steps(reader, shape, 8),
}

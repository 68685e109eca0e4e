"""Packed weights: the state of a network in few bytes, each tensor in a chosen form.

Packing is lossless for values that have the form already. The methods are those of S. Han, H. Mao, W. J.
Dally, "Deep compression: compressing deep neural networks with pruning, trained quantization and Huffman
coding", ICLR 2016: codebooks, relative indices of sparse weights, and Huffman coding of both.

Layout of packed weights, with numbers in LEB128 (7 bits per byte, lowest bits first)::

    magic, version
    for each tensor of the architecture's state dict except counts of batches, sorted by name:
        size of each axis, at most that of the architecture; smaller if channels were pruned
        kind; 0 = floats: floats
              8, 4 = int8, int4: axis of output channels, scales as floats, symbols
              1 = shared: size of codebook, codebook as floats, symbols
    first 16 bytes of the SHA-256 of everything before

    floats   0 and one float32 for all values; or a format and a stream of 8-bit symbols for each of its bytes
    symbols  0, stream; or 1, number of entries, stream of relative indices, stream of entries (others are 0)
    stream   0, symbols of n bits, the first in the highest bits; or length, Huffman-coded message

The shortest of the alternatives is written. Names of tensors are not written: the architecture defines them.
docs/model_file_tensors.md describes the layout byte by byte.
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
from seg_ros.modelfile import huffman, relative_index
from seg_ros.modelfile.byte_reader import ByteReader, encode_number
from seg_ros.quantization.weight_sharing import along, output_axis, round_weights, to_steps, weighted_layers

MAGIC = b'seg_ros\0'
VERSION = 1

_DIGEST_BYTES = 16
_COUNT_OF_BATCHES = 'num_batches_tracked'
_FLOATS, _SHARED = 0, 1
_STEPS = {'int8': 8, 'int4': 4}
_CONSTANT = 0
_FORMATS = {1: torch.float16, 2: torch.bfloat16, 3: torch.float32}
_DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}
_DENSE, _SPARSE = 0, 1
_CODEBOOK_LIMIT = 256
_VALUES_PER_BYTE = 128
_FREE_VALUES = 2**20
"""Packed data of n bytes hold at most n * _VALUES_PER_BYTE + _FREE_VALUES values. One entry of sparse symbols
covers 16 values and takes 4 bits or more; tensors of equal values take a few bytes."""


@dataclass(frozen=True)
class Form:
    """Form of a tensor in packed weights.

    Attributes:
        kind: 'float32', 'float16', 'bfloat16' = values rounded to that dtype, unless all are equal;
            'int8', 'int4' = steps in -127..127 or -7..7 with a scale for each output channel;
            'shared' = at most 256 different values, unchanged except that -0 becomes 0.
        axis: Axis of the output channels, for steps: 0 for Conv2d and Linear, 1 for ConvTranspose2d.
        scale: (C,) float32 scales above 0, for steps; None = the largest value of a channel is the last step.

    Raises:
        UnknownNameError: The kind is unknown.
    """

    kind: str
    axis: int = 0
    scale: Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError('form', self.kind, list(KINDS))


def forms_of(network: nn.Module, weights: str, others: str = 'float16') -> dict[str, Form]:
    """Choose a form for each tensor in the state of a network.

    Args:
        network: The network; it is not changed.
        weights: Kind for the weights of convolutions and linear layers.
        others: Kind for the other parameters. Buffers, such as statistics, stay float32.
    """
    parameters = dict(network.named_parameters())
    forms = {name: Form(others if name in parameters else 'float32') for name in network.state_dict()}
    for name, module in weighted_layers(network):
        forms[f'{name}.weight'] = Form(weights, axis=output_axis(module))
    return forms


def pack(state: Mapping[str, Tensor], forms: Mapping[str, Form]) -> bytes:
    """Pack a state dict.

    Args:
        state: Float tensors by name. Counts of batches (``*.num_batches_tracked``) are left out.
        forms: Form of each tensor by name; tensors without a form are packed as float32.

    Raises:
        ParameterError: A form has no tensor, or its tensor cannot have that form.
        ModelFileError: A tensor has values that are not finite, before or after rounding to its form.
    """
    unknown = [name for name in forms if name not in state]
    if unknown:
        raise ParameterError(f"the state has no tensor '{unknown[0]}', for which a form is given")
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
    """Unpack a state dict. No tensor larger than in ``largest`` is allocated.

    Args:
        data: Packed weights, from :func:`pack`.
        largest: Shape of each tensor of the architecture, the maximum along each axis.

    Returns:
        float32 tensors on the CPU, in the order of ``largest``; counts of batches are int64 zeros.

    Raises:
        ModelFileError: The data are damaged, hostile, of another version or of another architecture.
    """
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not data.startswith(MAGIC):
        raise ModelFileError(f'packed weights begin with {data[: len(MAGIC)]!r}; expected {MAGIC!r}')
    if _digest(body) != digest:
        raise ModelFileError('packed weights are damaged: their digest does not match; get the file again')
    reader = ByteReader(body[len(MAGIC) :])
    version = reader.byte()
    if version != VERSION:
        raise ModelFileError(
            f'packed weights have version {version}; this version of seg_ros reads {VERSION}'
        )
    state = {name: torch.zeros((), dtype=torch.int64) for name in largest}
    n_left = len(data) * _VALUES_PER_BYTE + _FREE_VALUES
    for name in sorted(largest):
        if not _is_count(name):
            try:
                state[name] = _read_tensor(reader, largest[name], n_left)
                n_left -= state[name].numel()
            except ModelFileError as err:
                raise ModelFileError(f'packed {name}: {err}') from err
    if reader.n_left:
        raise ModelFileError(f'{reader.n_left} bytes follow the last tensor of packed weights; expected none')
    return state


def _is_count(name: str) -> bool:
    return name.split('.')[-1] == _COUNT_OF_BATCHES


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_DIGEST_BYTES]


def _write_tensor(value: Tensor, form: Form) -> bytes:
    if not value.is_floating_point() or not value.numel():
        raise ParameterError(
            f'it is {value.dtype} of shape {tuple(value.shape)}; expected at least one float'
        )
    value = value.float()
    _check_finite(value)
    return b''.join(map(encode_number, value.shape)) + KINDS[form.kind](value, form)


def _read_tensor(reader: ByteReader, limit: torch.Size, n_left: int) -> Tensor:
    """Read a tensor of at most ``limit`` along each axis and of at most ``n_left`` values."""
    shape = tuple(reader.number() for _ in limit)
    if not all(1 <= size <= most for size, most in zip(shape, limit, strict=True)):
        raise ModelFileError(f'shape {shape}; expected at most {tuple(limit)}')
    if math.prod(shape) > n_left:
        raise ModelFileError(f'shape {shape} in data for {n_left} further values: the file is hostile')
    kind = reader.byte()
    if kind not in _READERS:
        raise ModelFileError(f'kind {kind}; expected one of {list(_READERS)}')
    value = _READERS[kind](reader, shape)
    _check_finite(value)  # a step times its scale may overflow
    return value.reshape(shape)


def _check_finite(value: Tensor) -> None:
    if not value.isfinite().all():
        raise ModelFileError('it has values that are not finite')


def _write_rounded(value: Tensor, form: Form) -> bytes:
    if not _is_constant(value):
        value = value.to(_DTYPES[form.kind]).float()
        _check_finite(value)
    return bytes([_FLOATS]) + _write_floats(value)


def _read_rounded(reader: ByteReader, shape: tuple[int, ...]) -> Tensor:
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
            raise ParameterError(
                f'scale of shape {tuple(scale.shape)}; expected {n_channels} finite values above 0'
            )
        steps = to_steps(value, scale, n_bits, form.axis)
    symbols = steps.flatten().numpy().view(np.uint8) & np.uint8((1 << n_bits) - 1)
    return bytes([n_bits, form.axis]) + _write_floats(scale) + _write_symbols(symbols, n_bits)


def _read_steps(reader: ByteReader, shape: tuple[int, ...], n_bits: int) -> Tensor:
    axis = reader.byte()
    if axis >= len(shape):
        raise ModelFileError(f'output channels on axis {axis} of {len(shape)}; expected a smaller axis')
    scale = _read_floats(reader, shape[axis])
    if not (scale > 0).all():
        raise ModelFileError(f'scales from {float(scale.min()):g}; expected values above 0')
    symbols = torch.from_numpy(_read_symbols(reader, math.prod(shape), n_bits)).float()
    half = 1 << (n_bits - 1)
    if (symbols == half).any():
        raise ModelFileError(f'step {-half}; expected {1 - half}..{half - 1}')
    steps = torch.where(symbols < half, symbols, symbols - 2 * half)
    return steps.reshape(shape) * along(scale, len(shape), axis)


def _write_shared(value: Tensor, _form: Form) -> bytes:
    flat = value.flatten().numpy() + np.float32(0)  # makes negative zeros positive
    codebook, symbols, counts = np.unique(flat, return_inverse=True, return_counts=True)
    if codebook.size > _CODEBOOK_LIMIT:
        raise ParameterError(f'{codebook.size} different values; expected at most {_CODEBOOK_LIMIT}')
    # The most frequent value first: sparse symbols omit it, and ascending code lengths take little space.
    order = np.argsort(-counts, kind='stable')
    ranks = np.argsort(order).astype(np.uint8)
    return (
        bytes([_SHARED])
        + encode_number(codebook.size)
        + _write_floats(torch.from_numpy(codebook[order]))
        + _write_symbols(ranks[symbols.ravel()], _n_bits(codebook.size))
    )


def _read_shared(reader: ByteReader, shape: tuple[int, ...]) -> Tensor:
    n_values = reader.number()
    if not 1 <= n_values <= _CODEBOOK_LIMIT:
        raise ModelFileError(f'codebook of {n_values} values; expected 1..{_CODEBOOK_LIMIT}')
    codebook = _read_floats(reader, n_values)
    symbols = _read_symbols(reader, math.prod(shape), _n_bits(n_values))
    if symbols.max() >= n_values:
        raise ModelFileError(f'index {symbols.max()} in a codebook of {n_values} values; expected less')
    return codebook[torch.from_numpy(symbols).long()]


def _n_bits(n_values: int) -> int:
    return max((n_values - 1).bit_length(), 1)


def _write_floats(values: Tensor) -> bytes:
    """Write (n,) float32 in the format that holds them exactly in the fewest bytes."""
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


def _read_floats(reader: ByteReader, n: int) -> Tensor:
    """Read n finite float32: values, scales or a codebook."""
    code = reader.byte()
    if code == _CONSTANT:
        values = torch.full((n,), float(np.frombuffer(reader.take(4), '<f4')[0]))
    elif code in _FORMATS:
        dtype = _FORMATS[code]
        planes = [_read_stream(reader, n, 8) for _ in range(dtype.itemsize)]
        whole = np.stack(planes, axis=1).astype(np.uint8).view(f'<u{dtype.itemsize}')
        native = whole.ravel().astype(f'=i{dtype.itemsize}')
        values = torch.from_numpy(native).view(dtype).float()
    else:
        raise ModelFileError(f'format {code} of floats; expected one of {[_CONSTANT, *_FORMATS]}')
    _check_finite(values)
    return values


def _write_bytes(values: Tensor) -> bytes:
    """Write one stream for the lowest bytes of (n,) values, one for the next bytes, ..."""
    size = values.element_size()
    whole = values.view(torch.int16 if size == 2 else torch.int32).numpy().astype(f'<i{size}')
    planes = whole.view(np.uint8).reshape(-1, size)
    return b''.join(_write_stream(planes[:, k], 8) for k in range(size))


def _write_symbols(symbols: UInt8Array, n_bits: int) -> bytes:
    """Write (n,) whole numbers below ``2**n_bits``, dense or sparse."""
    dense = bytes([_DENSE]) + _write_stream(symbols, n_bits)
    positions = np.flatnonzero(symbols)
    if 2 * positions.size > symbols.size:
        return dense
    indices, is_real = relative_index.encode(positions)
    entries = np.zeros(indices.size, symbols.dtype)
    entries[is_real] = symbols[positions]
    sparse = (
        bytes([_SPARSE])
        + encode_number(indices.size)
        + _write_stream(indices, relative_index.N_BITS)
        + _write_stream(entries, n_bits)
    )
    return min(dense, sparse, key=len)


def _read_symbols(reader: ByteReader, n: int, n_bits: int) -> UInt8Array:
    layout = reader.byte()
    if layout == _DENSE:
        return _read_stream(reader, n, n_bits)
    if layout != _SPARSE:
        raise ModelFileError(f'layout {layout} of symbols; expected {_DENSE} or {_SPARSE}')
    n_entries = reader.number()
    if n_entries > n:
        raise ModelFileError(f'{n_entries} entries for {n} values; expected at most one for each')
    positions = relative_index.decode(_read_stream(reader, n_entries, relative_index.N_BITS), n)
    symbols = np.zeros(n, np.uint8)
    symbols[positions] = _read_stream(reader, n_entries, n_bits)
    return symbols


def _write_stream(symbols: UInt8Array, n_bits: int) -> bytes:
    coded = huffman.encode(symbols)
    bits = np.unpackbits(symbols.astype(np.uint8)[:, None], axis=1)[:, 8 - n_bits :]
    plain = bytes([0]) + np.packbits(bits).tobytes()
    return min(plain, encode_number(len(coded)) + coded, key=len)


def _read_stream(reader: ByteReader, n: int, n_bits: int) -> UInt8Array:
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
        raise ModelFileError(f'symbol {symbols.max()}; expected at most {n_bits} bits')
    return symbols.astype(np.uint8)


KINDS: dict[str, Callable[[Tensor, Form], bytes]] = {
    'float32': _write_rounded,
    'float16': _write_rounded,
    'bfloat16': _write_rounded,
    'int8': _write_steps,
    'int4': _write_steps,
    'shared': _write_shared,
}
"""Kinds of forms, with the function that writes each."""

_READERS: dict[int, Callable[[ByteReader, tuple[int, ...]], Tensor]] = {
    _FLOATS: _read_rounded,
    _SHARED: _read_shared,
    4: lambda reader, shape: _read_steps(reader, shape, 4),
    8: lambda reader, shape: _read_steps(reader, shape, 8),
}
"""Numbers of kinds in the layout, with the function that reads each."""

"""The safetensors container: named tensors and texts in one run of bytes, read without a memory map.

The format is https://github.com/huggingface/safetensors. Its own library maps the file into memory, so that a
file that is overwritten in place ends the process (SIGBUS). Here the whole file is in memory already, and
each part of the header is bounded before it is used. Reading needs torch for tensors alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_ros import schema
from seg_ros.errors import ModelFileError
from seg_ros.modelfile import strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from seg_ros.arrays import Float32Array, UInt8Array

HEADER_LIMIT = 4 * 2**20
"""Maximum number of bytes of the header."""

N_TENSORS_LIMIT = 10_000

DTYPES = {'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16', 'I64': 'int64', 'U8': 'uint8'}
"""Names of dtypes in the header -> names of torch's dtypes."""

_ITEM_SIZES = {'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'U8': 1}
_NAMES = {f'torch.{dtype}': name for name, dtype in DTYPES.items()}
_PREFIX = 8  # bytes of the length of the header
_TEXTS = '__metadata__'
_ENTRY_KEYS = {'dtype', 'shape', 'data_offsets'}
_N_AXES_LIMIT = 8
_SIZE_LIMIT = 2**40


@dataclass(frozen=True)
class Entry:
    """Header entry of a tensor.

    Attributes:
        dtype: Name in DTYPES.
        shape: Shape of the tensor.
        begin: Place of its first byte in the file.
        end: Place after its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Container:
    """Content of a file.

    Attributes:
        texts: Texts by key.
        entries: Header entries of the tensors by name.
        header: Header as it is in the file, without its length.
        content: All bytes of the file.
    """

    texts: dict[str, str]
    entries: dict[str, Entry]
    header: bytes
    content: bytearray

    @property
    def data(self) -> memoryview:
        """Bytes of all tensors."""
        return memoryview(self.content)[_PREFIX + len(self.header) :]

    def tensor(self, name: str) -> Tensor:
        """A copy of a tensor, on the CPU."""
        import torch

        entry = self.entries[name]
        dtype, n = dtype_of(entry.dtype), math.prod(entry.shape)
        if not n:
            return torch.empty(entry.shape, dtype=dtype)
        flat = torch.frombuffer(self.content, dtype=dtype, count=n, offset=entry.begin)
        return flat.clone().reshape(entry.shape)

    def bytes_of(self, name: str) -> bytes:
        """Bytes of a tensor."""
        entry = self.entries[name]
        return bytes(memoryview(self.content)[entry.begin : entry.end])

    def bytes_as_array(self, name: str) -> UInt8Array:
        """A copy of a tensor of dtype U8 as array."""
        return np.frombuffer(self.bytes_of(name), np.uint8).reshape(self.entries[name].shape).copy()

    def floats_as_array(self, name: str) -> Float32Array:
        """A copy of a tensor of dtype F32 as array."""
        return np.frombuffer(self.bytes_of(name), '<f4').astype(np.float32).reshape(self.entries[name].shape)


def dtype_of(name: str) -> torch.dtype:
    """The dtype of torch for a name in DTYPES."""
    import torch

    dtype: torch.dtype = getattr(torch, DTYPES[name])
    return dtype


def read_container(content: bytearray) -> Container:
    """Read a container.

    Raises:
        ModelFileError: The bytes are not a container: the header is too long or not JSON, or its entries do
            not cover the data exactly.
    """
    if len(content) < _PREFIX:
        raise ModelFileError(f'it has {len(content)} bytes; expected a header')
    n_header = int.from_bytes(content[:_PREFIX], 'little')
    if n_header > HEADER_LIMIT or n_header > len(content) - _PREFIX:
        raise ModelFileError(
            f'its header has {n_header} bytes; expected at most the {len(content) - _PREFIX} that follow, '
            f'and at most {HEADER_LIMIT}'
        )
    header = bytes(content[_PREFIX : _PREFIX + n_header])
    try:
        entries = strict_json.parse(header.decode(), 'its header', HEADER_LIMIT)
    except UnicodeDecodeError as err:
        raise ModelFileError(f'its header is not UTF-8: {err}') from err
    if not isinstance(entries, dict) or len(entries) > N_TENSORS_LIMIT:
        raise ModelFileError(f'its header is not one object of at most {N_TENSORS_LIMIT} tensors')
    texts = entries.pop(_TEXTS, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ModelFileError(f'{_TEXTS} is {schema.shown(texts)}; expected texts by name')
    start = _PREFIX + n_header
    tensors = {name: _entry(name, value, start) for name, value in entries.items()}
    _check_coverage(tensors, start, len(content))
    return Container(texts, tensors, header, content)


def write_container(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """Bytes of a container, the same for the same content.

    Tensors are in descending order of the size of a value, then by name, so that each is aligned.

    Args:
        tensors: Contiguous tensors on the CPU, of a dtype in DTYPES.
        texts: Texts by key.

    Raises:
        ModelFileError: A tensor has another dtype.
    """
    import torch

    strange = [name for name, value in tensors.items() if str(value.dtype) not in _NAMES]
    if strange:
        raise ModelFileError(
            f'{strange[0]} has dtype {tensors[strange[0]].dtype}; expected one of {", ".join(DTYPES)}'
        )
    header: dict[str, Any] = {_TEXTS: dict(texts)}
    parts, place = [], 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        value = tensors[name]
        part = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b''
        header[name] = {
            'dtype': _NAMES[str(value.dtype)],
            'shape': list(value.shape),
            'data_offsets': [place, place + len(part)],
        }
        parts.append(part)
        place += len(part)
    return with_header(header, b''.join(parts))


def with_header(header: Mapping[str, Any], data: bytes | memoryview) -> bytes:
    """Bytes of a container from its header as JSON values, and the bytes of all tensors."""
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    text += b' ' * (-len(text) % _PREFIX)
    if len(text) > HEADER_LIMIT:
        raise ModelFileError(f'the header has {len(text)} bytes; expected at most {HEADER_LIMIT}')
    return b''.join([len(text).to_bytes(_PREFIX, 'little'), text, data])


def _entry(name: str, value: Any, start: int) -> Entry:
    if not isinstance(value, dict) or value.keys() != _ENTRY_KEYS:
        raise ModelFileError(f'{name} is {schema.shown(value)}; expected dtype, shape and data_offsets')
    dtype, shape, offsets = value['dtype'], value['shape'], value['data_offsets']
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ModelFileError(f'{name} has type {schema.shown(dtype)}; expected one of {", ".join(DTYPES)}')
    if not _are_sizes(shape) or len(shape) > _N_AXES_LIMIT:
        raise ModelFileError(f'{name} has shape {schema.shown(shape)}; expected at most 8 sizes')
    n_bytes = math.prod(shape) * _ITEM_SIZES[dtype]
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != n_bytes:
        raise ModelFileError(
            f'{name} has data_offsets {schema.shown(offsets)}; expected a distance of {n_bytes} bytes'
        )
    return Entry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < _SIZE_LIMIT for n in values)


def _check_coverage(entries: Mapping[str, Entry], start: int, end: int) -> None:
    """Refuse data that belong to no tensor or to two."""
    place = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != place:
            raise ModelFileError(f'{name} begins at byte {entry.begin}; expected {place}')
        place = entry.end
    if place != end:
        raise ModelFileError(f'the tensors end at byte {place}; the file ends at {end}')

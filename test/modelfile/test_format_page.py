"""docs/model_file.md is enough to read a model file: a reader written from that page, without seg_ros.

The first half of this file is the reader. It uses NumPy, JSON and SHA-256 alone. The second half compares its
arrays with those of seg_ros, bit by bit.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.packing import forms_of, pack
from seg_ros.networks.registry import MODELS

ROOT = Path(__file__).parents[2]
PAGE, NAMES_PAGE = ROOT / 'docs/model_file.md', ROOT / 'docs/model_file_tensors.md'
MODEL_FILES = sorted((ROOT / 'models').glob('*.safetensors'))
PACKED_FILES = [path for path in MODEL_FILES if path.stem.endswith('_int8')]

Array = npt.NDArray[Any]
Layout = dict[str, tuple[int, ...]]
"""Tensor name -> largest size of each axis."""

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason='an installed package has no pages')

# ------------------------------------------------------------------------------------- safetensors, metadata

DTYPES = {'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'U8': 'u1'}


def read_file(path: Path, layouts: dict[str, Layout]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Metadata and arrays of a model file; packed weights are unpacked."""
    content = path.read_bytes()
    (n_header,) = struct.unpack('<Q', content[:8])
    header = json.loads(content[8 : 8 + n_header])
    metadata = json.loads(header.pop('__metadata__')['seg_ros'])
    assert metadata['format'] == 1
    data = content[8 + n_header :]
    arrays = {name: read_array(data, entry) for name, entry in header.items()}
    if 'packed' in arrays:
        layout = without(layouts[metadata['architecture']], (metadata.get('pruned') or {}).get('removed', []))
        arrays.update(read_packed(arrays.pop('packed').tobytes(), layout))
    return metadata, arrays


def read_array(data: bytes, entry: dict[str, Any]) -> Array:
    begin, end = entry['data_offsets']
    array = np.frombuffer(data[begin:end], DTYPES[entry['dtype']]).reshape(entry['shape'])
    return from_bfloat16(array) if entry['dtype'] == 'BF16' else array


def from_bfloat16(halves: Array) -> Array:
    return (halves.astype('<u4') << 16).view('<f4')


def without(layout: Layout, removed: list[str]) -> Layout:
    return {k: v for k, v in layout.items() if not any(k.startswith(f'{block}.') for block in removed)}


def read_layouts(page: str) -> dict[str, Layout]:
    """Tensor names of every architecture on docs/model_file_tensors.md."""
    found = re.findall(r'^## (\w+)$.*?^```text\n(.*?)^```', page, re.DOTALL | re.MULTILINE)
    return {architecture: dict(expand(block)) for architecture, block in found}


def expand(block: str) -> list[tuple[str, tuple[int, ...]]]:
    rows = []
    for line in block.splitlines():
        name, *sizes = line.split()
        if sizes[:1] == ['norm']:
            leaves = ('weight', 'bias', 'running_mean', 'running_var')
            rows += [(f'{name}.{leaf}', (int(sizes[1]),)) for leaf in leaves]
            rows.append((f'{name}.num_batches_tracked', ()))
        else:
            rows.append((name, tuple(map(int, sizes))))
    return rows


# -------------------------------------------------------------------------------------------- packed weights


class Cursor:
    """Reads bytes and numbers one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, n: int) -> bytes:
        self.place += n
        assert self.place <= len(self.data)
        return self.data[self.place - n : self.place]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number


def read_packed(data: bytes, layout: Layout) -> dict[str, Array]:
    body, digest = data[:-16], data[-16:]
    assert hashlib.sha256(body).digest()[:16] == digest
    cursor = Cursor(body)
    assert cursor.take(8) == b'seg_ros\0'
    assert cursor.byte() == 1
    arrays: dict[str, Array] = {}
    for name in sorted(layout):
        if name.endswith('num_batches_tracked'):
            arrays[name] = np.zeros((), np.int64)
        else:
            shape = tuple(cursor.number() for _ in layout[name])
            assert all(size <= largest for size, largest in zip(shape, layout[name], strict=True))
            arrays[name] = read_values(cursor, shape)
    assert cursor.place == len(body)
    return arrays


def read_values(cursor: Cursor, shape: tuple[int, ...]) -> Array:
    kind, n = cursor.byte(), int(np.prod(shape, dtype=int))
    if kind == 0:
        return read_floats(cursor, n).reshape(shape)
    if kind == 1:
        size = cursor.number()
        codebook = read_floats(cursor, size)
        return codebook[read_symbols(cursor, n, max((size - 1).bit_length(), 1))].reshape(shape)
    assert kind in (4, 8)
    axis = cursor.byte()
    scales = read_floats(cursor, shape[axis])
    symbols = read_symbols(cursor, n, kind)
    steps = np.where(symbols < 1 << (kind - 1), symbols, symbols - (1 << kind)).astype(np.float32)
    along = [-1 if k == axis else 1 for k in range(len(shape))]
    return steps.reshape(shape) * scales.reshape(along)


def read_floats(cursor: Cursor, n: int) -> Array:
    form = cursor.byte()
    if form == 0:
        return np.full(n, np.frombuffer(cursor.take(4), '<f4')[0], np.float32)
    n_bytes = {1: 2, 2: 2, 3: 4}[form]
    planes = [read_stream(cursor, n, 8).astype(np.uint8) for _ in range(n_bytes)]
    whole = np.ascontiguousarray(np.stack(planes, axis=1))
    if form == 2:
        return from_bfloat16(whole.view('<u2').ravel())
    return whole.view({1: '<f2', 3: '<f4'}[form]).ravel().astype(np.float32)


def read_symbols(cursor: Cursor, n: int, n_bits: int) -> Array:
    arrangement = cursor.byte()
    if arrangement == 0:
        return read_stream(cursor, n, n_bits)
    assert arrangement == 1
    n_entries = cursor.number()
    positions = np.cumsum(read_stream(cursor, n_entries, 4) + 1) - 1
    symbols = np.zeros(n, np.int64)
    symbols[positions] = read_stream(cursor, n_entries, n_bits)
    return symbols


def read_stream(cursor: Cursor, n: int, n_bits: int) -> Array:
    length = cursor.number()
    if length:
        return np.array(read_huffman(cursor.take(length), n), np.int64)
    bits = np.unpackbits(np.frombuffer(cursor.take(-(-n * n_bits // 8)), np.uint8))[: n * n_bits]
    return bits.reshape(n, n_bits) @ (1 << np.arange(n_bits)[::-1])


def read_huffman(message: bytes, n: int) -> list[int]:
    """Symbols of a message, by a dictionary from (length, code) to symbol."""
    bits = ''.join(f'{byte:08b}' for byte in message)
    place = 0

    def gamma() -> int:
        nonlocal place
        n_zeros = bits.index('1', place) - place
        begin, place = place + n_zeros, place + 2 * n_zeros + 1
        return int(bits[begin:place], 2)

    lengths, length = [], 0
    for _ in range(gamma()):
        step = gamma()
        length += step // 2 if step % 2 == 0 else -(step // 2)
        lengths.append(length)
    if not any(lengths):
        return [len(lengths) - 1] * n
    symbol_of = canonical_codes(lengths)
    symbols: list[int] = []
    while len(symbols) < n:
        end = place + 1
        while bits[place:end] not in symbol_of:
            end += 1
            assert end <= len(bits)
        symbols.append(symbol_of[bits[place:end]])
        place = end
    assert set(bits[place:]) <= {'0'}
    assert len(bits) - place < 8
    return symbols


def canonical_codes(lengths: list[int]) -> dict[str, int]:
    order = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    codes, code, previous = {}, -1, order[0][0]
    for length, symbol in order:
        code = (code + 1) << (length - previous)
        codes[f'{code:0{length}b}'] = symbol
        previous = length
    return codes


# ------------------------------------------------------------------------------------ comparison with seg_ros


@pytest.fixture(scope='module')
def layouts() -> dict[str, Layout]:
    return read_layouts(NAMES_PAGE.read_text())


def state_of(path: Path) -> dict[str, Array]:
    """Everything that seg_ros reads from a file, under the names of the page."""
    model = load_model(path)
    parts = {'': model.network, 'codes.': model.codes, 'embeddings.': model.embeddings}
    state = {
        f'{prefix}{name}': value.detach().numpy()
        for prefix, part in parts.items()
        if part is not None
        for name, value in part.state_dict().items()
    }
    golden = model.golden
    record = {
        'images': golden.images,
        'labels': golden.labels,
        'codes': golden.codes,
        'sharpened': golden.filtered,
    }
    return state | {f'golden.{name}': value for name, value in record.items() if value is not None}


def assert_equal(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize('path', MODEL_FILES, ids=lambda path: path.stem)
def test_a_reader_written_from_the_page_reads_every_shipped_model(
    path: Path, layouts: dict[str, Layout]
) -> None:
    metadata, arrays = read_file(path, layouts)
    assert_equal(arrays, state_of(path))
    assert metadata['architecture'] == load_model(path).metadata.architecture


def test_the_shipped_models_include_packed_and_plain_ones() -> None:
    assert {path.stem for path in PACKED_FILES} == {
        'lite_camvid_int8',
        'enet_camvid_int8',
        'segnet_camvid_int8',
    }
    assert len(MODEL_FILES) > len(PACKED_FILES)


@pytest.mark.parametrize('kind', ['float32', 'float16', 'bfloat16', 'int4', 'int8', 'shared'])
def test_the_page_covers_every_kind_of_values(kind: str) -> None:
    # Values: many zeros for sparse symbols; few different ones, which any kind can hold.
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ConvTranspose2d(8, 4, 3))
    with torch.no_grad():
        for layer in network:
            assert isinstance(layer.weight, torch.Tensor)
            layer.weight.copy_(torch.randint(-3, 4, layer.weight.shape) / 8)
            layer.weight[torch.rand(layer.weight.shape) < 0.9] = 0
    state = network.state_dict()
    data = pack(state, forms_of(network, kind))
    arrays = read_packed(data, {name: tuple(value.shape) for name, value in state.items()})
    for name in ('0.weight', '1.weight'):
        np.testing.assert_allclose(arrays[name], state[name].numpy(), atol=0.03)
    np.testing.assert_allclose(arrays['0.bias'], state['0.bias'].numpy(), atol=1e-3)


def damage_header(data: bytes) -> bytes:
    return data[:30] + bytes([data[30] ^ 1]) + data[31:]


@pytest.mark.parametrize('harm', [damage_header, lambda data: data[:-1]])
def test_the_digest_finds_damage(harm: Callable[[bytes], bytes]) -> None:
    data = pack({'w': torch.linspace(0, 1, 99)}, {})
    assert read_packed(data, {'w': (99,)})['w'].shape == (99,)
    with pytest.raises(AssertionError):
        read_packed(harm(data), {'w': (99,)})


@pytest.mark.parametrize('path', PACKED_FILES, ids=lambda path: path.stem)
def test_the_page_of_names_lists_the_tensors_of_the_architecture(
    path: Path, layouts: dict[str, Layout]
) -> None:
    metadata = load_model(path).metadata
    network = MODELS[metadata.architecture](len(metadata.classes), **metadata.arguments)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert layouts[metadata.architecture] == expected


def test_the_page_lists_every_key_of_the_metadata() -> None:
    metadata = load_model(ROOT / 'models/lite_camvid.safetensors').metadata
    tables = PAGE.read_text().partition('## Metadata')[2].partition('### Input of the network')[0]
    listed = set(re.findall(r'^\| `(\w+)` \|', tables, re.MULTILINE))
    content = ModelMetadata.as_json(metadata)
    assert listed == {*content, *content['codes'], *content['embeddings']}

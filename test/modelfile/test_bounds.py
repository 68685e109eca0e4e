"""Hostile model files: small ones that ask for much, and metadata that lie."""

import dataclasses
import hashlib
import json
import resource as limits
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from seg_ros.classes import ClassSet
from seg_ros.errors import ModelFileError, SegRosError
from seg_ros.modelfile import strict_json
from seg_ros.modelfile.file import load_model, model_bytes, save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import CodeMetadata, ModelMetadata
from seg_ros.modelfile.packing import pack, unpack
from seg_ros.resources import resource

SQUARES = ClassSet.from_yaml(resource('config/labels/squares.yaml'))
ONE_SECOND, MEGABYTES_150 = 1.5, 150_000  # KB


def golden() -> Golden:
    return Golden(np.zeros((1, 6, 8, 3), np.uint8), np.zeros((1, 6, 8), np.uint8))


def describe(**changes: Any) -> ModelMetadata:
    arguments = {'width': 4, 'kernel': 3}
    return ModelMetadata(
        **{
            'architecture': 'segnet_small',
            'classes': SQUARES,
            'input_size': (64, 80),
            'arguments': arguments,
        }
        | changes
    )


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    metadata = describe()
    path = tmp_path_factory.mktemp('bounds') / 'plain.safetensors'
    save_model(path, metadata.build().eval(), metadata, golden())
    return path


@pytest.fixture
def forge(plain: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the file with other metadata and without a digest."""

    def write(metadata: Any, tensors: dict[str, Any] | None = None) -> Path:
        text = metadata if isinstance(metadata, str) else json.dumps(describe().as_json() | metadata)
        save_file(tensors or load_file(plain), tmp_path / 'forged', metadata={'seg_ros': text})
        return tmp_path / 'forged'

    return write


def is_one_line(text: str) -> bool:
    return not {unicodedata.category(c) for c in text} & {'Cc', 'Cf', 'Cs', 'Zl', 'Zp'}


def refused_cheaply(path: Path, said: str | None = None) -> None:
    before, started = limits.getrusage(limits.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(SegRosError, match=said) as caught:
        load_model(path)
    assert time.process_time() - started < ONE_SECOND
    assert limits.getrusage(limits.RUSAGE_SELF).ru_maxrss - before < MEGABYTES_150
    assert is_one_line(str(caught.value))
    assert len(str(caught.value)) < 2000


PACKED = {
    'packed': torch.zeros(20_000, dtype=torch.uint8),
    'golden.images': torch.zeros(1, 6, 8, 3, dtype=torch.uint8),
    'golden.labels': torch.zeros(1, 6, 8, dtype=torch.uint8),
}


@pytest.mark.parametrize('quantization', ['fp32', 'int8', 'shared-4'])
@pytest.mark.parametrize('pruned', [None, {'removed': []}])
@pytest.mark.parametrize(
    ('architecture', 'arguments'),
    [
        ('segnet', {'width': 1200}),
        ('segnet', {'width': 10**9}),
        ('segnet_basic', {'n_scales': 100_000}),
        ('segnet_basic', {'n_scales': 4000}),
        ('segnet_basic', {'kernel': 4001}),
        ('segnet_basic', {'n_scales': 10**30}),
        ('hypercolumn', {'grid': 4000}),
        ('fcn', {'width': 1200}),
        ('squeezenet_pyramid', {'width': 4096}),
        ('efficientnet_lite_pyramid', {'width': 4096}),
    ],
)
def test_a_small_file_cannot_ask_for_a_large_network(
    forge: Callable[..., Path], architecture: str, arguments: dict[str, Any], quantization: str, pruned: Any
) -> None:
    tensors = None if quantization == 'fp32' else PACKED
    metadata = {'architecture': architecture, 'arguments': arguments, 'quantization': quantization}
    refused_cheaply(forge(metadata | {'pruned': pruned}, tensors))


def test_packed_data_cannot_expand_without_bound() -> None:
    """24 KB that were 1.5 GB: tensors of equal values take six bytes."""
    state = {f'{k:03}': torch.zeros(1000, 1000) for k in range(2)}
    data = pack(state, {})
    assert len(data) < 100
    largest = {name: torch.Size([30_000, 30_000]) for name in state}
    body = data[:-16].replace(b'\xe8\x07', b'\xb0\xea\x01')  # 1000 -> 30000, in LEB128
    hostile = body + hashlib.sha256(body).digest()[:16]
    before = limits.getrusage(limits.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFileError, match=r'30000.* hostile'):
        unpack(hostile, largest)
    assert limits.getrusage(limits.RUSAGE_SELF).ru_maxrss - before < MEGABYTES_150


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('kind', [0, 1, 8])
def test_packed_values_codebooks_and_scales_are_finite(kind: int, value: float) -> None:
    constant = bytes([0]) + np.float32(value).tobytes()
    zeros = bytes([0, 0, 0])  # dense, stream of plain symbols, one byte
    content = {
        0: bytes([2, 0]) + constant,
        1: bytes([2, 1, 2]) + constant + zeros,  # symbols 0 and 0 of a codebook of two
        8: bytes([2, 8, 0]) + constant + zeros + bytes(1),
    }[kind]
    body = b'seg_ros\0\x01' + content
    with pytest.raises(ModelFileError, match='not finite'):
        unpack(body + hashlib.sha256(body).digest()[:16], {'w': torch.Size([2])})


def test_a_negative_scale_is_refused() -> None:
    body = b'seg_ros\0\x01' + bytes([2, 8, 0, 0]) + np.float32(-1).tobytes() + bytes(4)
    with pytest.raises(ModelFileError, match='scales'):
        unpack(body + hashlib.sha256(body).digest()[:16], {'w': torch.Size([2])})


def changed(path: str, value: Any) -> dict[str, Any]:
    """Metadata with one value at a path such as ``classes.0.name`` changed."""
    content: Any = json.loads(json.dumps(describe().as_json()))
    *keys, last = (int(key) if key.isdigit() else key for key in path.split('.'))
    place = content
    for key in keys:
        place = place[key]
    place[last] = value
    return dict(content)


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('classes.0.name', 'x' * 100_000, None),
        ('classes.0.name', 'road\n[INFO] forged', 'control'),
        ('classes.0.name', 'a\x1b[2J', 'control'),
        ('classes.0.name', 'a\u202eb', 'control'),
        ('classes.0.name', '\ud800', 'control'),
        ('classes.0.name', 'a\u2028b', 'control'),
        ('classes.0.id', 0.9, 'id'),
        ('classes.0.id', False, 'id'),
        ('classes.0.colour', [0.0, 0, 0], 'colour'),
        ('input_size', [360.9, 480], 'input_size'),
        ('input_size', [360.0, 480], 'input_size'),
        ('input_size', [True, 480], 'input_size'),
        ('input_size', [8192, 8192], '8388608'),
        ('figures', {'mean_iou': 1.5}, 'mean_iou'),
        ('figures', {'mean_iou': -0.1}, 'mean_iou'),
        ('figures', {'class_iou': {'a': 7}}, 'class_iou.a'),
        ('figures', {'mean_iou': float('inf')}, 'figures'),
        ('figures', {'n': 2**70}, 'figures'),
        ('licence', 'MIT\nforged', 'licence'),
        ('licence', 'M' * 2000, 'licence'),
        ('licence', 3, 'licence'),
        ('training', {'data': 'a\nforged'}, 'training.data'),
        ('training', {'x' * 300: 1}, 'key'),
        ('training', {'a\nb': 1}, 'key'),
        ('training', {'deep': json.loads('[' * 50 + ']' * 50)}, 'nesting'),
        ('parent', {'digest': 'a\x07'}, 'control'),
        ('architecture', 'x\ny', None),
        ('architecture', 'x' * 500, None),
        ('arguments', {'width': 4.0, 'kernel': 3}, 'width'),
        ('arguments', {'width': True, 'kernel': 3}, 'width'),
        ('arguments', {'width': '4', 'kernel': 3}, 'width'),
        ('arguments', {'width': [[4]]}, 'width'),
        ('arguments', {str(k): 1 for k in range(99)}, 'arguments'),
        ('normalisation.channel_order', 'rgb\nforged', 'channel'),
        ('normalisation.channel_order', 'x' * 5000, 'channel'),
        ('normalisation.std', [1e-300, 1, 1], 'std'),
        ('normalisation.mean', [1e300, 0, 0], 'mean'),
        ('calibration', {'ranges': {'a': [-1e308, 1e308]}}, 'ranges'),
        ('pruned', {'removed': ['encoder.0'] * 2}, 'removed'),
        ('pruned', {'removed': ['encoder.0'] * 10_000}, 'removed'),
        ('quantization', 'int8\n', None),
    ],
)
def test_metadata_that_lie_are_refused(
    forge: Callable[..., Path], path: str, value: Any, said: str | None
) -> None:
    refused_cheaply(forge(json.dumps(changed(path, value))), said)


@pytest.mark.parametrize(
    'text',
    [
        '{"format": 1, "format": 1}',
        '{"format": ' + '1' * 5000 + '}',
        '{"format": 1e999}',
        '[' * 5000,
        '{"a":' * 5000 + '1' + '}' * 5000,
        '{"format": 1, "classes": [' + '{},' * 100_000 + '{}]}',
        '\ufeff{}',
    ],
)
def test_hostile_json_is_refused(forge: Callable[..., Path], text: str) -> None:
    refused_cheaply(forge(text))


def test_a_licence_that_a_recipe_ends_with_a_line_break_is_kept(
    forge: Callable[..., Path],
) -> None:
    assert load_model(forge({'licence': 'CC-BY-4.0, mine\n'})).metadata.licence == 'CC-BY-4.0, mine'


def test_records_of_older_versions_stay_readable(forge: Callable[..., Path]) -> None:
    record = {'training': {'recipe': {'note': 'two\nlines'}}, 'figures': {'mean_iou': float('nan')}}
    assert np.isnan(load_model(forge(record)).metadata.figures['mean_iou'])


def test_a_network_that_does_not_run_without_a_block_is_refused(tmp_path: Path) -> None:
    metadata = describe(pruned={'removed': ['encoder.0']})
    content = model_bytes(metadata.build().eval(), metadata, golden())
    (tmp_path / 'm').write_bytes(content)
    refused_cheaply(tmp_path / 'm', 'not run')


@pytest.mark.parametrize('taps', [{'nothing': 4}, {'encoder': 4}, {'encoder.0': 5}, {'': 4}])
def test_taps_that_the_network_does_not_have_are_refused(tmp_path: Path, taps: dict[str, int]) -> None:
    codes = CodeMetadata(taps, 32)
    metadata = describe(codes=codes)
    record = Golden(golden().images, golden().labels, np.zeros((1, 24, 4), np.uint8))
    save_model(tmp_path / 'm', metadata.build(), metadata, record, codes.build())
    refused_cheaply(tmp_path / 'm', 'tap')


@pytest.mark.parametrize('name', ['x' * 5000, 'slic\n', 'none'])
def test_unknown_superpixels_are_told_in_one_line(forge: Callable[..., Path], name: str) -> None:
    codes = {**dataclasses.asdict(CodeMetadata({'encoder.0': 4}, 32)), 'superpixels': name}
    refused_cheaply(forge({'codes': codes}), 'superpixel')


@pytest.mark.parametrize(
    'entry',
    [
        {'dtype': 'F32', 'shape': [2**39, 2**39], 'data_offsets': [0, 4]},
        {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4.0]},
        {'dtype': 'F32', 'shape': [-1], 'data_offsets': [4, 0]},
        {'dtype': 'F32', 'shape': [True], 'data_offsets': [0, 4]},
        {'dtype': 'F8', 'shape': [1], 'data_offsets': [0, 4]},
        {'dtype': ['F32'], 'shape': [1], 'data_offsets': [0, 4]},
        {'dtype': 'F32', 'shape': [1] * 9, 'data_offsets': [0, 4]},
        {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4], 'evil': 1},
        {'dtype': 'F32', 'shape': [1], 'data_offsets': [4, 8]},
        {'dtype': 'F32', 'shape': [0], 'data_offsets': [0, 0]},
        None,
        [],
    ],
)
def test_a_header_that_does_not_fit_its_data_is_refused(tmp_path: Path, entry: Any) -> None:
    header = json.dumps({'w': entry}).encode()
    (tmp_path / 'm').write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    refused_cheaply(tmp_path / 'm', 'cannot be read')


def test_two_tensors_on_the_same_data_are_refused(tmp_path: Path) -> None:
    entry = {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}
    header = json.dumps({'a': entry, 'b': entry}).encode()
    (tmp_path / 'm').write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    refused_cheaply(tmp_path / 'm', 'begins at byte')


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from([2**63, 10**400, 'segnet', 'enet', 'int8', 'fp16', 'a\nb', 4096, 1200]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.sampled_from(
    [
        *describe().as_json(),
        'classes.0.name',
        'classes.0.id',
        'classes.1',
        'classes.0.colour',
        'arguments.width',
        'arguments.kernel',
        'normalisation.mean',
        'normalisation.std',
        'normalisation.channel_order',
        'input_size.0',
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, value=VALUES)
def test_any_value_of_the_metadata_is_read_or_refused(
    forge: Callable[..., Path], path: str, value: Any
) -> None:
    try:
        model = load_model(forge(json.dumps(changed(path, value))))
    except SegRosError as err:
        assert is_one_line(str(err))  # noqa: PT017 - either outcome is right
        return
    text = json.dumps(model.metadata.as_json())
    assert (
        ModelMetadata.from_json(strict_json.parse(text, 'again')).as_json().keys() == json.loads(text).keys()
    )

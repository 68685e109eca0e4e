import contextlib
import dataclasses
import json
import resource as limits
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from seg_ros.classes import ClassSet
from seg_ros.errors import ModelFileError, SegRosError, UnknownNameError
from seg_ros.modelfile.description import GOLDEN_IMAGES, GOLDEN_LABELS, METADATA_KEY
from seg_ros.modelfile.file import load_model, save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import CodeMetadata, EmbeddingMetadata, ModelMetadata, with_figures
from seg_ros.modelfile.packed import rounded_to_file
from seg_ros.networks.graph.channels import remove, trace_channels
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.registry import MODELS
from seg_ros.resources import resource

SQUARES = ClassSet.from_yaml(resource('config/labels/squares.yaml'))

ARGUMENTS: dict[str, dict[str, Any]] = {
    'espnetv2': {'scale': 1.5},
    'fcn': {'width': 8},
    'hypercolumn': {'encoder': 'vgg11', 'width': 8, 'grid': 2},
    'segnet': {'width': 8},
    'segnet_basic': {'width': 8},
    'segnet_small': {'width': 8},
}
"""Of networks without dropout."""


def golden() -> Golden:
    rng = np.random.default_rng(0)
    return Golden(rng.integers(0, 256, (2, 6, 8, 3), np.uint8), rng.integers(0, 2, (2, 6, 8), np.uint8))


def describe(**changes: Any) -> ModelMetadata:
    return ModelMetadata(**{'architecture': 'enet', 'classes': SQUARES, 'input_size': (64, 80)} | changes)


@pytest.fixture(scope='module')
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('model') / 'good.safetensors'
    torch.manual_seed(0)
    metadata = describe()
    save_model(path, metadata.build(), metadata, golden())
    return path


@pytest.fixture
def forge(good: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the good file again with changed metadata and tensors."""

    def write(metadata: Any = None, tensors: Callable[[dict[str, Tensor]], object] = lambda t: None) -> Path:
        content = load_file(good)
        tensors(content)
        known = describe().as_json()
        text = metadata if isinstance(metadata, str) else json.dumps(known | (metadata or {}))
        save_file(content, tmp_path / 'forged.safetensors', metadata={METADATA_KEY: text})
        return tmp_path / 'forged.safetensors'

    return write


@pytest.mark.parametrize('name', list(MODELS))
def test_a_round_trip_keeps_everything(name: str, tmp_path: Path) -> None:
    metadata = describe(
        architecture=name,
        arguments=ARGUMENTS.get(name, {'dropout': 0.2}),
        normalisation=Normalisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 'bgr'),
        training={'seed': 3, 'recipe': {'epochs': 2}},
        parent={'digest': 'abc', 'figures': {}},
        licence='CC0-1.0',
        figures={'mean_iou': 0.5},
    )
    network = metadata.build().eval()
    path = tmp_path / 'deep' / 'model.safetensors'
    save_model(path, network, metadata, golden())
    model = load_model(path)
    assert model.metadata == metadata
    assert (model.digest, model.n_bytes) == (sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    assert model.n_parameters == sum(p.numel() for p in network.parameters())
    np.testing.assert_array_equal(model.golden.images, golden().images)
    np.testing.assert_array_equal(model.golden.labels, golden().labels)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.network(x), network(x))
    assert not model.network.training


def test_a_model_file_has_the_rights_of_any_other_new_file(good: Path, tmp_path: Path) -> None:
    other = tmp_path / 'other'
    other.touch()
    assert good.stat().st_mode == other.stat().st_mode


def test_the_same_model_gives_the_same_file(good: Path, tmp_path: Path) -> None:
    model = load_model(good)
    save_model(tmp_path / 'again', model.network, model.metadata, model.golden)
    assert (tmp_path / 'again').read_bytes() == good.read_bytes()


def test_figures_are_added() -> None:
    described = with_figures(with_figures(describe(), mean_iou=0.5), split='val')
    assert described.figures == {'mean_iou': 0.5, 'split': 'val'}


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    network = describe().build()
    with torch.no_grad():
        next(network.parameters()).fill_(float('nan'))
    with pytest.raises(ModelFileError, match='not finite'):
        save_model(tmp_path / 'm', network, describe(), golden())
    assert not (tmp_path / 'm').exists()


def test_missing_and_foreign_files(tmp_path: Path, good: Path) -> None:
    with pytest.raises(ModelFileError, match='does not exist'):
        load_model(tmp_path / 'absent')
    with pytest.raises(ModelFileError, match='is a folder'):
        load_model(tmp_path)
    save_file({'a': torch.zeros(1)}, tmp_path / 'other')
    with pytest.raises(ModelFileError, match='not written by seg_ros'):
        load_model(tmp_path / 'other')


def test_truncation_anywhere_is_found(good: Path, tmp_path: Path) -> None:
    content, path = good.read_bytes(), tmp_path / 'cut'
    for n_bytes in [0, 1, 7, 8, 9, *np.linspace(10, len(content) - 1, 40).astype(int).tolist()]:
        path.write_bytes(content[:n_bytes])
        with pytest.raises(ModelFileError, match='cannot be read'):
            load_model(path)


@pytest.mark.parametrize(
    'content',
    [
        b'garbage' * 100,
        bytes(1000),
        (2**60).to_bytes(8, 'little') + b'{}',
        (2**31).to_bytes(8, 'little') + b'{}',
        (80_000_000).to_bytes(8, 'little') + b'{' * 100,
        (100_000).to_bytes(8, 'little') + b'[' * 100_000,
        (86).to_bytes(8, 'little')
        + b'{"a":{"dtype":"F32","shape":[99999999999,99999999],"data_offsets":[0,99999999999999]}}',
    ],
    ids=['text', 'zeros', 'huge header', '2 GB header', '80 MB header', 'deep header', 'huge tensor'],
)
def test_garbage_is_refused_without_a_large_allocation(content: bytes, tmp_path: Path) -> None:
    (tmp_path / 'm').write_bytes(content)
    before = limits.getrusage(limits.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFileError, match='cannot be read'):
        load_model(tmp_path / 'm')
    assert limits.getrusage(limits.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.parametrize('k', range(30))
def test_random_damage_never_escapes_as_a_foreign_error(good: Path, tmp_path: Path, k: int) -> None:
    content, rng = bytearray(good.read_bytes()), np.random.default_rng(k)
    header = 8 + int.from_bytes(content[:8], 'little')
    for place in rng.integers(0, header, 1 + k % 4):
        content[place] ^= 1 << rng.integers(0, 8)
    (tmp_path / 'm').write_bytes(content)
    with contextlib.suppress(SegRosError):  # some bits are in text that may say anything
        load_model(tmp_path / 'm')


CLASS = {'id': 0, 'name': 'a', 'colour': [0, 0, 0]}


@pytest.mark.parametrize(
    ('metadata', 'message'),
    [
        ('not json', 'is not JSON'),
        ('[' * 100_000, 'is not JSON'),
        ('{"format": ' + '1' * 5000 + '}', 'is not JSON'),
        ('[]', 'format is'),
        ('null', 'format is'),
        ({'format': 2}, 'format is 2'),
        ({'classes': []}, 'neither classes nor codes'),
        ({'classes': 3}, 'class'),
        ({'classes': [CLASS | {'id': k, 'name': str(k)} for k in range(256)]}, 'class set'),
        ({'classes': [CLASS | {'id': 10**9}]}, 'class.* 1000000000'),
        ({'classes': [CLASS | {'colour': [0, 0, 256]}]}, 'colour'),
        ({'classes': [CLASS, CLASS]}, 'class ids'),
        ({'input_size': [10**9, 10**9]}, r'input_size\[0\] .* 8 \.\. 8192'),
        ({'input_size': [0, -5]}, r'input_size\[0\] is 0; .* 8 \.\. 8192'),
        ({'input_size': [float('inf'), 64]}, r'input_size\[0\] is inf'),
        ({'input_size': [10**400, 64]}, r'input_size\[0\] .* 8 \.\. 8192'),
        ({'classes': [CLASS | {'id': float('inf')}]}, 'class'),
        (
            {'normalisation': {'mean': [10**400, 0, 0], 'std': [1, 1, 1], 'channel_order': 'rgb'}},
            r'mean\[0\]',
        ),
        ({'input_size': [1]}, 'input_size .* length 2'),
        ({'input_size': 'wide'}, "input_size is 'wide'"),
        ({'normalisation': {'mean': [0, 0, 0], 'std': [1, 1, 0], 'channel_order': 'rgb'}}, 'std above 0'),
        ({'normalisation': {'mean': [0], 'std': [1], 'channel_order': 'rgb'}}, 'normalisation'),
        ({'normalisation': {'mean': [0, 0, 0], 'std': [1, 1, 1], 'channel_order': 'gbr'}}, 'channel order'),
        ({'normalisation': None}, 'normalisation is None'),
        ({'arguments': {'layers': 3}}, 'refuses arguments'),
        ({'arguments': {'dropout': 7}}, 'refuses arguments'),
        ({'arguments': [1]}, r'arguments is \[1\]'),
        ({'figures': 5}, 'figures is 5'),
        ({'figuers': {}}, 'figuers .* did you mean figures'),
        ({'evil': {}}, 'evil .* known: architecture'),
        ({'architecture': 3}, 'architecture is 3; expected str'),
        ({'architecture': 'squeezenet_pyramid'}, 'not those of its architecture'),
        ({'architecture': 'squeezenet_pyramid', 'arguments': {'width': 10**9}}, 'arguments.width .* 4096'),
        ({'architecture': 'squeezenet_pyramid', 'arguments': {'width': 10**6}}, 'arguments.width .* 4096'),
        ({'architecture': 'squeezenet_pyramid', 'arguments': {'width': 128}}, 'not those of its arch'),
        ({'classes': [CLASS]}, 'has shape'),
    ],
)
def test_wrong_metadata_is_named(forge: Callable[..., Path], metadata: Any, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_model(forge(metadata))


def test_unknown_names_list_the_known_ones(forge: Callable[..., Path]) -> None:
    with pytest.raises(UnknownNameError, match=r'known: .*enet'):
        load_model(forge({'architecture': 'os.system'}))
    with pytest.raises(UnknownNameError, match=r'quantization level .* known: bf16'):
        load_model(forge({'quantization': 'int1'}))


LATER_KEYS = ('format', 'codes', 'embeddings', 'pruned', 'temperature')
"""Keys that files may lack, or that have a test of their own."""


@pytest.mark.parametrize('key', [k for k in describe().as_json() if k not in LATER_KEYS])
def test_a_missing_key_is_named(forge: Callable[..., Path], key: str) -> None:
    content = describe().as_json()
    del content[key]
    with pytest.raises(ModelFileError, match=key):
        load_model(forge(json.dumps(content)))


WEIGHT = 'initial.conv.weight'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda t: t.pop(WEIGHT), f"missing .'{WEIGHT}"),
        (lambda t: t.update(evil=torch.zeros(3)), "unknown .'evil"),
        (lambda t: t.update({WEIGHT: torch.zeros(2, 2)}), r'has shape \(2, 2\)'),
        (lambda t: t.update({WEIGHT: torch.zeros(13, 3, 3, 3, dtype=torch.int64)}), 'has type I64'),
        (lambda t: t.update({WEIGHT: torch.full((13, 3, 3, 3), float('nan'))}), 'not finite'),
        (lambda t: t.update({WEIGHT: torch.full((13, 3, 3, 3), float('inf'))}), 'not finite'),
        (lambda t: t.pop(GOLDEN_LABELS), 'missing'),
        (lambda t: t.update({GOLDEN_IMAGES: torch.zeros(2, 6, 8, 3)}), '8-bit'),
        (lambda t: t.update({GOLDEN_IMAGES: torch.zeros(9, 99, 99, 3, dtype=torch.uint8)}), '32 KB'),
        (lambda t: t.update({GOLDEN_LABELS: torch.zeros(2, 6, 7, dtype=torch.uint8)}), 'golden images'),
        (lambda t: t.update({GOLDEN_IMAGES: torch.zeros(0, 6, 8, 3, dtype=torch.uint8)}), 'golden images'),
    ],
)
def test_wrong_tensors_are_named(
    forge: Callable[..., Path], change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_model(forge(tensors=change))


def pruned_file(tmp_path: Path, **changes: Any) -> Path:
    """A network that lacks a block and channels."""
    metadata = describe(pruned={'removed': ['stage2.1']})
    torch.manual_seed(0)
    network = metadata.build().eval()
    units = trace_channels(network, torch.zeros(1, 3, 64, 64)).units
    remove(network, [unit for unit in units if unit.layer == 'stage3.0.extension.0'][:7])
    save_model(tmp_path / 'pruned.safetensors', network, dataclasses.replace(metadata, **changes), golden())
    return tmp_path / 'pruned.safetensors'


def test_a_pruned_network_comes_back(tmp_path: Path) -> None:
    model = load_model(pruned_file(tmp_path))
    assert isinstance(model.network.get_submodule('stage2.1'), torch.nn.Identity)
    assert model.network.get_submodule('stage3.0.extension.0').out_channels == 25
    with torch.no_grad():
        assert model.network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_smaller_tensors_of_a_network_that_is_not_pruned_are_refused(tmp_path: Path) -> None:
    path = pruned_file(tmp_path, pruned=None)
    with pytest.raises(ModelFileError, match='tensors are not those of its architecture'):
        load_model(path)


@pytest.mark.parametrize(
    ('metadata', 'message'),
    [
        ({'pruned': {'removed': ['stage9']}}, 'without'),
        ({'pruned': {}}, 'pruned.removed is missing'),
        ({'pruned': {'removed': [1]}}, r'pruned.removed\[0\] is 1'),
        ({'calibration': {'ranges': {'a': [1.0, 0.0]}}}, 'calibration.ranges.a .* smaller value first'),
        ({'calibration': {'ranges': {'a': [0.0, float('inf')]}}}, r'ranges.a\[1\] is inf'),
        ({'calibration': {'ranges': {'a': [0.0]}}}, 'calibration.ranges.a .* 2 entries'),
        ({'calibration': {'method': 'mse'}}, 'calibration.ranges is missing'),
        ({'quantization': 'int8'}, "missing \\['packed'\\]"),
    ],
)
def test_false_records_of_compression_are_refused(
    forge: Callable[..., Path], metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_model(forge(metadata))


def test_a_damaged_packed_state_is_refused(tmp_path: Path) -> None:
    metadata = describe(quantization='int4')
    torch.manual_seed(0)
    network = rounded_to_file(metadata.build(), 'int4', torch.zeros(1, 3, 64, 64))
    path = tmp_path / 'packed.safetensors'
    save_model(path, network, metadata, golden())
    loaded = load_model(path).network.state_dict()
    assert torch.equal(loaded['initial.conv.weight'], network.state_dict()['initial.conv.weight'])
    content = bytearray(path.read_bytes())
    place = bytes(content).index(b'seg_ros\x00')
    content[place + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match='damaged'):
        load_model(path)


def test_embeddings_come_back(tmp_path: Path) -> None:
    embeddings = EmbeddingMetadata(
        {'initial': 16, 'stage4': 64}, dimensions=5, stride=8, window=7, iterations=3
    )
    metadata = describe(architecture='enet', embeddings=embeddings)
    network, head = metadata.build().eval(), embeddings.build().eval()
    record = dataclasses.replace(golden(), filtered=golden().labels)
    path = tmp_path / 'model.safetensors'
    save_model(path, network, metadata, record, embeddings=head)
    model = load_model(path)
    assert model.metadata.embeddings == embeddings
    assert model.embeddings is not None
    assert not model.embeddings.training
    for name, value in head.state_dict().items():
        assert torch.equal(model.embeddings.state_dict()[name], value), name
    np.testing.assert_array_equal(model.golden.filtered, record.filtered)
    assert model.n_parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    'wrong',
    [
        {'window': 4},
        {'window': 0},
        {'iterations': -1},
        {'iterations': 10**6},
        {'stride': 3},
        {'dimensions': 0},
        {'dimensions': 10**9},
        {'taps': {'initial': 10**9}},
        {'taps': ['initial']},
        {'taps': None},
        {'taps': {}},
    ],
)
def test_embeddings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    embeddings = EmbeddingMetadata({'initial': 16})
    content = describe(embeddings=embeddings).as_json()
    content['embeddings'].update(wrong)
    with pytest.raises(ModelFileError, match=f'embeddings.{next(iter(wrong))}'):
        ModelMetadata.from_json(content)


@pytest.mark.parametrize(
    'wrong',
    [
        {'taps': {}},
        {'taps': {'initial': 0}},
        {'taps': {'initial': 10**9}},
        {'n_bits': 12},
        {'n_bits': 10**9},
        {'n_bits': -8},
        {'region_size': 1},
        {'merge_limit': 7},
        {'size_power': float('nan')},
        {'border_share': -0.1},
        {'has_colour': 1},
        {'other': 1},
    ],
)
def test_codes_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    content = describe(codes=CodeMetadata({'initial': 16}, 32)).as_json()
    content['codes'].update(wrong)
    with pytest.raises(ModelFileError, match=f'codes.{next(iter(wrong))}'):
        ModelMetadata.from_json(content)


@pytest.mark.parametrize('wrong', [0.0, -1.0, 1e9, '1', None])
def test_temperatures_that_cannot_be_are_refused(wrong: Any) -> None:
    with pytest.raises(ModelFileError, match='temperature'):
        ModelMetadata.from_json(describe().as_json() | {'temperature': wrong})


def test_a_missing_key_of_the_codes_is_named() -> None:
    content = describe(codes=CodeMetadata({'initial': 16}, 32)).as_json()
    del content['codes']['size_power']
    with pytest.raises(ModelFileError, match=r'codes\.size_power is missing'):
        ModelMetadata.from_json(content)


def test_content_that_is_large_or_deep_gives_a_short_message() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    for wrong in ({'input_size': deep}, {'x' * 10**6: 1}, {'licence': ['x' * 10**6]}, {'format': deep}):
        with pytest.raises(ModelFileError) as caught:
            ModelMetadata.from_json(describe().as_json() | wrong)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize('path', sorted(resource('models').glob('*.safetensors')), ids=lambda p: p.stem)
def test_metadata_of_shipped_models_is_written_as_it_was_read(path: Path) -> None:
    with safe_open(path, framework='pt') as file:
        text = file.metadata()[METADATA_KEY]
    content = json.loads(text)
    later = {'pruned': None, 'embeddings': None, 'temperature': 1.0}
    added = {key: value for key, value in later.items() if key not in content}
    written = json.dumps(ModelMetadata.from_json(content).as_json())
    expected = content | added
    is_older = bool(content.get('embeddings')) and 'averages' not in content['embeddings']
    if is_older:
        expected['embeddings'] = content['embeddings'] | {'averages': 'probabilities'}
    assert json.loads(written) == expected
    assert added or is_older or written == text

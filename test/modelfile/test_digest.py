import logging
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from seg_ros.classes import ClassSet
from seg_ros.errors import ModelFileError
from seg_ros.modelfile import identity, shipped
from seg_ros.modelfile.digest import DIGEST_KEY
from seg_ros.modelfile.file import load_model, save_model
from seg_ros.modelfile.find import shipped_models
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.identity import identify_model
from seg_ros.modelfile.metadata import CodeMetadata, EmbeddingMetadata, ModelMetadata
from seg_ros.resources import resource

SQUARES = ClassSet.from_yaml(resource('config/labels/squares.yaml'))


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with everything that a file may have."""
    codes, embeddings = CodeMetadata({'encoder.0': 4}, 32), EmbeddingMetadata({'encoder.1': 4}, dimensions=3)
    arguments = {'width': 4, 'kernel': 3}
    metadata = ModelMetadata(
        'segnet_small', SQUARES, (64, 80), arguments=arguments, codes=codes, embeddings=embeddings
    )
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (2, 6, 8, 3), np.uint8), rng.integers(0, 2, (2, 6, 8), np.uint8)
    golden = Golden(images, labels, np.zeros((2, 24, 4), np.uint8), labels)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('digest') / 'whole.safetensors'
    save_model(path, metadata.build(), metadata, golden, codes.build(), embeddings.build())
    return path


def without_digest(
    source: Path, target: Path, change: Callable[[dict[str, Any]], object] = lambda t: None
) -> Path:
    """The file as an older version of seg_ros wrote it, by the library of the format."""
    tensors = load_file(source)
    change(tensors)
    with safe_open(source, 'pt') as file:
        save_file(tensors, target, metadata={'seg_ros': file.metadata()['seg_ros']})
    return target


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place(whole: Path) -> None:
    content = whole.read_bytes()
    with safe_open(whole, 'pt') as file:
        stated = file.metadata()[DIGEST_KEY]
    assert content.count(stated.encode()) == 1
    assert sha256(content.replace(stated.encode(), b'0' * 64)).hexdigest() == stated


def test_every_flipped_bit_is_found(whole: Path, tmp_path: Path) -> None:
    """Of texts, shapes, weights, codes and golden record: a bit of every part of the file."""
    content = whole.read_bytes()
    n_header = 8 + int.from_bytes(content[:8], 'little')
    places = [*range(0, n_header, 37), *range(n_header, len(content), 97), len(content) - 1]
    path = tmp_path / 'flipped.safetensors'
    for k, place in enumerate(places):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << k % 8]) + content[place + 1 :])
        with pytest.raises(ModelFileError):
            load_model(path)


@pytest.mark.parametrize('name', ['golden.sharpened', 'golden.labels', 'golden.codes', 'codes.bias'])
def test_an_altered_tensor_with_the_old_digest_is_refused(whole: Path, tmp_path: Path, name: str) -> None:
    tensors = load_file(whole)
    tensors[name] = tensors[name] + 1
    with safe_open(whole, 'pt') as file:
        save_file(tensors, tmp_path / 'altered', metadata=file.metadata())
    with pytest.raises(ModelFileError, match='damaged or altered'):
        load_model(tmp_path / 'altered')


def test_swapped_class_names_are_refused(whole: Path, tmp_path: Path) -> None:
    one, other = SQUARES.names[:2]
    content = whole.read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], 'little')].decode()
    text = header.replace(one, '?').replace(other, one).replace('?', other).encode()
    (tmp_path / 'swapped').write_bytes(content[:8] + text + content[8 + len(text) :])
    with pytest.raises(ModelFileError, match='damaged or altered'):
        load_model(tmp_path / 'swapped')


@pytest.mark.parametrize('digest', ['', '0' * 63, 'A' * 64, '0' * 64, 'f' * 64])
def test_a_wrong_digest_is_refused(whole: Path, tmp_path: Path, digest: str) -> None:
    with safe_open(whole, 'pt') as file:
        metadata = {**file.metadata(), DIGEST_KEY: digest}
    save_file(load_file(whole), tmp_path / 'wrong', metadata=metadata)
    with pytest.raises(ModelFileError, match='digest'):
        load_model(tmp_path / 'wrong')


def test_an_older_file_is_read_and_told_of_once(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = without_digest(whole, tmp_path / 'older.safetensors')
    older, newer = load_model(path), load_model(whole)
    load_model(path)
    assert [str(path) in record.message for record in caplog.records] == [True]
    assert older.metadata == newer.metadata
    assert older.codebook((64, 80)) == newer.codebook((64, 80)) != ''
    for name, value in newer.network.state_dict().items():
        assert torch.equal(older.network.state_dict()[name], value)


def test_other_texts_beside_the_metadata_are_refused(whole: Path, tmp_path: Path) -> None:
    with safe_open(whole, 'pt') as file:
        save_file(
            load_file(whole), tmp_path / 'x', metadata={'seg_ros': file.metadata()['seg_ros'], 'evil': ''}
        )
    with pytest.raises(ModelFileError, match='evil'):
        load_model(tmp_path / 'x')


def flipped_exponent(tensors: dict[str, Any]) -> None:
    bits = tensors['encoder.0.0.weight'].view(torch.int32)
    bits.view(-1)[3] ^= 1 << 30


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda t: t['codes.bias'].fill_(float('nan')), 'codes.bias .* not finite'),
        (lambda t: t['codes.colour.weight'].fill_(float('inf')), 'not finite'),
        (lambda t: t['embeddings.log_hardness'].fill_(float('nan')), 'not finite'),
        (
            lambda t: t.update({'embeddings.embed.bias': torch.tensor([0, float('-inf'), 0]).half()}),
            'not finite',
        ),
        (
            lambda t: t.update({'embeddings.embed.bias': torch.tensor([0, torch.nan, 0]).bfloat16()}),
            'not finite',
        ),
        (lambda t: t.update({'embeddings.embed.bias': torch.zeros(3).double()}), 'F64'),
        (lambda t: t['embeddings.norm.running_var'].fill_(-1), 'variance'),
        (flipped_exponent, 'magnitudes'),
        (lambda t: t['golden.labels'].fill_(7), 'golden labels'),
        (lambda t: t['golden.sharpened'].fill_(7), 'golden labels'),
        (lambda t: t.update({'golden.codes': t['golden.codes'][..., :3].contiguous()}), '24 bits'),
        (lambda t: t.update({'golden.sharpened': t['golden.sharpened'][:1].clone()}), 'filter'),
    ],
)
def test_values_are_checked_without_a_digest(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(ModelFileError, match=said):
        load_model(without_digest(whole, tmp_path / 'x', change))


def test_the_library_of_the_format_reads_our_files(whole: Path) -> None:
    with safe_open(whole, 'pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    state = load_model(whole).network.state_dict()
    for name, value in state.items():
        assert torch.equal(tensors[name], value)


def test_shipped_models_are_those_of_the_list() -> None:
    files = {path.stem: sha256(path.read_bytes()).hexdigest() for path in shipped_models()}
    assert files == shipped.SHIPPED
    for path in shipped_models():
        with safe_open(path, 'pt') as file:
            assert DIGEST_KEY in file.metadata()


def test_a_shipped_model_is_compared_only_if_it_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(identity.SHIPPED, 'segments', '0' * 64)
    with pytest.raises(ModelFileError, match=r'segments .*0000000000000000'):
        load_model('segments')
    path = resource('models/segments.safetensors')
    assert load_model(path).digest == identify_model(path).digest == sha256(path.read_bytes()).hexdigest()
    assert identify_model(path).n_bytes == path.stat().st_size


def test_files_that_are_not_regular_or_too_large(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    with (tmp_path / 'large').open('wb') as file:
        file.truncate(2**40)  # sparse
    for name, said in (('pipe', 'named pipe'), ('large', str(2**40)), ('x' * 300, 'long|not exist')):
        with pytest.raises(ModelFileError, match=said):
            load_model(tmp_path / name)
    with pytest.raises(ModelFileError):
        load_model(Path('a\0b'))


def test_a_file_may_be_overwritten_in_place_after_it_was_read(whole: Path, tmp_path: Path) -> None:
    """A memory map would end the process by SIGBUS."""
    path = tmp_path / 'model.safetensors'
    path.write_bytes(whole.read_bytes())
    program = (
        'import sys, torch; from seg_ros.modelfile.file import load_model\n'
        'model = load_model(sys.argv[1] + "")\n'
        'open(sys.argv[1], "r+b").truncate(0)\n'
        'print(model.network(torch.zeros(1, 3, 64, 80)).isfinite().all().item())'
    )
    done = subprocess.run(
        [sys.executable, '-c', program, str(path)], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, 'True\n'), done.stderr

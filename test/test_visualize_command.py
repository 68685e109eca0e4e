"""``seg_ros visualize`` on rendered images, and beside a model from which two channels were cut."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from seg_ros.checkpoint import Golden, load_model, save_model
from seg_ros.cli import main
from seg_ros.description import ModelDescription
from seg_ros.errors import DatasetError
from seg_ros.evaluate.units import UnitRecord, layer_maps
from seg_ros.image import ImageNetwork
from seg_ros.labels import ClassInfo, ClassSet
from seg_ros.models.segnet import SegNetSmall
from seg_ros.rendered import RenderedDrive
from seg_ros.visualize_command import choose_units, open_images

GOLDEN = Golden(np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 16), np.uint8))
CLASSES = ClassSet((ClassInfo(0, 'a', (0, 0, 0)), ClassInfo(1, 'b', (9, 9, 9))))
KEPT = [0, 2, 3, 5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drive = RenderedDrive(3, 5, 64, 80)
    (tmp_path / 'images').mkdir()
    for index in range(5):
        cv2.imwrite(str(tmp_path / f'images/{index}.png'), drive[index][0][..., ::-1])
    return tmp_path / 'images'


def save(path: Path, network: nn.Module, width: int) -> Path:
    save_model(
        path, network, ModelDescription('segnet_small', CLASSES, (64, 80), arguments={'width': width}), GOLDEN
    )
    return path


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network of six channels, and the same without two of them."""
    torch.manual_seed(0)
    whole, cut = SegNetSmall(2, width=6).eval(), SegNetSmall(2, width=len(KEPT)).eval()
    state = {}
    for name, value in cut.state_dict().items():
        state[name] = whole.state_dict()[name]
        for axis, (n, n_cut) in enumerate(zip(state[name].shape, value.shape, strict=True)):
            if n != n_cut:
                state[name] = state[name].index_select(axis, torch.tensor(KEPT))
    cut.load_state_dict(state)
    at = tmp_path_factory.mktemp('models')
    return save(at / 'whole.safetensors', whole, 6), save(at / 'cut.safetensors', cut, len(KEPT))


def visualize(*words: object) -> int:
    return main(['visualize', *map(str, words), '--device', 'cpu'])


def test_a_folder_becomes_a_page(models: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / 'out', tmp_path / 'figures.json'
    words = ['--data', folder, '--peaks', '4', '--units', '3', '-o', out, '--json', figures]
    assert visualize(models[0], '--layer', 'encoder.0', *words, '--compare', models[1]) == 0
    report = json.loads(figures.read_text())

    (compared,) = report['compared']
    assert compared['removed'] == [1, 4]
    assert [(u['parent_unit'], u['unit']) for u in compared['units']] == [(k, i) for i, k in enumerate(KEPT)]
    assert all(u['correlation'] == pytest.approx(1) for u in compared['units'])
    assert all(u['change'] == pytest.approx(0, abs=1e-5) for u in compared['units'])

    model = load_model(models[0])
    network, record = ImageNetwork(model.network, model.description.normalisation).eval(), UnitRecord(4)
    for index in range(5):
        image = cv2.imread(str(folder / f'{index}.png'))[..., ::-1].copy()
        with torch.no_grad():
            record.add(layer_maps(network, 'encoder.0', torch.from_numpy(image)))
    for unit in report['units']:
        assert unit['mean_activation'] == pytest.approx(record.mean[unit['unit']])
        assert unit['sparsity'] == pytest.approx(record.sparsity[unit['unit']])
        assert [p['image'] for p in unit['peaks']] == [str(p.image) for p in record.peaks(unit['unit'])]

    page, shown = (out / 'index.html').read_text(), choose_units(record, 3)
    assert {p.name for p in out.glob('*.png')} == {f'unit_{k:04}.png' for k in shown}
    assert page.count('<section>') == 3
    assert 'removed' in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # it needs no other file
    pictures = re.findall(r'data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 2 * (3 + len(set(shown) & set(KEPT)))
    for picture in pictures:
        content = np.frombuffer(base64.b64decode(picture), np.uint8)
        assert cv2.imdecode(content, cv2.IMREAD_COLOR).shape[1] == 420


def test_chosen_units_and_labelled_data(models: tuple[Path, Path], tmp_path: Path) -> None:
    words = ['--layer', 'decoder.1', '--dataset', 'squares', '--split', 'test', '--limit', '3', '--unit', '5']
    assert visualize(models[0], *words, '2', '-o', tmp_path) == 0
    assert {p.name for p in tmp_path.iterdir()} == {'index.html', 'unit_0002.png', 'unit_0005.png'}
    assert re.search(r'<p>on (background|square) \d×', (tmp_path / 'index.html').read_text())


def test_files_of_one_name_are_told_apart(models: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    for name, path in zip('ab', models, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'best.safetensors').write_bytes(path.read_bytes())
    words = [
        '--layer',
        'encoder.0.0',
        '--data',
        folder,
        '--limit',
        '2',
        '--unit',
        '0',
        '-o',
        tmp_path / 'out',
    ]
    one, other = (tmp_path / f'{name}/best' for name in 'ab')
    assert visualize(f'{one}.safetensors', *words, '--compare', f'{other}.safetensors') == 0
    page = (tmp_path / 'out/index.html').read_text()
    assert f'<b>{one}</b>' in page
    assert f'<b>{other}</b>' in page


def test_what_is_wrong_is_told(
    models: tuple[Path, Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, told in (
        (['--layer', 'encoder.9', '--data', folder], 'encoder.0.2, encoder.0, encoder.1.0'),
        (['--layer', 'encoder.0'], '--data DIR'),
        (['--layer', 'encoder.0', '--data', folder, '--unit', '6'], 'units 0..5'),
        (['--layer', 'encoder.0', '--data', folder, '--units', '0'], '1 or more'),
        (['--layer', 'encoder.0', '--data', folder / 'none'], 'no folder'),
        (['--layer', 'encoder.0', '--data', folder, '--compare', folder / 'x.safetensors'], 'no such file'),
    ):
        assert visualize(models[0], *words, '-o', folder / 'out') == 1
        assert told in capsys.readouterr().err
        assert not (folder / 'out').exists()


def test_folders_of_images_have_splits(folder: Path) -> None:
    assert open_images('folder', folder, 'val', None).names == ['0', '1', '2', '3', '4']
    assert open_images('folder', folder.parent, 'val', None).names == ['0', '1', '2', '3', '4']
    (folder.parent / 'val.txt').write_text('3 1\n')
    assert open_images('folder', folder.parent, 'val', None).names == ['1', '3']
    (folder / 'val').mkdir()
    (folder / '0.png').rename(folder / 'val/0.png')
    images = open_images('folder', folder, 'val', None)
    assert images.names == ['0']
    image, labels = images[0]
    assert image.shape == (64, 80, 3)
    assert (labels == 255).all()
    with pytest.raises(DatasetError, match='--classes'):
        open_images('squares', None, 'test', 'camvid11')


def test_units_that_stand_out_come_first() -> None:
    record = UnitRecord(2)
    for _ in range(2):
        maps = torch.rand(4, 8, 8)
        maps[2, 3, 3], maps[0, 1, 1], maps[3] = 50, 5, 0
        record.add(maps)
    assert choose_units(record, 2) == [2, 0]
    assert choose_units(record, 9)[-1] == 3

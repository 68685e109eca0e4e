"""``seg_ros visualize``: units, beside a model from which two channels were cut, and embeddings."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.cli.main import main
from seg_ros.datasets.rendered import RenderedDataset
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.evaluation.deconvnet import layer_maps
from seg_ros.evaluation.units import UnitRecord
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model, save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.segnet import SegNetSmall
from seg_ros.reports.unit_portraits import choose_units
from seg_ros.synthetic import RenderedDrive

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
        path, network, ModelMetadata('segnet_small', CLASSES, (64, 80), arguments={'width': width}), GOLDEN
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
    network, record = ImageNetwork(model.network, model.metadata.normalisation).eval(), UnitRecord(4)
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
        (['--layer', 'encoder.0', '--data', folder / 'none'], 'not a folder'),
        (['--layer', 'encoder.0', '--data', folder, '--compare', folder / 'x.safetensors'], 'not exist'),
        (['--layer', 'encoder.0', '--dataset', 'squares', '--classes', 'camvid11'], 'options: n_images'),
        (['--layer', 'encoder.0', '--data', folder, '--at', '3', '4'], '--at means nothing with --layer'),
        (['--embeddings', '--data', folder], 'shipped models that have'),
        (['--embeddings', '--data', folder, '--unit', '3'], '--unit means nothing with --embeddings'),
        (['--embeddings', '--data', folder, '--compare', 'x'], '--compare means nothing with --embeddings'),
    ):
        assert visualize(models[0], *words, '-o', folder / 'out') == 1
        assert told in capsys.readouterr().err
        assert not (folder / 'out').exists()


def test_one_of_units_and_embeddings_is_chosen(models: tuple[Path, Path], folder: Path) -> None:
    for words in ([], ['--embeddings', '--layer', 'encoder.0']):
        with pytest.raises(SystemExit):
            visualize(models[0], *words, '--data', folder)


def test_embeddings_become_a_page(embedded_model_file: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / 'out', tmp_path / 'figures.json'
    words = ['--dataset', 'rendered', '--limit', '2', '--backend', 'torch', '-o', out, '--json', figures]
    assert visualize(embedded_model_file, '--embeddings', *words) == 0
    report, page = json.loads(figures.read_text()), (out / 'index.html').read_text()

    embeddings = load_model(embedded_model_file).metadata.embeddings
    assert embeddings is not None
    assert {key: report[key] for key in ('dimensions', 'stride', 'window', 'iterations')} == {
        'dimensions': embeddings.dimensions,
        'stride': embeddings.stride,
        'window': 5,
        'iterations': embeddings.iterations,
    }
    assert report['taps'] == ['initial', 'stage4']

    streets = EvenSample(RenderedDataset(None, 'val'), 2)
    plain, filtered = (
        Segmenter.load(Settings(str(embedded_model_file), backend='torch', embedding_filter_enabled=on))
        for on in (False, True)
    )
    n_changed = n_known = n_right = n_wrong = 0
    for index, told in enumerate(report['images']):
        image, truth = streets[index]
        before, after = plain(image).labels, filtered(image).labels
        changed = before != after
        assert told['name'] == streets.names[index]
        assert told['changed_share'] == pytest.approx(changed.mean())
        n_changed += changed.sum()
        n_known += (changed & (truth != 255)).sum()
        n_right += (changed & (after == truth) & (truth != 255)).sum()
        n_wrong += (changed & (before == truth) & (truth != 255)).sum()
        assert 1 <= len(told['masks']) <= 6
    assert n_right > 0
    assert report['changed_share'] == pytest.approx(n_changed / (2 * truth.size))
    assert report['became_right_share'] == pytest.approx(n_right / n_known)
    assert report['became_wrong_share'] == pytest.approx(n_wrong / n_known)
    assert f'{100 * n_changed / (2 * truth.size):.2f} % of pixels' in page
    assert f'{n_right / n_known:.0%} became right' in page

    assert page.count('<section>') == 2
    assert {path.name for path in out.iterdir()} == {'index.html', *(f'{name}.png' for name in streets.names)}
    assert not re.search(r'(src|href)="(?!data:)', page)  # it needs no other file


def test_embeddings_of_images_without_comparable_labels(
    embedded_model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in (
        ('folder', ['--data', folder]),
        ('squares', ['--dataset', 'squares', '--split', 'test']),
    ):
        json_file = tmp_path / f'{name}.json'
        words += ['--embeddings', '--limit', '1', '--at', '127', '95', '0', '3', '--json', json_file]
        assert visualize(embedded_model_file, *words, '-o', tmp_path / name) == 0
        report = json.loads(json_file.read_text())
        assert report['became_right_share'] is report['became_wrong_share'] is None
        (told,) = report['images']
        assert told['masks'] == [
            {'x': 127, 'y': 95, 'row': 23, 'column': 31},
            {'x': 0, 'y': 3, 'row': 0, 'column': 0},
        ]
        assert ('other classes' in capsys.readouterr().out) == (name == 'squares')


@pytest.mark.parametrize(
    ('at', 'told'),
    [
        (('128', '0'), '128 x 96 pixels, so expected X in 0..127 and Y in 0..95'),
        (('3', '4', '0', '-1'), '--at 0 -1 lies outside'),
        (('5',), 'expected pairs'),
    ],
)
def test_pixels_that_are_none(
    embedded_model_file: Path, folder: Path, capsys: pytest.CaptureFixture[str], at: tuple[str], told: str
) -> None:
    words = ['--data', folder, '--at', *at, '-o', folder / 'out']
    assert visualize(embedded_model_file, '--embeddings', *words) == 1
    assert told in capsys.readouterr().err
    assert not (folder / 'out').exists()

"""``seg_ros compare`` on a folder of small streets, with a float network, a wider one and one in 8 bits."""

import base64
import copy
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.cli.main import main
from seg_ros.datasets.folder import FolderDataset
from seg_ros.datasets.registry import DATASETS
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.errors import DatasetError, ParameterError, UnavailableError, UnknownNameError
from seg_ros.evaluation.accuracy import measure_accuracy
from seg_ros.evaluation.candidates import VARIANTS, find_candidates
from seg_ros.evaluation.compare import compare, cost_level, pareto_front
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.graph.cost import count_macs
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.int8 import calibrate
from seg_ros.reports.compare_tables import MARKS, write_markdown
from seg_ros.synthetic import RenderedDrive
from seg_ros.training.export import export_model

SIZE = (48, 64)
CLASSES = ClassSet((ClassInfo(0, 'rest', (90, 60, 30)), ClassInfo(1, 'sky', (90, 160, 250))))
SHARED_KEYS = {
    'path',
    'mean_iou',
    'class_average',
    'class_iou',
    'boundary_iou',
    'n_parameters',
    'n_macs',
    'n_bytes',
    'quantization',
    'backend',
    'device',
    'latency_ms',
    'peak_memory_mb',
    'agreement',
    'embedding_filter',
    'merge',
}


@pytest.fixture(autouse=True, scope='module')
def _one_thread() -> Iterator[None]:
    """Busy machines make short parallel sections slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered streets and where the sky is, four to learn from, five to measure on; with a void border."""
    root, drive = tmp_path_factory.mktemp('data'), RenderedDrive(1, 9, *SIZE)
    (root / 'classes.yaml').write_text(yaml.safe_dump({'classes': CLASSES.as_json()}))
    for index in range(9):
        image, labels = drive[index]
        is_sky = (labels == 0).astype(np.uint8)
        is_sky[:2] = 255
        for kind, picture in (('images', image[..., ::-1]), ('labels', is_sky)):
            at = root / kind / ('val' if index % 2 == 0 else 'train')
            at.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(at / f'{index}.png'), picture)
    return root


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> dict[str, Path]:
    """Networks of four and six channels that looked for the sky for a moment; the first in 8 bits too."""
    at, train = tmp_path_factory.mktemp('models'), FolderDataset(folder, 'train', classes='classes.yaml')
    pairs = zip(*(train[k] for k in range(4)), strict=True)
    frames, truth = (torch.from_numpy(np.stack(parts)) for parts in pairs)
    paths = {name: at / f'{name}.safetensors' for name in ('small', 'wide', 'int8')}
    for name, width in (('small', 4), ('wide', 6)):
        torch.manual_seed(width)
        metadata = ModelMetadata('segnet_small', CLASSES, SIZE, arguments={'width': width, 'kernel': 3})
        network = metadata.build()
        images = ImageNetwork(network, metadata.normalisation)
        optimizer = torch.optim.Adam(network.parameters(), 0.02)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(images(frames), truth.long(), ignore_index=255).backward()
            optimizer.step()
        export_model(paths[name], network, metadata)
        if name == 'small':
            network.eval()
            ranges = calibrate(network, frames.split(1), images.eval())
            record = {'method': 'mse', 'data': '4 streets', 'ranges': {k: list(v) for k, v in ranges.items()}}
            at_int8 = replace(metadata, quantization='int8', calibration=record)
            export_model(paths['int8'], copy.deepcopy(network), at_int8)
    return paths


def words(folder: Path, *more: object) -> list[str]:
    given = [
        '--dataset',
        'folder',
        '--data',
        folder,
        '--split',
        'val',
        '--classes',
        'classes.yaml',
        '--device',
        'cpu',
    ]
    return [str(word) for word in (*given, '--rounds', 2, '--n-threads', 1, *more)]


def test_end_to_end(
    models: dict[str, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('onnxruntime')
    pytest.importorskip('matplotlib')
    broken = tmp_path / 'broken.safetensors'
    broken.write_bytes(models['small'].read_bytes()[:-900])
    out = {kind: tmp_path / f'out/report.{kind}' for kind in ('json', 'csv', 'html', 'markdown')}
    outputs = [word for kind, path in out.items() for word in (f'--{kind}', path)]
    outputs += ['--plot', tmp_path / 'out/fronts.png']
    named = [models['small'], models['int8'], broken, models['wide']]
    more = ['--backend', 'onnxruntime', '--levels', 'fp32,int4', '--sensitivity', 2, '--worst', 2]
    assert main(['compare', *map(str, named), *words(folder, *outputs, *more)]) == 1  # one is broken
    report = json.loads(out['json'].read_text())

    assert (report['dataset'], report['split'], report['n_images']) == ('folder', 'val', 5)
    small, quantized, derived, wide = report['models']
    for row in report['models']:
        assert row.keys() >= SHARED_KEYS
        assert list(row['class_iou']) == ['rest', 'sky']
        assert row['class_iou']['sky'] == pytest.approx(2 * row['mean_iou'] - row['class_iou']['rest'])
        assert list(row['latency_ms']) == ['p50', 'p90', 'p99', 'max']
        assert 0 < row['latency_ms']['p50'] <= row['latency_ms']['max']
        assert 50 < row['peak_memory_mb'] < 4000
        assert 0 < row['boundary_iou'] <= 1
        assert (row['backend'], row['device']) == ('onnxruntime', 'cpu')
        assert (row['embedding_filter'], row['merge']) == (False, False)
        assert row['n_bytes'] == Path(row['path']).stat().st_size
    assert [row['quantization'] for row in report['models']] == ['fp32', 'int8', 'fp32', 'fp32']
    assert (quantized['path'], derived['path']) == (str(models['int8']),) * 2
    assert (small['agreement'], small['speedup']) == (1, 1)
    assert 0.8 < quantized['agreement'] < 1
    for row, name in ((small, 'small'), (wide, 'wide')):
        network = load_model(models[name]).network
        assert row['n_parameters'] == sum(p.numel() for p in network.parameters())
        assert row['n_macs'] == count_macs(network, torch.zeros(1, 3, *SIZE))
    assert quantized['energy_uj'] < small['energy_uj'] < wide['energy_uj']
    assert quantized['n_bytes'] < small['n_bytes']
    (failed,) = report['failed']
    assert failed['path'] == str(broken)
    assert 'broken.safetensors' in failed['reason']
    assert len({effect['layer'] for effect in report['sensitivity']['effects']}) == 5

    # The same figures by the command that measures one model.
    alone = tmp_path / 'alone.json'
    one = ['evaluate', 'folder', '--data', folder, '--classes', 'classes.yaml', '--model', models['int8']]
    assert main([*map(str, one), '--backend', 'onnxruntime', '--device', 'cpu', '--json', str(alone)]) == 0
    for key in ('mean_iou', 'class_average', 'class_iou', 'confusion_matrix', 'digest'):
        assert json.loads(alone.read_text())[key] == quantized[key]

    printed = capsys.readouterr().out
    for line in ('most sensitive layers', 'failed: ', '2 bits '):
        assert line in printed
    assert re.search(r'^int8 +int8 +onnxruntime +\d\d\.\d\d ', printed, re.MULTILINE)
    with out['csv'].open(newline='') as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4
    assert float(lines[1]['class_iou.sky']) == quantized['class_iou']['sky']
    assert float(lines[3]['latency_ms.p50']) == wide['latency_ms']['p50']
    table = out['markdown'].read_text()
    assert table.startswith(f'{MARKS[0]}\n| model | level | backend | mean IoU % |')
    assert table.endswith(f'|\n{MARKS[1]}\n')
    assert table.count('\n') == 2 + 2 + 4

    assert cv2.imread(str(tmp_path / 'out/fronts.png')).std() > 10
    page = out['html'].read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)  # it needs no other file
    for head in ('Measurements', 'Accuracy against cost', 'IoU of each class, %'):
        assert f'<h2>{head}</h2>' in page
    assert '<h2>Sensitivity of each layer</h2>' in page
    plots = re.findall(r'data:image/svg\+xml;base64,([^"]+)"', page)
    assert [b'<svg' in base64.b64decode(plot) for plot in plots] == 5 * [True]  # four and their legend
    for sheet in re.findall(r'data:image/jpeg;base64,([^"]+)"', page):
        assert cv2.imdecode(np.frombuffer(base64.b64decode(sheet), np.uint8), cv2.IMREAD_COLOR) is not None


def test_agreement_and_losses_are_those_of_the_labels(models: dict[str, Path], folder: Path) -> None:
    settings = Settings(backend='torch', device='cpu', n_threads=1)
    dataset = FolderDataset(folder, 'val', classes='classes.yaml')
    names = [str(models[name]) for name in ('small', 'wide', 'small')]
    result = compare(names, dataset, settings, levels=['bf16'], n_rounds=1, n_worst=2)
    assert not result.failed
    assert [(row.name, row.quantization) for row in result.rows] == [
        (name, level) for name in ('small', 'wide') for level in ('fp32', 'bf16')
    ]  # a model named twice is measured once
    assert result.rows[0].agreement == 1
    assert result.rows[0].worst == []

    first, other = (Segmenter.load(Settings(model=name, backend='torch', device='cpu')) for name in names[:2])
    labels = [[segmenter(dataset[k][0]).labels for k in range(5)] for segmenter in (first, other)]
    wide = result.rows[2]
    assert wide.agreement == pytest.approx(np.mean([a == b for a, b in zip(*labels, strict=True)]))

    def image_iou(said: np.ndarray, truth: np.ndarray) -> float:
        seen, values = truth != 255, []
        for k in range(2):
            either = ((said == k) | (truth == k)) & seen
            values += [((said == k) & (truth == k)).sum() / either.sum()] if either.any() else []
        return float(np.mean(values))

    lost = [image_iou(labels[0][k], dataset[k][1]) - image_iou(labels[1][k], dataset[k][1]) for k in range(5)]
    worst_first = sorted((value, k) for k, value in enumerate(lost) if value > 0)[::-1][:2]
    assert [(loss.lost, loss.index) for loss in wide.worst] == [
        (pytest.approx(value), k) for value, k in worst_first
    ]
    for loss in wide.worst:
        np.testing.assert_array_equal(loss.first, labels[0][loss.index])
        np.testing.assert_array_equal(loss.labels, labels[1][loss.index])


def test_other_classes_are_refused(models: dict[str, Path], model_file: Path, folder: Path) -> None:
    dataset = FolderDataset(folder, 'val', classes='classes.yaml')
    with pytest.raises(DatasetError, match=r'bicyclist.*compare models that have the classes'):
        compare([str(models['small']), str(model_file)], dataset, Settings())


def test_levels_are_those_of_each_file(models: dict[str, Path], folder: Path, tmp_path: Path) -> None:
    dataset, none = FolderDataset(folder, 'val', classes='classes.yaml'), tmp_path / 'none.safetensors'
    names = [str(models['int8']), str(none), str(models['small'])]
    found, failed = find_candidates(names, dataset, Settings(), ['bf16', 'int8', 'int4'])
    assert [(c.name, c.settings.quantization) for c in found] == [
        ('int8', 'int8'),
        ('int8', 'bf16'),
        ('small', 'fp32'),
        ('small', 'bf16'),
    ]
    assert [(f.path, f.quantization) for f in failed] == [(str(none), 'auto')]
    with pytest.raises(UnknownNameError, match=r'int3.*known.*bf16'):
        find_candidates(names, dataset, Settings(), ['int3'])

    twin = tmp_path / 'small.safetensors'
    twin.write_bytes(models['small'].read_bytes())
    found, _ = find_candidates([names[2], str(twin)], dataset, Settings(), [])
    assert [c.name for c in found] == [str(path.with_suffix('')) for path in (models['small'], twin)]


def test_a_front_is_what_a_slow_search_finds() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 30):
        for _ in range(30):
            costs, gains = rng.integers(0, 9, (2, n)).tolist()
            slow = [
                k
                for k in range(n)
                if not any(
                    costs[j] <= costs[k]
                    and gains[j] >= gains[k]
                    and (costs[j], gains[j]) != (costs[k], gains[k])
                    for j in range(n)
                )
            ]
            front = pareto_front(costs, gains)
            assert sorted(front) == slow
            assert [costs[k] for k in front] == sorted(costs[k] for k in front)
    assert pareto_front([], []) == []


def test_an_even_sample() -> None:
    squares = SquaresDataset(None, 'test', n_images=10)
    sample = EvenSample(squares, 4)
    assert sample.names == [squares.names[k] for k in (0, 2, 5, 7)]
    np.testing.assert_array_equal(sample[3][0], squares[7][0])
    assert len(EvenSample(squares, 99)) == 10
    with pytest.raises(ParameterError, match='1 or more'):
        EvenSample(squares, 0)


def test_shared_weights_cost_their_bits() -> None:
    assert cost_level('int8').activation_bits == 8
    assert (cost_level('shared-3').weight_bits, cost_level('shared-3').activation_bits) == (3, 32)


def test_what_cannot_be_written_is_told_first(
    models: dict[str, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / 'README.md'
    readme.write_text('# Mine\n')
    for more, told in (
        (['--markdown', readme], '<!-- compression -->'),
        (['--json', readme / 'out.json'], 'name another file'),
        (['--rounds', 0], 'expected 1 or more'),
        (['--plot', tmp_path / 'fronts.bmp'], 'expected one of .png, .svg, .pdf'),
        (['--limit', 0], '1 or more'),
        (['--levels', 'int3'], "'int3'"),
    ):
        assert main(['compare', str(models['small']), *words(folder, *more)]) == 1
        assert told in capsys.readouterr().err
    assert main(['compare', str(tmp_path / 'x.safetensors'), *words(folder)]) == 1
    assert 'not exist' in capsys.readouterr().err
    assert readme.read_text() == '# Mine\n'


def test_a_table_takes_its_place_in_a_readme(models: dict[str, Path], folder: Path, tmp_path: Path) -> None:
    dataset = EvenSample(FolderDataset(folder, 'val', classes='classes.yaml'), 1)
    settings = Settings(backend='torch', device='cpu', n_threads=1)
    result = compare([str(models['small'])], dataset, settings, n_rounds=1)
    readme = tmp_path / 'README.md'
    readme.write_text(f'# Mine\n\n{MARKS[0]}\n| old |\n{MARKS[1]}\n\nThe end.\n')
    for _ in range(2):
        write_markdown(readme, result)
        text = readme.read_text()
        assert text.startswith(f'# Mine\n\n{MARKS[0]}\n| model |')
        assert text.endswith(f' |\n{MARKS[1]}\n\nThe end.\n')
        assert 'old' not in text
        assert text.count('| small | fp32 | torch |') == 1


def test_with_and_without_filter_and_merge(
    embedded_model_file: Path, coded_model_file: Path, model_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = DATASETS['rendered'](None, 'val', n_drives=2, n_frames=1, height=96, width=128)
    settings = Settings(backend='torch', device='cpu', n_threads=1)
    names = [str(embedded_model_file), str(coded_model_file)]
    result = compare(names, dataset, settings, variants=list(VARIANTS), n_rounds=1)
    assert result.failed == []
    rows = {row.name: row.as_json() for row in result.rows}
    assert list(rows) == ['last', 'last + filter', 'coded', 'coded + merge']
    flags = [(row['embedding_filter'], row['merge']) for row in rows.values()]
    assert flags == [(False, False), (True, False), (False, False), (False, True)]
    # The two have one network; what comes beside it changes labels.
    assert rows['coded']['agreement'] == 1
    for name, changes in (
        ('last + filter', {'embedding_filter_enabled': True}),
        ('coded + merge', {'segments_refinement': 0.5}),
    ):
        model = names['coded' in name]
        segmenter = Segmenter.load(replace(settings, model=model, **changes))
        alone = measure_accuracy(segmenter, dataset).as_json()
        assert rows[name]['mean_iou'] == alone['mean_iou'] != rows['coded']['mean_iou']
    assert f'{coded_model_file} has no embeddings: not measured with filter' in caplog.text
    assert f'{embedded_model_file} has no codes: not measured with merge' in caplog.text
    with pytest.raises(UnknownNameError, match='variant'):
        find_candidates(names, dataset, settings, [], ['crf'])
    with pytest.raises(UnavailableError, match='variants filter: no model has embeddings; seg_ros info'):
        find_candidates([str(model_file)], dataset, settings, [], ['filter'])

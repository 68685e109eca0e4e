"""``seg_ros evaluate-segments`` on images whose segments are known."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.cli.main import main
from seg_ros.evaluation.published_codes import PublishedCodes
from seg_ros.evaluation.segment_accuracy import load_code_network
from seg_ros.evaluation.segment_baselines import GRIDS, METHODS, Cutter, cut
from seg_ros.modelfile.file import load_model
from seg_ros.reports.segment_pictures import paint_segments


def patches(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.zeros((60, 76), np.int32)
    truth[rng.integers(20, 40) :] += 1
    truth[:, rng.integers(25, 50) :] += 2
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [210, 210, 60]])
    return np.clip(colours[truth] + rng.normal(0, 5, (60, 76, 3)), 0, 255).astype(np.uint8), truth


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('set')
    for split, seeds in (('train', range(4)), ('val', range(4, 7))):
        for name in ('images', 'regions'):
            (root / name / split).mkdir(parents=True)
        for seed in seeds:
            image, truth = patches(seed)
            cv2.imwrite(str(root / f'images/{split}/{seed}.png'), image[..., ::-1])
            cv2.imwrite(str(root / f'regions/{split}/{seed}.png'), (truth + 1).astype(np.uint8))
    return root


@pytest.fixture(scope='module')
def coded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('models') / 'free.safetensors'
    words = ['fit-codes', 'folder', '--data', str(folder), '--encoder', 'squeezenet', '--bits', '32']
    assert main([*words, '--epochs', '6', '--input-size', '64', '80', '-o', str(output)]) == 0
    return output


def test_tuned_settings_are_kept_and_used(
    folder: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('skimage', reason='EGS needs scikit-image')
    monkeypatch.setitem(GRIDS, 'egs_tuned', GRIDS['egs_tuned'][:4])
    settings, out, plot = tmp_path / 'settings.json', tmp_path / 'out.json', tmp_path / 'plot.png'
    words = ['evaluate-segments', 'folder', '--data', str(folder), '--model', str(coded)]
    words += ['--settings', str(settings), '--json', str(out)]
    drawn = tmp_path / 'drawn.png'
    more = ['--plot', str(plot), '--pictures', str(drawn), '--pictures-of', '2']
    assert main([*words, '--tune', 'train', *more]) == 0
    report = json.loads(out.read_text())
    kept = json.loads(settings.read_text())
    assert set(report['methods']) == set(METHODS)
    for method, figures in report['methods'].items():
        for measure in ('per_segment', 'covering'):
            assert figures[measure]['settings'] == kept[method][measure]
            assert 0 <= figures[measure]['value'] <= 1
    assert report['methods']['codes']['covering']['value'] > 0.9  # the patches are that easy
    assert kept['kmeans'] == kept['codes']
    assert cv2.imread(str(plot)) is not None
    sheet = cv2.imread(str(drawn))
    assert sheet.shape[1] == 320 * (2 + len(METHODS))
    assert report['itq_split'] == 'train'
    assert main(words) == 0  # the settings are read, not chosen anew
    assert json.loads(out.read_text())['methods'] == report['methods']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (['--tune', 'val', '--settings', 'x.json'], 'the split to measure on'),
        (['--tune', 'train'], 'with --settings FILE'),
        (['--settings', 'missing.json'], 'no settings for folder'),
        (['--model', 'enet_nowhere'], 'enet_nowhere'),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path, coded: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    words = ['evaluate-segments', 'folder', '--data', str(folder), '--model', str(coded), *change]
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_every_method_gives_a_partition(coded: Path) -> None:
    pytest.importorskip('skimage', reason='EGS needs scikit-image')
    frames = load_code_network(load_model(coded), 'cpu', 'auto')
    published = PublishedCodes.fit(frames, [patches(seed)[0] for seed in range(3)])
    cutter = Cutter(patches(1)[0], frames, published)
    for method in METHODS:
        settings = GRIDS.get(method, GRIDS['codes'])[0]
        ids = cut(cutter, method, settings)
        assert ids.shape == (60, 76)
        assert sorted(np.unique(ids)) == list(range(ids.max() + 1))


def test_paint_shows_means_outlines_and_void() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[..., 0] = [[10, 20, 90, 90], [30, 40, 90, 90]]
    ids = np.array([[0, 0, 1, 1], [0, 0, 1, -1]], np.int32)
    painted = paint_segments(image, ids)
    assert painted[0, 0].tolist() == [25, 0, 0]  # mean of the first segment
    assert painted[0, 1].tolist() == [255, 255, 255]  # outline
    assert painted[0, 2].tolist() == [90, 0, 0]
    assert painted[1, 3].tolist() == [0, 0, 0]  # void


def test_the_shipped_model_wins_on_real_images(data_folder: Path, tmp_path: Path) -> None:
    """Both measures of both sets above EGS, every method with settings chosen on other images."""
    pytest.importorskip('skimage', reason='EGS needs scikit-image')
    for name in ('bsds500', 'msrc_v2'):
        out = tmp_path / f'{name}.json'
        words = [
            'evaluate-segments',
            name,
            '--data',
            str(data_folder / name),
            '--split',
            'val',
            '--limit',
            '10',
        ]
        assert main([*words, '--methods', 'egs_tuned', 'codes', '--json', str(out)]) == 0
        methods = json.loads(out.read_text())['methods']
        for measure in ('per_segment', 'covering'):
            assert methods['codes'][measure]['value'] > methods['egs_tuned'][measure]['value']

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.cli.main import main
from seg_ros.datasets.folder import FolderDataset
from seg_ros.evaluation.accuracy import measure_accuracy
from seg_ros.inference.options import FrameOptions
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.synthetic import RenderedDrive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drive = RenderedDrive(9, 5, 100, 130)
    for kind in ('images', 'labels'):
        (tmp_path / 'data' / kind / 'val').mkdir(parents=True)
    for index in range(len(drive)):
        image, labels = drive[index]
        labels[:5] = 255
        cv2.imwrite(str(tmp_path / f'data/images/val/{index}.png'), image[..., ::-1])
        cv2.imwrite(str(tmp_path / f'data/labels/val/{index}.png'), labels)
    return tmp_path / 'data'


def test_figures_equal_a_slow_count(model_file: Path, folder: Path, tmp_path: Path) -> None:
    words = ['evaluate', 'folder', '--data', str(folder), '--classes', 'camvid11', '--split', 'val']
    words += [
        '--model',
        str(model_file),
        '--backend',
        'torch',
        '--json',
        str(tmp_path / 'out' / 'figures.json'),
    ]
    assert main(words) == 0
    figures = json.loads((tmp_path / 'out' / 'figures.json').read_text())

    segmenter = Segmenter.load(Settings.from_values({'model': str(model_file), 'backend': 'torch'}))
    dataset = FolderDataset(folder, 'val', classes='camvid11')
    pairs = [(truth, segmenter(image).labels) for image, truth in (dataset[i] for i in range(len(dataset)))]
    truth, labels = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in range(2))
    seen = truth != 255
    ious = {}
    for info in dataset.classes.classes:
        both = (truth == info.id) & (labels == info.id)
        either = ((truth == info.id) | (labels == info.id)) & seen
        ious[info.name] = both.sum() / either.sum() if either.sum() else None
    assert figures['class_iou'] == pytest.approx(ious)
    assert figures['mean_iou'] == pytest.approx(np.mean([v for v in ious.values() if v is not None]))
    assert np.sum(figures['confusion_matrix']) == seen.sum()
    assert figures['n_images'] == 5
    assert (figures['backend'], figures['quantization']) == ('torch', 'fp32')
    assert figures['n_bytes'] == model_file.stat().st_size


def test_unlabelled_pixels_count_as_wrong(model_file: Path, folder: Path) -> None:
    segmenter = Segmenter.load(Settings.from_values({'model': str(model_file), 'backend': 'torch'}))
    dataset = FolderDataset(folder, 'val', classes='camvid11')
    sure = measure_accuracy(segmenter, dataset)
    strict = dataclasses.replace(segmenter, options=FrameOptions(confidence_threshold=0.9))
    unsure = measure_accuracy(strict, dataset)
    assert unsure.matrix.sum() == sure.matrix.sum()
    assert unsure.matrix[:, -1].sum() > 0 == sure.matrix[:, -1].sum()


def test_other_classes_are_refused(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ['evaluate', 'squares', '--split', 'test', '--model', str(model_file), '--backend', 'torch']
    assert main(words) == 1
    assert 'choose a model with the same classes' in capsys.readouterr().err


def test_missing_data_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['evaluate', 'camvid', '--split', 'val']) == 1
    assert '--data' in capsys.readouterr().err
    assert main(['evaluate', 'camvid', '--data', str(tmp_path), '--split', 'val']) == 1
    assert str(tmp_path) in capsys.readouterr().err

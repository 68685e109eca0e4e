from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.cli.main import main
from seg_ros.datasets.folder import FolderDataset
from seg_ros.errors import DatasetError
from seg_ros.reports.worst_images import WorstImages


@pytest.fixture
def dataset(tmp_path: Path) -> FolderDataset:
    """Five images, half one class, half the other; the last without labels."""
    for kind in ('images', 'labels'):
        (tmp_path / kind).mkdir()
    truth = np.repeat(np.uint8([[0], [1]]), 8, 1).repeat(4, 0)
    for index in range(5):
        cv2.imwrite(str(tmp_path / f'images/{index}.png'), np.full((8, 8, 3), 40 * index, np.uint8))
        cv2.imwrite(str(tmp_path / f'labels/{index}.png'), truth if index < 4 else np.full_like(truth, 255))
    return FolderDataset(tmp_path, 'all', classes='squares')


def test_the_worst_are_kept_in_order(dataset: FolderDataset, tmp_path: Path) -> None:
    worst = WorstImages(dataset, 2)
    for index, n_wrong in enumerate((0, 3, 1, 2, 4)):
        truth = dataset[index][1]
        labels = truth.copy()
        labels[4 : 4 + n_wrong] = 0
        worst(index, truth, labels)
    # of 3 wrong rows: class 0 has 4 of 7 rows right, class 1 has 1 of 4
    assert [name for name, _ in worst.ranking()] == ['1', '3']
    assert worst.ranking()[0][1] == pytest.approx((4 / 7 + 1 / 4) / 2)
    worst.write_sheet(tmp_path / 'out/sheet.png')
    sheet = cv2.imread(str(tmp_path / 'out/sheet.png'))
    assert sheet is not None
    red = (np.abs(sheet.astype(int) - (40, 40, 230)).max(2) < 20).nonzero()
    right = 0.74 * sheet.shape[1]  # the mistakes are in the last of four columns
    assert len(red[1]) > 100
    assert (red[1] > right).all()


def test_without_labels_there_is_no_worst(dataset: FolderDataset, tmp_path: Path) -> None:
    worst = WorstImages(dataset, 2)
    worst(4, dataset[4][1], np.zeros((8, 8), np.uint8))
    assert worst.ranking() == []
    with pytest.raises(DatasetError, match='no image'):
        worst.write_sheet(tmp_path / 'sheet.png')


def test_evaluate_draws_them(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = [
        '--copy',
        str(tmp_path / 'data'),
        '--options',
        '{n_drives: 2, n_frames: 2, height: 96, width: 128}',
    ]
    assert main(['show-data', 'rendered', '--split', 'val', *copy]) == 0
    words = ['evaluate', 'folder', '--data', str(tmp_path / 'data'), '--classes', 'classes.yaml']
    words += ['--model', str(model_file), '--backend', 'torch', '--sheet', str(tmp_path / 'worst.png')]
    assert main([*words, '--worst', '0']) == 1
    assert main([*words, '--worst', '3']) == 0
    assert 'worst: 2000' in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'worst.png')) is not None

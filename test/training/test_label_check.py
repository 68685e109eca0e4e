from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from seg_ros.cli.main import main
from seg_ros.training.label_check import check_labels
from seg_ros.training.recipe import Recipe
from seg_ros.training.sources import open_data


def write(folder: Path, labels: np.ndarray) -> None:
    for kind, pixels in (('images', np.dstack([labels * 40] * 3)), ('labels', labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for stem in 'ab':
            cv2.imwrite(str(folder / kind / f'{stem}.png'), pixels)


def labels(*values: int) -> np.ndarray:
    return np.resize(np.array(values, np.uint8), (32, 40))


def recipe(tiny: dict[str, Any], tmp_path: Path, learned: np.ndarray, measured: np.ndarray) -> Path:
    """A recipe for data with these labels."""
    options = {'classes': str(tmp_path / 'c.yaml')}
    rows = [{'id': k, 'name': name, 'colour': [k, 0, 0]} for k, name in enumerate(('ground', 'ball', 'goal'))]
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump({'classes': rows}))
    write(tmp_path / 'train', learned)
    write(tmp_path / 'val', measured)
    tiny |= {
        'train': [{'dataset': 'folder', 'split': 'train', 'options': options}],
        'validation': {'dataset': 'folder', 'split': 'val', 'options': options},
    }
    (tmp_path / 'r.yaml').write_text(yaml.safe_dump(tiny))
    return tmp_path / 'r.yaml'


@pytest.mark.parametrize(
    ('learned', 'measured', 'words'),
    [
        ((0, 255), (0, 1), 'train: only class ground'),
        ((1,), (0, 1), 'train: only class ball'),
        ((255,), (0, 1), 'train: not one pixel'),
        ((0, 1), (255,), 'validation: not one pixel'),
        ((0, 1), (0,), 'validation: only class ground'),
    ],
)
def test_labels_of_no_use_are_told_before_training(
    tiny: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    learned: Any,
    measured: Any,
    words: str,
) -> None:
    path = recipe(tiny, tmp_path, labels(*learned), labels(*measured))
    assert main(['train', str(path), '--data', str(tmp_path), '-o', str(tmp_path / 'run')]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_a_class_without_pixels_is_told(
    tiny: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = recipe(tiny, tmp_path, labels(0, 1), labels(0, 1, 2))
    check_labels(open_data(Recipe.from_yaml(path), tmp_path, is_quiet=True))
    assert 'train: no pixel of goal' in caplog.text
    assert 'validation: no pixel' not in caplog.text


def test_a_mean_over_one_class_is_not_printed() -> None:
    from seg_ros.cli.train import _table

    figures = {'class_iou': {'ground': 1.0, 'ball': None}, 'mean_iou': 1.0, 'class_average': 1.0}
    table = _table(figures)
    assert 'no mean: 1 class' in table
    assert table.count('100.00') == 1
    figures['class_iou'] = {'ground': 1.0, 'ball': 0.0}
    assert 'no mean' not in _table(figures)

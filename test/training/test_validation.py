"""Validation and curves against plain sums over all pixels."""

import csv
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from seg_ros.datasets.squares import SquaresDataset
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.file import load_model
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.curves import COLUMNS, write_curves
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Recipe
from seg_ros.training.run_state import LAST_FILE
from seg_ros.training.setup import set_up
from seg_ros.training.trainer import Trainer

ALONE = Processes(0, 1, torch.device('cpu'))


@pytest.fixture
def run(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """A short run with plain cross-entropy, validated after the second of two epochs."""
    tiny |= {'loss': {'balance': 'none', 'jaccard': 0.0}, 'workers': 0, 'epochs': 2, 'validate_every': 2}
    (tmp_path / 'recipe.yaml').write_text(yaml.safe_dump(tiny))
    Trainer(set_up(Recipe.from_yaml(tmp_path / 'recipe.yaml'), None, tmp_path, ALONE)).run()
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / 'curves.csv').read_text().splitlines())
    return [{key: float(value) for key, value in row.items()} for row in rows]


def test_the_curves_have_loss_and_accuracy_of_the_validation(run: Path) -> None:
    """Pixel by pixel, from the last file, whose weights are those that were validated last."""
    model = load_model(run / LAST_FILE)
    network = ImageNetwork(model.network, model.metadata.normalisation).eval()
    losses, correct = [], []
    for image, truth in SquaresDataset(None, 'validation', n_images=2):  # type: ignore[attr-defined]
        x = torch.from_numpy(resize_image(image, 32, 40).copy())[None]
        with torch.no_grad():
            scores = F.interpolate(network(x), truth.shape, mode='bilinear')[0].double().numpy()
        chosen = np.take_along_axis(scores, truth[None].astype(np.int64), 0)[0]
        losses.append(float((np.log(np.exp(scores).sum(0)) - chosen).mean()))
        correct.append(float((scores.argmax(0) == truth).mean()))
    first, last = rows_of(run)
    assert math.isnan(first['validation_loss'])
    assert math.isnan(first['pixel_accuracy'])
    assert last['validation_loss'] == pytest.approx(np.mean(losses), rel=1e-4)
    assert last['pixel_accuracy'] == pytest.approx(np.mean(correct), abs=1e-6)
    assert model.metadata.figures['pixel_accuracy'] == pytest.approx(last['pixel_accuracy'])


def test_rows_of_older_runs_are_drawn_without_what_they_lack(tmp_path: Path) -> None:
    old = {'epoch': 1, 'learning_rate': 0.1, 'loss': 2.0, 'mean_iou': 0.5, 'class_average': 0.6, 'seconds': 1}
    new = old | {'epoch': 2, 'validation_loss': 1.5, 'pixel_accuracy': 0.8}
    write_curves(tmp_path, [old, new])
    rows = rows_of(tmp_path)
    assert list(rows[0]) == list(COLUMNS)
    assert math.isnan(rows[0]['validation_loss'])
    assert rows[1]['validation_loss'] == 1.5
    assert cv2.imread(str(tmp_path / 'curves.png')) is not None


def test_statistics_of_normalisations_are_those_of_whole_images(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The first normalisation of ENet, against the maps of all training images at the network's size."""
    options = {'n_images': 6}
    tiny |= {
        'train': [{'dataset': 'squares', 'split': 'train', 'options': options}],
        'workers': 0,
        'epochs': 1,
    }
    (tmp_path / 'recipe.yaml').write_text(yaml.safe_dump(tiny | {'statistics': 100, 'model': 'segnet_small'}))
    Trainer(set_up(Recipe.from_yaml(tmp_path / 'recipe.yaml'), None, tmp_path, ALONE)).run()
    model = load_model(tmp_path / LAST_FILE)
    network, data = model.network.eval(), SquaresDataset(None, 'train', **options)
    images = np.stack([resize_image(data[k][0], 32, 40) for k in range(6)])
    seen: list[torch.Tensor] = []
    network.encoder[0][0].register_forward_hook(lambda _m, _x, y: seen.append(y.detach()))  # type: ignore[index]
    ImageNetwork(network, model.metadata.normalisation).eval()(torch.from_numpy(images))
    values = seen[0].movedim(1, 0).flatten(1)
    norm = network.encoder[0][1]  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, values.mean(1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, values.var(1), rtol=1e-3, atol=1e-4)

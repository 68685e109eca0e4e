"""Temperatures: against scores whose temperature is known, and through the command."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seg_ros.cli.main import main
from seg_ros.datasets.folder import FolderDataset
from seg_ros.errors import DatasetError
from seg_ros.evaluation.class_translation import ClassTranslation
from seg_ros.evaluation.temperature import (
    Calibration,
    ScoredPixels,
    fit_temperature,
    measure_calibration,
    negative_log_likelihood,
)
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.synthetic import RenderedDrive


def drawn(temperature: float, n_pixels: int = 40_000, n_classes: int = 7) -> ScoredPixels:
    """Scores, and truth that is drawn from their softmax at a temperature."""
    generator = np.random.default_rng(3)
    scores = generator.normal(size=(n_pixels, n_classes)).astype(np.float32) * 4
    scores -= scores.max(axis=1, keepdims=True)
    probs = np.exp(scores / temperature)
    noise = generator.gumbel(size=scores.shape)
    truth = (np.log(probs) + noise).argmax(axis=1)
    return ScoredPixels(scores, np.eye(n_classes, dtype=bool)[truth])


@pytest.mark.parametrize('temperature', [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    assert fit_temperature([drawn(temperature)]) == pytest.approx(temperature, rel=0.03)


def test_likelihood_of_one_class_and_of_a_group_as_torch_computes_it() -> None:
    sample = drawn(1.5, 500)
    log_probs = torch.from_numpy(sample.scores / 1.5).double().log_softmax(1)
    expected = -log_probs[torch.from_numpy(sample.allowed)].mean().item()
    assert negative_log_likelihood([sample], 1.5) == pytest.approx(expected, rel=1e-5)
    pair = np.roll(sample.allowed, 1, axis=1) | sample.allowed
    grouped = log_probs.exp().masked_fill(~torch.from_numpy(pair), 0).sum(1).log().neg().mean().item()
    assert negative_log_likelihood([ScoredPixels(sample.scores, pair)], 1.5) == pytest.approx(
        grouped, rel=1e-5
    )


def test_thresholds_equal_a_slow_count() -> None:
    counts = np.random.default_rng(0).integers(0, 50, (256, 2))
    rows = Calibration(1.0, 0.0, 0.0, counts).thresholds()
    for row in rows:
        below = np.arange(256) / 255 < row.threshold - 1e-9
        for column, share in ((0, row.wrong_removed), (1, row.right_removed)):
            assert share == pytest.approx(counts[below, column].sum() / counts[:, column].sum())
    assert min(row.wrong_removed for row in rows if row.wrong_removed >= 0.9) < 0.92


def eager(path: Path) -> Segmenter:
    return Segmenter.load(Settings.from_values({'model': str(path), 'backend': 'torch'}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drive = RenderedDrive(9, 4, 100, 130)
    dataset = tmp_path / 'data'
    for kind in ('images', 'labels'):
        (dataset / kind / 'val').mkdir(parents=True)
    for index in range(len(drive)):
        image, labels = drive[index]
        cv2.imwrite(str(dataset / f'images/val/{index}.png'), image[..., ::-1])
        cv2.imwrite(str(dataset / f'labels/val/{index}.png'), labels)
    return dataset


def test_command_writes_a_file_whose_confidence_is_divided(
    model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['calibrate', 'folder', '--data', str(folder), '--classes', 'camvid11', '--backend', 'torch']
    out, report = tmp_path / 'honest.safetensors', tmp_path / 'figures.json'
    assert main([*words, '--model', str(model_file), '-o', str(out), '--json', str(report)]) == 0
    assert 'confidence_threshold' in capsys.readouterr().out
    figures = json.loads(report.read_text())
    model = load_model(out)
    assert model.metadata.temperature == pytest.approx(figures['temperature'], abs=1e-4)

    plain, honest = eager(model_file), eager(out)
    image, _ = FolderDataset(folder, 'val', classes='camvid11')[0]
    before, after = (each(image, confidence=True) for each in (plain, honest))
    np.testing.assert_array_equal(before.labels, after.labels)
    scores = plain.score(plain.resize(image)).scores
    assert scores is not None
    resized = torch.nn.functional.interpolate(
        torch.as_tensor(scores)[None], image.shape[:2], mode='bilinear'
    )[0]
    expected = 255 * (resized / model.metadata.temperature).softmax(0).max(0).values
    assert after.confidence is not None
    np.testing.assert_allclose(after.confidence, expected.numpy(), atol=1.1)
    assert figures['temperature'] != pytest.approx(1, abs=0.05)

    assert main([*words, '--model', str(out)]) == 0  # its own temperature is ignored
    assert f'temperature {figures["temperature"]:.3f}' in capsys.readouterr().out


def test_scores_that_say_nothing_have_no_temperature(
    model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (folder / 'labels/val').iterdir():  # truth that has nothing to do with the images
        noise = np.random.default_rng(0).integers(0, 11, (100, 130), np.uint8)
        cv2.imwrite(str(path), noise)
    words = ['calibrate', 'folder', '--data', str(folder), '--classes', 'camvid11', '--backend', 'torch']
    assert main([*words, '--model', str(model_file), '-o', str(tmp_path / 'x.safetensors')]) == 1
    assert 'no temperature from 0.1 to 10 fits' in capsys.readouterr().err
    assert not (tmp_path / 'x.safetensors').exists()


def test_one_image_is_not_enough(model_file: Path, folder: Path) -> None:
    segmenter = eager(model_file)
    dataset = FolderDataset(folder, 'val', classes='camvid11')

    class One:
        classes, names = dataset.classes, dataset.names[:1]

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> object:
            return dataset[index]

    same = ClassTranslation.between(dataset.classes, segmenter.classes, None)
    with pytest.raises(DatasetError, match='1 images have labelled pixels'):
        measure_calibration(segmenter, One(), same)  # type: ignore[arg-type]

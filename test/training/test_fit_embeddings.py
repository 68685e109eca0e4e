"""Embeddings from segments without classes: the loss by hand, what is learned, and the command."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seg_ros.cli.main import main
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.training.losses import pair_loss


def test_pairs_of_regions_cost_what_the_paper_says() -> None:
    """Equation 3, pair by pair, with ids beyond 255 and void pixels."""
    rng = np.random.default_rng(0)
    embeddings, ids = rng.normal(size=(2, 5, 6)), rng.choice([-1, 3, 255, 700], (5, 6))
    total, n_pairs = 0.0, 0
    for y in range(5):
        for x in range(6):
            for v in range(max(y - 1, 0), min(y + 2, 5)):
                for u in range(max(x - 1, 0), min(x + 2, 6)):
                    if (v, u) <= (y, x) or -1 in (ids[y, x], ids[v, u]):
                        continue
                    distance = np.abs(embeddings[:, y, x] - embeddings[:, v, u]).sum()
                    is_one = ids[y, x] == ids[v, u]
                    total += max(distance - 0.5, 0) if is_one else max(2.0 - distance, 0)
                    n_pairs += 1
    got = pair_loss(torch.from_numpy(embeddings[None]), torch.from_numpy(ids[None]), 3, 0.5, 2.0, void=-1)
    assert n_pairs > 20
    assert got.item() == pytest.approx(total / n_pairs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two colours whose border lies elsewhere in each; no classes."""
    for name in ('images', 'regions'):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(1)
    for index in range(6):
        ids = np.ones((96, 128), np.uint8)
        ids[:, 30 + 10 * index :] = 2
        colours = np.array([[0, 0, 0], [40, 60, 160], [190, 140, 60]])
        noisy = np.clip(colours[ids] + rng.normal(0, 6, (96, 128, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f'images/{index}.png'), noisy)
        cv2.imwrite(str(tmp_path / f'regions/{index}.png'), ids)
    return tmp_path


def test_the_command_learns_from_regions(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / 'embedded.safetensors'
    words = ['fit-embeddings', 'folder', '--data', str(folder), '--model', str(model_file), '--epochs', '8']
    assert main([*words, '--dimensions', '4', '--window', '5', '--iterations', '2', '-o', str(output)]) == 0
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if 'loss' in line]
    assert losses[-1] < 0.6 * losses[0]
    model = load_model(output)
    assert model.metadata.training['embeddings']['data'] == 'folder train (6 images)'
    settings = Settings(model=str(output), backend='torch', embedding_filter_enabled=True)
    embedded, plain = (
        Segmenter.load(settings),
        Segmenter.load(Settings(model=str(model_file), backend='torch')),
    )
    assert embedded.agreement == plain.agreement == 1
    image = cv2.imread(str(folder / 'images/2.png'))[..., ::-1].copy()
    assert np.array_equal(embedded(image, filter=False).labels, plain(image).labels)
    outputs = np.asarray(embedded.backend(image[None])['embeddings'][0])
    row = outputs[:, 6]  # the border is at pixel 50, in column 6
    within = np.abs(row[:, 1] - row[:, 4]).sum() + np.abs(row[:, 8] - row[:, 12]).sum()
    assert np.abs(row[:, 4] - row[:, 8]).sum() > 2 * within


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (['--near', '3'], 'expected 0 or more, more than near'),
        (['--window', '4'], 'an odd number'),
        (['--window', '33'], 'window of 33'),
        (['--model', 'segments'], 'has no classes'),
        (['--taps', 'nowhere'], 'nowhere'),
        (['--continue'], 'to go on from'),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path, model_file: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    words = ['fit-embeddings', 'folder', '--data', str(folder), '--model', str(model_file)]
    assert main([*words, '-o', str(folder / 'x.safetensors'), *change]) == 1
    assert message in capsys.readouterr().err


def test_rounded_weights_stay(folder: Path, tmp_path: Path, model_file: Path) -> None:
    pytest.importorskip('onnxruntime')
    rounded, output = tmp_path / 'int8.safetensors', tmp_path / 'embedded.safetensors'
    street = ['--dataset', 'rendered', '--images', '4', '--options', '{n_drives: 4, n_frames: 1}']
    assert main(['quantize', str(model_file), '--level', 'int8', *street, '-o', str(rounded)]) == 0
    words = ['fit-embeddings', 'folder', '--data', str(folder), '--model', str(rounded), '--epochs', '1']
    assert main([*words, '-o', str(output)]) == 0
    before, after = load_model(rounded), load_model(output)
    for name, value in before.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[name], value), name
    on = Settings(model=str(output), backend='onnxruntime', embedding_filter_enabled=True)
    segmenter = Segmenter.load(on)
    assert segmenter.quantization == 'int8'
    assert segmenter.agreement > 0.97

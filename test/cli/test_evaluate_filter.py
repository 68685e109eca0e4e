"""``seg_ros evaluate-filter``, and its methods against plain computations."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seg_ros.cli.main import main
from seg_ros.evaluation.filter_methods import at_every_pixel, by_colour, cell_colours, sweep_methods
from seg_ros.inference.embedding_filter import EmbeddingFilter


def test_the_command_compares_and_plots(embedded_model_file: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / 'out.json', tmp_path / 'plots/sweep.png'
    words = ['evaluate-filter', 'rendered', '--options', '{height: 96, width: 128, n_drives: 2, n_frames: 1}']
    words += ['--model', str(embedded_model_file), '--backend', 'torch', '--limit', '2', '--tune-limit', '1']
    words += [
        '--dilated',
        '1',
        '--plot',
        str(plot),
        '--plot-windows',
        '3',
        '5',
        '--plot-iterations',
        '1',
        '2',
    ]
    assert main([*words, '--json', str(out)]) == 0
    report = json.loads(out.read_text())
    assert 'dilated convolutions' in report['methods']
    assert {'no filter', 'embeddings', 'the same, of scores, as published'} <= set(report['methods'])
    assert any(name.startswith('colour, hardness') for name in report['methods'])
    for figures in report['methods'].values():
        assert all(0 <= figures[key] <= 1 for key in ('mean_iou', 'boundary_iou', 'pixel_accuracy'))
    assert len({json.dumps(f['mean_iou']) for f in report['methods'].values()}) > 1
    assert [(row['window'], row['iterations']) for row in report['sweep']] == [(3, 1), (3, 2), (5, 1), (5, 2)]
    assert cv2.imread(str(plot)) is not None


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (['--tune', 'val'], 'the split to measure on'),
        (['--cell', '0'], 'cell is 0'),
        (['--model', 'enet_camvid'], 'has no embeddings'),
    ],
)
def test_what_cannot_be_is_refused(
    embedded_model_file: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    words = [
        'evaluate-filter',
        'rendered',
        '--model',
        str(embedded_model_file),
        '--backend',
        'torch',
        *change,
    ]
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_the_filter_by_colour_follows_colours_alone() -> None:
    image = np.full((32, 48, 3), 30, np.uint8)
    image[:, 24:] = 220
    scores = torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(0))
    run = by_colour(EmbeddingFilter(5, 2, 50.0))
    assert cell_colours(image, (8, 12)).shape == (3, 8, 12)
    got = run(image, scores, torch.randn(6, 8, 12))
    assert torch.equal(got, run(image, scores, torch.zeros(6, 8, 12)))
    changed = scores.clone()
    changed[:, :, 28:] += torch.tensor([5.0, -5.0, 0.0])[:, None, None]
    other = run(image, changed, torch.zeros(6, 8, 12))
    torch.testing.assert_close(got[:, :, :20], other[:, :, :20])  # nothing crosses the border of the colours


def test_at_every_pixel_the_embeddings_are_interpolated() -> None:
    scores, embeddings = torch.randn(2, 8, 10), torch.randn(3, 4, 5)
    own = EmbeddingFilter(3, 2, 1.0)
    got = at_every_pixel(own)(np.zeros((16, 20, 3), np.uint8), scores, embeddings)
    full = [
        torch.nn.functional.interpolate(x[None], (16, 20), mode='bilinear')[0] for x in (scores, embeddings)
    ]
    assert torch.equal(got, torch.as_tensor(own(*full)))
    assert set(sweep_methods(own, [3, 5], [1])) == {(3, 1), (5, 1)}

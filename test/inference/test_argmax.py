"""From scores to labels: the compiled kernel, and NumPy without Numba, against torch's own operations."""

import itertools
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from seg_ros.arrays import unfolded
from seg_ros.errors import ImageError, ParameterError
from seg_ros.inference import argmax
from seg_ros.inference.argmax import Labelled, argmax_labels
from seg_ros.inference.torch_argmax import argmax_labels_in_torch

SIZES = [
    ((12, 16), (12, 16)),
    ((12, 16), (25, 37)),
    ((36, 48), (48, 64)),
    ((36, 48), (11, 17)),
    ((7, 9), (7, 20)),
    ((7, 9), (3, 9)),
    ((1, 1), (5, 6)),
    ((1, 8), (4, 8)),
    ((9, 5), (1, 1)),
    ((90, 120), (360, 481)),
]


@pytest.fixture(params=['Numba', 'NumPy'])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are computed by the compiled loops, or as without Numba."""
    if request.param == 'NumPy':
        monkeypatch.setattr(argmax, 'import_kernels', lambda *_: None)


both_ways = pytest.mark.usefixtures('way')


def random_scores(n_classes: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n_classes, *size, generator=generator)


def assert_agree(ours: Labelled, scores: Tensor, size: tuple[int, int]) -> None:
    """Labels as torch's, except where its two best scores differ by less than 1e-5; confidence within 1."""
    expected = argmax_labels_in_torch(scores, *size, with_confidence=True)
    if len(scores) > 1:
        resized = torch.nn.functional.interpolate(scores[None], size, mode='bilinear')[0]
        first, second = resized.topk(2, dim=0).values
        clear = (first - second).numpy() >= 1e-5
    else:
        clear = np.ones(size, bool)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(ours.labels[clear], expected.labels[clear])
    assert ours.labels.dtype == np.uint8
    if ours.confidence is not None and expected.confidence is not None:
        assert np.abs(ours.confidence.astype(int) - expected.confidence).max() <= 1


@both_ways
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize(('size', 'image_size'), SIZES)
def test_sizes(size: tuple[int, int], image_size: tuple[int, int], channels_last: bool) -> None:
    scores = random_scores(11, size)[None]
    if channels_last:
        scores = scores.to(memory_format=torch.channels_last)
    ours = argmax_labels(scores[0], *image_size, with_confidence=True)
    assert_agree(ours, scores[0], image_size)
    np.testing.assert_array_equal(ours.labels, argmax_labels(scores[0], *image_size).labels)


@both_ways
@pytest.mark.parametrize('image_size', [(12, 16), (25, 37), (5, 9), (48, 64)])
def test_folded_scores(image_size: tuple[int, int]) -> None:
    """Four scores of a class in a block of 2x2 pixels side by side in memory, and in other orders."""
    scores = random_scores(5, (12, 16))
    scores[3, 7, 9], scores[0, 2, 2], scores[4, 11, 15] = torch.nan, torch.inf, -torch.inf
    scores[1:3, 5] = scores[1:3, 5].amax(0)  # ties
    expected = argmax_labels(scores, *image_size, with_confidence=True)
    planes = scores.numpy().reshape(5, 6, 2, 8, 2)
    in_blocks = planes.transpose(1, 3, 0, 2, 4).copy().transpose(2, 0, 3, 1, 4)
    by_pixel = planes.transpose(1, 3, 2, 4, 0).copy().transpose(4, 0, 2, 1, 3)
    for folded in (in_blocks, by_pixel, planes):
        assert folded.shape == (5, 6, 2, 8, 2)
        np.testing.assert_array_equal(unfolded(folded), scores.numpy())
        ours = argmax_labels(folded, *image_size, with_confidence=True)
        np.testing.assert_array_equal(ours.labels, expected.labels)
        np.testing.assert_array_equal(ours.confidence, expected.confidence)
        np.testing.assert_array_equal(argmax_labels(folded, *image_size).labels, expected.labels)


@both_ways
@pytest.mark.parametrize('size', [(1, 4), (4, 1), (2, 2), (1, 1), (2, 8)])
def test_small_maps_in_any_order(size: tuple[int, int]) -> None:
    """Steps between their scores may be equal, though they lie in different orders."""
    scores = random_scores(3, size)
    for image_size in (size, (7, 9)):
        expected = argmax_labels(scores, *image_size, with_confidence=True)
        for order in itertools.permutations(range(3)):
            stored = scores.numpy().transpose(order).copy().transpose(np.argsort(order))
            ours = argmax_labels(stored, *image_size, with_confidence=True)
            np.testing.assert_array_equal(ours.labels, expected.labels)
            np.testing.assert_array_equal(ours.confidence, expected.confidence)
            np.testing.assert_array_equal(argmax_labels(stored, *image_size).labels, expected.labels)


@both_ways
@pytest.mark.parametrize('n_classes', [1, 2, 11, 21, 255])
def test_numbers_of_classes(n_classes: int) -> None:
    scores = random_scores(n_classes, (15, 20), seed=n_classes)
    assert_agree(argmax_labels(scores, 33, 41, with_confidence=True), scores, (33, 41))


@both_ways
@pytest.mark.parametrize('scale', [1e-3, 1.0, 30.0, 1e4])
def test_confidence_is_the_softmax(scale: float) -> None:
    """Against float64 and without any resizing, from scores nearly alike to scores far apart."""
    scores = scale * random_scores(19, (40, 50))
    exact = 255 * torch.softmax(scores.double(), 0).amax(0).numpy()
    confidence = argmax_labels(scores, 40, 50, with_confidence=True).confidence
    assert confidence is not None
    assert np.abs(confidence - exact).max() < 0.51


@both_ways
def test_any_memory_layout_gives_the_same() -> None:
    scores = random_scores(5, (12, 18))
    expected = argmax_labels(scores, 20, 30, with_confidence=True)
    wide = torch.zeros(7, 12, 40)
    wide[1:6, :, 2:38:2] = scores
    requires_grad = scores.clone().requires_grad_()
    for other in (wide[1:6, :, 2:38:2], scores.transpose(1, 2).contiguous().transpose(1, 2), requires_grad):
        ours = argmax_labels(other, 20, 30, with_confidence=True)
        np.testing.assert_array_equal(ours.labels, expected.labels)
        np.testing.assert_array_equal(ours.confidence, expected.confidence)


@both_ways
def test_half_precision_is_accepted() -> None:
    scores = random_scores(5, (12, 18)).half()
    assert_agree(argmax_labels(scores, 24, 36, with_confidence=True), scores.float(), (24, 36))


def test_the_number_of_threads_changes_nothing() -> None:
    scores = random_scores(11, (120, 160))
    one, several = (argmax_labels(scores, 241, 321, with_confidence=True, n_threads=n) for n in (1, 5))
    np.testing.assert_array_equal(one.labels, several.labels)
    np.testing.assert_array_equal(one.confidence, several.confidence)


def test_several_threads_may_call_at_once() -> None:
    scores = [random_scores(11, (60, 80), seed) for seed in range(8)]
    expected = [argmax_labels(s, 240, 320, n_threads=1).labels for s in scores]
    with ThreadPoolExecutor(4) as callers:
        ours = list(callers.map(lambda s: argmax_labels(s, 240, 320, n_threads=3).labels, scores))
    np.testing.assert_array_equal(ours, expected)


@both_ways
@pytest.mark.parametrize('image_size', [(6, 8), (13, 15)])
def test_the_lowest_class_wins_a_tie(image_size: tuple[int, int]) -> None:
    scores = torch.zeros(9, 6, 8)
    scores[[3, 5]] = 2.0
    for prediction in (argmax_labels(scores, *image_size), argmax_labels_in_torch(scores, *image_size)):
        assert (prediction.labels == 3).all()


@both_ways
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('image_size', [(6, 8), (13, 15)])
@pytest.mark.parametrize('with_confidence', [False, True])
def test_scores_that_are_not_finite_leave_pixels_unlabelled(
    value: float, image_size: tuple[int, int], with_confidence: bool
) -> None:
    scores = random_scores(4, (6, 8))
    scores[2, 3, 4] = value
    ours = argmax_labels(scores, *image_size, with_confidence=with_confidence)
    expected = argmax_labels_in_torch(scores, *image_size, with_confidence=True)
    np.testing.assert_array_equal(ours.labels == 255, expected.labels == 255)
    assert 0 < (ours.labels == 255).sum() < ours.labels.size / 2
    if with_confidence:
        assert ours.confidence is not None
        assert not ours.confidence[ours.labels == 255].any()
        assert ours.confidence[ours.labels < 255].all()


@both_ways
def test_nothing_but_nan_is_all_unlabelled() -> None:
    assert (argmax_labels(torch.full((3, 4, 4), float('nan')), 9, 9).labels == 255).all()


@both_ways
def test_pixels_below_the_threshold_are_unlabelled() -> None:
    scores = random_scores(11, (30, 40))
    plain = argmax_labels(scores, 60, 80, with_confidence=True)
    ours = argmax_labels(scores, 60, 80, confidence_threshold=0.5)
    assert ours.confidence is None
    assert plain.confidence is not None
    np.testing.assert_array_equal(ours.labels[plain.confidence > 128], plain.labels[plain.confidence > 128])
    assert (ours.labels[plain.confidence < 127] == 255).all()
    assert 0.1 < (ours.labels == 255).mean() < 0.9
    reference = argmax_labels_in_torch(scores, 60, 80, confidence_threshold=0.5)
    assert (ours.labels == reference.labels).mean() > 0.999


@both_ways
def test_a_threshold_of_one_keeps_what_is_certain() -> None:
    scores = torch.zeros(3, 2, 2)
    scores[1, 0] = 200.0
    labels = argmax_labels(scores, 2, 2, confidence_threshold=1.0).labels
    assert labels.tolist() == [[1, 1], [255, 255]]


@pytest.mark.parametrize('function', [argmax_labels, argmax_labels_in_torch])
@pytest.mark.parametrize('shape', [(11, 4), (1, 11, 4, 4), (0, 4, 4), (256, 4, 4), (3, 0, 4)])
def test_impossible_scores_are_refused(function, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ImageError, match=r'expected \(K, h, w\) with 1 to 255 classes'):
        function(torch.zeros(shape), 8, 8)


def test_impossible_arguments_are_refused() -> None:
    scores = torch.zeros(2, 4, 4)
    with pytest.raises(ImageError, match='0x8 pixels'):
        argmax_labels(scores, 0, 8)
    for threshold in (-0.1, 1.1, float('nan')):
        with pytest.raises(ParameterError, match=r'expected a probability in 0\.\.1'):
            argmax_labels(scores, 8, 8, confidence_threshold=threshold)
    for temperature in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ParameterError, match='temperature is'):
            argmax_labels(scores, 8, 8, temperature=temperature)
    with pytest.raises(ParameterError, match='n_threads is -1'):
        argmax_labels(scores, 8, 8, n_threads=-1)


@both_ways
@pytest.mark.parametrize('temperature', [0.5, 1.7])
@pytest.mark.parametrize('label', [argmax_labels, argmax_labels_in_torch])
def test_temperature_divides_the_scores_of_the_confidence(
    label: Callable[..., Labelled], temperature: float
) -> None:
    scores = random_scores(5, (6, 8))
    found = label(scores, 6, 8, with_confidence=True, temperature=temperature, confidence_threshold=0.6)
    probs = (scores / temperature).softmax(0).max(0).values.numpy()
    assert found.confidence is not None
    np.testing.assert_allclose(found.confidence, 255 * probs, atol=0.6)
    np.testing.assert_array_equal(found.labels == 255, probs < 0.6)


def test_one_call_compiles_for_all_layouts_and_options() -> None:
    from seg_ros.inference.argmax_kernels import argmax_rows

    argmax_labels(torch.zeros(2, 2, 2), 3, 3, with_confidence=True)
    compiled = len(argmax_rows.signatures)  # type: ignore[attr-defined]
    scores = random_scores(11, (8, 9))[None].to(memory_format=torch.channels_last)[0]
    for each in (scores, scores.contiguous(), scores[:1], scores[..., :1]):
        for size in ((8, 9), (16, 20)):
            argmax_labels(each, *size)
            argmax_labels(each, *size, with_confidence=True, confidence_threshold=0.3)
    assert len(argmax_rows.signatures) == compiled == 1  # type: ignore[attr-defined]


def run_python(code: str, **environment: str) -> str:
    command = [sys.executable, '-W', 'error', '-c', code]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_without_numba_numpy_does_it_and_one_warning_says_so() -> None:
    code = (
        'import sys; sys.modules["numba"] = None; import numpy as np; '
        'from seg_ros.inference.argmax import argmax_labels; '
        'argmax_labels(np.zeros((2, 2, 2), np.float32), 3, 3); '
        'print(argmax_labels(np.eye(3, dtype=np.float32)[:, None], 2, 3).labels.tolist(), '
        '"torch" in sys.modules)'
    )
    output = run_python(code)
    assert '[[0, 1, 2], [0, 1, 2]] False' in output
    assert output.count('pip install numba') == 1


def test_a_forked_process_has_threads_of_its_own() -> None:
    code = (
        'import os, torch; from seg_ros.inference.argmax import argmax_labels; s = torch.rand(11, 120, 160); '
        'run = lambda: argmax_labels(s, 480, 640, n_threads=3); run(); pid = os.fork()\n'
        'if pid == 0: run(); os._exit(0)\n'
        'print("child ended with", os.waitpid(pid, 0)[1])'
    )
    assert 'child ended with 0' in run_python(code)


def test_where_nothing_can_be_cached_functions_are_compiled_all_the_same() -> None:
    from seg_ros._numba import compiled

    double = eval('lambda x: 2 * x')  # Numba finds no file to keep the cache beside
    assert compiled(double)(21) == 42


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_scores_on_a_gpu() -> None:
    scores = random_scores(11, (36, 48))
    assert_agree(argmax_labels(scores.cuda(), 48, 64, with_confidence=True), scores, (48, 64))


def test_the_default_log_level_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        argmax_labels(random_scores(3, (4, 4)), 8, 8)
    assert not caplog.records


@pytest.mark.parametrize('seed', range(3))
def test_arrays_and_tensors_give_the_same(seed: int) -> None:
    scores = random_scores(11, (36, 48), seed)
    ours, theirs = (argmax_labels(s, 50, 60, with_confidence=True) for s in (scores, scores.numpy()))
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_array_equal(ours.confidence, theirs.confidence)

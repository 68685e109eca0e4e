import math

import numpy as np
import pytest

from seg_ros.errors import ParameterError
from seg_ros.metrics import batched
from seg_ros.metrics.bootstrap import (
    MAX_RUNS,
    Difference,
    estimate,
    paired_difference,
    student_quantile,
    unpaired_difference,
)
from seg_ros.metrics.labels import Counts, Fractions, mean_iou

N_CLASSES = 5


def drive(rng: np.random.Generator, n_runs: int, merit: float = 0.0) -> Counts:
    """Confusion of runs (R, K, K + 1): what a run shows, and how well, is common to all its frames."""
    shares = rng.dirichlet([5, 3, 2, 1.5, 1], n_runs)
    logits = rng.normal(1.5 + merit, 0.8, (n_runs, 1)) + np.linspace(0.5, -0.5, N_CLASSES)
    pixels = rng.multinomial(60000, shares)
    hits = rng.binomial(pixels, 1 / (1 + np.exp(-logits)))
    others = (1 - np.eye(N_CLASSES, N_CLASSES + 1)) / N_CLASSES
    runs = rng.multinomial(pixels - hits, others)
    runs[:, np.arange(N_CLASSES), np.arange(N_CLASSES)] += hits
    return runs


def with_mistakes(rng: np.random.Generator, runs: Counts, fraction: float) -> Counts:
    """Confusion of a system that makes the same mistakes and some more."""
    worse, diagonal = runs.copy(), np.arange(N_CLASSES)
    lost = rng.binomial(runs[:, diagonal, diagonal], fraction * rng.uniform(0, 2, (len(runs), 1)))
    worse[:, diagonal, diagonal] -= lost
    worse[:, diagonal, -1] += lost
    return worse


def covered(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


@pytest.mark.parametrize(('n_runs', 'n_bags'), [(3, 200), (8, 200), (20, 200), (100, 150)])
def test_intervals_cover_the_truth(n_runs: int, n_bags: int) -> None:
    rng = np.random.default_rng(n_runs)
    all_runs = drive(rng, 40000)
    truth = mean_iou(all_runs.sum(axis=0))
    found = [estimate(drive(rng, n_runs), batched.mean_iou, n_samples=400) for _ in range(n_bags)]
    assert 0.9 <= covered([(e.low, e.high) for e in found], truth) <= 0.99
    # the same for a difference of two systems on the same frames
    lost = with_mistakes(rng, all_runs, 0.1)
    truth = mean_iou(lost.sum(axis=0)) - mean_iou(all_runs.sum(axis=0))
    bags = [drive(rng, n_runs) for _ in range(n_bags)]
    differences = [
        paired_difference(bag, with_mistakes(rng, bag, 0.1), batched.mean_iou, n_samples=400) for bag in bags
    ]
    assert 0.9 <= covered([(d.low, d.high) for d in differences], truth) <= 0.99


def test_unpaired_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(5)
    truth = np.subtract(*(mean_iou(drive(rng, 40000, merit).sum(axis=0)) for merit in (0.5, 0)))
    found = [
        unpaired_difference(drive(rng, 12), drive(rng, 30, 0.5), batched.mean_iou, n_samples=400)
        for _ in range(200)
    ]
    assert 0.9 <= covered([(d.low, d.high) for d in found], float(truth)) <= 0.99


def test_equals_resampling_run_by_run() -> None:
    runs = drive(np.random.default_rng(0), 30)
    rng = np.random.default_rng(1)
    figures = [mean_iou(sum(runs[k] for k in rng.integers(30, size=30))) for _ in range(4000)]
    found = estimate(runs, batched.mean_iou, n_samples=4000)
    spread = np.std(figures)
    # expanded percentiles: Phi(-sqrt(30 / 29) * t) with t = 2.0452, the quantile of 29 degrees of freedom
    tail = 0.5 * math.erfc(math.sqrt(30 / 29) * 2.0452 / math.sqrt(2))
    assert found.value == mean_iou(runs.sum(axis=0))
    assert found.low == pytest.approx(np.quantile(figures, tail), abs=0.15 * spread)
    assert found.high == pytest.approx(np.quantile(figures, 1 - tail), abs=0.15 * spread)


def test_pairing_finds_small_differences() -> None:
    rng = np.random.default_rng(2)
    first = drive(rng, 20)
    second = with_mistakes(rng, first, 0.01)
    paired = paired_difference(first, second, batched.mean_iou)
    unpaired = unpaired_difference(first, second, batched.mean_iou)
    assert paired.value == unpaired.value
    assert paired.high < 0
    assert unpaired.low < 0 < unpaired.high
    swapped = paired_difference(second, first, batched.mean_iou)
    assert (swapped.value, swapped.low) == (-paired.value, pytest.approx(-paired.high))


def test_same_digits_again_and_another_seed() -> None:
    runs = drive(np.random.default_rng(3), 12)
    assert estimate(runs, batched.mean_iou) == estimate(runs.copy(), batched.mean_iou)
    assert estimate(runs, batched.mean_iou, seed=1) != estimate(runs, batched.mean_iou)


@pytest.mark.parametrize('n_runs', [0, 1])
def test_no_interval_from_a_single_run(n_runs: int) -> None:
    runs = drive(np.random.default_rng(4), 3)[:n_runs]
    found = estimate(runs, batched.mean_iou)
    assert math.isnan(found.value) == (n_runs == 0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    for compare in (paired_difference, unpaired_difference):
        assert math.isnan(compare(runs, runs, batched.mean_iou).high)


def of_last_class(matrices: Counts) -> Fractions:
    return batched.class_iou(matrices)[:, -1]


def test_runs_without_a_class_count_for_nothing() -> None:
    runs = drive(np.random.default_rng(5), 12)
    runs[1:, -1, :], runs[1:, :, N_CLASSES - 1] = 0, 0
    assert math.isnan(estimate(runs, of_last_class).low)  # the class occurs in one run
    assert not math.isnan(estimate(runs, batched.mean_iou).low)
    runs[:, -1, :], runs[:, :, N_CLASSES - 1] = 0, 0
    assert math.isnan(estimate(runs, of_last_class).value)


def test_few_runs_with_the_figure_have_a_wide_interval() -> None:
    runs = np.tile([[450, 1000], [550, 1000]], (6, 1))
    many = estimate(runs, batched.fraction_of)
    runs[2:] = 0
    few = estimate(runs, batched.fraction_of)
    assert few.value == many.value
    assert few.high - few.low > 5 * (many.high - many.low)


def test_limits_are_fractions() -> None:
    found = estimate(np.array([[9, 10], [1, 10]]), batched.fraction_of)
    assert (found.value, found.low, found.high) == (0.5, 0, 1)
    found = estimate(np.full((9, 2), 7), batched.fraction_of)
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_many_runs_are_added_up() -> None:
    rng = np.random.default_rng(7)
    fractions = rng.beta(2, 8, 5 * MAX_RUNS + 3)
    runs = np.stack([rng.binomial(1000, fractions), np.full(len(fractions), 1000)], axis=1)
    found = estimate(runs, batched.fraction_of)
    assert found.value == runs[:, 0].sum() / runs[:, 1].sum()
    error = np.std(runs[:, 0] / 1000) / math.sqrt(len(runs))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_numbers_are_checked() -> None:
    runs = drive(np.random.default_rng(9), 3)
    with pytest.raises(ParameterError, match='n_samples is 0'):
        estimate(runs, batched.mean_iou, n_samples=0)
    with pytest.raises(ParameterError, match='3 runs of the first system, 2 of the second'):
        paired_difference(runs, runs[:2], batched.mean_iou)


@pytest.mark.parametrize(
    ('freedom', 'quantile'),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (7, 2.3646), (30, 2.0423), (2047, 1.9611)],
)
def test_quantiles_of_student(freedom: int, quantile: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, abs=1e-4)  # from printed tables


def test_verdict_in_words() -> None:
    better, worse = Difference(0.012, 0.004, 0.02), Difference(-0.012, -0.02, -0.004)
    by = 'by 1.2 points (95 % interval 0.4 to 2.0)'
    assert better.verdict('A', 'B', 'mean_iou') == f'B is better than A in mean IoU {by}'
    assert worse.verdict('A', 'B', 'mean_iou') == f'A is better than B in mean IoU {by}'
    assert (
        worse.verdict('A', 'B', 'pixel_accuracy', is_loss=True)
        == f'B is better than A in pixel accuracy {by}'
    )
    small = Difference(0.0012, 0.0004, 0.002).verdict('A', 'B', 'flicker_compensated', is_loss=True)
    assert small == 'A is better than B in compensated flicker by 0.12 points (95 % interval 0.04 to 0.20)'


def test_verdict_without_a_difference() -> None:
    nothing = 'no difference in mean IoU can be told between A and B'
    wide = Difference(-0.00001, -0.02, 0.004).verdict('A', 'B', 'mean_iou')
    assert wide == f'{nothing}: 0.0 points (95 % interval -2.0 to 0.4)'
    equal = Difference(0.0, 0.0, 0.0).verdict('A', 'B', 'mean_iou')
    assert equal == f'{nothing}: 0.00 points (95 % interval 0.00 to 0.00)'
    single = Difference(0.031, math.nan, math.nan).verdict('A', 'B', 'mean_iou')
    assert single == f'{nothing}: 3.10 points, from a single run of frames'
    unknown = Difference(math.nan, math.nan, math.nan).verdict('A', 'B', 'mean_iou')
    assert unknown == 'A and B cannot be compared in mean IoU: it was not measured for both'

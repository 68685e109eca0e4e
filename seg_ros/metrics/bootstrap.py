"""Intervals for figures of summed counts, by bootstrap over runs of frames.

B. Efron, R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13: samples are drawn with
replacement, and quantiles of their figures bound the interval. The unit is a run of consecutive frames and
not a frame, because neighbouring frames are alike. Frames of different runs are taken as independent.

Such intervals are too narrow for few runs, so their quantiles are moved outwards as in T. Hesterberg, "What
teachers should know about the bootstrap", The American Statistician 69 (2015), section 5.2 (expanded
percentile interval). Deliberate difference: fewer than 5 runs have too few different samples for quantiles.
Their interval is that of Student's t with the bootstrap's standard error. Only runs for which the figure is
defined count, e.g. those in which a class occurs; a single one gives no interval.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from seg_ros.arrays import Float64Array
from seg_ros.errors import ParameterError
from seg_ros.metrics.labels import Counts, Fractions

Statistic = Callable[[Counts], Fractions]
"""Figure, a fraction 0..1 or NaN, of each of many counts: (B, ...) int64 -> (B,) float64."""

LEVEL = 0.95
"""Probability that an interval contains the true value."""

N_SAMPLES = 1000
MIN_RUNS_FOR_QUANTILES = 5

MAX_RUNS = 2048
"""Number of runs above which neighbours are added up before sampling, so that the cost stays bounded."""

_METRIC_NAMES = {
    'mean_iou': 'mean IoU',
    'boundary_iou': 'boundary IoU',
    'flicker_compensated': 'compensated flicker',
    'ece': 'calibration error',
}


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: Figure of all runs; NaN if it is not defined for them.
        low: Lower limit; NaN if fewer than two runs have the figure.
        high: Upper limit; NaN like ``low``.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """Difference between two figures, second minus first, -1..1, with its 95 % interval."""

    def verdict(self, first: str, second: str, metric: str, *, is_loss: bool = False) -> str:
        """Say in words which of two is better, if that can be told.

        Args:
            first: Name of the first.
            second: Name of the second.
            metric: Name of the figure, e.g. ``mean_iou``.
            is_loss: Whether less is better.

        Returns:
            A sentence without full stop; differences are in points, hundredths of the figure.
        """
        name = _METRIC_NAMES.get(metric, metric.replace('_', ' '))
        if math.isnan(self.value):
            return f'{first} and {second} cannot be compared in {name}: it was not measured for both'
        if math.isnan(self.low) or self.low <= 0 <= self.high:
            return f'no difference in {name} can be told between {first} and {second}: {self._points(1)}'
        better, worse = (second, first) if (self.value > 0) != is_loss else (first, second)
        return f'{better} is better than {worse} in {name} by {self._points(1 if self.value > 0 else -1)}'

    def _points(self, sign: int) -> str:
        """Value and interval, times a sign, in points: '1.2 points (95 % interval 0.4 to 2.0)'."""
        if math.isnan(self.low):
            return f'{_in_points(sign * self.value, 2)} points, from a single run of frames'
        low, high = sorted((sign * self.low, sign * self.high))
        digits = 1 if max(abs(low), abs(high)) >= 0.01 else 2
        texts = [_in_points(value, digits) for value in (sign * self.value, low, high)]
        return f'{texts[0]} points (95 % interval {texts[1]} to {texts[2]})'


def estimate(runs: Counts, statistic: Statistic, *, n_samples: int = N_SAMPLES, seed: int = 0) -> Estimate:
    """Estimate a figure and its interval.

    The same runs give the same digits. Samples for which the figure is NaN are left out, e.g. those without
    the only run in which a class occurs.

    Args:
        runs: (R, ...) int64, counts of each run, in their order in time; R is 0 or more.
        statistic: Figure of summed counts.
        n_samples: Number of samples, at least 1.
        seed: Seed of the samples.

    Raises:
        ParameterError: The number of samples is below 1.
    """
    runs = _pooled(runs)
    value = _total(runs, statistic)
    samples = statistic(_sums(_weights(len(runs), n_samples, seed), runs))
    return Estimate(value, *_interval(value, samples, _n_defined(statistic(runs)), (0, 1)))


def paired_difference(
    first_runs: Counts,
    second_runs: Counts,
    statistic: Statistic,
    *,
    n_samples: int = N_SAMPLES,
    seed: int = 0,
) -> Difference:
    """Estimate the difference between two systems on the same frames.

    Each sample takes the same runs of both, so difficult runs do not hide a difference.

    Args:
        first_runs: (R, ...) int64, counts of the runs of the first system.
        second_runs: (R, ...) int64, counts of the same runs of the second system.
        statistic: Figure of summed counts.
        n_samples: Number of samples, at least 1.
        seed: Seed of the samples.

    Raises:
        ParameterError: The numbers of runs differ, or the number of samples is below 1.
    """
    if len(first_runs) != len(second_runs):
        raise ParameterError(
            f'{len(first_runs)} runs of the first system, {len(second_runs)} of the second; '
            'expected the same runs of both: use unpaired_difference for others'
        )
    first_runs, second_runs = _pooled(first_runs), _pooled(second_runs)
    weights = _weights(len(first_runs), n_samples, seed)
    value = _total(second_runs, statistic) - _total(first_runs, statistic)
    samples = statistic(_sums(weights, second_runs)) - statistic(_sums(weights, first_runs))
    n_runs = _n_defined(statistic(second_runs) - statistic(first_runs))
    return Difference(value, *_interval(value, samples, n_runs, (-1, 1)))


def unpaired_difference(
    first_runs: Counts,
    second_runs: Counts,
    statistic: Statistic,
    *,
    n_samples: int = N_SAMPLES,
    seed: int = 0,
) -> Difference:
    """Estimate the difference between two systems on different frames, which are sampled independently.

    Args:
        first_runs: (R, ...) int64, counts of the runs of the first system.
        second_runs: (Q, ...) int64, counts of the runs of the second system.
        statistic: Figure of summed counts.
        n_samples: Number of samples, at least 1.
        seed: Seed of the samples.

    Raises:
        ParameterError: The number of samples is below 1.
    """
    pair = [_pooled(runs) for runs in (first_runs, second_runs)]
    totals = [_total(runs, statistic) for runs in pair]
    samples = [
        statistic(_sums(_weights(len(runs), n_samples, seed + k), runs)) for k, runs in enumerate(pair)
    ]
    value, n_runs = totals[1] - totals[0], min(_n_defined(statistic(runs)) for runs in pair)
    return Difference(value, *_interval(value, samples[1] - samples[0], n_runs, (-1, 1)))


def _pooled(runs: Counts) -> Counts:
    """Sums of neighbouring runs, at most ``MAX_RUNS`` of about the same length."""
    if len(runs) <= MAX_RUNS:
        return runs
    starts = np.arange(MAX_RUNS) * len(runs) // MAX_RUNS
    return np.add.reduceat(runs, starts, axis=0)


def _n_defined(values: Fractions) -> int:
    """Number of runs for which a figure is defined."""
    return int(np.count_nonzero(np.isfinite(values)))


def _total(runs: Counts, statistic: Statistic) -> float:
    return float(statistic(runs.sum(axis=0, dtype=np.int64)[None])[0])


def _weights(n_runs: int, n_samples: int, seed: int) -> Float64Array:
    """Number of times that each run is drawn in each sample, (B, R)."""
    if n_samples < 1:
        raise ParameterError(f'n_samples is {n_samples}; expected 1 or more')
    if not n_runs:
        return np.zeros((n_samples, 0))
    drawn = np.random.default_rng(seed).integers(n_runs, size=(n_samples, n_runs))
    cells = drawn + np.arange(n_samples)[:, None] * n_runs
    counts = np.bincount(cells.ravel(), minlength=n_samples * n_runs)
    return counts.reshape(n_samples, n_runs).astype(np.float64)


def _sums(weights: Float64Array, runs: Counts) -> Counts:
    """Counts of each sample, (B, ...); sums in float64 are exact below 2**53."""
    flat = runs.reshape(len(runs), -1) if runs.size else np.zeros((len(runs), math.prod(runs.shape[1:])))
    return (weights @ flat.astype(np.float64)).astype(np.int64).reshape(len(weights), *runs.shape[1:])


def _interval(
    value: float, samples: Fractions, n_runs: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Limits of the interval from the figures of samples; NaN for fewer than two runs."""
    samples = samples[np.isfinite(samples)]
    if math.isnan(value) or n_runs < 2 or not len(samples):
        return float('nan'), float('nan')
    reach = student_quantile(0.5 + LEVEL / 2, n_runs - 1) * math.sqrt(n_runs / (n_runs - 1))
    if n_runs < MIN_RUNS_FOR_QUANTILES:
        error = reach * float(samples.std())
        low, high = value - error, value + error
    else:
        tail = NormalDist().cdf(-reach)
        low, high = np.quantile(samples, [tail, 1 - tail]).tolist()
    return max(min(low, value), bounds[0]), min(max(high, value), bounds[1])


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t, from its distribution as a sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Args:
        probability: Probability, 0.5..0.999.
        freedom: Degrees of freedom, 1 or more.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        if _central_probability(angle, freedom) < 2 * probability - 1:
            low = angle
        else:
            high = angle
    return math.tan(low) * math.sqrt(freedom)


def _central_probability(angle: float, freedom: int) -> float:
    """Probability that the distance of t from 0 is below tan(angle) * sqrt(freedom)."""
    odd = freedom % 2
    cosine = math.cos(angle)
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return (angle + math.sin(angle) * total) * 2 / math.pi if odd else math.sin(angle) * total


def _in_points(fraction: float, digits: int) -> str:
    return f'{round(100 * fraction, digits) + 0.0:.{digits}f}'  # + 0.0: no minus zero

"""Active learning: the frames of bags that are most worth labelling.

A frame is informative if the model is uncertain about it, flickers, disagrees with a reference, or has not
seen such images (Settles, Active Learning Literature Survey, 2009, section 3). The most informative frames of
a bag are often neighbours, and a second one of them teaches little. So frames are chosen greedily, each far
from all that were chosen before (Sener and Savarese, Active Learning for Convolutional Neural Networks: A
Core-Set Approach, ICLR 2018, algorithm 1, k-center greedy).

Deliberate differences: distances are multiplied by the informativeness of the frame; descriptors are those of
`descriptors` and not features of the network; bags and time are shared out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float32Array, Float64Array, Int64Array
from seg_ros.errors import ParameterError

REASONS: Mapping[str, str] = {
    'uncertainty': 'uncertain',
    'flicker_compensated': 'flickering',
    'novelty': 'unlike the training images',
    'disagreement': 'disagrees with the reference',
}
"""Values of a frame that make it informative -> reason in words."""

DIVERSE = 'unlike the frames chosen before'
"""Reason for a frame that is far from the others and not especially informative."""

_LONGEST_GAP_NS = 2_000_000_000
_SHARE_OF_BAGS = 0.5


@dataclass(frozen=True)
class Candidates:
    """Frames to choose from, in any order.

    Attributes:
        bags: (N,) int64, number of the bag of each frame.
        stamps_ns: (N,) int64, its time in ns.
        values: Name in `REASONS` -> (N,) float64, larger = more informative; NaN = not measured. Names may
            be absent.
        descriptors: (N, D) float32 of `descriptors.describe_frame`.

    Raises:
        ParameterError: A name is unknown, the lengths differ, or a descriptor is not finite.
    """

    bags: Int64Array
    stamps_ns: Int64Array
    values: Mapping[str, Float64Array]
    descriptors: Float32Array

    def __post_init__(self) -> None:
        unknown = set(self.values) - set(REASONS)
        if unknown:
            raise ParameterError(f'unknown values {sorted(unknown)}; known: {", ".join(REASONS)}')
        lengths = [len(self.bags), len(self.stamps_ns), len(self.descriptors)]
        lengths += [len(values) for values in self.values.values()]
        if len(set(lengths)) != 1 or self.descriptors.ndim != 2:
            raise ParameterError(f'candidates have {lengths} entries; expected equally many of each')
        if not np.isfinite(self.descriptors).all():
            raise ParameterError('a descriptor of a candidate has values that are not finite')

    def __len__(self) -> int:
        return len(self.bags)


def select_frames(candidates: Candidates, n: int, *, diversity: float = 1.0) -> list[int]:
    """Choose the frames that are most worth labelling, the most useful first.

    Each step takes the frame with the largest product of informativeness and distance to the nearest chosen
    frame. Every bag gets at least half of an equal share, and frames within a short time of a chosen frame
    are taken last. The same candidates give the same frames.

    Args:
        candidates: Frames to choose from.
        n: Number of frames; all, if there are not more.
        diversity: Exponent of the distance, 0 or more: 0 = informativeness alone decides.

    Returns:
        Positions of the chosen candidates, in the order of their choice.

    Raises:
        ParameterError: ``n`` or ``diversity`` is negative.
    """
    if n < 0 or not diversity >= 0:
        raise ParameterError(f'n is {n}, diversity {diversity}; expected 0 or more')
    if not len(candidates):
        return []
    search = _GreedySearch(candidates, min(n, len(candidates)), diversity)
    return [search.take() for _ in range(min(n, len(candidates)))]


def informativeness(candidates: Candidates) -> Float64Array:
    """Informativeness of each candidate, (N,) float64 above 0, up to 1: the mean rank of its values.

    Ranks make values of different units comparable, and outliers harmless. A value that was not measured
    does not count; a frame without any is of middle rank.
    """
    ranks = _ranks(candidates)
    n_measured = np.isfinite(ranks).sum(0)
    sums = np.nansum(ranks, 0)
    return np.where(n_measured > 0, sums / np.maximum(n_measured, 1), 0.5)


def reasons_of(candidates: Candidates, chosen: Sequence[int]) -> list[str]:
    """Reason for each chosen frame in words: the value of highest rank if that is in the upper third."""
    ranks = np.nan_to_num(_ranks(candidates), nan=0.0)
    found = []
    for index in chosen:
        best = int(ranks[:, index].argmax()) if len(ranks) else 0
        is_high = bool(len(ranks)) and ranks[best, index] > 2 / 3
        found.append(REASONS[list(candidates.values)[best]] if is_high else DIVERSE)
    return found


class _GreedySearch:
    """State of the greedy choice.

    Args:
        candidates: Frames to choose from.
        n: Number of frames to choose.
        diversity: Exponent of the distance.
    """

    def __init__(self, candidates: Candidates, n: int, diversity: float) -> None:
        self._candidates, self._diversity = candidates, diversity
        self._informativeness = informativeness(candidates)
        self._is_free = np.ones(len(candidates), bool)
        self._is_near_in_time = np.zeros(len(candidates), bool)
        self._distances = np.full(len(candidates), np.inf)
        self._n_left, self._gap_ns = n, _gap_ns(candidates, n)
        self._owed = _owed_by_bag(candidates.bags, n)

    def take(self) -> int:
        """Choose the next frame."""
        allowed = self._is_free & ~self._is_near_in_time
        if sum(self._owed.values()) >= self._n_left:  # the rest belongs to bags without their share
            owed = [bag for bag, n_owed in self._owed.items() if n_owed]
            of_bags = np.isin(self._candidates.bags, owed)
            allowed = allowed & of_bags if (allowed & of_bags).any() else self._is_free & of_bags
        if not allowed.any():
            allowed = self._is_free
        distances = np.where(np.isinf(self._distances), 1.0, self._distances)
        scores = self._informativeness * distances**self._diversity
        best = int(np.where(allowed, scores, -1.0).argmax())
        self._keep(best)
        return best

    def _keep(self, index: int) -> None:
        """Note that a frame is chosen."""
        descriptors, bag = self._candidates.descriptors, int(self._candidates.bags[index])
        self._is_free[index] = False
        self._n_left -= 1
        self._owed[bag] = max(self._owed[bag] - 1, 0)
        distances = np.linalg.norm(descriptors - descriptors[index], axis=1)
        self._distances = np.minimum(self._distances, distances)
        stamps = self._candidates.stamps_ns
        is_near = np.abs(stamps - stamps[index]) < self._gap_ns
        self._is_near_in_time |= is_near & (self._candidates.bags == bag)


def _ranks(candidates: Candidates) -> Float64Array:
    """(values, N) float64 above 0, up to 1: ranks of the values, equal for equal values; NaN = unknown."""
    return np.array([_rank(values) for values in candidates.values.values()]).reshape(
        len(candidates.values), len(candidates)
    )


def _rank(values: Float64Array) -> Float64Array:
    is_known = np.isfinite(values)
    ranks = np.full(len(values), np.nan)
    _, places, counts = np.unique(values[is_known], return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - (counts - 1) / 2
    ranks[is_known] = middles[places.ravel()] / max(is_known.sum(), 1)
    return ranks


def _gap_ns(candidates: Candidates, n: int) -> int:
    """Shortest time between two chosen frames of a bag: half of the even step, at most two seconds."""
    spans = [int(np.ptp(candidates.stamps_ns[candidates.bags == bag])) for bag in np.unique(candidates.bags)]
    return min(sum(spans) // (2 * max(n, 1)), _LONGEST_GAP_NS)


def _owed_by_bag(bags: npt.NDArray[np.int64], n: int) -> dict[int, int]:
    """Number of frames that each bag gets at least: half of an equal share, and as many as it has."""
    numbers, counts = np.unique(bags, return_counts=True)
    share = max(int(_SHARE_OF_BAGS * n / len(numbers)), 1 if n >= len(numbers) else 0)
    return {int(bag): min(share, int(count)) for bag, count in zip(numbers, counts, strict=True)}

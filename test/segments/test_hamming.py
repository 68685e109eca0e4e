from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_ros.errors import ParameterError
from seg_ros.segments import hamming as module
from seg_ros.segments.hamming import hamming, hamming_pairs, nearest_codes, pack, unpack


@pytest.fixture(params=['counted', 'looked up'])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == 'looked up':
        monkeypatch.delattr(np, 'bitwise_count', raising=False)


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('n_bits', [8, 16, 24, 32, 64, 72, 256])
def test_distances_are_counts_of_differing_bits(n_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_PAIRS_AT_ONCE', 16)
    rng = np.random.default_rng(n_bits)
    a, b = rng.random((7, n_bits)) > 0.5, rng.random((5, n_bits)) > 0.5
    distances = hamming(pack(a), pack(b))
    assert distances.tolist() == [[int((x != y).sum()) for y in b] for x in a]
    pairs = np.array([[0, 1], [3, 3], [6, 2]], np.int32)
    assert hamming_pairs(pack(a), pairs).tolist() == [int((a[i] != a[j]).sum()) for i, j in pairs]


def test_the_least_significant_bit_comes_first() -> None:
    bits = np.zeros((1, 16), bool)
    bits[0, [0, 9]] = True
    assert pack(bits).tolist() == [[1, 2]]
    assert np.array_equal(unpack(pack(bits)), bits)


def test_codes_that_do_not_compare_are_refused() -> None:
    with pytest.raises(ParameterError, match='8 and 16 bits'):
        hamming(np.zeros((1, 1), np.uint8), np.zeros((1, 2), np.uint8))
    with pytest.raises(ParameterError, match='multiple of 8'):
        pack(np.zeros((1, 12), bool))
    with pytest.raises(ParameterError, match='uint8'):
        hamming(np.zeros((1, 1)), np.zeros((1, 1)))  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_nearest_codes_are_those_of_all_distances(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, others = rng.integers(0, 4, (n, 2), np.uint8), rng.integers(0, 4, (m, 2), np.uint8)
    distances = hamming(codes, others)
    with patch('seg_ros.segments.hamming._PAIRS_AT_ONCE', 7):
        nearest, back, least = nearest_codes(codes, others)
    np.testing.assert_array_equal(nearest, distances.argmin(1))
    np.testing.assert_array_equal(back, distances.argmin(0))
    np.testing.assert_array_equal(least, distances.min(1))

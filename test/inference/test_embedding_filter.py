from typing import Any

import numpy as np
import pytest
import torch

import seg_ros.inference.embedding_filter
from seg_ros.errors import ParameterError
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.networks.masked_average import Averaged, filter_scores


@pytest.mark.parametrize('size', [(24, 32), (12, 16), (48, 64), (96, 64), (24, 33)])
@pytest.mark.parametrize('window', [1, 3, 9])
@pytest.mark.parametrize('averages', ['probabilities', 'scores'])
def test_the_loops_do_what_the_reference_does(size: tuple[int, int], window: int, averages: Averaged) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(5, *size, generator=generator)
    embeddings = torch.randn(6, 24, 33 if size[1] == 33 else 32, generator=generator) * 0.2
    got = EmbeddingFilter(window, 3, 1.5, averages)(scores, embeddings)
    doubles = scores[None].double(), embeddings[None].double(), torch.tensor(1.5)
    expected = filter_scores(*doubles, window, 3, averages)[0]
    torch.testing.assert_close(got.double(), expected, atol=2e-5, rtol=0)


def test_full_size_as_published() -> None:
    """9x9, seven times, at every pixel."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(3, 40, 56, generator=generator)
    embeddings = torch.randn(64, 40, 56, generator=generator) * 0.02
    got = EmbeddingFilter(9, 7, 1.0)(scores, embeddings)
    expected = filter_scores(scores[None].double(), embeddings[None].double(), torch.tensor(1.0), 9, 7)[0]
    torch.testing.assert_close(got.double(), expected, atol=2e-5, rtol=0)


def test_threads_change_nothing() -> None:
    scores, embeddings = torch.randn(4, 60, 80), torch.randn(8, 60, 80)
    one = EmbeddingFilter()(scores, embeddings, 1)
    for n_threads in (2, 5):
        assert torch.equal(EmbeddingFilter()(scores, embeddings, n_threads), one)


@pytest.mark.parametrize('factor', [1, 2])
def test_any_order_in_memory_will_do(factor: int) -> None:
    scores, embeddings = torch.randn(1, 4, 30 * factor, 40 * factor), torch.randn(1, 8, 30, 40)
    got = EmbeddingFilter()(
        scores.contiguous(memory_format=torch.channels_last)[0],
        embeddings.contiguous(memory_format=torch.channels_last)[0],
    )
    assert torch.equal(got, EmbeddingFilter()(scores[0], embeddings[0]))


def test_without_numba_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, embeddings = torch.randn(4, 30, 40), torch.randn(8, 15, 20)
    fast = EmbeddingFilter()(scores, embeddings)
    monkeypatch.setattr(seg_ros.inference.embedding_filter, 'import_kernels', lambda *_: None)
    torch.testing.assert_close(EmbeddingFilter()(scores, embeddings), fast, atol=2e-5, rtol=0)


def test_no_iterations_change_nothing() -> None:
    scores = torch.randn(4, 30, 40)
    assert torch.equal(EmbeddingFilter(iterations=0)(scores, torch.randn(8, 30, 40)), scores)
    assert torch.equal(EmbeddingFilter(iterations=0)(scores, torch.randn(8, 15, 20)), scores)


def test_finer_scores_that_do_not_fit() -> None:
    with pytest.raises(ParameterError, match='scores of 50x64 and embeddings of 24x32; expected a multiple'):
        EmbeddingFilter(3)(torch.zeros(2, 50, 64), torch.zeros(3, 24, 32))


def test_scores_are_left_as_they_were() -> None:
    scores = torch.randn(4, 30, 40)
    before = scores.clone()
    EmbeddingFilter()(scores, torch.randn(8, 15, 20))
    assert torch.equal(scores, before)


@pytest.mark.parametrize(
    'settings', [{'window': 2}, {'iterations': -1}, {'hardness': 0.0}, {'window': -1}, {'averages': 'x'}]
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match='embedding filter'):
        EmbeddingFilter(**settings)


def test_a_window_larger_than_the_map() -> None:
    with pytest.raises(ParameterError, match=r'window of 25; expected an odd .* at most 23'):
        EmbeddingFilter(25)(torch.zeros(2, 24, 32), torch.zeros(3, 24, 32))


def test_scores_that_are_not_finite_stay_seen() -> None:
    scores = torch.zeros(2, 24, 32)
    scores[0, 5, 5] = np.nan
    got = EmbeddingFilter(3, 1)(scores, torch.zeros(3, 24, 32))
    assert got[0, 4:7, 4:7].isnan().all()
    assert got[0].isnan().sum() == 9

from typing import Any

import numpy as np
import pytest
import torch

import seg_ros.inference.embedding_filter
from seg_ros.errors import ParameterError
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.networks.filter_rules import Averaged
from seg_ros.networks.masked_average import filter_scores


def run(embedding_filter: EmbeddingFilter, *arguments: Any, **changes: Any) -> torch.Tensor:
    """Filtered scores as tensor."""
    return torch.as_tensor(embedding_filter(*arguments, **changes))


@pytest.fixture(params=['Numba', 'NumPy'])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter runs in the compiled loops, or as without Numba."""
    if request.param == 'NumPy':
        monkeypatch.setattr(seg_ros.inference.embedding_filter, 'import_kernels', lambda *_: None)


both_ways = pytest.mark.usefixtures('way')


@both_ways
@pytest.mark.parametrize('size', [(24, 32), (12, 16), (48, 64), (96, 64), (24, 33)])
@pytest.mark.parametrize('window', [1, 3, 9])
@pytest.mark.parametrize('averages', ['probabilities', 'scores'])
def test_the_loops_do_what_the_reference_does(size: tuple[int, int], window: int, averages: Averaged) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(5, *size, generator=generator)
    embeddings = torch.randn(6, 24, 33 if size[1] == 33 else 32, generator=generator) * 0.2
    got = run(EmbeddingFilter(window, 3, 1.5, averages), scores, embeddings)
    doubles = scores[None].double(), embeddings[None].double(), torch.tensor(1.5)
    expected = filter_scores(*doubles, window, 3, averages)[0]
    torch.testing.assert_close(got.double(), expected, atol=2e-5, rtol=0)


@both_ways
def test_full_size_as_published() -> None:
    """9x9, seven times, at every pixel."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(3, 40, 56, generator=generator)
    embeddings = torch.randn(64, 40, 56, generator=generator) * 0.02
    got = run(EmbeddingFilter(9, 7, 1.0), scores, embeddings)
    expected = filter_scores(scores[None].double(), embeddings[None].double(), torch.tensor(1.0), 9, 7)[0]
    torch.testing.assert_close(got.double(), expected, atol=2e-5, rtol=0)


def test_threads_change_nothing() -> None:
    scores, embeddings = torch.randn(4, 60, 80), torch.randn(8, 60, 80)
    one = run(EmbeddingFilter(), scores, embeddings, 1)
    for n_threads in (2, 5):
        assert torch.equal(run(EmbeddingFilter(), scores, embeddings, n_threads), one)


@pytest.mark.parametrize('factor', [1, 2])
def test_any_order_in_memory_will_do(factor: int) -> None:
    scores, embeddings = torch.randn(1, 4, 30 * factor, 40 * factor), torch.randn(1, 8, 30, 40)
    got = run(
        EmbeddingFilter(),
        scores.contiguous(memory_format=torch.channels_last)[0],
        embeddings.contiguous(memory_format=torch.channels_last)[0],
    )
    assert torch.equal(got, run(EmbeddingFilter(), scores[0], embeddings[0]))


@pytest.mark.parametrize('factor', [1, 2])
def test_without_numba_any_order_in_memory_will_do(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seg_ros.inference.embedding_filter, 'import_kernels', lambda *_: None)
    scores, embeddings = torch.randn(1, 4, 30 * factor, 40 * factor), 0.2 * torch.randn(1, 8, 30, 40)
    plain = run(EmbeddingFilter(), scores[0], embeddings[0])
    other = (x.contiguous(memory_format=torch.channels_last)[0] for x in (scores, embeddings))
    torch.testing.assert_close(run(EmbeddingFilter(), *other), plain, atol=2e-5, rtol=0)


@both_ways
@pytest.mark.parametrize('averages', ['scores', 'probabilities'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('size', [(24, 32), (12, 16), (48, 64)])
def test_what_is_not_finite_stays_seen_and_the_rest_is_as_in_the_reference(
    size: tuple[int, int], value: float, averages: Averaged
) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(3, *size, generator=generator)
    embeddings = torch.randn(4, 24, 32, generator=generator) * 0.2
    scores[1, size[0] // 2, size[1] // 2] = value
    got = run(EmbeddingFilter(3, 2, 1.5, averages), scores, embeddings)
    doubles = scores[None].double(), embeddings[None].double(), torch.tensor(1.5)
    expected = filter_scores(*doubles, 3, 2, averages)[0]
    both = got.isfinite() & expected.isfinite()
    assert both.float().mean() > 0.8
    assert not (got.isfinite() & ~expected.isfinite()).any()
    torch.testing.assert_close(got[both].double(), expected[both], atol=2e-5, rtol=0)


@both_ways
def test_no_iterations_change_nothing() -> None:
    scores = torch.randn(4, 30, 40)
    assert torch.equal(run(EmbeddingFilter(iterations=0), scores, torch.randn(8, 30, 40)), scores)
    assert torch.equal(run(EmbeddingFilter(iterations=0), scores, torch.randn(8, 15, 20)), scores)


@both_ways
def test_finer_scores_that_do_not_fit() -> None:
    with pytest.raises(ParameterError, match='scores of 50x64 and embeddings of 24x32; expected a multiple'):
        run(EmbeddingFilter(3), torch.zeros(2, 50, 64), torch.zeros(3, 24, 32))


@both_ways
def test_scores_are_left_as_they_were() -> None:
    scores = torch.randn(4, 30, 40)
    before = scores.clone()
    run(EmbeddingFilter(), scores, torch.randn(8, 15, 20))
    assert torch.equal(scores, before)


@pytest.mark.parametrize(
    'settings', [{'window': 2}, {'iterations': -1}, {'hardness': 0.0}, {'window': -1}, {'averages': 'x'}]
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match='embedding filter'):
        EmbeddingFilter(**settings)


def test_a_window_larger_than_the_map() -> None:
    with pytest.raises(ParameterError, match=r'window of 25; expected an odd .* at most 23'):
        run(EmbeddingFilter(25), torch.zeros(2, 24, 32), torch.zeros(3, 24, 32))


@both_ways
def test_scores_that_are_not_finite_stay_seen() -> None:
    scores = torch.zeros(2, 24, 32)
    scores[0, 5, 5] = np.nan
    got = run(EmbeddingFilter(3, 1), scores, torch.zeros(3, 24, 32))
    assert got[0, 4:7, 4:7].isnan().all()
    assert got[0].isnan().sum() == 9

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.masked_average import filter_scores, masked_average


def slow(values: np.ndarray, embeddings: np.ndarray, hardness: float, window: int) -> np.ndarray:
    """The paper's formula, pixel by pixel."""
    _, height, width = values.shape
    result = np.empty_like(values)
    radius = window // 2
    for y in range(height):
        for x in range(width):
            total, weights = np.zeros(len(values)), 0.0
            for v in range(max(y - radius, 0), min(y + radius + 1, height)):
                for u in range(max(x - radius, 0), min(x + radius + 1, width)):
                    weight = np.exp(-hardness * np.abs(embeddings[:, y, x] - embeddings[:, v, u]).sum())
                    total += weight * values[:, v, u]
                    weights += weight
            result[:, y, x] = total / weights
    return result


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize('window', [1, 3, 7])
def test_it_is_the_paper_s_formula(rng: np.random.Generator, window: int) -> None:
    values, embeddings = rng.normal(size=(2, 4, 9, 11)), rng.normal(size=(2, 3, 9, 11))
    got = masked_average(
        torch.from_numpy(values), torch.from_numpy(embeddings), torch.tensor(0.7, dtype=float), window
    )
    for one in range(2):
        np.testing.assert_allclose(got[one], slow(values[one], embeddings[one], 0.7, window), rtol=1e-10)


def test_gradients(rng: np.random.Generator) -> None:
    values = torch.from_numpy(rng.normal(size=(2, 2, 5, 6))).requires_grad_()
    embeddings = torch.from_numpy(rng.normal(size=(2, 3, 5, 6))).requires_grad_()
    hardness = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: masked_average(*a, 3), (values, embeddings, hardness))
    assert torch.autograd.gradcheck(lambda *a: filter_scores(*a, 5, 2), (values, embeddings, hardness))


def test_nothing_crosses_a_clear_boundary() -> None:
    embeddings = torch.zeros(1, 1, 8, 8)
    embeddings[..., 4:] = 100
    values = torch.rand(1, 3, 8, 8)
    got = filter_scores(values, embeddings, torch.tensor(1.0), 5, 7)
    changed = values.clone()
    changed[..., 4:] += 5
    other = filter_scores(changed, embeddings, torch.tensor(1.0), 5, 7)
    torch.testing.assert_close(got[..., :4], other[..., :4])
    assert (got[..., :4].std((2, 3)) < values[..., :4].std((2, 3)) / 4).all()


def test_equal_embeddings_give_the_plain_mean() -> None:
    values = torch.rand(1, 2, 12, 12)
    got = masked_average(values, torch.zeros(1, 4, 12, 12), torch.tensor(3.0), 3)
    count = F.avg_pool2d(torch.ones(1, 1, 12, 12), 3, 1, 1)
    torch.testing.assert_close(got, F.avg_pool2d(values, 3, 1, 1) / count)


def test_probabilities_are_averaged() -> None:
    """A pixel that is sure against eight that are less so: by scores it would win, by probabilities not."""
    scores = torch.zeros(1, 2, 3, 3)
    scores[0, 0], scores[0, 1, 1, 1] = 1.0, 20.0
    got = filter_scores(scores, torch.zeros(1, 1, 3, 3), torch.tensor(1.0), 3, 1)[0, :, 1, 1].exp()
    sure = 1 / (1 + np.exp(-1.0))
    assert got.tolist() == pytest.approx([8 * sure / 9, 1 - 8 * sure / 9], abs=1e-5)


@pytest.mark.parametrize('size', [(9, 11), (18, 33)])
def test_scores_are_averaged_as_in_the_paper(rng: np.random.Generator, size: tuple[int, int]) -> None:
    scores, embeddings = rng.normal(size=(1, 4, *size)), rng.normal(size=(1, 3, 9, 11))
    tensors = torch.from_numpy(scores), torch.from_numpy(embeddings), torch.tensor(0.7, dtype=float)
    got = filter_scores(*tensors, 5, 2, 'scores')[0]
    means = scores[0].reshape(4, 9, size[0] // 9, 11, size[1] // 11).mean((2, 4))
    after = slow(slow(means, embeddings[0], 0.7, 5), embeddings[0], 0.7, 5)
    if size == (9, 11):
        np.testing.assert_allclose(got, after, rtol=1e-10)
    else:
        change = F.interpolate(torch.from_numpy(after - means)[None], size, mode='bilinear')[0]
        np.testing.assert_allclose(got, scores[0] + change.numpy(), rtol=1e-10)
    shifted = filter_scores(tensors[0] + 5, *tensors[1:], 5, 2, 'scores')[0]
    np.testing.assert_allclose(shifted, got + 5, rtol=1e-9)  # the averages are linear


def test_coarse_scores_are_resized_to_the_embeddings() -> None:
    scores, embeddings = torch.rand(1, 2, 4, 5), torch.rand(1, 3, 8, 10)
    got = filter_scores(scores, embeddings, torch.tensor(2.0), 3, 2)
    upsampled = F.interpolate(scores, (8, 10), mode='bilinear')
    torch.testing.assert_close(got, filter_scores(upsampled, embeddings, torch.tensor(2.0), 3, 2))


def test_fine_scores_keep_their_detail() -> None:
    scores, embeddings = torch.rand(1, 2, 16, 24), torch.rand(1, 3, 4, 6)
    got = filter_scores(scores, embeddings, torch.tensor(2.0), 3, 1)
    before = F.avg_pool2d(scores, 4).softmax(1)
    after = masked_average(before, embeddings, torch.tensor(2.0), 3)
    change = (after / before).log()
    torch.testing.assert_close(got - scores, F.interpolate(change, (16, 24), mode='bilinear'))
    torch.testing.assert_close(filter_scores(scores, embeddings, torch.tensor(2.0), 3, 0), scores)


@pytest.mark.parametrize(('window', 'said'), [(4, 'odd'), (9, '7.*8x10'), (0, 'odd')])
def test_windows_that_do_not_fit(window: int, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        masked_average(torch.rand(1, 2, 8, 10), torch.rand(1, 3, 8, 10), torch.tensor(1.0), window)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ParameterError, match=r'15x20.*8x10'):
        filter_scores(torch.rand(1, 2, 15, 20), torch.rand(1, 3, 8, 10), torch.tensor(1.0), 3, 1)

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from seg_ros.arrays import Float64Array
from seg_ros.errors import ParameterError
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.segments.itq import ITQ


def vectors(n: int = 600, d: int = 20) -> Float64Array:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 6)) @ rng.standard_normal((6, d)) + 0.1 * rng.standard_normal((n, d)) + 3


class Batches:
    """Reads its data anew each time."""

    def __init__(self, data: Float64Array) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Float64Array]:
        yield from np.array_split(self.data, 7)


def slow_itq(x: Float64Array, n_bits: int, rotation: Float64Array, n_iterations: int) -> Float64Array:
    """As in the paper's listing, on all data at once; returns bits."""
    centred = x - x.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:n_bits]
    for k in range(n_bits):  # the estimator's choice of signs
        directions[k] *= np.sign(directions[k][np.abs(directions[k]).argmax()])
    v = centred @ directions.T
    for _ in range(n_iterations):
        b = np.sign(v @ rotation)
        s, _, s_hat = np.linalg.svd(b.T @ v)
        rotation = s_hat.T @ s.T
    return v @ rotation > 0


def test_bits_are_those_of_a_slow_version() -> None:
    x = vectors()
    itq = ITQ(8, n_iterations=20).fit(x)
    start = ITQ(8, n_iterations=0).fit(x).rotation_
    assert np.array_equal(np.unpackbits(itq.encode(x), axis=1, bitorder='little'), slow_itq(x, 8, start, 20))


def test_what_the_paper_proves() -> None:
    itq = ITQ(16, n_iterations=30).fit(vectors())
    assert (np.diff(itq.errors_) <= 1e-9).all()
    assert itq.errors_[-1] < 0.97 * itq.errors_[0]
    np.testing.assert_allclose(itq.rotation_ @ itq.rotation_.T, np.eye(16), atol=1e-12)
    np.testing.assert_allclose(itq.components_.T @ itq.components_, np.eye(16), atol=1e-9)
    codes = np.where(itq.transform(vectors()) > 0, 1, -1)
    last = ((codes - itq.transform(vectors())) ** 2).sum(1).mean()
    assert last == pytest.approx(itq.errors_[-1])


def test_batches_give_the_same() -> None:
    whole, batched = ITQ(8).fit(vectors()), ITQ(8).fit(Batches(vectors()))
    np.testing.assert_allclose(whole.rotation_, batched.rotation_, atol=1e-9)
    np.testing.assert_allclose(whole.errors_, batched.errors_)


def test_the_seed_decides() -> None:
    one, same, other = (ITQ(8, seed=seed).fit(vectors()) for seed in (1, 1, 2))
    assert np.array_equal(one.rotation_, same.rotation_)
    assert not np.allclose(one.rotation_, other.rotation_)


def test_the_layer_gives_the_estimators_bits() -> None:
    x = vectors()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    itq = ITQ(16).fit(unit)
    layer = BinaryLayer.from_projection(itq.components_ @ itq.rotation_, itq.mean_, [20])
    features = torch.from_numpy(x.T.astype(np.float32)).reshape(1, 20, 30, 20)
    with torch.no_grad():
        logits = layer([features], (30, 20))[0].reshape(16, -1).T.numpy()
    np.testing.assert_allclose(logits, itq.transform(unit), atol=1e-4)


def test_several_maps_are_one_column() -> None:
    """The sum of a convolution a map is that of the stacked maps: Hariharan et al. 2015, section 3.2."""
    torch.manual_seed(0)
    fine, coarse, colours = torch.randn(1, 5, 8, 8), torch.randn(1, 7, 4, 4), torch.randn(64, 9)
    itq = ITQ(8).fit(np.random.default_rng(0).standard_normal((200, 21)))
    layer = BinaryLayer.from_projection(itq.components_ @ itq.rotation_, itq.mean_, [5, 7], has_colour=True)
    unit = [part / part.norm(dim=1, keepdim=True) for part in (fine, coarse)]
    unit[1] = torch.nn.functional.interpolate(unit[1], (8, 8), mode='bilinear')
    column = torch.cat([part[0].flatten(1).T for part in unit] + [colours], 1)
    with torch.no_grad():
        logits = layer([fine, coarse], (8, 8))[0].flatten(1).T + layer.colour_logits(colours)
    np.testing.assert_allclose(logits.numpy(), itq.transform(column.numpy()), atol=1e-4)
    with torch.no_grad():
        small = layer([fine, coarse], (4, 4))
    assert small.shape == (1, 8, 4, 4)


def test_the_layer_learns() -> None:
    layer = BinaryLayer([6, 3], 8)
    layer([torch.randn(1, 6, 4, 4), torch.randn(1, 3, 8, 8)], (4, 4)).sigmoid().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (vectors(1), 'too few'),
        (vectors(9, 6), '6 components; 8 bits'),
        (iter([vectors()]), 'only once'),
        ([vectors(), vectors(600, 21)], r'expected \(N, 20\)'),
        (vectors() * np.nan, 'finite'),
        ([], 'too few'),
    ],
)
def test_bad_vectors_are_refused(data: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ITQ(8).fit(data)  # type: ignore[arg-type]


@pytest.mark.parametrize('n_bits', [0, 7, 12, 264])
def test_bad_lengths_are_refused(n_bits: int) -> None:
    with pytest.raises(ParameterError, match=r'8\.\.256'):
        ITQ(n_bits)
    with pytest.raises(ParameterError, match=r'8\.\.256'):
        BinaryLayer([4], n_bits)


def test_a_layer_needs_maps() -> None:
    with pytest.raises(ParameterError, match='map'):
        BinaryLayer([], 8)

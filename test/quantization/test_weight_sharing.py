import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import ParameterError, UnknownNameError
from seg_ros.quantization.weight_sharing import (
    INITIALISATIONS,
    round_weights,
    share,
    share_network,
    unshare,
    weighted_layers,
)


def weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 20


def pruned(*shape: int) -> Tensor:
    w = weight(*shape)
    return torch.where(w.abs() < 0.05, 0.0, w)


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.PReLU(6),
        nn.ConvTranspose2d(6, 4, 2, stride=2, bias=False),
        nn.Flatten(),
        nn.Linear(4 * 16 * 16, 5),
    )


def slow_lloyd(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """k-means by distances between all."""
    while True:
        nearest = np.abs(values[:, None] - centroids).argmin(1)
        means = np.array(
            [values[nearest == k].mean() if (nearest == k).any() else c for k, c in enumerate(centroids)]
        )
        if np.abs(means - centroids).max() < 1e-12:
            return means
        centroids = means


@pytest.mark.parametrize('n_bits', [1, 3, 5])
def test_codebook_is_that_of_k_means_from_even_distances(n_bits: int) -> None:
    w = weight(8, 6, 3, 3)
    values = w.double().numpy().ravel()
    shared = share(w, n_bits)
    expected = slow_lloyd(values, np.linspace(values.min(), values.max(), 2**n_bits))
    assert shared.codebook.dtype == torch.float32
    assert np.allclose(shared.codebook.numpy(), expected, atol=1e-7)
    nearest = (w[..., None] - shared.codebook).abs().argmin(-1)
    assert torch.equal(shared.indices.long(), nearest)
    assert torch.equal(shared.weight, shared.codebook[nearest])


def test_initialisations_differ_as_in_the_paper() -> None:
    values = np.sort(np.concatenate([np.linspace(-1, 1, 990), np.full(10, 5.0)]))
    rng = np.random.default_rng(0)
    starts = {name: start(values, 4, rng) for name, start in INITIALISATIONS.items()}
    assert np.allclose(starts['linear'], [-1, 1, 3, 5])
    assert np.allclose(starts['density'], [-0.75, -0.25, 0.26, 0.77], atol=0.02)
    assert np.isin(starts['random'], values).all()
    assert all((np.diff(start) >= 0).all() for start in starts.values())


@pytest.mark.parametrize('initialisation', INITIALISATIONS)
def test_error_is_small_for_every_initialisation(initialisation: str) -> None:
    w = weight(40, 40)
    error = (share(w, 4, initialisation=initialisation).weight - w).square().mean().sqrt()
    assert error < 0.115 * w.std()  # of 16 levels of a normal distribution, the best have 0.0975


def test_zeros_of_pruned_weights_stay_apart() -> None:
    w = pruned(20, 20)
    shared = share(w, 3)
    assert shared.codebook[0] == 0
    assert torch.equal(shared.indices == 0, w == 0)
    assert torch.equal(shared.weight == 0, w == 0)
    few = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0])
    assert share(few, 1).codebook.tolist() == [0, 3]
    assert share(few, 1, keeps_zeros=False).codebook.tolist() == [1, 4.5]


def test_few_values_stay_as_they_are() -> None:
    w = torch.tensor([0.1, -7.0, 0.0, 0.1, 3.0])
    shared = share(w, 2)
    assert torch.equal(shared.weight, w)
    assert len(shared.codebook) == 4
    assert torch.equal(share(w, 8).weight, w)
    assert len(share(w, 8).codebook) == 256


@pytest.mark.parametrize(
    ('w', 'n_bits'), [(weight(3), 0), (weight(3), 9), (torch.empty(0), 4), (torch.tensor([torch.inf]), 4)]
)
def test_other_arguments_are_refused(w: Tensor, n_bits: int) -> None:
    with pytest.raises(ParameterError):
        share(w, n_bits)


def test_unknown_initialisation() -> None:
    with pytest.raises(UnknownNameError, match='linear, density, random'):
        share(weight(9), 2, initialisation='best')


def test_gradient_of_a_centroid_is_the_sum_of_those_of_its_weights() -> None:
    shared, dense = share_network(network(), 3), network()
    x = torch.randn(2, 3, 8, 8)
    for (_, one), (_, other) in zip(weighted_layers(shared), weighted_layers(dense), strict=True):
        other.weight.data.copy_(one.weight)
    for net in (shared, dense):
        net(x).square().sum().backward()
    for (_, one), (_, other) in zip(weighted_layers(shared), weighted_layers(dense), strict=True):
        parametrization = one.parametrizations.weight  # type: ignore[union-attr]
        assert isinstance(other.weight.grad, Tensor)
        for k, gradient in enumerate(parametrization.original.grad):  # equation 3
            assert torch.allclose(
                gradient, other.weight.grad[parametrization[0].indices == k].sum(), atol=1e-4
            )


def test_training_moves_centroids_and_nothing_else() -> None:
    net = network()
    with torch.no_grad():
        net[5].weight.copy_(pruned(*net[5].weight.shape))
    share_network(net, 4)
    before = [layer.weight.clone() for _, layer in weighted_layers(net)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    x, y = torch.randn(16, 3, 8, 8), torch.arange(16) % 5
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    result = copy.deepcopy(net)(x)
    unshare(net)
    assert torch.equal(net(x), result)
    assert set(net.state_dict()) == set(network().state_dict())
    for (_, layer), old in zip(weighted_layers(net), before, strict=True):
        assert isinstance(layer.weight, nn.Parameter)
        assert not torch.equal(layer.weight, old)
        assert layer.weight.unique().numel() <= 16
    assert torch.equal(net[5].weight == 0, before[-1] == 0)


def test_state_of_sharing_is_resumed() -> None:
    trained, fresh = share_network(network(), 3), network()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.5)
        fresh[0].weight.zero_()  # another codebook, of the same size
    share_network(fresh, 3).load_state_dict(trained.state_dict())
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(fresh.eval()(x), trained.eval()(x))


def test_assigning_a_weight_sets_centroids_to_means() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.data = torch.tensor([[1.0, 1.0, 2.0], [2.0, 0.0, 0.0]])
    share_network(nn.Sequential(layer), 2)
    layer.weight = torch.tensor([[3.0, 5.0, 1.0], [2.0, 7.0, 7.0]])
    assert layer.weight.tolist() == [[4.0, 4.0, 1.5], [1.5, 0.0, 0.0]]


def test_centroids_of_16_bits() -> None:
    net = unshare(share_network(network(), 5), torch.float16)
    assert all(torch.equal(m.weight, m.weight.half().float()) for _, m in weighted_layers(net))


def test_sharing_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match='unshare'):
        share_network(share_network(network(), 3), 3)


@pytest.mark.parametrize('n_bits', [4, 8])
@pytest.mark.parametrize('clipping', ['absmax', 'mse'])
@pytest.mark.parametrize('axis', [0, 1])
def test_rounding_by_channel(n_bits: int, clipping: str, axis: int) -> None:
    w = weight(6, 5, 3, 3) * torch.logspace(-3, 3, 30).reshape(6, 5, 1, 1)
    steps, scale = round_weights(w, n_bits, axis=axis, clipping=clipping)
    last = 2 ** (n_bits - 1) - 1
    assert steps.dtype == torch.int8
    assert scale.shape == (w.shape[axis],)
    assert torch.equal(scale, scale.bfloat16().float())
    for channel, rounded, unit in zip(w.unbind(axis), steps.unbind(axis), scale, strict=True):
        expected = [max(-last, min(last, round(float(v) / float(unit)))) for v in channel.flatten()]
        assert rounded.flatten().tolist() == expected
        if clipping == 'absmax':
            assert channel.abs().max() / last <= unit <= channel.abs().max() / last * 1.008


def test_clipping_by_error_has_the_least_error() -> None:
    w = weight(8, 100)

    def error(steps: Tensor, scale: Tensor) -> Tensor:
        return (steps * scale[:, None] - w).square().sum(1)

    clipped, plain = (error(*round_weights(w, 4, clipping=c)) for c in ('mse', 'absmax'))
    assert (clipped <= plain).all()
    assert clipped.sum() < 0.8 * plain.sum()
    for part in (0.5, 0.65, 0.8, 0.95):
        scale = w.abs().amax(1) * part / 7
        tried = error((w / scale[:, None]).round().clamp(-7, 7), scale)
        assert (clipped <= 1.02 * tried).all()


def test_channels_of_zeros_and_of_almost_zeros() -> None:
    steps, scale = round_weights(torch.tensor([[0.0, 0.0], [1e-45, 0.0], [1.0, -1.0]]), 8, clipping='mse')
    assert (scale > 0).all()
    assert steps[0].tolist() == [0, 0]
    assert steps[2].tolist() == [126, -126]  # 1 / 127 rounded up is 1 / 126.5


@pytest.mark.parametrize(('n_bits', 'axis', 'clipping'), [(1, 0, 'mse'), (9, 0, 'mse'), (8, 2, 'mse')])
def test_other_roundings_are_refused(n_bits: int, axis: int, clipping: str) -> None:
    with pytest.raises(ParameterError):
        round_weights(weight(3, 3), n_bits, axis=axis, clipping=clipping)


def test_unknown_clipping() -> None:
    with pytest.raises(UnknownNameError, match='absmax, mse'):
        round_weights(weight(3, 3), 8, clipping='best')

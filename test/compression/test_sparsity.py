import pytest
import torch
from torch import nn

from seg_ros.compression.sparsity import sparsify
from seg_ros.errors import ParameterError, UnknownNameError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1))


def test_the_smallest_of_each_layer_go() -> None:
    before, after = network(), network()
    sparsity = sparsify(after, 0.6)
    assert sparsity.masks.keys() == {'0.weight', '2.weight'}
    assert sparsity.fraction == pytest.approx((81 + 6) / 145)
    for name, n_zero in (('0.weight', 81), ('2.weight', 6)):
        old, new = before.get_parameter(name), after.get_parameter(name)
        assert int((new == 0).sum()) == n_zero
        assert torch.equal(new[new != 0], old[new != 0])
        assert old[new == 0].abs().max() <= old[new != 0].abs().min()
    assert torch.equal(after[1].weight, before[1].weight)
    assert torch.equal(after[0].bias, before[0].bias)


def test_the_smallest_of_all_go() -> None:
    whole = network()
    with torch.no_grad():
        whole[2].weight.mul_(100)
    sparsity = sparsify(whole, 0.5, scope='global')
    assert int((whole[0].weight == 0).sum()) == round(0.5 * 145)
    assert sparsity.masks['2.weight'].all()


def test_equal_weights_go_in_the_number_asked_for() -> None:
    flat = nn.Conv2d(1, 1, 4)
    nn.init.ones_(flat.weight)
    sparsify(flat, 0.25)
    assert int((flat.weight == 0).sum()) == 4


@pytest.mark.parametrize('fraction', [0, 1])
def test_none_and_all(fraction: float) -> None:
    assert sparsify(network(), fraction).fraction == fraction


def test_zeros_survive_fine_tuning() -> None:
    whole = network()
    sparsity = sparsify(whole, 0.5)
    optimizer = torch.optim.SGD(whole.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    stop = sparsity.follow(optimizer, whole)
    before = whole[0].weight.detach().clone()

    def step() -> None:
        optimizer.zero_grad()
        whole(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()

    step()
    step()
    assert torch.equal(whole[0].weight == 0, ~sparsity.masks['0.weight'])
    assert not torch.equal(whole[0].weight, before)
    stop()
    step()
    assert not torch.equal(whole[0].weight == 0, ~sparsity.masks['0.weight'])


def test_nonsense_is_refused() -> None:
    with pytest.raises(ParameterError, match=r'is 1\.5; expected 0\.\.1'):
        sparsify(network(), 1.5)
    with pytest.raises(UnknownNameError, match='layer, global'):
        sparsify(network(), 0.5, scope='row')

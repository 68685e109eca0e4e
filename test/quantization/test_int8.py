import copy

import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import CalibrationError, UnknownNameError
from seg_ros.modelfile.packed import plain_copy
from seg_ros.networks.enet import ENet
from seg_ros.quantization.int8 import (
    CALIBRATIONS,
    calibrate,
    fake_quantize,
    fold_batch_norms,
    quantizable,
    quantize,
    rounded,
    weight_steps,
)
from seg_ros.quantization.int8_layers import QuantizedConv2d, Rounding, affine

EXAMPLE = torch.zeros(1, 3, 32, 32)


@pytest.fixture(scope='module')
def network() -> ENet:
    """With statistics that are not those of the start."""
    torch.manual_seed(0)
    enet = ENet(4, dropout=0.0)
    for _ in range(20):
        enet(torch.randn(4, 3, 32, 40))
    return enet.eval()


@pytest.fixture(scope='module')
def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 64, 80, generator=generator) for _ in range(4)]


def chain(*values: float) -> tuple[nn.Module, Tensor]:
    """One convolution, and an input with these values."""
    return nn.Sequential(nn.Conv2d(1, 1, 1)), torch.tensor(values).reshape(1, 1, 1, -1)


def test_minmax_is_the_whole_range() -> None:
    net, x = chain(-3.0, 0.5, 7.0)
    assert calibrate(net, [x, x / 2], method='minmax') == {'0': (-3.0, 7.0)}


def test_percentile_leaves_a_lone_value_out() -> None:
    net, x = chain(*torch.linspace(-1, 1, 99999).tolist(), 500.0)
    low, high = calibrate(net, [x] * 3, method='percentile')['0']
    assert -1 <= low < -0.9
    assert 0.9 < high < 1.01


def test_mse_errs_less_than_all_other_ranges() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 1, 16000, generator=generator)
    x = x / torch.rand(x.shape, generator=generator).clamp(min=0.02)  # long tails

    def error(low: float, high: float) -> float:
        scale, zero = affine(low, high)
        steps = torch.clamp(torch.round(x / scale) + zero, 0, 255) - zero
        return float((steps * scale - x).square().mean())

    net = nn.Sequential(nn.Conv2d(1, 1, 1))
    ranges = {name: calibrate(net, [x] * 4, method=name)['0'] for name in CALIBRATIONS}
    assert error(*ranges['mse']) < 0.98 * error(*ranges['minmax'])
    assert error(*ranges['mse']) < 0.9 * error(*ranges['percentile'])


def test_calibration_without_images_is_refused(network: ENet) -> None:
    with pytest.raises(CalibrationError, match='one calibration image or more'):
        calibrate(network, [])


def test_values_that_are_not_finite_are_refused() -> None:
    net, x = chain(1.0, float('inf'))
    with pytest.raises(CalibrationError, match='not finite'):
        calibrate(net, [x])


def test_unknown_methods_are_refused() -> None:
    net, x = chain(1.0)
    with pytest.raises(UnknownNameError, match='minmax, mse, percentile'):
        calibrate(net, [x], method='guess')


@pytest.mark.parametrize('n_bits', [4, 8])
@pytest.mark.parametrize('axis', [0, 1])
def test_whole_steps_come_back_to_the_bit(n_bits: int, axis: int) -> None:
    """Even where no channel reaches the last step."""
    generator = torch.Generator().manual_seed(n_bits)
    last = 2 ** (n_bits - 1) - 1
    steps = torch.randint(-last + 1, last, (6, 6, 3, 3), generator=generator)
    shape = [1] * 4
    shape[axis] = 6
    scale = torch.rand(6, generator=generator).to(torch.bfloat16).float().reshape(shape)
    weight = steps * scale
    again, found = weight_steps(weight, n_bits, axis)
    assert torch.equal(again * found.reshape(shape), weight)


def test_rounding_errs_by_half_a_step_at_most(network: ENet) -> None:
    after = rounded(copy.deepcopy(network), 8)
    for (name, one), (_, other) in zip(network.named_modules(), after.named_modules(), strict=True):
        if isinstance(one, nn.Conv2d) and isinstance(other, nn.Conv2d):
            largest = one.weight.abs().amax((1, 2, 3), keepdim=True)
            assert ((one.weight - other.weight).abs() <= 0.51 * largest / 126).all(), name


def test_folding_changes_nothing_but_the_modules(network: ENet) -> None:
    folded = fold_batch_norms(copy.deepcopy(network), EXAMPLE)
    count = lambda net: sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())  # noqa: E731
    assert count(folded) == 1  # of the initial block, which normalises a pooling too
    assert count(network) > 50
    x = torch.randn(1, 3, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x), rtol=1e-3, atol=1e-3)


def test_all_convolutions_become_integers_and_scores_stay(network: ENet, batches: list[Tensor]) -> None:
    quantized = quantize(network, calibrate(network, batches), EXAMPLE)
    kinds = [type(m) for m in quantized.modules()]
    assert nn.Conv2d not in kinds
    assert kinds.count(QuantizedConv2d) == len(quantizable(network))
    with torch.no_grad():
        want, got = network(batches[0]), quantized(batches[0])
    assert (got - want).square().mean() < 0.01 * want.var()


def test_relu_outputs_are_rounded_once(batches: list[Tensor]) -> None:
    torch.manual_seed(3)
    enet = ENet(4, dropout=0.0, slopes='fine').eval()
    quantized = quantize(enet, calibrate(enet, batches, method='minmax'), EXAMPLE)
    block = quantized.get_submodule('stage2.1')
    assert not any(isinstance(m, Rounding) for m in block.extension[0].modules())  # type: ignore[index]
    given: list[Tensor] = []
    for child in quantized.get_submodule('stage2').children():
        child.register_forward_hook(lambda _m, _x, y: given.append(y))
    with torch.no_grad():
        got, want = quantized(batches[0]), enet(batches[0])
    assert len(given) == 8
    assert all(len(y.unique()) <= 256 for y in given)
    assert (got - want).square().mean() < 0.02 * want.var()


def test_a_layer_without_a_range_is_refused(network: ENet, batches: list[Tensor]) -> None:
    ranges = calibrate(network, batches[:1])
    del ranges['up4.main.0']
    with pytest.raises(CalibrationError, match=r'1 layers, such as up4\.main\.0'):
        quantize(network, ranges, EXAMPLE)


def test_fake_quantized_weights_are_the_rounded_ones(network: ENet) -> None:
    pretending = fake_quantize(copy.deepcopy(network), None, 4)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        got = pretending(x)
        torch.testing.assert_close(plain_copy(pretending)(x), network(x))  # it has not been rounded
        torch.testing.assert_close(pretending(x), got)  # the copy took nothing away
    steps = copy.deepcopy(network)
    for module in steps.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            axes = (1, 2, 3) if isinstance(module, nn.Conv2d) else (0, 2, 3)
            scale = module.weight.abs().amax(axes, keepdim=True) / 7
            module.weight.data = torch.round(module.weight / scale) * scale
    with torch.no_grad():
        torch.testing.assert_close(got, steps(x), rtol=1e-3, atol=1e-3)


def test_fake_quantized_networks_learn(network: ENet, batches: list[Tensor]) -> None:
    learner = fake_quantize(copy.deepcopy(network), calibrate(network, batches)).train()
    learner(batches[0]).square().mean().backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    plain = plain_copy(learner)
    assert all(not m._forward_pre_hooks for m in plain.modules())
    assert plain.state_dict().keys() == network.state_dict().keys()

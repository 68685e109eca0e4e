import threading
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.networks.layers import (
    concatenate,
    doubled,
    max_pool,
    max_unpool,
    mean_grid,
    pad_to_multiple,
    unfold_pixels,
)
from seg_ros.networks.onnx_forms import exporting, is_exporting
from seg_ros.quantization.int8_layers import Rounding
from seg_ros.training.workarounds import find_gradient_faults

SHAPES = [(1, 1, 2, 2), (2, 3, 6, 10), (1, 16, 8, 4)]


@pytest.mark.parametrize('shape', SHAPES)
def test_pool_and_unpool_match_torch_with_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weight = torch.randn(shape, dtype=torch.float64)

    pooled, pool_indices = max_pool(x)
    expected, index = F.max_pool2d(y, 2, return_indices=True)
    torch.testing.assert_close(pooled, expected)
    assert pool_indices.dtype == x.dtype

    back = max_unpool(pooled * 3, pool_indices)
    torch.testing.assert_close(back, F.max_unpool2d(expected * 3, index, 2))
    (back * weight).sum().backward()
    (F.max_unpool2d(expected * 3, index, 2) * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_unpool_has_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(1)
    indices = max_pool(torch.randn(1, 2, 4, 6, dtype=torch.float64))[1]
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: max_unpool(v, indices), (x,))


def test_positions_are_row_and_column_in_the_window() -> None:
    x = torch.zeros(1, 1, 4, 4)
    for k, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        x[0, 0, 2 * (k // 2) + row, 2 * (k % 2) + column] = k + 1
    pooled, indices = max_pool(x)
    assert pooled.flatten().tolist() == [1, 2, 3, 4]
    assert indices.flatten().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(max_unpool(pooled, indices), x)


def test_padding_repeats_the_border() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, :, 3].tolist() == [2, 5, 5, 5]
    assert pad_to_multiple(padded, 4) is padded


def test_doubled_maps() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(doubled(x), F.interpolate(x, scale_factor=2.0))


def test_unfolded_pixels_are_a_transposed_convolution() -> None:
    torch.manual_seed(2)
    x, transposed = torch.randn(2, 5, 3, 4), nn.ConvTranspose2d(5, 3, 2, stride=2)
    plain = nn.Conv2d(5, 12, 1)
    with torch.no_grad():
        plain.weight.copy_(transposed.weight.permute(2, 3, 1, 0).reshape(12, 5, 1, 1))
        plain.bias.copy_(transposed.bias.repeat(4))  # type: ignore[union-attr]
    torch.testing.assert_close(unfold_pixels(plain(x)), transposed(x))


@pytest.mark.parametrize('unfolds', [False, True])
def test_compiled_gradients_pass_through_layers(unfolds: bool) -> None:
    """Which they do not through ``F.interpolate``, compiled in bfloat16 by torch 2.13."""
    torch.manual_seed(1)
    coarse, beside = nn.Conv2d(16, 16, 1), nn.Conv2d(8, 16, 1)
    last = nn.Conv2d(16, 12 if unfolds else 3, 1)
    fine = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), last)
    network = nn.ModuleList([coarse, beside, fine]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast('cpu', torch.bfloat16):
            scores = fine(doubled(coarse(images[:, :, ::2, ::2])) + beside(images[:, :8]))
        return F.cross_entropy((unfold_pixels(scores) if unfolds else scores).float(), labels)

    size = (64, 128) if unfolds else (32, 64)
    batch = torch.randn(2, 16, 32, 64), torch.randint(3, (2, *size))
    assert find_gradient_faults(torch.compile(step), step, network, batch) == ''


def exported(network: nn.Module, x: Tensor) -> Any:
    """ONNX model of a network, with layers as operations of ONNX."""
    with exporting(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about torch's own code
        program = torch.onnx.export(network, (x,), dynamo=True, verbose=False)
    assert program is not None
    return program.model_proto


class Shuffled(nn.Module):
    """Every layer that has a form of its own in ONNX."""

    def forward(self, x: Tensor) -> Tensor:
        pooled, indices = max_pool(pad_to_multiple(x, 4))
        again = max_unpool(pooled * 2, indices)
        return concatenate(unfold_pixels(doubled(torch.cat([pooled] * 4, dim=1))), doubled(again))


@pytest.mark.filterwarnings('ignore')  # of torch about itself
def test_exported_layers_are_single_operations_with_the_same_values() -> None:
    """Values have many ties, of which the first one counts. ONNX's reference in NumPy computes the graph."""
    pytest.importorskip('onnxscript')
    reference = pytest.importorskip('onnx.reference')
    if not hasattr(torch.onnx, 'ops'):
        pytest.skip('this torch cannot write operations of ONNX')
    x = torch.randint(0, 3, (1, 5, 6, 12), generator=torch.manual_seed(0)).float()
    network = Shuffled().eval()
    model = exported(network, x)
    kinds = {node.op_type for node in model.graph.node}
    assert {'SpaceToDepth', 'DepthToSpace', 'MaxPool', 'Resize', 'Pad', 'Concat'} <= kinds
    assert not kinds & {'Transpose', 'Expand', 'Slice', 'Gather'}
    (got,) = reference.ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x.numpy()})
    np.testing.assert_array_equal(got, network(x).numpy())


class Averaged(nn.Module):
    """An image that is padded, rounded and averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.rounding = Rounding(-1.0, 2.0)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.rounding(pad_to_multiple(images.permute(0, 3, 1, 2), 4))
        return [x, *(mean_grid(x, grid) for grid in (1, 2, 3, 5))]


@pytest.mark.filterwarnings('ignore')  # of torch about itself
def test_exported_images_are_turned_last() -> None:
    pytest.importorskip('onnxscript')
    reference = pytest.importorskip('onnx.reference')
    images = torch.rand(1, 6, 9, 3, generator=torch.manual_seed(0)) * 4 - 1.5
    network = Averaged().eval()
    model = exported(network, images)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count('Transpose') == 1
    assert kinds.index('Pad') < kinds.index('DequantizeLinear') < kinds.index('Transpose')
    assert 'Gather' not in kinds
    got = reference.ReferenceEvaluator(model).run(None, {model.graph.input[0].name: images.numpy()})
    for ours, want in zip(got, network(images), strict=True):
        np.testing.assert_allclose(ours, want.numpy(), rtol=1e-5, atol=1e-6)


def test_only_the_thread_that_exports_gets_operations_of_onnx() -> None:
    seen = []
    with exporting():
        seen.append(is_exporting())
        thread = threading.Thread(target=lambda: seen.append(is_exporting()))
        thread.start()
        thread.join()
    assert [*seen, is_exporting()] == [hasattr(torch.onnx, 'ops'), False, False]

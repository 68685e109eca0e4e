import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seg_ros.errors import ParameterError
from seg_ros.inference.backends.onnx_export import export_onnx
from seg_ros.networks.enet import Bottleneck, DownsamplingBottleneck, ENet, UpsamplingBottleneck
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation

# Table 1 of the paper, for an input of 512x512; C = 19.
TABLE = {
    'initial': (16, 256, 256),
    'down1': (64, 128, 128),
    'stage1': (64, 128, 128),
    'down2': (128, 64, 64),
    'stage2': (128, 64, 64),
    'stage3': (128, 64, 64),
    'up4': (64, 128, 128),
    'stage4': (64, 128, 128),
    'up5': (16, 256, 256),
    'stage5': (16, 256, 256),
    'full_conv': (19, 512, 512),
}


def on_meta(n_classes: int) -> ENet:
    """Shapes without numbers."""
    with torch.device('meta'):
        return ENet(n_classes).eval()


@pytest.fixture(scope='module')
def network() -> ENet:
    """Weights and statistics away from their start, so that every part matters."""
    torch.manual_seed(0)
    enet = ENet(5)
    for _ in range(2):
        enet(torch.randn(2, 3, 32, 40))
    return enet.eval()


def test_stages_have_the_shapes_of_table_1() -> None:
    enet, shapes = on_meta(19), {}
    for name in TABLE:

        def note(_: nn.Module, __: object, out: Tensor | tuple[Tensor, Tensor], name: str = name) -> None:
            shapes[name] = tuple((out[0] if isinstance(out, tuple) else out).shape[1:])

        enet.get_submodule(name).register_forward_hook(note)
    enet(torch.zeros(1, 3, 512, 512, device='meta'))
    assert shapes == TABLE


def test_it_has_the_modules_of_table_1() -> None:
    enet = on_meta(11)
    assert [len(stage) for stage in (enet.stage1, enet.stage2, enet.stage3, enet.stage4)] == [4, 8, 8, 2]
    for stage in (enet.stage2, enet.stage3):
        middles = [block.extension[2] for block in stage]
        assert [m.dilation[0] for m in middles if isinstance(m, nn.Conv2d)] == [1, 2, 4, 1, 8, 16]
        assert [isinstance(m, nn.Sequential) for m in middles] == [k in (2, 6) for k in range(8)]
        assert [conv.kernel_size for conv in middles[2]] == [(5, 1), (1, 5)]
    dropouts = [m.p for m in enet.modules() if isinstance(m, nn.Dropout2d)]
    assert dropouts == [0.01] * 5 + [0.1] * (len(dropouts) - 5)


@pytest.mark.parametrize('n_classes', [11, 19, 20])
def test_it_has_as_many_parameters_as_published(n_classes: int) -> None:
    assert 0.36e6 < sum(p.numel() for p in on_meta(n_classes).parameters()) < 0.37e6


def test_it_has_as_many_operations_as_published() -> None:
    """Table 2: 3.83 GFLOPs for 640x360, counting a multiplication and an addition as two operations.

    Convolutions alone are 3.64 (20 classes, Cityscapes with void); normalisation (2 a value), PReLU (1) and
    the sum of the branches (1) bring 0.10 more. The paper does not say how it counts the rest.
    """
    enet, others = on_meta(20), []
    costs = {
        nn.BatchNorm2d: 2,
        nn.PReLU: 1,
        Bottleneck: 1,
        DownsamplingBottleneck: 1,
        UpsamplingBottleneck: 1,
    }

    def count(module: nn.Module, _: object, out: Tensor | tuple[Tensor, Tensor]) -> None:
        others.append(costs.get(type(module), 0) * (out[0] if isinstance(out, tuple) else out).numel())

    for module in enet.modules():
        module.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter:
        enet(torch.zeros(1, 3, 360, 640, device='meta'))
    convolutions = counter.get_total_flops() / 1e9
    assert convolutions == pytest.approx(3.64, abs=0.01)
    assert convolutions + sum(others) / 1e9 == pytest.approx(3.83, rel=0.03)


@pytest.mark.parametrize('size', [(8, 8), (1, 1), (17, 31), (33, 64), (101, 99)])
def test_scores_have_the_size_of_the_input(network: ENet, size: tuple[int, int]) -> None:
    with torch.no_grad():
        scores = network(torch.randn(2, 3, *size))
    assert scores.shape == (2, 5, *size)
    assert scores.isfinite().all()


@pytest.mark.parametrize('n_classes', [1, 2, 100, 255])
def test_any_number_of_classes(n_classes: int) -> None:
    assert on_meta(n_classes)(torch.zeros(1, 3, 16, 16, device='meta')).shape == (1, n_classes, 16, 16)


def test_images_of_a_batch_do_not_mix(network: ENet) -> None:
    x = torch.randn(3, 3, 24, 32)
    with torch.no_grad():
        together, apart = network(x), torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    enet = ENet(4)
    enet(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in enet.parameters())


@pytest.mark.parametrize('size', [(32, 40), (30, 37)])
def test_torch_export_agrees_with_eager(network: ENet, size: tuple[int, int]) -> None:
    x = torch.randn(1, 3, *size)
    program = torch.export.export(network, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [(32, 40), (30, 37)])
def test_onnx_agrees_with_eager(network: ENet, size: tuple[int, int]) -> None:
    onnxruntime = pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
    pytest.importorskip('onnxscript', reason='onnxscript is not installed')
    images = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    whole = FrameNetwork(ImageNetwork(network, Normalisation())).eval()
    session = onnxruntime.InferenceSession(export_onnx(whole, size), providers=['CPUExecutionProvider'])
    (scores,) = session.run(None, {'images': images})
    with torch.no_grad():
        expected = whole(torch.from_numpy(images))
    np.testing.assert_allclose(scores, expected['scores'].numpy(), rtol=1e-3, atol=1e-3)


def test_slopes_at_half_size_only() -> None:
    enet = ENet(3, slopes='fine')
    with_slopes = {name.split('.')[0] for name, m in enet.named_modules() if isinstance(m, nn.PReLU)}
    assert with_slopes == {'initial', 'up5', 'stage5'}
    counts = [sum(isinstance(m, kind) for m in enet.modules()) for kind in (nn.PReLU, nn.ReLU)]
    assert counts == [7, 75]  # one, and three for each of two bottlenecks


def test_unknown_slopes_are_refused() -> None:
    with pytest.raises(ParameterError, match="'none'; expected 'all' or 'fine'"):
        ENet(3, slopes='none')


@pytest.mark.parametrize(('height', 'width'), [(32, 48), (33, 41)])
def test_half_scores_are_where_the_pixels_are(height: int, width: int) -> None:
    torch.manual_seed(0)
    enet = ENet(3, half_scores=True).eval()
    x = torch.randn(1, 3, height, width)
    fine: list[Tensor] = []
    enet.stage5.register_forward_hook(lambda _m, _x, y: fine.append(y))
    with torch.no_grad():
        scores = enet(x)
        assert scores.shape == (1, 3, -(-height // 2), -(-width // 2))
        want = torch.nn.functional.conv2d(fine[0], enet.classify.weight, enet.classify.bias, padding=1)
    torch.testing.assert_close(scores, want[..., : scores.shape[2], : scores.shape[3]])

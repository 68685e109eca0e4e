from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.inference.backends.onnx_export import export_onnx
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.segnet import SegNet, SegNetBasic, SegNetSmall, VGG16Encoder

# VGG16's convolutions: numbers are channels, 'M' is a pooling (Simonyan and Zisserman, column D of table 1).
VGG16 = [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512, 'M']
# The decoder of the authors' segnet_train.prototxt, from deep to shallow; 'U' is an unpooling.
DECODER = ['U', 512, 512, 512, 'U', 512, 512, 256, 'U', 256, 256, 128, 'U', 128, 64, 'U', 64, 11]


def on_meta(n_classes: int = 11, *, width: int = 64) -> SegNet:
    """Shapes without numbers."""
    with torch.device('meta'):
        return SegNet(n_classes, width=width).eval()


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


def n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def away_from_start(network: nn.Module) -> nn.Module:
    """Normalisation that matters: scales, shifts and statistics as after a training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.3, 1.5)
    return network.eval()


@pytest.fixture(scope='module')
def network() -> SegNet:
    torch.manual_seed(0)
    return away_from_start(SegNet(5, width=4))


def test_channels_are_the_published() -> None:
    segnet = on_meta()
    encoder, decoder = convolutions(segnet.encoder), [*convolutions(segnet.decoder), segnet.classify]
    assert [c.out_channels for c in encoder] == [v for v in VGG16 if v != 'M']
    assert [c.out_channels for c in decoder] == [v for v in DECODER if v != 'U']
    assert len(encoder) == len(decoder) == 13
    assert {c.kernel_size for c in encoder + decoder} == {(3, 3)}
    norms = [m.num_features for m in segnet.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [c.out_channels for c in [*encoder, *decoder][:-1]]


def test_every_scale_has_its_shape() -> None:
    segnet, shapes = on_meta(), []
    for scale in [*segnet.encoder.scales, *segnet.decoder]:
        scale.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    segnet(torch.zeros(1, 3, 352, 480, device='meta'))
    down = [(64 * m, 352 // 2**k, 480 // 2**k) for m, k in zip((1, 2, 4, 8, 8), (0, 1, 2, 3, 4), strict=True)]
    up = [(512, 22, 30), (256, 44, 60), (128, 88, 120), (64, 176, 240), (64, 352, 480)]
    assert shapes == [*down, *up]


def test_it_has_as_many_parameters_as_published() -> None:
    """29.4 to 29.5 million; table 6 of the paper has 29.45 for its 11 classes and their biases."""
    assert 29.4e6 < n_parameters(on_meta(11)) < 29.5e6
    with torch.device('meta'):
        assert n_parameters(SegNetBasic(11)) == pytest.approx(1.4e6, rel=0.03)


def test_width_scales_every_map() -> None:
    narrow, published = convolutions(on_meta(width=16)), convolutions(on_meta())
    assert [4 * c.out_channels for c in narrow[:-1]] == [c.out_channels for c in published[:-1]]
    assert n_parameters(on_meta(width=16)) == pytest.approx(n_parameters(on_meta()) / 16, rel=0.01)


def test_the_small_one_has_four_convolutions() -> None:
    *body, classify = convolutions(SegNetSmall(2))
    assert [c.kernel_size for c in body] == [(7, 7)] * 4
    assert [(c.in_channels, c.out_channels) for c in body] == [(3, 16), (16, 16), (16, 16), (16, 16)]
    assert classify.kernel_size == (1, 1)
    *body, _ = convolutions(SegNetBasic(11))
    assert [c.kernel_size for c in body] == [(7, 7)] * 8


class Reference:
    """The same weights behind torch's own pooling and unpooling, with indices into whole maps."""

    def __init__(self, network: SegNet | SegNetBasic) -> None:
        self.network, self.indices = network, []
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def __call__(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        stride = self.network.stride
        rows, columns = (torch.arange(-(-n // stride) * stride).clamp(max=n - 1) for n in (height, width))
        x = x[:, :, rows][..., columns]
        encoder = self.network.encoder
        for scale in encoder.scales if isinstance(encoder, VGG16Encoder) else encoder:
            x, index = self.pool(scale(x))
            self.indices.append(index)
        for scale, index in zip(self.network.decoder, self.indices[::-1], strict=True):
            x = scale(self.unpool(x, index))
        return self.network.classify(x)[..., :height, :width]


@pytest.mark.parametrize('size', [(64, 96), (33, 47), (32, 32), (1, 1), (63, 65)])
def test_it_agrees_with_torchs_unpooling(network: SegNet, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(network(x), Reference(network)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('kind', 'size'), [(SegNetBasic, (48, 37)), (SegNetSmall, (30, 41))])
def test_the_others_agree_with_torchs_unpooling(kind: type[SegNetBasic], size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    basic, x = away_from_start(kind(3, width=4)), torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(basic(x), Reference(basic)(x), rtol=1e-4, atol=1e-5)


def test_pool_indices_are_two_bits_of_position(network: SegNet) -> None:
    x, reference = torch.randn(1, 3, 64, 96), Reference(network)
    with torch.no_grad():
        features, found = network.encoder(x)
        reference(x)
    assert features.shape == (1, 32, 2, 3)
    for scale, (ours, theirs) in enumerate(zip(found, reference.indices, strict=True)):
        assert ours.dtype == x.dtype
        assert ours.shape == (1, (4, 8, 16, 32, 32)[scale], 32 >> scale, 48 >> scale)
        assert set(ours.unique().tolist()) == {0, 1, 2, 3}
        _, _, height, width = ours.shape
        ours = ours.long()
        rows = 2 * torch.arange(height).view(-1, 1) + ours // 2
        columns = 2 * torch.arange(width) + ours % 2
        assert torch.equal(rows * 2 * width + columns, theirs)


def test_images_of_a_batch_do_not_mix(network: SegNet) -> None:
    x = torch.randn(3, 3, 32, 64)
    with torch.no_grad():
        together, apart = network(x), torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [(32, 64), (30, 37)])
def test_onnx_agrees_with_eager(network: SegNet, size: tuple[int, int]) -> None:
    onnxruntime = pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
    pytest.importorskip('onnxscript', reason='onnxscript is not installed')
    images = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    whole = FrameNetwork(ImageNetwork(network, Normalisation())).eval()
    session = onnxruntime.InferenceSession(export_onnx(whole, size), providers=['CPUExecutionProvider'])
    (scores,) = session.run(None, {'images': images})
    with torch.no_grad():
        expected = whole(torch.from_numpy(images))
    close = np.isclose(scores, expected['scores'].numpy(), rtol=1e-3, atol=1e-3)
    # Windows of a repeated border hold equal values, of which rounding makes one the largest.
    assert close.all() if min(size) % 32 == 0 else close.mean() > 0.95


def vgg16(width: int, *, norm: bool) -> nn.Sequential:
    """VGG16's features in torchvision's layout: its state is ``features.0.weight``, ``.bias``, ..."""
    layers: list[nn.Module] = []
    channels = 3
    for step in VGG16:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, step * width // 64, 3, padding=1))
        channels = step * width // 64
        layers += [nn.BatchNorm2d(channels)] * norm + [nn.ReLU()]
    whole = nn.Sequential()
    whole.add_module('features', nn.Sequential(*layers))
    whole.add_module('classifier', nn.Sequential(nn.Linear(channels, 10)))
    for module in whole.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.2)
    return away_from_start(whole)


@pytest.mark.parametrize('norm', [False, True])
def test_vgg16_weights_give_vgg16_features(norm: bool, tmp_path: Path) -> None:
    torch.manual_seed(2)
    source, encoder = vgg16(8, norm=norm), away_from_start(VGG16Encoder(8))
    state = {k: v for k, v in source.state_dict().items() if not k.endswith('num_batches_tracked')}
    torch.save(state, tmp_path / 'vgg16.pth')
    for _ in range(2):  # loading twice is loading once
        encoder.load_weights(tmp_path / 'vgg16.pth')
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features, _ = encoder(x)
        torch.testing.assert_close(features, source.features(x), rtol=1e-3, atol=1e-3)
    assert features.std() > 0.01


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pth'
    torch.save(vgg16(8, norm=False).state_dict(), path)
    encoder = VGG16Encoder(16)
    with pytest.raises(ModelFileError, match=r'weights\.pth holds no weights of VGG16: .* of width 16'):
        encoder.load_weights(path)
    torch.save({'features.0.weight': torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match='expected the 13'):
        encoder.load_weights(path)
    state = vgg16(16, norm=True).state_dict()
    for broken in ('features.40.bias', 'features.41.running_var'):
        torch.save({k: v for k, v in state.items() if k != broken}, path)
        with pytest.raises(ModelFileError, match=broken.rpartition('.')[2]):
            encoder.load_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(ModelFileError, match='no weights of VGG16'):
        encoder.load_weights(path)
    path.write_bytes(b'no weights')
    with pytest.raises(ModelFileError, match='no weights of VGG16'):
        encoder.load_weights(path)
    with pytest.raises(ModelFileError, match='missing'):
        encoder.load_weights(tmp_path / 'missing.pth')

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.networks.fcn import FCN, Upsampling
from seg_ros.networks.vgg import VGG16Features
from seg_ros.quantization.weight_sharing import share_network

STRIDES = [32, 16, 8]


def small(finest: int, encoder: str = 'vgg16') -> FCN:
    torch.manual_seed(0)
    fcn = FCN(3, finest=finest, width=4) if encoder == 'vgg16' else FCN(3, encoder=encoder, finest=finest)
    return fcn.eval()


@pytest.mark.parametrize('factor', [2, 8, 32])
def test_it_starts_as_bilinear_interpolation(factor: int) -> None:
    x = torch.randn(1, 2, 6, 5)
    with torch.no_grad():
        got = Upsampling(2, factor, is_centred=False)(x)
    want = F.interpolate(x, scale_factor=factor, mode='bilinear', align_corners=False)
    inner = (..., slice(factor, -factor), slice(factor, -factor))  # the border sees zeros outside
    assert got.shape == want.shape
    torch.testing.assert_close(got[inner], want[inner])


def test_centred_interpolation_keeps_the_values_and_their_places() -> None:
    x = torch.randn(1, 2, 6, 5)
    with torch.no_grad():
        got = Upsampling(2, 4, is_centred=True)(x)
    torch.testing.assert_close(got[..., 3::4, 3::4], x)
    want = F.interpolate(x, (21, 17), mode='bilinear', align_corners=True)
    torch.testing.assert_close(got[..., 3:-3, 3:-3], want)


@pytest.mark.parametrize('encoder', ['vgg16', 'alexnet'])
@pytest.mark.parametrize('finest', STRIDES)
@pytest.mark.parametrize(('height', 'width'), [(96, 128), (67, 101), (32, 40)])
def test_scores_have_the_size_of_the_image(encoder: str, finest: int, height: int, width: int) -> None:
    fcn = small(finest, encoder)
    assert [len(fcn.skips), fcn.last.stride] == [STRIDES.index(finest), (finest, finest)]
    with torch.no_grad():
        assert fcn(torch.randn(2, 3, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize('encoder', ['vgg16', 'alexnet'])
@pytest.mark.parametrize('finest', [16, 8])
def test_a_score_depends_on_the_pixels_around_it(encoder: str, finest: int) -> None:
    """With even weights, the pixels that a score depends on lie around it, their centre within a pixel."""
    fcn = small(finest, encoder)
    for parent in list(fcn.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(child.kernel_size, child.stride))
    for module in fcn.modules():
        if isinstance(module, nn.Conv2d) and module is not fcn.score:  # of AlexNet, whose fc6 has no middle
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    nn.init.zeros_(fcn.score.weight)
    x = torch.ones(1, 3, 416, 416, requires_grad=True)
    row, column = 200, 213
    fcn(x)[0, 0, row, column].backward()
    assert x.grad is not None
    weight = x.grad[0].sum(0)
    place = torch.arange(416.0)
    assert float((weight.sum(1) * place).sum() / weight.sum()) == pytest.approx(row, abs=1)
    assert float((weight.sum(0) * place).sum() / weight.sum()) == pytest.approx(column, abs=1)


def test_skips_change_nothing_before_they_have_learnt() -> None:
    fcn = small(8)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        before = fcn(x)
        deepest = fcn.score(fcn.encoder(x)[-1])
        want = fcn.last(fcn.upsampling[1](fcn.upsampling[0](deepest)))
    torch.testing.assert_close(before, want)


class Published(nn.Module):
    """VGG16 in torchvision's layout, of another width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for step in (1, 1, 'M', 2, 2, 'M', 4, 4, 4, 'M', 8, 8, 8, 'M', 8, 8, 8, 'M'):
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, step * width, 3, padding=1), nn.ReLU()]
                channels = step * width
        self.features = nn.Sequential(*layers)
        n = 64 * width
        self.classifier = nn.Sequential(
            nn.Linear(49 * channels, n), nn.ReLU(), nn.Dropout(), nn.Linear(n, n), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.features(x).flatten(1))
        return result


def test_published_weights_give_what_the_classifier_gives() -> None:
    torch.manual_seed(1)
    published, encoder = Published(4).eval(), VGG16Features(4).eval()
    encoder.load_pretrained(published.state_dict())
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        want, got = published(x), encoder(x)[-1][..., 3, 3]  # where fc6 sees all of the 7x7 map
    torch.testing.assert_close(got, want)


def test_weights_without_classifier_load() -> None:
    published, encoder = Published(4), VGG16Features(4)
    before = encoder.fc6.weight.clone()
    encoder.load_pretrained({k: v for k, v in published.state_dict().items() if k.startswith('features')})
    assert torch.equal(encoder.fc6.weight, before)
    assert torch.equal(encoder.state_dict()['features.0.weight'], published.state_dict()['features.0.weight'])


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ModelFileError, match=r'features\.0\.weight is missing'):
        VGG16Features(4).load_pretrained({'conv1.weight': torch.zeros(4, 3, 3, 3)})


@pytest.mark.parametrize('wrong', [{'encoder': 'resnet'}, {'finest': 4}, {'encoder': 'alexnet', 'width': 8}])
def test_unknown_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r'expected one of vgg16, alexnet|AlexNet has 64'):
        FCN(3, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize('encoder', ['vgg16', 'alexnet'])
def test_values_keep_their_size_in_an_untrained_encoder(encoder: str) -> None:
    """A VGG with the initialisation of nn.Conv2d gives deep maps a thousand times smaller than the input."""
    torch.manual_seed(0)
    network = FCN(3, width=16) if encoder == 'vgg16' else FCN(3, encoder=encoder)
    with torch.no_grad():
        sizes = [float(m.square().mean().sqrt()) for m in network.eval().encoder(torch.randn(1, 3, 96, 96))]
    assert 0.1 < min(sizes) < max(sizes) < 10


@pytest.mark.parametrize('is_shared', [False, True])
def test_upsampling_is_float32_under_autocast(is_shared: bool) -> None:
    """In bfloat16 it would take 30 times as long. Weights that learn shared values have another class."""
    torch.manual_seed(1)
    fcn = FCN(3, finest=32, width=2).eval()
    if is_shared:
        share_network(fcn, 4)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        scores = fcn.score(fcn.encoder(x)[-1])
        got = fcn.last(scores)
        kernel = fcn.last.weight.double()
    want = nn.functional.conv_transpose2d(scores.double(), kernel, stride=32, padding=16)
    assert (scores.dtype, got.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)

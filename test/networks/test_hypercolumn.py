from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_ros.compression.budget import Budget
from seg_ros.compression.prune import prune_to
from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.hypercolumn import Hypercolumn
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.squeezenet import SqueezeNetColumns, SqueezeNetEncoder
from seg_ros.networks.vgg import VGG11Features, VGG16Features
from seg_ros.quantization.int8 import calibrate, quantize

COLUMNS = (
    'conv1',
    'pool1',
    'conv2',
    'pool2',
    'conv3',
    'conv4',
    'conv5',
    'pool5',
)  # without 54 million weights
STRIDES = {'squeezenet': [2, 4, 4, 8, 8, 16], 'vgg11': [1, 2, 4, 8, 16]}


def build(encoder: str, grid: int = 1) -> Hypercolumn:
    """In float64, with every value of the classifier away from its start."""
    torch.manual_seed(0)
    network = Hypercolumn(3, encoder=encoder, grid=grid, **{'width': 4} if encoder == 'vgg11' else {})
    for key, value in network.double().state_dict().items():
        if key.endswith('running_mean'):
            value.normal_()
        elif key.endswith(('running_var', 'normalise.weight')):
            value.uniform_(0.5, 2)
        elif key.endswith('normalise.bias'):
            value.normal_()
        elif value.ndim > 1:
            nn.init.kaiming_normal_(value)
    return network.eval()


def first(encoder: str, stride: int) -> float:
    """The pixel, or place between pixels, that the first value of a map lies on."""
    return 0.0 if encoder == 'squeezenet' else (stride - 1) / 2


def interpolation(n_pixels: int, n_values: int, stride: int, start: float) -> 'np.ndarray[Any, Any]':
    """(n_pixels, n_values): what each value of a line has to say at each pixel."""
    places = (np.arange(n_pixels) - start) / stride
    return np.array([np.interp(places, np.arange(n_values), one) for one in np.eye(n_values)]).T


def enlarged(maps: Tensor, encoder: str, stride: int, size: Sequence[int]) -> 'np.ndarray[Any, Any]':
    """(C, h, w) of a map, bilinearly to each pixel of an image."""
    rows, columns = (
        interpolation(n, m, stride, first(encoder, stride)) for n, m in zip(size, maps.shape[1:], strict=True)
    )
    large: np.ndarray[Any, Any] = rows @ maps.numpy() @ columns.T
    return large


def normalised(network: Hypercolumn, x: Tensor) -> list[Tensor]:
    """The maps of one image, (C, h, w) each."""
    with torch.no_grad():
        maps = network.maps(x)
    found = []
    for number, features in enumerate(maps):
        mean, variance, weight, bias = (
            network.state_dict()[f'classify.{number}.normalise.{name}'][:, None, None]
            for name in ('running_mean', 'running_var', 'weight', 'bias')
        )
        found.append((features[0] - mean) / (variance + 1e-5).sqrt() * weight + bias)
    return found


def kernels(network: Hypercolumn) -> tuple[list[Tensor], Tensor]:
    """Of each map's classifiers, (K * K, n_classes, C); and the bias of all, (K * K, n_classes)."""
    state = network.state_dict()
    n_maps = len(network.classify)
    weights = [state[f'classify.{n}.classify.weight'] for n in range(n_maps)]
    bias = state[f'classify.{n_maps - 1}.classify.bias']
    return [w.view(network.grid**2, 3, -1) for w in weights], bias.view(network.grid**2, 3)


@pytest.mark.parametrize(('encoder', 'length'), [('squeezenet', 1504), ('vgg11', 1472)])
def test_columns_have_the_published_length(encoder: str, length: int) -> None:
    network = Hypercolumn(3, encoder=encoder)
    with torch.no_grad():
        maps = network.maps(torch.randn(1, 3, 40, 50))
    assert [tuple(m.shape[-2:]) for m in maps] == [(48 // s, 64 // s) for s in STRIDES[encoder]]
    assert [m.shape[1] for m in maps] == list(network.encoder.channels)
    assert network.columns(maps, torch.tensor([[0, 0], [39, 49]])).shape == (2, length)


@pytest.mark.parametrize('encoder', STRIDES)
@pytest.mark.parametrize('size', [(33, 47), (64, 80)])
def test_small_maps_are_classified_as_long_columns_are(encoder: str, size: tuple[int, int]) -> None:
    """All maps enlarged, one upon the other, and classified pixel by pixel."""
    network, x = build(encoder), torch.randn(1, 3, *size, dtype=torch.float64)
    columns = np.concatenate(
        [
            enlarged(features, encoder, stride, size)
            for features, stride in zip(normalised(network, x), STRIDES[encoder], strict=True)
        ]
    )
    weights, bias = kernels(network)
    want = (
        np.einsum('kd,dyx->kyx', torch.cat(weights, 2)[0].numpy(), columns) + bias[0, :, None, None].numpy()
    )
    with torch.no_grad():
        torch.testing.assert_close(network(x)[0], torch.from_numpy(want))


@pytest.mark.parametrize('encoder', STRIDES)
def test_columns_of_pixels_are_the_enlarged_maps_there(encoder: str) -> None:
    network, x = build(encoder), torch.randn(1, 3, 33, 47, dtype=torch.float64)
    places = torch.tensor([[0, 0], [32, 46], [17, 3], [8, 45]])
    with torch.no_grad():
        maps = network.maps(x)
        got = network.columns(maps, places)
    large = np.concatenate(
        [enlarged(m[0], encoder, s, (33, 47)) for m, s in zip(maps, STRIDES[encoder], strict=True)]
    )
    want = torch.from_numpy(large[:, places[:, 0], places[:, 1]].T)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def cells_at(place: float, length: int, n_cells: int) -> dict[int, float]:
    """Cells between whose centres a place on a line lies, and how much each has to say."""
    centres = [(cell + 0.5) * length / n_cells - 0.5 for cell in range(n_cells)]
    if place <= centres[0]:
        return {0: 1.0}
    for cell in range(n_cells - 1):
        if place <= centres[cell + 1]:
            share = (place - centres[cell]) / (centres[cell + 1] - centres[cell])
            return {cell: 1 - share, cell + 1: share}
    return {n_cells - 1: 1.0}


@pytest.mark.parametrize('encoder', STRIDES)
@pytest.mark.parametrize('n_cells', [2, 5])
def test_classifiers_are_interpolated_between_the_centres_of_cells(encoder: str, n_cells: int) -> None:
    """Value by value: a classifier of its own for each place, a mean of those of the cells around it."""
    size = (37, 61)
    network, x = build(encoder, n_cells), torch.randn(1, 3, *size, dtype=torch.float64)
    weights, bias = kernels(network)
    want = np.zeros((3, *size))
    maps, strides = normalised(network, x), STRIDES[encoder]
    for number, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        start = first(encoder, stride)
        scores = torch.zeros(3, *features.shape[1:], dtype=torch.float64)
        for row in range(features.shape[1]):
            for column in range(features.shape[2]):
                rows = cells_at(start + row * stride, size[0], n_cells)
                columns = cells_at(start + column * stride, size[1], n_cells)
                for j, share_j in rows.items():
                    for i, share_i in columns.items():
                        cell = j * n_cells + i
                        score = weights[number][cell] @ features[:, row, column]
                        score = score + (bias[cell] if number == len(maps) - 1 else 0)
                        scores[:, row, column] += share_j * share_i * score
        want += enlarged(scores, encoder, stride, size)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[0], torch.from_numpy(want), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('encoder', STRIDES)
def test_blending_small_maps_is_close_to_blending_at_each_pixel(encoder: str) -> None:
    size, n_cells = (128, 160), 4
    network, x = build(encoder, n_cells), torch.randn(1, 3, *size, dtype=torch.float64)
    weights, bias = kernels(network)
    maps = list(zip(normalised(network, x), weights, STRIDES[encoder], strict=True))
    want = np.zeros((3, *size))
    for row in range(n_cells):
        for column in range(n_cells):
            cell = row * n_cells + column
            parts = [enlarged(torch.einsum('kc,cyx->kyx', w[cell], m), encoder, s, size) for m, w, s in maps]
            share = [
                np.array([cells_at(place, length, n_cells).get(which, 0.0) for place in range(length)])
                for which, length in zip((row, column), size, strict=True)
            ]
            want += np.outer(*share) * (np.sum(parts, 0) + bias[cell, :, None, None].numpy())
    with torch.no_grad():
        got = network(x)[0].numpy()
    assert np.square(got - want).mean() < 0.02 * want.var()


@pytest.mark.parametrize('encoder', STRIDES)
def test_cells_that_agree_are_one_classifier(encoder: str) -> None:
    plain, grid = build(encoder), build(encoder, 5)
    own = grid.state_dict()
    grid.load_state_dict(
        {
            k: v.repeat(len(own[k]) // len(v), *[1] * (v.ndim - 1)) if v.ndim else v
            for k, v in plain.state_dict().items()
        }
    )
    x = torch.randn(2, 3, 50, 70, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(grid(x), plain(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('encoder', STRIDES)
def test_a_score_depends_on_the_pixels_around_it(encoder: str) -> None:
    """With even weights, the pixels that a score depends on lie around it, their centre within a pixel."""
    network = build(encoder)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    x = torch.ones(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    row, column = 120, 137
    network(x)[0, 0, row, column].backward()
    assert x.grad is not None
    weight = x.grad[0].sum(0)
    place = torch.arange(256.0, dtype=torch.float64)
    assert float((weight.sum(1) * place).sum() / weight.sum()) == pytest.approx(row, abs=1)
    assert float((weight.sum(0) * place).sum() / weight.sum()) == pytest.approx(column, abs=1)


class Published(nn.Module):
    """VGG-11 in torchvision's layout, of another width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for step in (1, 'M', 2, 'M', 4, 4, 'M', 8, 8, 'M', 8, 8, 'M'):
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, step * width, 3, padding=1), nn.ReLU()]
                channels = step * width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(49 * channels, 16), nn.ReLU())


def test_published_weights_give_the_published_maps() -> None:
    torch.manual_seed(1)
    published, encoder = Published(4), VGG11Features(4)
    encoder.load_pretrained(published.state_dict())
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        got = encoder(x)
        want = []
        for number, layer in enumerate(published.features):
            x = layer(x)
            if number - 1 in (0, 3, 8, 13, 18):  # behind the ReLU
                want.append(x)
    torch.testing.assert_close(got, want)


def test_squeezenet_is_read_where_its_modules_end() -> None:
    torch.manual_seed(1)
    encoder = SqueezeNetColumns()
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        got = encoder(x)
        want = []
        for number, layer in enumerate(encoder.features):
            x = layer(x)
            if number in (1, 3, 4, 7, 9, 12):  # torchvision's layer 0 is conv1, behind it lies its ReLU
                want.append(x)
    torch.testing.assert_close(got, want)
    assert min(float(m.min()) for m in got) == 0


def test_public_weights_load(data_folder: Path) -> None:
    path = data_folder / 'weights/squeezenet1_0_deep_compression_torchvision_keys.pth'
    network = Hypercolumn(3)
    network.encoder.load_weights(path)
    published = torch.load(path, weights_only=True)
    for key, value in network.encoder.state_dict().items():
        assert torch.equal(value, published[key])


@pytest.mark.parametrize(
    ('encoder', 'other', 'named'),
    [
        ('squeezenet', SqueezeNetEncoder('1.1'), r'SqueezeNet 1\.0: features\.5\..* is missing; features\.6'),
        ('squeezenet', VGG11Features(4), r'SqueezeNet 1\.0: features\.3\.squeeze\.weight is missing'),
        ('vgg11', VGG16Features(4), r'VGG11: features\.3\.weight is missing; features\.2\.weight is unknown'),
        ('vgg11', VGG11Features(8), r'features\.0\.weight has shape \(8, 3, 3, 3\), expected \(4, 3, 3, 3\)'),
    ],
    ids=['1.1', 'vgg', 'vgg16', 'width'],
)
def test_weights_of_another_encoder_are_refused(
    encoder: str, other: nn.Module, named: str, tmp_path: Path
) -> None:
    torch.save(other.state_dict(), tmp_path / 'other.pth')
    with pytest.raises(ModelFileError, match=r'other\.pth holds no weights of .*' + named):
        build(encoder).encoder.load_weights(tmp_path / 'other.pth')


@pytest.mark.parametrize('wrong', [{'encoder': 'resnet'}, {'grid': 0}, {'width': 8}])
def test_unknown_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r'expected one of squeezenet, vgg11|squeezenet has|grid is 0'):
        Hypercolumn(3, **wrong)


@pytest.mark.parametrize('options', [{'grid': 3}, {'encoder': 'vgg11', 'width': 8, 'grid': 2}], ids=str)
def test_grids_keep_the_contract(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = Hypercolumn(3, **options)
    for _ in range(3):
        network(torch.randn(2, 3, 64, 64))
    network.eval()
    n_before = sum(p.numel() for p in network.parameters())
    prune_to(
        network, torch.zeros(1, 3, 64, 64), Budget('parameters', 0.9 * n_before), criterion='random', step=0.1
    )
    x = torch.randn(1, 3, 64, 80)
    exported = torch.export.export(network, (x,)).module()
    frame = torch.randint(0, 255, (1, 64, 80, 3), dtype=torch.uint8)
    images = ImageNetwork(network, Normalisation()).eval()
    ranges = calibrate(network, [frame], images, method='minmax')
    whole = ImageNetwork(quantize(network, ranges, x), Normalisation()).eval()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), network(x), rtol=1e-4, atol=1e-4)
        want = images(frame)
        assert (whole(frame) - want).square().mean() < 0.05 * want.var()
    backend = BACKENDS['onnxruntime']
    if not backend.why_not('cpu', 'float32'):
        run = backend(NetworkSource.of(FrameNetwork(images)), (64, 80), 'cpu', 1)
        got = torch.as_tensor(run(frame.numpy())['scores'])
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)

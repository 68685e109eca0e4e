"""The deconvnet against transposed convolutions and masks by hand."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import UnavailableError, UnknownNameError
from seg_ros.evaluation.deconvnet import layer_maps, map_layers, project, reach, receptive_field
from seg_ros.evaluation.units import UnitRecord
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.layers import max_pool, max_unpool
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.registry import ENCODERS, MODELS


@pytest.fixture(autouse=True, scope='module')
def _one_thread() -> Iterator[None]:
    """Busy machines make short parallel sections slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


PLAIN = Normalisation((0, 0, 0), (1 / 255,) * 3)
"""Leaves pixels as they are."""


class Named(nn.Module):
    """Layers in a row, under the names that the tests use."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


def images_of(**layers: nn.Module) -> ImageNetwork:
    return ImageNetwork(Named(**layers), PLAIN).eval()


def as_planes(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1)[None]


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return 255 * torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_a_detector_of_edges_projects_to_an_edge() -> None:
    edges = nn.Conv2d(3, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        edges.weight[:] = torch.tensor([-1.0, 0, 1])  # dark on the left, bright on the right
    network = images_of(edges=edges, act=nn.ReLU())
    image = torch.full((12, 16, 3), 50.0)
    image[:, 9:] = 200
    record = UnitRecord(1)
    record.add(layer_maps(network, 'act', image))
    (peak,) = record.peaks(0)
    assert (peak.value, peak.column) == (9 * 150, 8)
    picture = project(network, 'act', image, 0, 5, 8)
    assert (picture[4:7, 7] < 0).all()
    assert (picture[4:7, 9] > 0).all()
    picture[4:7, [7, 9]] = 0
    assert not picture.any()


@pytest.mark.parametrize(('stride', 'dilation'), [(1, 1), (2, 1), (1, 3)])
def test_without_rectifiers_it_is_the_transposed_convolution(stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    options = {'stride': stride, 'padding': dilation, 'dilation': dilation}
    conv = nn.Conv2d(3, 4, 3, **options)
    network, image = images_of(conv=conv), noise(12, 16)
    maps = layer_maps(network, 'conv', image)
    torch.testing.assert_close(maps, conv(as_planes(image))[0], rtol=1e-4, atol=1e-3)
    kept = torch.zeros_like(maps)[None]
    kept[0, 2, 3, 4] = maps[2, 3, 4]
    back = F.conv_transpose2d(kept, conv.weight, output_padding=stride - 1, **options)
    picture = project(network, 'conv', image, 2, 3, 4)
    torch.testing.assert_close(picture, back[0].permute(1, 2, 0), rtol=1e-4, atol=1e-4)


def test_it_goes_back_step_by_step_through_everything() -> None:
    """Convolution, normalisation, PReLU, pooling, convolution, ReLU, unpooling, convolution, by hand."""
    torch.manual_seed(1)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU(4)
            self.second, self.third = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x, indices = max_pool(self.act(self.norm(self.first(x))))
            return self.third(max_unpool(self.second(x).relu(), indices))

    net = Network()
    nn.init.normal_(net.norm.weight)
    nn.init.uniform_(net.norm.running_var, 0.5, 2)
    network, image = ImageNetwork(net, PLAIN).eval(), noise(8, 10)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        x = as_planes(image)
        pooled, indices = F.max_pool2d(net.act(net.norm(net.first(x))), 2, return_indices=True)
        hidden = net.second(pooled).relu()
        scores = net.third(F.max_unpool2d(hidden, indices, 2))
        torch.testing.assert_close(network(image[None]), scores, rtol=1e-4, atol=1e-3)
        back = torch.zeros_like(scores)
        back[0, 1, 4, 5] = scores[0, 1, 4, 5]
        back = F.conv_transpose2d(back, net.third.weight, padding=1)
        back = back.flatten(2).gather(2, indices.flatten(2)).view(hidden.shape)  # where each maximum was
        back = F.conv_transpose2d(back.clamp(min=0), net.second.weight, padding=1)
        back = F.max_unpool2d(back, indices, 2).clamp(min=0)
        back = back * (net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()).view(1, -1, 1, 1)
        back = F.conv_transpose2d(back, net.first.weight, padding=1)
    got = project(network, 'third', image, 1, 4, 5)
    assert got.abs().max() > 0
    torch.testing.assert_close(got, back[0].permute(1, 2, 0), rtol=1e-4, atol=1e-3)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_the_projection_has_the_colours_of_the_image() -> None:
    """A network that reads BGR and sees red: its projection is red in RGB."""
    red = nn.Conv2d(3, 1, 1, bias=False)
    with torch.no_grad():
        red.weight[:] = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1)
    network = ImageNetwork(Named(red=red), Normalisation(channel_order='bgr')).eval()
    picture = project(network, 'red', noise(4, 4), 0, 1, 1)
    assert picture[1, 1].count_nonzero() == 1
    assert picture[1, 1, 0] != 0


@pytest.mark.parametrize('name', [*MODELS, 'squeezenet'])
def test_every_layer_of_every_network_projects(name: str) -> None:
    torch.manual_seed(0)
    build = MODELS[name] if name in MODELS else ENCODERS[name]
    options = {'width': 8} if name.startswith(('segnet', 'fcn')) else {}
    network = ImageNetwork(build(*([3] if name in MODELS else []), **options), Normalisation()).eval()
    image = noise(64, 96)
    layers = map_layers(network, (64, 96))
    assert len(layers) > 4
    for layer in list(layers)[:: max(len(layers) // 4, 1)]:
        maps = layer_maps(network, layer, image)
        assert maps.shape[0] == layers[layer]
        unit, row, column = np.unravel_index(int(maps.argmax()), maps.shape)
        picture = project(network, layer, image, unit, row, column)
        assert picture.shape == image.shape
        assert picture.isfinite().all()
        field = receptive_field(network, layer, (64, 96))
        y, x = row * field.stride[0], column * field.stride[1]
        rows, columns = torch.arange(64)[:, None], torch.arange(96)
        inside = (rows >= y + field.top) & (rows < y + field.bottom)
        inside = inside & (columns >= x + field.left) & (columns < x + field.right)
        outside = picture.square() * ~inside[..., None]
        assert outside.sum() <= 0.01 * picture.square().sum(), layer


def test_fields_are_measured() -> None:
    def conv(kernel: int, **options: int) -> nn.Conv2d:
        return nn.Conv2d(3, 3, kernel, padding=options.get('dilation', 1) * (kernel // 2), **options)

    network = images_of(a=conv(7), act=nn.ReLU(), pool=nn.MaxPool2d(2), b=conv(3), c=conv(3, dilation=15))
    first, pooled, deep, deepest = (
        receptive_field(network, name, (64, 160)) for name in ('act', 'pool', 'b', 'c')
    )
    assert (first.top, first.left, first.bottom, first.right, first.stride) == (-3, -3, 4, 4, (1, 1))
    assert (pooled.height, pooled.width, pooled.stride) == (8, 8, (2, 2))
    assert (deep.height, deep.width, deep.top) == (12, 12, -5)
    assert (deepest.height, deepest.width) == (np.inf, 72)
    assert deep.centre(10, 0, (64, 160)) == (21, 1)


def test_reach_holds_a_fraction_of_the_energy() -> None:
    picture = torch.zeros(20, 30, 3)
    picture[10, 12] = 3  # 27 in the middle
    picture[14, 12, 0], picture[10, 3, 1] = 2, 1
    fractions = (0.5, 27 / 32 + 0.01, 0.99)
    assert [reach(picture, 10, 12, fraction) for fraction in fractions] == [0, 4, 9]
    assert reach(torch.zeros(4, 4, 3), 1, 1) == 0


def test_what_was_padded_is_no_part_of_the_maps() -> None:
    torch.manual_seed(0)
    network = ImageNetwork(MODELS['segnet'](3, width=4), Normalisation()).eval()
    shapes = [layer_maps(network, f'encoder.scales.{k}', noise(40, 70)).shape[1:] for k in range(5)]
    assert shapes == [(40, 70), (20, 35), (10, 18), (5, 9), (3, 5)]


def test_unknown_layers_list_the_known() -> None:
    network = images_of(first=nn.Conv2d(3, 2, 1), last=nn.ReLU())
    for name in ('second', ''):
        with pytest.raises(UnknownNameError, match='first, last'):
            layer_maps(network, name, noise(8, 8))
    assert map_layers(network, (8, 8)) == {'first': 2, 'last': 2}


def test_whole_numbers_cannot_be_walked_back() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.to(torch.int8).float()

    with pytest.raises(UnavailableError, match='integers'):
        project(images_of(rounded=Rounded()), 'rounded', noise(8, 8), 0, 1, 1)

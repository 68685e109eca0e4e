"""Maps of hypercolumns against interpolation by hand, and the choice of layers and classifiers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seg_ros.errors import ParameterError
from seg_ros.networks.alexnet import AlexNetFeatures
from seg_ros.networks.column_encoders import ENCODERS, Geometry, enlarge, find_encoder, values_at
from seg_ros.networks.hypercolumn import Hypercolumn
from seg_ros.networks.squeezenet import SqueezeNetEncoder

GEOMETRIES = sorted({geometry for encoder in ENCODERS.values() for geometry in encoder.layers.values()})
CONVOLUTIONS = ['conv1', 'pool1', 'conv2', 'pool2', 'conv3', 'conv4', 'conv5', 'pool5']


@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
@pytest.mark.parametrize('size', [(64, 96), (97, 70)])
def test_maps_are_interpolated_where_their_values_lie(geometry: Geometry, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    shape = [max(n // geometry.stride - 1, 1) for n in size]
    small = torch.randn(1, 2, *shape, dtype=torch.float64)
    rows, columns = (
        np.array(
            [np.interp((np.arange(n) - geometry.first) / geometry.stride, np.arange(m), e) for e in np.eye(m)]
        )
        for n, m in zip(size, shape, strict=True)
    )
    want = torch.from_numpy(rows.T @ small[0].numpy() @ columns)
    if geometry.stride == 1:
        small = want[None]
    got = enlarge(small, geometry, size)[0]
    torch.testing.assert_close(got, want)
    places = torch.tensor([[0, 0], [size[0] - 1, size[1] - 1], [31, 40], [7, 63]])
    if geometry.stride > 1:
        chosen = want[:, places[:, 0], places[:, 1]].T
        torch.testing.assert_close(values_at(small, geometry, places), chosen, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('layer', CONVOLUTIONS)
def test_values_of_alexnet_lie_in_the_middle_of_their_pixels(layer: str) -> None:
    """With even weights and averages for maxima, the centre of the pixels that a value depends on."""
    encoder, _ = find_encoder('alexnet', [layer], 64)
    network = encoder.build(64, [layer])
    network.pool = nn.AvgPool2d(3, 2)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    x = torch.ones(1, 3, 512, 512, requires_grad=True)
    stride, first = encoder.layers[layer]
    network(x)[0][0, 0, 240 // stride, 272 // stride].backward()
    assert x.grad is not None
    weight, place = x.grad[0].sum(0).double(), torch.arange(512.0, dtype=torch.float64)
    for axis, position in ((1, 240), (0, 272)):
        centre = float((weight.sum(axis) * place).sum() / weight.sum())
        assert centre == pytest.approx(first + position // stride * stride, abs=1e-3)


def test_columns_of_alexnet_are_the_results_of_alexnet() -> None:
    torch.manual_seed(0)
    whole = AlexNetFeatures()
    columns = find_encoder('alexnet', ['pool2', 'conv4'], 64)[0].build(64, ['pool2', 'conv4'])
    published = {f'features.{n}': f'conv{k}' for k, n in enumerate((0, 3, 6, 8, 10), 1)}
    state = {
        f'{public}.{kind}': whole.get_parameter(f'{own}.{kind}')
        for public, own in published.items()
        for kind in ('weight', 'bias')
    }
    columns.load_pretrained(state | {'classifier.6.weight': torch.zeros(1)})
    assert not hasattr(columns, 'conv5')
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        got, want = columns(x), whole(x)[1]
        behind = whole.conv4(whole.conv3(want).relu()).relu()  # type: ignore[operator]
    torch.testing.assert_close(got, [want, behind])


def test_layers_behind_the_last_one_are_left_out() -> None:
    torch.manual_seed(0)
    network = Hypercolumn(3, layers=['fire4', 'conv1']).eval()
    published = SqueezeNetEncoder('1.0')
    network.encoder.load_pretrained(published.state_dict())
    assert network.encoder.channels == (96, 256)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.maps(x), [published.features[:2](x), published.features[:6](x)])


@pytest.mark.parametrize(
    'options', [{'encoder': 'vgg11', 'width': 4}, {'encoder': 'alexnet', 'layers': CONVOLUTIONS}], ids=str
)
def test_a_perceptron_classifies_each_pixel_by_its_column(options: dict[str, Any]) -> None:
    """All columns, one after the other, through fully connected layers."""
    torch.manual_seed(0)
    network = Hypercolumn(3, hidden=[7, 5], **options).double().eval()
    layers = [
        (torch.randn(n_out, n_in).double() / n_in**0.5, torch.randn(n_out).double())
        for n_in, n_out in ((sum(network.encoder.channels), 7), (7, 5), (5, 3))
    ]
    n_values = sum(network.encoder.channels)
    network.load_classifier(layers, torch.randn(n_values).double(), torch.rand(n_values).double() + 0.5)
    x = torch.randn(1, 3, 66, 70).double()
    places = torch.cartesian_prod(torch.arange(66), torch.arange(70))
    with torch.no_grad():
        values = network.columns(network.maps(x), places)
        for number, (weight, bias) in enumerate(layers):
            values = (values.relu() if number else values) @ weight.T + bias
        torch.testing.assert_close(network(x)[0].flatten(1).T, values, rtol=1e-4, atol=1e-4)


def test_probabilities_are_blended_at_each_pixel() -> None:
    torch.manual_seed(0)
    size, n_cells = (40, 56), 3
    options: dict[str, Any] = {'encoder': 'vgg11', 'width': 2, 'grid': n_cells}
    network = Hypercolumn(3, blend='probabilities', **options).double().eval()
    x = torch.randn(1, 3, *size).double()
    want = torch.zeros(3, *size).double()
    for row in range(n_cells):
        for column in range(n_cells):
            # The classifier of one cell alone, as a network without a grid.
            alone = Hypercolumn(3, encoder='vgg11', width=2).double().eval()
            cell = slice(3 * (row * n_cells + column), 3 * (row * n_cells + column) + 3)
            kept = {k: v[cell] if '.classify.' in k else v for k, v in network.state_dict().items()}
            alone.load_state_dict(kept)
            share = [
                np.interp(np.arange(n), (np.arange(n_cells) + 0.5) * n / n_cells - 0.5, np.eye(n_cells)[k])
                for n, k in zip(size, (row, column), strict=True)
            ]
            with torch.no_grad():
                want += torch.from_numpy(np.outer(*share)) * alone(x)[0].softmax(0)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[0].double().exp(), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'layers': ['fire10']}, "layers has 'fire10'; expected some of conv1, fire2"),
        ({'layers': ['conv1', 'conv1']}, 'a layer twice'),
        ({'hidden': [0]}, r'hidden is \[0\]; expected up to 4'),
        ({'hidden': [True]}, 'whole numbers'),
        ({'hidden': [8], 'grid': 2}, r'grid is 2 with hidden \[8\]'),
        ({'grid': 2, 'blend': 'labels'}, "blend is 'labels'"),
        ({'encoder': 'alexnet', 'width': 8}, 'alexnet has a fixed width'),
    ],
)
def test_unknown_layers_and_classifiers_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Hypercolumn(3, **wrong)

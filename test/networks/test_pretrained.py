"""Weights of one encoder offered to another: refused, by a message that says whose they are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from seg_ros.errors import ModelFileError
from seg_ros.networks.alexnet import AlexNetFeatures
from seg_ros.networks.efficientnet import EfficientNetLiteEncoder
from seg_ros.networks.pretrained import Pretrained
from seg_ros.networks.segnet import VGG16Encoder
from seg_ros.networks.squeezenet import SqueezeNetEncoder
from seg_ros.networks.vgg import VGG11Features, VGG16Features


def vgg(counts: tuple[int, ...], width: int, *, norm: bool = False) -> nn.Module:
    """Convolutions under torchvision's names: VGG16 for counts of (2, 2, 3, 3, 3)."""
    layers: list[nn.Module] = []
    channels = 3
    for scale, count in enumerate(counts):
        for _ in range(count):
            out = width * min(2**scale, 8)
            layers += [
                nn.Conv2d(channels, out, 3, padding=1),
                *([nn.BatchNorm2d(out)] if norm else []),
                nn.ReLU(),
            ]
            channels = out
        layers.append(nn.MaxPool2d(2))
    return nn.ModuleDict({'features': nn.Sequential(*layers)})


OTHERS: dict[str, Callable[[], nn.Module]] = {
    'SqueezeNet 1.0': lambda: SqueezeNetEncoder('1.0'),
    'SqueezeNet 1.1': lambda: SqueezeNetEncoder('1.1'),
    'AlexNet': AlexNetFeatures,
    'VGG11 of width 4': lambda: VGG11Features(4),
    'VGG16 of width 2': lambda: vgg((2, 2, 3, 3, 3), 2),
    'VGG16 of width 4 with batch normalisation': lambda: vgg((2, 2, 3, 3, 3), 4, norm=True),
    'VGG19 of width 4': lambda: vgg((2, 2, 4, 4, 4), 4),
}

ENCODERS: dict[str, Callable[[], Pretrained]] = {
    'fcn vgg16': lambda: VGG16Features(4),
    'fcn alexnet': AlexNetFeatures,
    'segnet': lambda: VGG16Encoder(8),
    'efficientnet': lambda: EfficientNetLiteEncoder('lite0', 4),
    'vgg11': lambda: VGG11Features(8),
}


@pytest.mark.parametrize('encoder', ENCODERS)
@pytest.mark.parametrize('other', OTHERS)
def test_the_message_names_the_network_of_the_weights(encoder: str, other: str, tmp_path: Path) -> None:
    if (encoder, other) == ('fcn alexnet', 'AlexNet'):
        pytest.skip('its own')
    path = tmp_path / 'other.pth'
    torch.save(OTHERS[other]().state_dict(), path)
    network = ENCODERS[encoder]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelFileError) as told:
        network.load_weights(path)
    text = str(told.value)
    assert text.startswith(f'{path} holds no weights of {network.trained_on}: ')
    assert text.endswith(f'; the file looks like weights of {other}')
    assert 'invalid for input' not in text
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_weights_of_efficientnet_are_recognised(tmp_path: Path) -> None:
    torch.save({'_conv_stem.weight': torch.zeros(32, 3, 3, 3)}, tmp_path / 'lite.pth')
    with pytest.raises(ModelFileError, match='looks like weights of EfficientNet-Lite'):
        VGG16Features(4).load_weights(tmp_path / 'lite.pth')


def test_other_files_are_refused_without_advice_to_trust_them(tmp_path: Path) -> None:
    path = tmp_path / 'x.pth'
    for content in (b'', b'no weights', b'PK\x03\x04broken'):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r'cannot be read as a file of torch\.save') as told:
            VGG11Features(4).load_weights(path)
        assert 'weights_only' not in str(told.value)
    for thing in ([1, 2], {'state_dict': {'a': torch.zeros(2)}}):
        torch.save(thing, path)
        with pytest.raises(ModelFileError, match='expected a state dict, tensors by name'):
            VGG11Features(4).load_weights(path)

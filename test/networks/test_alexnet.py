"""AlexNet: convolutions that equal the fully connected layers, and the weights that people have."""

import pytest
import torch
from torch import nn

from seg_ros.errors import ModelFileError
from seg_ros.networks.alexnet import AlexNetFeatures
from seg_ros.training.coded_model import DEFAULT_TAPS


def published() -> tuple[nn.Sequential, nn.Sequential]:
    """AlexNet as torchvision publishes it, up to fc7."""
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    classifier = nn.Sequential(
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10)),
    )
    return features.eval(), classifier.eval()


@torch.no_grad()
def test_the_convolutions_are_the_fully_connected_layers() -> None:
    torch.manual_seed(0)
    features, classifier = published()
    state = {f'features.{k}': v for k, v in features.state_dict().items()}
    state |= {f'classifier.{k}': v for k, v in classifier.state_dict().items()}
    network = AlexNetFeatures(pad=False).eval()
    network.load_pretrained(state)
    image = torch.randn(1, 3, 224, 224)
    pooled = features(image)
    want = classifier[:6](pooled.flatten(1))
    maps = network(image)
    assert maps[-1].shape == (1, 4096, 1, 1)
    torch.testing.assert_close(maps[-1].flatten(1), want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(maps[-2], pooled)
    # On a larger image it is the same at every place: 32 pixels further is one cell further.
    wide = torch.randn(1, 3, 224, 256)
    far = network(wide)[-1]
    assert far.shape == (1, 4096, 1, 2)
    inside = classifier[:6](features(wide)[:, :, :, 1:7].flatten(1))
    torch.testing.assert_close(far[..., 1].flatten(1), inside, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_taps_behind_the_relus_are_rectified_and_have_no_weights() -> None:
    torch.manual_seed(1)
    network = AlexNetFeatures().eval()
    seen: dict[str, torch.Tensor] = {}
    for name in ('conv5', 'relu5', 'fc7', 'relu7'):
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)
        )
    network(torch.randn(1, 3, 96, 96))
    for before, after in (('conv5', 'relu5'), ('fc7', 'relu7')):
        assert 0.2 < (seen[before] < 0).float().mean() < 0.8
        assert torch.equal(seen[after], seen[before].clamp_min(0))
    assert not [key for key in network.state_dict() if key.startswith('relu')]  # old files still load
    assert set(DEFAULT_TAPS['alexnet']) == {'relu1', 'relu2', 'relu5', 'relu7'}


@torch.no_grad()
def test_padded_it_keeps_the_size() -> None:
    network = AlexNetFeatures().eval()
    maps = network(torch.randn(1, 3, 160, 200))
    assert [m.shape[1] for m in maps] == list(network.channels)
    assert maps[-1].shape[-2:] == maps[-2].shape[-2:]


@torch.no_grad()
def test_weights_from_caffe_load_by_its_names() -> None:
    source = AlexNetFeatures('caffe')
    state = {k: v.clone() for k, v in source.state_dict().items()}
    for name in ('fc6.weight', 'fc7.weight'):
        state[name] = state[name].flatten(1)  # as Caffe keeps inner products
    state |= {'fc8.weight': torch.zeros(1000, 4096), 'fc8.bias': torch.zeros(1000)}
    network = AlexNetFeatures('caffe')
    network.load_pretrained(state)
    for name, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    assert network.conv2.groups == 2  # type: ignore[union-attr]


def test_other_layouts_and_weights_are_refused(tmp_path) -> None:
    with pytest.raises(ModelFileError, match='known: torchvision, caffe'):
        AlexNetFeatures('darknet')
    torch.save(AlexNetFeatures('caffe').state_dict(), tmp_path / 'w.pth')
    with pytest.raises(ModelFileError, match='no weights of AlexNet'):
        AlexNetFeatures().load_weights(tmp_path / 'w.pth')

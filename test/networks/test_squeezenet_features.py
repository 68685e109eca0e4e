"""SqueezeNet without a head: both versions, any size, and the public weights."""

from pathlib import Path

import pytest
import torch

from seg_ros.errors import ModelFileError
from seg_ros.networks.squeezenet import SqueezeNetFeatures

# Of the features in the paper (table 1) and in the official revision.
N_PARAMETERS = {'1.0': 735_424, '1.1': 722_496}


@pytest.mark.parametrize('version', N_PARAMETERS)
def test_sizes_are_those_published(version: str) -> None:
    network = SqueezeNetFeatures(version)
    assert sum(p.numel() for p in network.parameters()) == N_PARAMETERS[version]
    with torch.no_grad():
        maps = network(torch.randn(1, 3, 50, 70))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 64 // s, 80 // s) for c, s in zip(network.channels, (2, 4, 8, 16), strict=True)
    ]


@pytest.mark.parametrize(
    ('version', 'name'),
    [
        ('1.0', 'squeezenet1_0_deep_compression_torchvision_keys.pth'),
        ('1.1', 'squeezenet1_1_caffe_features.pth'),
    ],
)
def test_public_weights_load(data_folder: Path, version: str, name: str) -> None:
    network = SqueezeNetFeatures(version)
    network.load_weights(data_folder / 'weights' / name)
    state = torch.load(data_folder / 'weights' / name, weights_only=True)
    key = next(k for k in state if k.endswith('3.squeeze.weight'))
    assert torch.equal(network.features[3].squeeze.weight, state[key])  # type: ignore[union-attr]


def test_other_versions_are_refused() -> None:
    with pytest.raises(ModelFileError, match=r'known: 1\.0, 1\.1'):
        SqueezeNetFeatures('2')

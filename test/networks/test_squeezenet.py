from pathlib import Path

import pytest
import torch

from seg_ros.errors import ModelFileError
from seg_ros.networks.squeezenet import SqueezeNetEncoder, SqueezeNetPyramid


def test_features_halve_four_times() -> None:
    with torch.device('meta'):
        maps = SqueezeNetEncoder()(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6)]


@pytest.mark.parametrize('size', [(16, 16), (33, 50)])
def test_scores_have_the_size_of_the_input(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert SqueezeNetPyramid(3, width=16).eval()(torch.randn(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize('prefix', ['', 'features.'])
def test_weights_load_with_and_without_prefix(tmp_path: Path, prefix: str) -> None:
    source, target = SqueezeNetEncoder(), SqueezeNetEncoder()
    state = {prefix + k: v for k, v in source.features.state_dict().items()}
    torch.save(state, tmp_path / 'weights.pth')
    target.load_weights(tmp_path / 'weights.pth')
    assert all(torch.equal(v, target.state_dict()[k]) for k, v in source.state_dict().items())


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'no weights')
    with pytest.raises(ModelFileError, match=r'SqueezeNet 1\.1'):
        SqueezeNetEncoder().load_weights(path)
    torch.save({'features.0.weight': torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match=r'SqueezeNet 1\.1'):
        SqueezeNetEncoder().load_weights(path)


def test_real_weights_load(data_folder: Path) -> None:
    encoder = SqueezeNetEncoder()
    encoder.load_weights(data_folder / 'weights' / 'squeezenet1_1_caffe_features.pth')
    with torch.no_grad():
        assert all(m.isfinite().all() for m in encoder(torch.randn(1, 3, 64, 64)))

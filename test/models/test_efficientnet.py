from pathlib import Path

import efficientnet_lite_pytorch as published
import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.models.efficientnet import SCALES, EfficientNetLiteEncoder, EfficientNetLitePyramid


@pytest.mark.parametrize('variant', ['lite0', 'lite2'])
def test_maps_are_those_of_the_published_port(tmp_path: Path, variant: str) -> None:
    torch.manual_seed(0)
    reference = published.EfficientNet.from_name(f'efficientnet-{variant}', image_size=64)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    reference.eval()
    torch.save(reference.state_dict(), tmp_path / 'weights.pth')
    encoder = EfficientNetLiteEncoder(variant)
    encoder.load_weights(tmp_path / 'weights.pth')
    encoder.eval()

    blocks: list[Tensor] = []
    for block in reference._blocks:
        block.register_forward_hook(lambda _, __, out: blocks.append(out))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        reference.extract_features(image)
        maps = encoder(image)
    last_of_size = {out.shape[-1]: out for out in blocks}
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4, 2]
    assert tuple(m.shape[1] for m in maps) == encoder.channels
    for own in maps:
        torch.testing.assert_close(own, last_of_size[own.shape[-1]])


@pytest.mark.parametrize('variant', SCALES)
def test_scores_have_the_size_of_the_input(variant: str) -> None:
    with torch.device('meta'), torch.no_grad():
        network = EfficientNetLitePyramid(3, variant=variant, width=16).eval()
        assert network(torch.zeros(1, 3, 45, 70)).shape == (1, 3, 45, 70)


def test_other_files_and_variants_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pth'
    torch.save({'features.0.weight': torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match='EfficientNet-lite0'):
        EfficientNetLiteEncoder('lite0').load_weights(path)
    with pytest.raises(ModelFileError, match='lite0, lite1'):
        EfficientNetLitePyramid(3, variant='b7')

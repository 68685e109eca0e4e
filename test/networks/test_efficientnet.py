from pathlib import Path

import efficientnet_lite_pytorch as published
import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.networks.efficientnet import SCALES, EfficientNetLiteEncoder, EfficientNetLitePyramid


def port(variant: str) -> nn.Module:
    """The published port, padded alike on all sides."""
    reference = published.EfficientNet.from_name(f'efficientnet-{variant}', image_size=64)
    for module in reference.modules():
        if isinstance(module, nn.Conv2d):
            module.static_padding = nn.Identity()
            module.padding = (module.kernel_size[0] // 2,) * 2
    return reference.eval()


@pytest.mark.parametrize('variant', ['lite0', 'lite2'])
def test_maps_are_those_of_the_published_port(tmp_path: Path, variant: str) -> None:
    torch.manual_seed(0)
    reference = port(variant)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
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


@pytest.mark.parametrize('stages', [1, 3, 4, 5, 7])
def test_the_first_stages_alone_do_what_they_do_in_the_whole(tmp_path: Path, stages: int) -> None:
    torch.manual_seed(1)
    reference = port('lite0')
    torch.save(reference.state_dict(), tmp_path / 'weights.pth')
    whole, cut = EfficientNetLiteEncoder('lite0').eval(), EfficientNetLiteEncoder('lite0', stages).eval()
    whole.load_weights(tmp_path / 'weights.pth')
    cut.load_weights(tmp_path / 'weights.pth')
    results: list[Tensor] = []
    for stage in whole.stages:
        stage.register_forward_hook(lambda _, __, out: results.append(out))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        whole(image)
        maps = cut(image)
    last_of_size = {out.shape[-1]: out for out in results[:stages]}
    assert [m.shape[-1] for m in maps] == list(last_of_size)
    assert tuple(m.shape[1] for m in maps) == cut.channels
    for own, expected in zip(maps, last_of_size.values(), strict=True):
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize('stages', [0, 8])
def test_number_of_stages_out_of_range_is_refused(stages: int) -> None:
    with pytest.raises(ParameterError, match='1 to 7'):
        EfficientNetLitePyramid(3, stages=stages)


def test_a_pyramid_on_the_first_stages() -> None:
    network = EfficientNetLitePyramid(11, stages=4, width=56).eval()
    assert sum(p.numel() for p in network.parameters()) < 400_000
    assert network(torch.zeros(1, 3, 45, 70)).shape == (1, 11, 45, 70)
    coarser = EfficientNetLitePyramid(11, stages=4, width=56, half_scores=True).eval()
    assert coarser(torch.zeros(1, 3, 45, 70)).shape == (1, 11, 23, 35)

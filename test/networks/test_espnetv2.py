import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.networks.espnetv2 import EESPUnit, ESPNetv2

DATA = os.environ.get('SEG_ROS_DATA')
needs_data = pytest.mark.skipif(DATA is None, reason='needs real data: set SEG_ROS_DATA')

# index in the authors' list of Cityscapes' classes -> CamVid's class that it is
STREET = {0: 3, 1: 4, 2: 1, 8: 5, 10: 0, 13: 8}


def published(name: str) -> Path:
    return Path(DATA or '') / 'weights' / 'edgenets' / f'espnetv2_s_2.0_{name}.pth'


def test_it_has_the_parameters_of_the_published_network() -> None:
    n_parameters = sum(p.numel() for p in ESPNetv2(20).parameters())
    assert n_parameters == 789_242 - 96 - 128 - 256  # without the slopes that the authors do not use


def test_dilations_are_those_of_the_receptive_fields_in_the_paper() -> None:
    net = ESPNetv2(20)
    units = [module for module in net.modules() if isinstance(module, EESPUnit)]
    found = [tuple(branch.conv.dilation[0] for branch in unit.spp_dw) for unit in units]
    # table 1 of the paper: fields of at most 13, 11, 9 and 7 pixels, each branch two pixels wider
    assert found == [(1, 2, 3, 4)] * 2 + [(1, 2, 3, 4)] * 3 + [(1, 2, 3, 4)] + [(1, 1, 2, 3)] * 7


def test_a_unit_adds_its_branches_one_after_the_other() -> None:
    torch.manual_seed(0)
    unit = EESPUnit(16, 16, (1, 2, 3, 4)).eval()
    x = torch.randn(1, 16, 9, 9)
    reduced = unit.proj_1x1(x)
    sums = [sum(branch(reduced) for branch in list(unit.spp_dw)[: n + 1]) for n in range(4)]
    want = unit.module_act(unit.conv_1x1_exp(unit.br_after_cat(torch.cat(sums, 1))) + x)
    torch.testing.assert_close(unit(x), want)


def test_an_unknown_width_is_refused() -> None:
    with pytest.raises(ParameterError, match=r'scale is 3; expected one of 0\.5, 1\.0'):
        ESPNetv2(20, scale=3)


@needs_data
def test_the_published_network_knows_streets_that_it_has_not_seen() -> None:
    net = ESPNetv2(20)
    net.load_weights(published('city_1024x512'))
    folder = Path(DATA or '') / 'camvid'
    n_right = n_pixels = 0
    for path in sorted((folder / 'val').iterdir())[::34]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        labels = cv2.imread(str(folder / 'valannot' / f'{path.stem}.png'), cv2.IMREAD_GRAYSCALE)
        x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
            [0.229, 0.224, 0.225]
        ).view(3, 1, 1)
        with torch.no_grad():
            found = net.eval()(x)[0].argmax(0).numpy()
        mapped = np.vectorize(lambda k: STREET.get(k, 255))(found)
        counted = np.isin(labels, list(STREET.values()))
        n_right += int((mapped == labels)[counted].sum())
        n_pixels += int(counted.sum())
    assert n_right / n_pixels > 0.8


@needs_data
def test_weights_of_other_classes_are_refused() -> None:
    with pytest.raises(ModelFileError, match='has shape'):
        ESPNetv2(20).load_weights(published('pascal_384x384'))

import os
from pathlib import Path

import pytest
import torch

from seg_ros.errors import ModelFileError
from seg_ros.importing.layout_espnetv2 import from_edgenets

DATA = os.environ.get('SEG_ROS_DATA')
pytestmark = pytest.mark.skipif(DATA is None, reason='needs real data: set SEG_ROS_DATA')


@pytest.mark.parametrize(('name', 'n_classes'), [('city_1024x512', 20), ('pascal_384x384', 21)])
def test_every_tensor_of_the_published_files_is_used_or_known_as_unused(name: str, n_classes: int) -> None:
    path = Path(DATA or '') / 'weights' / 'edgenets' / f'espnetv2_s_2.0_{name}.pth'
    weights = torch.load(path, map_location='cpu', weights_only=True)
    converted = from_edgenets(weights, n_classes)
    assert converted.arguments == {'scale': 2.0}
    assert converted.used == set(weights)
    assert len(converted.state) == len(weights) - 3
    with pytest.raises(ModelFileError, match='expected'):
        from_edgenets(weights, n_classes + 3)


def test_other_weights_are_refused() -> None:
    with pytest.raises(ModelFileError, match='missing'):
        from_edgenets({'conv.weight': torch.zeros(1)}, 20)

import numpy as np
import pytest

from seg_ros.datasets.soccer import SoccerDataset
from seg_ros.errors import DatasetError


def test_pictures_are_reproducible_and_labelled() -> None:
    dataset, shorter = SoccerDataset(None, 'val', n_images=9), SoccerDataset(None, 'val', n_images=4)
    assert len(dataset) == len(set(dataset.names)) == 9
    image, labels = dataset[3]
    assert (image.shape, labels.shape) == ((240, 320, 3), (240, 320))
    for part, again in zip((image, labels), shorter[3], strict=True):
        np.testing.assert_array_equal(part, again)
    assert labels.max() < len(dataset.classes)
    with pytest.raises(IndexError):
        shorter[4]


def test_splits_share_no_picture() -> None:
    pictures = [SoccerDataset(None, split, height=48, width=64)[0][0] for split in ('train', 'val', 'test')]
    assert len({picture.tobytes() for picture in pictures}) == 3


@pytest.mark.parametrize(('split', 'n_images'), [('validation', 3), ('train', 0), ('train', 1_000_001)])
def test_what_is_not_there_is_refused(split: str, n_images: int) -> None:
    with pytest.raises(DatasetError, match=r'train, val, test|expected 1\.\.'):
        SoccerDataset(None, split, n_images=n_images)

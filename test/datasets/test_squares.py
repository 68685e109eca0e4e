import numpy as np
import pytest

from seg_ros.datasets.squares import SquaresDataset
from seg_ros.errors import DatasetError


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_each_image_holds_one_square(split: str) -> None:
    dataset = SquaresDataset(None, split)
    assert len(dataset) == len(set(dataset.names)) == 100
    sides = set()
    for index in range(100):
        image, labels = dataset[index]
        assert (image.shape, labels.shape, image.dtype, labels.dtype) == (
            (240, 320, 3),
            (240, 320),
            np.uint8,
            np.uint8,
        )
        y, x = np.nonzero(labels)
        height, width = np.ptp(y) + 1, np.ptp(x) + 1
        assert height == width
        assert len(y) == height * width
        assert np.abs(image[labels == 1].mean(0) - image[labels == 0].mean(0)).max() > 30
        sides.add(int(height))
    assert min(sides) >= 90
    assert max(sides) <= 100
    assert len(sides) >= 9


def test_squares_may_be_white_on_black() -> None:
    coloured = SquaresDataset(None, 'train', n_images=3)
    for index, (image, labels) in enumerate(SquaresDataset(None, 'train', n_images=3, black_and_white=True)):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(labels, coloured[index][1])
        assert image.dtype == np.uint8
        for channel in np.moveaxis(image, 2, 0):
            np.testing.assert_array_equal(channel, np.where(labels == 1, 255, 0))


def test_images_are_reproducible_and_apart() -> None:
    first, again = SquaresDataset(None, 'train'), SquaresDataset(None, 'train', n_images=7)
    np.testing.assert_array_equal(first[6][0], again[6][0])
    pictures = {
        SquaresDataset(None, s)[k][0].tobytes() for s in ('train', 'validation', 'test') for k in range(9)
    }
    assert len(pictures) == 27
    with pytest.raises(IndexError):
        again[7]


@pytest.mark.parametrize(('split', 'n_images'), [('val', 10), ('train', 0)])
def test_what_is_not_there_is_refused(split: str, n_images: int) -> None:
    with pytest.raises(DatasetError, match='train, validation, test'):
        SquaresDataset(None, split, n_images=n_images)

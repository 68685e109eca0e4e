import numpy as np
import pytest

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.training.augment import Augmentation

STRONG = Augmentation(
    (60, 80),
    scale=(0.5, 2.0),
    stretch=0.2,
    rotate=10.0,
    flip=0.5,
    brightness=0.3,
    contrast=0.3,
    saturation=0.4,
    white_balance=0.1,
    gamma=0.4,
    blur=1.0,
    noise=8.0,
    shadow=0.5,
)


def blocks(height: int, width: int, side: int = 12) -> UInt8Array:
    """Labels 0..3 in large blocks."""
    y, x = np.mgrid[:height, :width] // side
    return ((y + 2 * x) % 4).astype(np.uint8)


def pair(height: int = 90, width: int = 120) -> tuple[UInt8Array, UInt8Array]:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return image, blocks(height, width)


def test_labels_stay_with_their_pixels() -> None:
    labels = blocks(90, 120)
    image = np.repeat(labels[..., None] * 60, 3, axis=2)
    geometry = Augmentation((60, 80), scale=(0.5, 2.0), stretch=0.3, rotate=15.0, flip=0.5)
    for seed in range(40):
        warped, warped_labels = geometry(image, labels, np.random.default_rng(seed))
        assert (warped.shape, warped_labels.shape) == ((60, 80, 3), (60, 80))
        known = warped_labels != UNLABELLED
        # Interpolation mixes at the blocks' borders, and nowhere else.
        exact = known & (warped[..., 0] % 60 == 0)
        wrong = np.abs(warped[..., 0].astype(int) - 60 * warped_labels.astype(int)) > 30
        assert (wrong & exact).sum() <= 0.02 * known.sum()
        assert (wrong & known).mean() < 0.06
        assert known.mean() > 0.2


def test_nothing_changes_when_nothing_is_asked_for() -> None:
    image, labels = pair()
    same, same_labels = Augmentation((90, 120))(image, labels, np.random.default_rng(1))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(same_labels, labels)


def test_flip_is_a_mirror_image() -> None:
    image, labels = pair()
    mirrored, mirrored_labels = Augmentation((90, 120), flip=1.0)(image, labels, np.random.default_rng(1))
    np.testing.assert_array_equal(mirrored, image[:, ::-1])
    np.testing.assert_array_equal(mirrored_labels, labels[:, ::-1])


def test_a_crop_is_a_part_of_the_image_and_varies() -> None:
    image, labels = pair()
    corners = set()
    for seed in range(20):
        crop, crop_labels = Augmentation((40, 50))(image, labels, np.random.default_rng(seed))
        hits = np.argwhere((image == crop[0, 0]).all(-1))
        found = [(y, x) for y, x in hits if np.array_equal(image[y : y + 40, x : x + 50], crop)]
        assert len(found) == 1
        y, x = found[0]
        np.testing.assert_array_equal(crop_labels, labels[y : y + 40, x : x + 50])
        corners.add((int(y), int(x)))
    assert len(corners) > 15


def test_what_a_small_image_lacks_is_void() -> None:
    image, labels = pair(20, 30)
    _, padded = Augmentation((40, 50))(image, labels, np.random.default_rng(0))
    assert (padded != UNLABELLED).sum() == 20 * 30


def test_the_same_seed_gives_the_same_pair() -> None:
    image, labels = pair()
    first = STRONG(image, labels, np.random.default_rng(5))
    again = STRONG(image, labels, np.random.default_rng(5))
    other = STRONG(image, labels, np.random.default_rng(6))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    'key', ['brightness', 'contrast', 'saturation', 'white_balance', 'gamma', 'blur', 'noise']
)
def test_each_change_of_colour_changes_the_image_alone(key: str) -> None:
    image, labels = pair()
    augment = Augmentation((90, 120), **{key: 0.8})
    results = [augment(image, labels, np.random.default_rng(seed)) for seed in range(6)]
    assert any(not np.array_equal(varied, image) for varied, _ in results)
    for _, kept in results:
        np.testing.assert_array_equal(kept, labels)

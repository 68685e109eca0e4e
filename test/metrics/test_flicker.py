import cv2
import numpy as np
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.metrics.flicker import FLOW_SIZE, Motion, find_motion, id_changes, label_changes

HEIGHT, WIDTH = 360, 480


def texture(seed: int, height: int, width: int) -> UInt8Array:
    """A picture (height, width, 3) with detail of all sizes from a few pixels up."""
    rng = np.random.default_rng(seed)
    parts = [
        cv2.resize(rng.normal(size=(height // step + 1, width // step + 1, 3)), (width, height))
        for step in (6, 12, 24, 48)
    ]
    picture = 128 + 30 * np.sum(parts, axis=0)
    return np.clip(picture, 0, 255).astype(np.uint8)


def blocks(height: int, width: int) -> UInt8Array:
    """Labels (height, width) of four classes, in blocks of 40 pixels."""
    y, x = np.mgrid[:height, :width] // 40
    return ((x + 2 * y) % 4).astype(np.uint8)


def moved(shift: tuple[int, int], size: tuple[int, int] = (HEIGHT, WIDTH)) -> list[UInt8Array]:
    """Images and labels before and after everything moved down and to the right by a shift."""
    (height, width), (down, right) = size, shift
    image, labels = texture(0, height + 40, width + 40), blocks(height + 40, width + 40)
    before = slice(20, 20 + height), slice(20, 20 + width)
    after = slice(20 - down, 20 - down + height), slice(20 - right, 20 - right + width)
    return [image[before], image[after], labels[before], labels[after]]


def test_label_changes_by_hand() -> None:
    before = np.array([[0, 1, 255], [3, 255, 5]], np.uint8)
    after = np.array([[0, 2, 1], [255, 255, 6]], np.uint8)
    assert label_changes(before, after) == (2, 3)
    assert label_changes(before, after, np.array([[True, True, True], [True, True, False]])) == (1, 2)
    assert label_changes(before, after[:, :2]) == (0, 0)
    assert all(type(number) is int for number in label_changes(before, after))


def test_id_changes_compare_every_value() -> None:
    before = np.array([[1, 255, 2**40]], np.uint64)
    after = np.array([[1, 256, 2**40 + 1]], np.uint64)
    assert id_changes(before, after) == (2, 3)
    assert id_changes(before, after, np.array([[True, True, False]])) == (1, 2)
    assert id_changes(before, after.T) == (0, 0)
    assert all(type(number) is int for number in id_changes(before, after))


@pytest.mark.parametrize('shift', [(0, 0), (3, 6), (-9, 3), (0, -15)])
def test_labels_that_move_with_the_picture_do_not_flicker(shift: tuple[int, int]) -> None:
    image_before, image, before, after = moved(shift)
    motion = find_motion(image_before, image)
    changed, compared = label_changes(motion.warp(before), after, motion.trusted)
    assert compared > 0.8 * before.size
    # the flow may be wrong by half a pixel at some edges of blocks
    assert changed < 0.004 * compared
    uncompensated, _ = label_changes(before, after)
    assert uncompensated == 0 if shift == (0, 0) else uncompensated > 0.1 * before.size


def test_origins_are_those_of_the_shift() -> None:
    image_before, image, _, _ = moved((6, -9))
    motion = find_motion(image_before, image)
    rows, columns = np.divmod(motion.origins, WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    off = np.maximum(abs(y - rows - 6), abs(x - columns + 9))[motion.trusted]
    assert (off <= 1).mean() > 0.999
    assert not motion.trusted[:4].any()  # they came from outside
    assert not motion.trusted[:, -7:].any()


def test_a_label_that_really_changes_is_seen() -> None:
    image_before, image, before, after = moved((3, 6))
    after = after.copy()
    after[100:150, 200:260] = 9
    motion = find_motion(image_before, image)
    changed, _ = label_changes(motion.warp(before), after, motion.trusted)
    assert changed == pytest.approx(50 * 60, rel=0.15)


def test_what_appears_is_not_trusted() -> None:
    image_before, image, _, _ = moved((0, 3))
    image = image.copy()
    image[100:180, 200:300] = texture(7, 80, 100)
    motion = find_motion(image_before, image)
    assert motion.trusted[100:180, 200:300].mean() < 0.4
    assert motion.trusted[200:, :450].mean() > 0.95


def test_a_change_of_exposure_keeps_the_trust() -> None:
    image_before, image, before, after = moved((3, 0))
    motion = find_motion(image_before, cv2.add(image, np.full_like(image, 30)))
    changed, compared = label_changes(motion.warp(before), after, motion.trusted)
    assert compared > 0.7 * before.size
    assert changed < 0.01 * compared


@pytest.mark.parametrize('size', [(601, 803), (97, 141)])
def test_large_and_small_frames(size: tuple[int, int]) -> None:
    scale = max(max(size) / FLOW_SIZE, 1)
    image_before, image, before, after = moved((3, -6), size)
    motion = find_motion(image_before, image)
    changed, compared = label_changes(motion.warp(before), after, motion.trusted)
    assert compared > 0.7 * before.size
    assert changed < 0.005 * scale * compared


def test_ids_of_any_type_are_warped() -> None:
    image_before, image, _, _ = moved((3, 6))
    motion = find_motion(image_before, image)
    ids = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    for dtype in (np.int32, np.uint64):
        warped = motion.warp(ids.astype(dtype))
        assert warped.dtype == dtype
        np.testing.assert_array_equal(warped, motion.origins)


@pytest.mark.parametrize('sizes', [((48, 64), (64, 48)), ((40, 64), (48, 64)), ((11, 64), (11, 64))])
def test_frames_without_flow_are_not_compared(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    before, after = (np.zeros((*size, 3), np.uint8) for size in sizes)
    motion = find_motion(before, after)
    assert motion.trusted.shape == after.shape[:2]
    labels = motion.warp(np.zeros(sizes[0], np.uint8))
    assert label_changes(labels, np.ones(sizes[1], np.uint8), motion.trusted) == (0, 0)


def test_motion_does_not_depend_on_earlier_frames_or_threads() -> None:
    image_before, image, _, _ = moved((3, 6))
    first = find_motion(image_before, image)
    find_motion(texture(3, HEIGHT, WIDTH), image)
    n_threads = cv2.getNumThreads()
    try:
        for n in (1, 3):
            cv2.setNumThreads(n)
            assert same(find_motion(image_before, image), first)
    finally:
        cv2.setNumThreads(n_threads)


def same(one: Motion, other: Motion) -> bool:
    return np.array_equal(one.origins, other.origins) and np.array_equal(one.trusted, other.trusted)

"""Overlay, legend and contact sheet: compared with arithmetic on a few pixels, and looked at by position."""

from pathlib import Path

import numpy as np
import pytest

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.drawing.overlay import Overlay, code_colours, colourise, contact_sheet, draw_segments
from seg_ros.errors import ImageError, ParameterError
from seg_ros.segments.regions import Regions
from seg_ros.segments.segments import Segments
from seg_ros.synthetic import RenderedDrive

COLOURS = [(200, 0, 0), (0, 200, 0), (10, 20, 250)]
CLASSES = ClassSet(tuple(ClassInfo(k, name, COLOURS[k]) for k, name in enumerate(['road', 'sky', 'a_car'])))
CAMVID = ClassSet.from_yaml(Path(__file__).parents[2] / 'config/labels/camvid11.yaml')


def picture(height: int, width: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def labels_of(height: int, width: int) -> UInt8Array:
    values = np.array([0, 1, 2, 3, 255], np.uint8)
    return np.random.default_rng(1).choice(values, (height, width))


@pytest.mark.parametrize('opacity', [0.0, 0.3, 0.5, 1.0])
def test_colours_are_blended_and_pixels_without_a_class_are_kept(opacity: float) -> None:
    image, labels = picture(37, 53), labels_of(37, 53)
    before = image.copy()
    result = Overlay(CLASSES)(image, labels, opacity=opacity, legend=False)
    expected = (1 - opacity) * image + opacity * CLASSES.palette[labels]
    expected[labels > 2] = image[labels > 2]
    assert (result.dtype, result.shape) == (np.uint8, image.shape)
    assert np.abs(result - expected).max() <= 0.51
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(result, image)


def test_views_with_strides_are_fine() -> None:
    image, labels = picture(80, 60), labels_of(80, 60)
    overlay = Overlay(CLASSES)
    ours = overlay(image[::2, ::-1], labels[::2, ::-1], opacity=0.5, legend=False)
    np.testing.assert_array_equal(ours, overlay(image, labels, opacity=0.5, legend=False)[::2, ::-1])


def test_colourise_looks_up_the_palette() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(colourise(labels, CAMVID), CAMVID.palette[labels])


def legend_of(labels: UInt8Array, classes: ClassSet = CLASSES) -> UInt8Array:
    """What the legend changes on a grey image: (H, W) bool."""
    image = np.full((*labels.shape, 3), 128, np.uint8)
    overlay = Overlay(classes)
    with_legend = overlay(image, labels, opacity=0.0, legend=True)
    return (with_legend != overlay(image, labels, opacity=0.0, legend=False)).any(2)


def colours_in_order(labels: UInt8Array, classes: ClassSet) -> list[int]:
    """Class ids of the patches that lie on a legend over a black image, from top to bottom."""
    shown = Overlay(classes)(np.zeros((*labels.shape, 3), np.uint8), labels, opacity=0.0, legend=True)
    found = []
    for k, colour in enumerate(classes.palette[: len(classes)]):
        near = (np.abs(shown - 0.85 * colour) < 1).all(2)
        if near.sum() > 20:
            found.append((int(np.argmax(near.any(1))), k))
    return [k for _, k in sorted(found)]


def test_the_legend_shows_what_is_in_sight_the_largest_first() -> None:
    labels = np.full((240, 320), 255, np.uint8)
    labels[:100], labels[100:200], labels[200, 0] = 2, 0, 1
    labels[100] = 255
    assert colours_in_order(labels, CLASSES) == [2, 0]
    labels[100:190] = 1
    assert colours_in_order(labels, CLASSES) == [2, 1, 0]


def test_there_is_no_legend_without_classes() -> None:
    assert not legend_of(np.full((240, 320), 255, np.uint8)).any()


@pytest.mark.parametrize('size', [(240, 320), (480, 640), (1080, 1920), (320, 240)])
def test_the_legend_grows_with_the_image_and_leaves_room(size: tuple[int, int]) -> None:
    labels = np.arange(11, dtype=np.uint8).repeat(size[0] * size[1] // 11 + 1)[: size[0] * size[1]]
    changed = legend_of(labels.reshape(size), CAMVID)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert 0 < rows[0] <= rows[-1] < size[0] - 1
    assert 0 < columns[0] <= columns[-1] < 0.55 * size[1]
    assert len(rows) > 0.4 * min(size)


@pytest.mark.parametrize('size', [(1, 1), (20, 2), (2, 50), (30, 30), (48, 64)])
def test_small_images_get_what_fits(size: tuple[int, int]) -> None:
    legend_of(np.zeros(size, np.uint8), CAMVID)


def test_255_classes_are_cut_to_what_fits() -> None:
    many = ClassSet(tuple(ClassInfo(k, f'class {k}', (k, 255 - k, 99)) for k in range(255)))
    labels = np.arange(255, dtype=np.uint8).repeat(320).reshape(255, 320)
    assert legend_of(labels, many)[-3:].sum() == 0


@pytest.mark.parametrize(
    ('image', 'labels'),
    [
        (picture(4, 5), np.zeros((5, 4), np.uint8)),
        (picture(4, 5), np.zeros((4, 5), np.int64)),
        (picture(4, 5).astype(np.float32), np.zeros((4, 5), np.uint8)),
        (picture(4, 5)[..., 0], np.zeros((4, 5), np.uint8)),
        (picture(0, 5), np.zeros((0, 5), np.uint8)),
    ],
)
def test_impossible_images_are_refused(image: UInt8Array, labels: UInt8Array) -> None:
    with pytest.raises(ImageError, match='expected'):
        Overlay(CLASSES)(image, labels, opacity=0.5, legend=True)


@pytest.mark.parametrize('opacity', [-0.1, 1.1, float('nan')])
def test_impossible_opacities_are_refused(opacity: float) -> None:
    with pytest.raises(ParameterError, match='opacity'):
        Overlay(CLASSES)(picture(4, 5), labels_of(4, 5), opacity=opacity, legend=False)


def test_a_contact_sheet_shows_every_image_in_its_place() -> None:
    colours = [[(250, 0, 0), (0, 250, 0)], [(0, 0, 250), (250, 250, 0)], [(250, 0, 250)]]
    rows = [[np.full((60, 80, 3), colour, np.uint8) for colour in row] for row in colours]
    sheet = contact_sheet(rows, ['left', 'right'], 400)
    assert sheet.shape[1] == 400
    seen = [sheet[(sheet == colour).all(2)].size for row in colours for colour in row]
    assert len(set(seen)) == 1
    for row, colour_row in enumerate(colours):
        for column, colour in enumerate(colour_row):
            ys, xs = np.nonzero((sheet == colour).all(2))
            assert xs.mean() == pytest.approx(100 + 200 * column, abs=4)
            assert ys.max() - ys.min() == pytest.approx(0.75 * (xs.max() - xs.min()), abs=2)
            assert ys.min() > row * 140
    assert sheet[-10:, -100:].max() < 40, 'the cell without an image is background'
    assert sheet[:25].max() > 200, 'the titles are written'
    assert contact_sheet(rows, ['', ''], 400).shape[0] < sheet.shape[0]


def test_a_contact_sheet_keeps_the_shape_of_images() -> None:
    wide, tall = np.full((20, 60, 3), 200, np.uint8), np.full((60, 20), 100, np.uint8)
    sheet = contact_sheet([[wide, tall]], ['', ''], 600)
    ys, xs = np.nonzero((sheet == 100).all(2))
    assert np.ptp(ys) / np.ptp(xs) == pytest.approx(3, rel=0.1)


def test_a_contact_sheet_of_real_frames() -> None:
    image, labels = RenderedDrive(3, 1, 96, 128)[0]
    overlay = Overlay(CAMVID)(image, labels, opacity=0.5, legend=True)
    gap = 2
    sheet = contact_sheet([[image, colourise(labels, CAMVID), overlay]], ['image', '', ''], 3 * 128 + 4 * gap)
    np.testing.assert_array_equal(sheet[-96 - gap : -gap, gap : gap + 128], image)
    np.testing.assert_array_equal(sheet[-96 - gap : -gap, -128 - gap : -gap], overlay)


def test_impossible_contact_sheets_are_refused() -> None:
    with pytest.raises(ImageError, match='at least one image'):
        contact_sheet([], ['a'], 100)
    with pytest.raises(ImageError, match='a title for each column'):
        contact_sheet([[picture(4, 4), picture(4, 4)]], ['a'], 100)
    with pytest.raises(ImageError, match='expected'):
        contact_sheet([[picture(4, 4).astype(np.float32)]], ['a'], 100)
    with pytest.raises(ParameterError, match='width is 20'):
        contact_sheet([[picture(4, 4)] * 2], ['a', 'b'], 20)


def test_without_classes_the_image_stays() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    nothing = np.full((60, 80), UNLABELLED, np.uint8)
    assert np.array_equal(Overlay(ClassSet(()))(image, nothing, opacity=0.5, legend=True), image)


def test_near_codes_get_near_colours() -> None:
    codes = np.zeros((3, 16), np.uint8)
    codes[1, 0], codes[2] = 1, 0xFF
    colours = code_colours(codes).astype(int)
    assert np.abs(colours[0] - colours[1]).max() < 40 < np.abs(colours[0] - colours[2]).max()


def test_segments_are_outlined() -> None:
    ids = np.zeros((20, 30), np.int32)
    ids[:, 15:] = 1
    segments = Segments(
        Regions(ids, 2), np.array([[0], [255]], np.uint8), np.zeros((2, 8), np.float32), np.zeros(2, np.uint8)
    )
    image = np.full((20, 30, 3), 100, np.uint8)
    picture = draw_segments(image, segments, opacity=0.0)
    changed = (picture != image).any(2)
    assert changed[:, 14].all()
    assert changed.sum() == 20
    solid = draw_segments(image, segments, opacity=1.0)
    assert (solid[:, :14] == code_colours(segments.codes)[0]).all()

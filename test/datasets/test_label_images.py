import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_coloured_labels, read_ids, read_labels, read_pair
from seg_ros.errors import DatasetError

COLOURS = ((0, 0, 0), (200, 10, 20), (10, 200, 20))
CLASSES = ClassSet.from_json(
    [{'id': k, 'name': f'class {k}', 'colour': list(colour)} for k, colour in enumerate(COLOURS)]
)
IDS = np.random.default_rng(0).choice(np.array([0, 1, 2, 255], np.uint8), (11, 13))
WITHOUT_VOID = IDS % 3


def indexed(ids: np.ndarray, palette: list[int]) -> Image.Image:
    image = Image.fromarray(ids).convert('L')
    image = Image.frombytes('P', image.size, image.tobytes())
    image.putpalette(palette)
    return image


def write(path: Path, kind: str, ids: np.ndarray) -> None:
    """A label image of a kind, written by another library."""
    colours = np.array([*COLOURS, *[(9, 9, 9)] * 253], np.uint8)[ids]
    shuffled = [v for k in (2, 0, 1) for v in COLOURS[k]]
    opaque = Image.new('L', ids.shape[::-1], 255)
    made = {
        'grey': lambda: Image.fromarray(ids),
        'indices': lambda: indexed(ids, [7 * k % 256 for k in range(768)]),
        'indices and colours': lambda: indexed(ids, [v for colour in COLOURS for v in colour]),
        'shuffled palette': lambda: indexed((ids + 1) % 3 + 5, [1] * 15 + shuffled),
        '16 bits': lambda: Image.fromarray(ids.astype(np.uint16)),
        'equal channels': lambda: Image.fromarray(np.stack([ids] * 3, 2)),
        'grey with alpha': lambda: Image.merge('LA', [Image.fromarray(ids), opaque]),
        'colours': lambda: Image.fromarray(colours),
        'opaque colours': lambda: Image.fromarray(colours).convert('RGBA'),
    }[kind]()  # fmt: skip
    made.save(path)


@pytest.mark.parametrize('kind', ['grey', 'indices', '16 bits', 'equal channels', 'grey with alpha'])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_files_of_ids_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    if suffix == '.tif' and kind == 'indices':
        pytest.skip('OpenCV gives no indices of TIFF files')
    write(tmp_path / f'a{suffix}', kind, IDS)
    np.testing.assert_array_equal(read_labels(tmp_path / f'a{suffix}', CLASSES), IDS)
    np.testing.assert_array_equal(read_ids(tmp_path / f'a{suffix}'), IDS)


@pytest.mark.parametrize('kind', ['colours', 'opaque colours', 'shuffled palette', 'indices and colours'])
def test_files_of_colours_are_read(tmp_path: Path, kind: str) -> None:
    write(tmp_path / 'a.png', kind, WITHOUT_VOID)
    np.testing.assert_array_equal(read_labels(tmp_path / 'a.png', CLASSES), WITHOUT_VOID)
    np.testing.assert_array_equal(read_coloured_labels(tmp_path / 'a.png', CLASSES, (9, 9, 9)), WITHOUT_VOID)


def test_masks_of_one_bit_are_ids(tmp_path: Path) -> None:
    Image.fromarray(IDS == 1).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_labels(tmp_path / 'a.png', CLASSES), IDS == 1)


@pytest.mark.parametrize(('suffix', 'options'), [('.jpg', []), ('.webp', [cv2.IMWRITE_WEBP_QUALITY, 90])])
def test_lossy_files_are_refused_whatever_their_name(tmp_path: Path, suffix: str, options: list[int]) -> None:
    content = cv2.imencode(suffix, WITHOUT_VOID, options)[1].tobytes()
    for name in (f'a{suffix}', 'a.png'):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f'{name} is a lossy'):
            read_labels(tmp_path / name, CLASSES)


def test_lossless_webp_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.webp'), IDS, [cv2.IMWRITE_WEBP_QUALITY, 101])
    np.testing.assert_array_equal(read_labels(tmp_path / 'a.webp', CLASSES), IDS)


def test_what_could_mean_two_things_is_refused(tmp_path: Path) -> None:
    indexed(WITHOUT_VOID, [v for k in (0, 2, 1) for v in COLOURS[k]]).save(tmp_path / 'a.png')
    with pytest.raises(DatasetError, match='fits as ids and as colours'):
        read_labels(tmp_path / 'a.png', CLASSES)
    transparent = np.dstack([WITHOUT_VOID] * 3 + [np.full_like(IDS, 7)])
    Image.fromarray(transparent).save(tmp_path / 'b.png')
    with pytest.raises(DatasetError, match='transparent'):
        read_labels(tmp_path / 'b.png', CLASSES)


def test_values_and_colours_that_are_not_classes_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 24_001, np.uint16)).save(tmp_path / 'instances.png')
    with pytest.raises(DatasetError, match='up to 24001'):
        read_labels(tmp_path / 'instances.png', CLASSES)
    Image.fromarray(np.full((4, 4, 3), (1, 2, 3), np.uint8)).save(tmp_path / 'b.png')
    with pytest.raises(DatasetError, match=r'colours \[\(1, 2, 3\)\]'):
        read_labels(tmp_path / 'b.png', CLASSES)
    with pytest.raises(DatasetError, match='has colours'):
        read_ids(tmp_path / 'b.png')
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / 'c.tif')
    with pytest.raises(DatasetError, match='float32'):
        read_labels(tmp_path / 'c.tif', CLASSES)
    Image.fromarray(IDS == 1).save(tmp_path / 'd.bmp')
    with pytest.raises(DatasetError, match='1 bits'):
        read_labels(tmp_path / 'd.bmp', CLASSES)


def test_void_is_not_a_class(tmp_path: Path) -> None:
    write(tmp_path / 'a.png', 'colours', WITHOUT_VOID)
    with pytest.raises(DatasetError, match=r'colour .* of class class 0'):
        read_coloured_labels(tmp_path / 'a.png', CLASSES, (0, 0, 0))
    for void_id in (0, 2, -1, 256):
        with pytest.raises(DatasetError, match=f'void_id is {void_id}'):
            read_labels(tmp_path / 'a.png', CLASSES, void_id)
    same = ClassSet.from_json([{'id': k, 'name': str(k), 'colour': [1, 2, 3]} for k in range(2)])
    with pytest.raises(DatasetError, match='both have the colour'):
        read_coloured_labels(tmp_path / 'a.png', same, (9, 9, 9))


def save_turned(path: Path, pixels: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif if orientation > 1 else None)


PICTURE = np.dstack([IDS] * 3)


@pytest.mark.parametrize('orientation', range(2, 9))
def test_equal_orientations_turn_both(tmp_path: Path, orientation: int) -> None:
    for name, pixels in (('image', PICTURE), ('labels', IDS)):
        save_turned(tmp_path / f'{name}.png', pixels, orientation)
    image, labels = read_pair(tmp_path / 'image.png', tmp_path / 'labels.png', CLASSES)
    np.testing.assert_array_equal(image[..., 0], labels)
    assert labels.shape == (IDS.shape if orientation < 5 else IDS.shape[::-1])


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_the_size_tells_after_a_quarter_turn(tmp_path: Path, orientation: int) -> None:
    save_turned(tmp_path / 'image.png', PICTURE, orientation)
    shown = cv2.imread(str(tmp_path / 'image.png'))
    assert shown is not None
    for drawn in (IDS, np.ascontiguousarray(shown[..., 0])):
        Image.fromarray(drawn).save(tmp_path / 'labels.png')
        image, labels = read_pair(tmp_path / 'image.png', tmp_path / 'labels.png', CLASSES)
        np.testing.assert_array_equal(labels, drawn)
        np.testing.assert_array_equal(image[..., 0], labels)


@pytest.mark.parametrize(('of_image', 'of_labels'), [(3, 1), (1, 3), (2, 1), (6, 8)])
def test_an_ambiguous_orientation_is_refused(tmp_path: Path, of_image: int, of_labels: int) -> None:
    square = IDS[:8, :8]
    save_turned(tmp_path / 'image.png', np.dstack([square] * 3), of_image)
    save_turned(tmp_path / 'labels.png', square, of_labels)
    with pytest.raises(DatasetError, match=f'EXIF orientation {of_image}'):
        read_pair(tmp_path / 'image.png', tmp_path / 'labels.png', CLASSES)


def test_another_size_is_named(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / 'image.png')
    Image.fromarray(IDS[:5]).save(tmp_path / 'labels.png')
    with pytest.raises(DatasetError, match=r'\(11, 13\) but .* \(5, 13\)'):
        read_pair(tmp_path / 'image.png', tmp_path / 'labels.png', CLASSES)
    with pytest.raises(DatasetError, match='has no label image'):
        read_pair(tmp_path / 'image.png', tmp_path / 'absent.png', CLASSES)


def test_a_palette_is_not_needed_to_read_indices(tmp_path: Path) -> None:
    """A palette that is cut short, as some tools write: OpenCV alone would refuse or change it."""
    indexed(WITHOUT_VOID, list(range(9))).save(tmp_path / 'a.png')
    assert struct.unpack('>B', (tmp_path / 'a.png').read_bytes()[25:26]) == (3,)
    np.testing.assert_array_equal(read_ids(tmp_path / 'a.png'), WITHOUT_VOID)

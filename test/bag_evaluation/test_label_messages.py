"""Labels of every kind of message give the same ids."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.bag_evaluation.label_messages import kind_of, labels_of
from seg_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, Message, message_types
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.resources import resource

IDS = np.array([[0, 3, 255], [10, 1, 2]], np.uint8)


@pytest.fixture(scope='module')
def classes() -> ClassSet:
    return ClassSet.from_yaml(Path(resource('config/labels/camvid11.yaml')))


def message(kind: str, **fields: object) -> Message:
    types = message_types()
    time = types.types['builtin_interfaces/msg/Time'](sec=1, nanosec=0)
    header = types.types['std_msgs/msg/Header'](stamp=time, frame_id='')
    content = types.types[kind](header=header, **fields)
    return Message('/labels', kind, 0, bytes(types.serialize_cdr(content, kind)))


def raw(values: np.ndarray, encoding: str, padding: int = 0, bigendian: bool = False) -> Message:
    if bigendian:
        values = values.astype(values.dtype.newbyteorder('>'))
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    data, step = rows.reshape(-1), rows.shape[1]
    height, width = IDS.shape
    fields = {'height': height, 'width': width, 'encoding': encoding, 'is_bigendian': int(bigendian)}
    return message(IMAGE, **fields, step=step, data=data)


def compressed(values: UInt8Array | np.ndarray, suffix: str) -> Message:
    _, data = cv2.imencode(suffix, values)
    return message(COMPRESSED_IMAGE, format=suffix[1:], data=data.reshape(-1))


@pytest.mark.parametrize(
    ('dtype', 'encoding', 'padding', 'bigendian'),
    [
        ('u1', 'mono8', 0, False),
        ('u1', '8UC1', 5, False),
        ('u2', 'mono16', 2, False),
        ('u2', '16UC1', 0, True),
        ('i4', '32SC1', 4, True),
    ],
)
def test_ids_of_every_width(
    classes: ClassSet, dtype: str, encoding: str, padding: int, bigendian: bool
) -> None:
    found = labels_of(raw(IDS.astype(dtype), encoding, padding, bigendian), classes)
    np.testing.assert_array_equal(found, IDS)


def test_negative_ids_are_void(classes: ClassSet) -> None:
    values = np.where(IDS == 255, -1, IDS)
    for dtype, encoding in (('i1', '8SC1'), ('i2', '16SC1'), ('i4', '32SC1')):
        np.testing.assert_array_equal(labels_of(raw(values.astype(dtype), encoding), classes), IDS)


def test_colours_and_files_without_losses(classes: ClassSet) -> None:
    colours = np.zeros((*IDS.shape, 3), np.uint8)
    for row in classes.classes:
        colours[row.id == IDS] = row.colour
    for found in (
        raw(colours, 'rgb8'),
        raw(colours[..., ::-1], 'bgr8'),
        compressed(colours[..., ::-1], '.png'),
        compressed(IDS, '.png'),
        compressed(IDS.astype(np.uint16), '.png'),
    ):
        np.testing.assert_array_equal(labels_of(found, classes), IDS)


def test_what_cannot_be_ids_is_refused(classes: ClassSet) -> None:
    for found, words in (
        (compressed(IDS, '.jpg'), 'JPEG'),
        (raw(np.full(IDS.shape, 300, np.uint16), 'mono16'), '300'),
        (raw(np.full((*IDS.shape, 3), (9, 8, 7), np.uint8), 'rgb8'), '9, 8, 7'),
    ):
        with pytest.raises(DatasetError, match=words):
            labels_of(found, classes)


def png(values: np.ndarray, bits: int, palette: np.ndarray | None = None) -> bytes:
    """A PNG file of one sample a pixel, of 1 to 8 bits; written here, since OpenCV stretches such samples."""
    shift = np.arange(bits - 1, -1, -1)
    rows = [np.packbits((row[:, None] >> shift & 1).ravel()).tobytes() for row in values]
    header = struct.pack('>IIBBBBB', values.shape[1], len(values), bits, 0 if palette is None else 3, 0, 0, 0)
    chunks = [(b'IHDR', header)]
    chunks += [(b'PLTE', palette.astype(np.uint8).tobytes())] if palette is not None else []
    chunks += [(b'IDAT', zlib.compress(b''.join(b'\0' + row for row in rows))), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in chunks
    )


def in_file(data: bytes, format_: str = 'png') -> Message:
    return message(COMPRESSED_IMAGE, format=format_, data=np.frombuffer(data, np.uint8))


def in_colours(ids: np.ndarray, classes: ClassSet) -> np.ndarray:
    colours = np.zeros((*ids.shape, 3), np.uint8)
    for row in classes.classes:
        colours[row.id == ids] = row.colour
    return colours


@pytest.mark.parametrize('format_', ['png', 'mono16; png compressed ', '16UC1; png compressed ', 'mono8'])
def test_wide_files_hold_ids_not_brightness(
    classes: ClassSet, format_: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level('INFO'):
        for values in (IDS, np.full((20, 30), 10, np.uint8), np.arange(10, dtype=np.uint8)[None]):
            data = cv2.imencode('.png', values.astype(np.uint16))[1].tobytes()
            np.testing.assert_array_equal(labels_of(in_file(data, format_), classes), values)
    assert not caplog.records
    wide = np.where(IDS == 255, 65535, IDS.astype(np.uint16)).astype(np.uint16)
    for values in (wide, np.repeat(wide[..., None], 3, axis=2)):
        with pytest.raises(DatasetError, match='65535'):
            labels_of(in_file(cv2.imencode('.png', values)[1].tobytes(), format_), classes)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_few_bits_and_palettes_hold_ids(classes: ClassSet, bits: int) -> None:
    ids = np.arange(24).reshape(4, 6) % min(1 << bits, 11)
    np.testing.assert_array_equal(labels_of(in_file(png(ids, bits)), classes), ids)
    for palette in (
        np.random.default_rng(1).integers(20, 250, (1 << bits, 3)),
        in_colours(np.arange(1 << bits), classes),
    ):
        np.testing.assert_array_equal(labels_of(in_file(png(ids, bits, palette)), classes), ids)


def test_indices_that_are_no_classes_are_read_by_the_palette(classes: ClassSet) -> None:
    palette = in_colours(np.array([5, 2, 7, 255]), classes)
    ids = np.array([[0, 1, 2], [3, 3, 200]])
    palette = np.concatenate([palette, in_colours(np.full(252, 9), classes)])
    found = labels_of(in_file(png(ids, 8, palette)), classes)
    np.testing.assert_array_equal(found, [[5, 2, 7], [255, 255, 9]])


def test_only_files_without_losses_are_read(classes: ClassSet) -> None:
    colours = cv2.resize(in_colours(IDS, classes), (60, 40), interpolation=cv2.INTER_NEAREST)
    lossless = cv2.imencode('.webp', colours[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    lossy = cv2.imencode('.webp', colours[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    assert (lossless[12:16], lossy[12:16]) == (b'VP8L', b'VP8 ')
    extended = struct.pack('<I4sI', 0, b'VP8X', 10)[4:] + struct.pack('<I', 0)
    extended += (59).to_bytes(3, 'little') + (39).to_bytes(3, 'little') + lossy[12:]
    extended = b'RIFF' + struct.pack('<I', len(extended) + 4) + b'WEBP' + extended
    expected = cv2.resize(IDS, (60, 40), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(labels_of(in_file(lossless, 'webp'), classes), expected)
    for data in (lossy, extended):
        with pytest.raises(DatasetError, match='lossy WebP'):
            labels_of(in_file(data, 'webp'), classes)


def test_encodings_that_change_values_are_refused(classes: ClassSet) -> None:
    ids = np.zeros((4, 6), np.uint8)
    for encoding, values in (('bayer_rggb8', ids), ('yuv422', np.zeros((4, 6, 2), np.uint8))):
        rows = values.reshape(4, -1)
        fields = {'height': 4, 'width': 6, 'encoding': encoding, 'is_bigendian': 0, 'step': rows.shape[1]}
        with pytest.raises(DatasetError, match=encoding):
            labels_of(message(IMAGE, **fields, data=rows.reshape(-1)), classes)


def test_a_grey_image_is_read_as_the_others_of_its_topic(classes: ClassSet) -> None:
    black = raw(np.zeros((*IDS.shape, 3), np.uint8), 'rgb8')
    sky = raw(np.full((*IDS.shape, 3), 128, np.uint8), 'bgr8')
    coloured = raw(in_colours(IDS, classes), 'rgb8')
    equal = raw(np.repeat(np.where(IDS == 255, 4, IDS)[..., None], 3, axis=2), 'rgb8')
    assert [kind_of(m, classes) for m in (black, sky, coloured, equal)] == [None, *2 * ['colours'], 'ids']
    assert (labels_of(sky, classes) == 0).all()  # the grey of class 0
    assert (labels_of(black, classes, lambda: 'colours') == 255).all()
    assert (labels_of(black, classes, lambda: 'ids') == 0).all()
    with pytest.raises(DatasetError, match='fit as ids and as colours'):
        labels_of(black, classes)

"""Targets of images: raw and compressed messages, image files and label files."""

import struct
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace

import cv2
import numpy as np
from mutation import change_bytes, with_png_checksums
from target import Target, require

from seg_ros.bag_evaluation.annotation_messages import jpeg_cdr, png_cdr
from seg_ros.bags.messages import image_cdr
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_coloured_labels, read_ids, read_labels, read_pair
from seg_ros.images.encodings import ENCODINGS
from seg_ros.images.files import open_image
from seg_ros.images.messages import ImageReader
from seg_ros.images.serialized import read_compressed_image, read_image
from seg_ros.resources import resource

_HEADER = struct.Struct('<BBBIII')  # encoding, byte order, bit depth, height, width, step
_ODD_ENCODINGS = ('', 'jpeg', '32FC1', '8UC2', 'bayer_rggb32', 'a\nb', 'x' * 1000)
_FORMATS = (
    'jpeg', 'png', '', 'bgr8; jpeg compressed bgr8', 'rgb8; tiff compressed ', 'bayer_rggb8; png compressed ',
    'bayer_bggr16; png compressed ', 'mono16; png compressed ', '16UC1; png compressed ',
    'nv12; png compressed ',
    '16UC1; compressedDepth png', 'yuv422; jpeg compressed bgr8', 'bayer_grbg8; jpeg compressed mono8',
    'x' * 500,
)  # fmt: skip
_ARRAYS = (((3,), np.uint8), ((), np.uint8), ((), np.uint16))
_TYPES = ('.jpg', '.png', '.webp', '.bmp', '.tiff', '.ppm')


def _picture(*shape: int, type_: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(type_).max, shape, type_, endpoint=True)


def _message_seeds() -> list[bytes]:
    seeds = []
    for index, encoding in enumerate(ENCODINGS.values()):
        row = 6 * encoding.channels * encoding.itemsize
        data = _picture(3 * 4 * row).tobytes()
        seeds += [_HEADER.pack(index, order, depth, 4, 6, row) + data for order, depth in ((0, 0), (1, 12))]
    return seeds


def _read_message(data: bytes, folder: Path) -> None:
    index, order, depth, height, width, step = _HEADER.unpack(data[: _HEADER.size].ljust(_HEADER.size, b'\0'))
    names = [*ENCODINGS, *_ODD_ENCODINGS]
    message = SimpleNamespace(
        header=SimpleNamespace(frame_id='depth' if order & 2 else 'camera'),
        height=height,
        width=width,
        encoding=names[index % len(names)],
        is_bigendian=order & 1,
        step=step,
        data=np.frombuffer(data[_HEADER.size :], np.uint8),
    )
    reader, bit_depth = ImageReader(), depth if 8 <= depth <= 16 else 0
    for _ in range(2):  # the reader remembers the range of the samples
        image = reader.read(message, bit_depth)
    require(
        image.shape == (height, width, 3) and image.dtype == np.uint8, 'an image has the size of its message'
    )
    image.sum()  # every byte lies within the data


def _payload_seeds() -> list[bytes]:
    """Serialized messages of ROS, behind a byte that tells raw images (even) from compressed ones (odd)."""
    raw = [image_cdr(_picture(4, 6, *rest, type_=kind), 10**18, 'camera') for rest, kind in _ARRAYS]
    files = [jpeg_cdr(_encoded('.jpg', _picture(6, 8, 3)), 10**18, 'camera')]
    files += [png_cdr(_encoded('.png', _picture(6, 8)), 10**18, 'camera')]
    return [b'\0' + payload for payload in raw] + [b'\1' + payload for payload in files]


def _read_payload(data: bytes, folder: Path) -> None:
    read = read_compressed_image if data[:1] and data[0] % 2 else read_image
    message = read(data[1:], lambda sec, nanosec, frame_id: SimpleNamespace(frame_id=frame_id))
    require(len(message.data) < len(data), 'pixels lie within the message')
    ImageReader().read(message).sum()


def _encoded(suffix: str, picture: np.ndarray) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def _file_seeds() -> list[bytes]:
    """Files of every format, also with palette, 16 bits, alpha, progressive scans, EXIF orientation."""
    labels = _picture(6, 8) % 11
    colour = _picture(6, 8, 3)
    seeds = [_encoded(suffix, colour) for suffix in _TYPES]
    seeds += [_encoded(suffix, labels) for suffix in ('.png', '.tiff', '.pgm', '.bmp')]
    seeds += [_encoded(suffix, _picture(6, 8, 3, type_=np.uint16)) for suffix in ('.png', '.tiff')]
    seeds += [_encoded('.png', _picture(6, 8, 4)), _encoded('.png', _picture(6, 8, type_=np.uint16))]
    seeds += [cv2.imencode('.jpg', colour, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()]
    seeds += [cv2.imencode('.png', (labels > 5) * np.uint8(255), [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()]
    seeds += [_with_orientation(seeds[0], 6), _with_palette(labels)]
    return seeds


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file with an EXIF orientation."""
    entry = struct.pack('>HHIHH', 0x112, 3, 1, orientation, 0)
    body = b'Exif\0\0MM\0*' + struct.pack('>IH', 8, 1) + entry + bytes(4)
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + jpeg[2:]


def _with_palette(labels: np.ndarray) -> bytes:
    """A PNG file whose values are indices of a palette."""
    grey = _encoded('.png', labels.astype(np.uint8))
    palette = _picture(16 * 3).tobytes()
    chunk = struct.pack('>I', len(palette)) + b'PLTE' + palette + bytes(4)
    return with_png_checksums(grey[:25] + b'\x03' + grey[26:33] + chunk + grey[33:])


def _compressed_seeds() -> list[bytes]:
    files = _file_seeds()
    return [bytes([index % len(_FORMATS)]) + file for index, file in enumerate([*files, *files[6:]])]


def _read_compressed(data: bytes, folder: Path) -> None:
    message = SimpleNamespace(
        header=SimpleNamespace(frame_id='camera'),
        format=_FORMATS[data[0] % len(_FORMATS)] if data else '',
        data=np.frombuffer(data[1:], np.uint8),
    )
    image = ImageReader().read(message)
    require(
        image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8, 'an image is (H, W, 3) uint8'
    )


def _read_image_file(data: bytes, folder: Path) -> None:
    path = folder / 'image.png'
    path.write_bytes(data)
    file = open_image(path)
    colours, values = file.colours(), file.values()
    require(colours.ndim == 3 and colours.dtype == np.uint8, 'an image is (H, W, 3) uint8')
    require(colours.shape[:2] == values.shape[:2], 'colours and values have one size')


def _read_label_file(data: bytes, folder: Path, classes: ClassSet) -> None:
    path = folder / 'labels.png'
    path.write_bytes(data[1:])
    way = data[0] % 4 if data else 0
    if way == 0:
        labels = read_labels(path, classes)
    elif way == 1:
        labels = read_coloured_labels(path, classes, (0, 0, 0))
    elif way == 2:
        labels = read_pair(path, path, classes)[1]
    else:
        read_ids(path)
        return
    require(bool(((labels < len(classes)) | (labels == 255)).all()), 'every label is a class or void')


def _label_seeds() -> list[bytes]:
    classes = ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))
    coloured = classes.palette[_picture(6, 8) % 11][..., ::-1]
    return [
        bytes([way]) + file for way in range(4) for file in (*_file_seeds()[6:], _encoded('.png', coloured))
    ]


def _with_right_checksums(data: bytes, random: Random) -> bytes:
    return with_png_checksums(change_bytes(data, random))


def _ends_as_a_jpeg(data: bytes, random: Random) -> bytes:
    return change_bytes(data, random)[:-2] + b'\xff\xd9'


_TOKENS = (
    b'IHDR',
    b'PLTE',
    b'tRNS',
    b'IDAT',
    b'acTL',
    b'fcTL',
    b'fdAT',
    b'eXIf',
    b'\xff\xc2',
    b'\xff\xda',
    b'VP8X',
)
_CHANGES = (_with_right_checksums, _ends_as_a_jpeg)

TARGETS = {
    'image_message': Target(_message_seeds, _read_message),
    'image_payload': Target(_payload_seeds, _read_payload),
    'compressed_message': Target(_compressed_seeds, _read_compressed, _CHANGES, _TOKENS),
    'image_file': Target(_file_seeds, _read_image_file, _CHANGES, _TOKENS, memory=5 << 29),
    'label_file': Target(
        _label_seeds,
        partial(_read_label_file, classes=ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))),
        _CHANGES,
        _TOKENS,
        memory=5 << 29,
    ),
}

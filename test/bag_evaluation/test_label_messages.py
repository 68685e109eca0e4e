"""Labels of every kind of message give the same ids."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.bag_evaluation.label_messages import labels_of
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

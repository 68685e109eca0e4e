"""Annotated bags, read by other implementations: mcap, mcap_ros2, rosbags, and the node's own messages."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.bag_evaluation import annotated_topics as topics
from seg_ros.bag_evaluation.annotation import AnnotatedBag
from seg_ros.bags.reader import BagReader
from seg_ros.errors import BagError, ImageError
from seg_ros.inference.prediction import Prediction
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.segments.segments import Segments
from seg_ros.segments.tracking import Tracker
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(4, 3, 90, 120)
SECOND = 1_000_000_000
STAMPS = [SECOND + index * SECOND // 10 for index in range(3)]
CAMERA = '/front/image_raw'
VALUES = {'mean_iou': 0.25, 'confidence': 0.5, 'agreement': float('nan')}
EXPECTED = {
    f'{CAMERA}/compressed': 'sensor_msgs/msg/CompressedImage',
    '/seg_ros/labels': 'sensor_msgs/msg/Image',
    '/seg_ros/confidence': 'sensor_msgs/msg/Image',
    '/seg_ros/segment_ids': 'sensor_msgs/msg/Image',
    '/seg_ros/segments': 'seg_ros/msg/SegmentCodeArray',
    '/seg_ros/overlay/compressed': 'sensor_msgs/msg/CompressedImage',
    '/seg_ros/segments_overlay/compressed': 'sensor_msgs/msg/CompressedImage',
    '/seg_ros/label_colours/compressed': 'sensor_msgs/msg/CompressedImage',
    '/seg_ros/difference/compressed': 'sensor_msgs/msg/CompressedImage',
    '/seg_ros/values/mean_iou': 'std_msgs/msg/Float64',
    '/seg_ros/values/confidence': 'std_msgs/msg/Float64',
}


@pytest.fixture(scope='module')
def segmenter(coded_model_file: Path) -> Segmenter:
    return Segmenter.load(Settings(model=str(coded_model_file), backend='torch', device='cpu', n_threads=1))


@pytest.fixture(scope='module')
def predictions(segmenter: Segmenter) -> list[Prediction]:
    return [segmenter(DRIVE[i][0], confidence=True, segments=True) for i in range(3)]


def segments_of(prediction: Prediction) -> Segments:
    assert prediction.segments is not None
    return prediction.segments


@pytest.fixture(scope='module')
def bag(
    tmp_path_factory: pytest.TempPathFactory, segmenter: Segmenter, predictions: list[Prediction]
) -> Path:
    path, tracker = tmp_path_factory.mktemp('annotated') / 'annotated.mcap', Tracker()
    with AnnotatedBag(path, segmenter, CAMERA) as bag:
        for index, prediction in enumerate(predictions):
            image, truth = DRIVE[index]
            found = segments_of(prediction)
            bag.write(
                STAMPS[index],
                STAMPS[index] + 7,
                'front',
                image,
                prediction.labels,
                prediction.confidence,
                found,
                tracker(found.regions, found.codes),
                truth,
                VALUES,
            )
    return path


def pixels(message: Any) -> np.ndarray:
    kind = np.uint16 if message.encoding == '16UC1' else np.uint8
    return np.frombuffer(bytes(message.data), kind).reshape(message.height, message.width)


def decoded(content: bytes) -> UInt8Array:
    """A file as Pillow reads it, RGB."""
    image = pytest.importorskip('PIL.Image')
    return np.asarray(image.open(io.BytesIO(bytes(content))).convert('RGB'))


def test_every_message_is_read_by_mcap_and_its_schemas_parse(bag: Path) -> None:
    make_reader = pytest.importorskip('mcap.reader').make_reader
    decoder = pytest.importorskip('mcap_ros2.decoder').DecoderFactory()
    with bag.open('rb') as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[decoder])
        summary = reader.get_summary()
        found = [(schema.name, channel.topic, message.log_time, content)
                 for schema, channel, message, content in reader.iter_decoded_messages()]  # fmt: skip
    assert {chunk.compression for chunk in summary.chunk_indexes} == {'zstd'}
    for topic, kind in EXPECTED.items():
        rows = [row for row in found if row[1] == topic]
        assert [row[0] for row in rows] == [kind] * 3, topic
        assert [row[2] for row in rows] == [stamp + 7 for stamp in STAMPS]
        if 'values' not in topic:
            headers = [row[3].header for row in rows]
            assert [h.stamp.sec * SECOND + h.stamp.nanosec for h in headers] == STAMPS
            assert {h.frame_id for h in headers} == {'front'}
    others = {row[1] for row in found} - set(EXPECTED)
    assert others <= {'/seg_ros/model_info', '/seg_ros/label_info'}
    assert '/seg_ros/model_info' in others
    assert [row[3].data for row in found if row[1] == '/seg_ros/values/mean_iou'] == [0.25] * 3


def test_results_are_exact_in_rosbags(bag: Path, predictions: list[Prediction], segmenter: Segmenter) -> None:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    with AnyReader([bag], default_typestore=get_typestore(Stores.EMPTY)) as reader:  # the bag's definitions
        found: dict[str, list[Any]] = {}
        for connection, _, cdr in reader.messages():
            found.setdefault(connection.topic, []).append(reader.deserialize(cdr, connection.msgtype))
        qos = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
    for index, prediction in enumerate(predictions):
        labels, confidence = found['/seg_ros/labels'][index], found['/seg_ros/confidence'][index]
        assert (labels.encoding, confidence.encoding) == ('mono8', 'mono8')
        np.testing.assert_array_equal(pixels(labels), prediction.labels)
        np.testing.assert_array_equal(pixels(confidence), prediction.confidence)
        ids = pixels(found['/seg_ros/segment_ids'][index])
        np.testing.assert_array_equal(ids, segments_of(prediction).regions.ids + 1)
        listed = found['/seg_ros/segments'][index].segments
        for row in listed[:: max(len(listed) // 7, 1)]:
            inside = ids == row.id
            assert row.area == inside.sum()
            assert row.box.width == np.ptp(np.flatnonzero(inside.any(0))) + 1
            assert row.confidence == pytest.approx(prediction.confidence[inside].mean() / 255, abs=1e-6)
    info = found['/seg_ros/model_info'][0]
    assert (info.digest, info.backend, info.input_height) == (segmenter.model.digest, 'torch', 96)
    assert [c.name for c in info.classes] == segmenter.classes.names
    assert [profile.durability.name for profile in qos['/seg_ros/model_info']] == ['TRANSIENT_LOCAL']


def test_pictures_show_what_they_should(bag: Path, predictions: list[Prediction]) -> None:
    image, truth = DRIVE[1]
    labels = predictions[1].labels
    with BagReader(bag) as reader:
        files = {t: [m.decode() for m in reader.messages(t)][1] for t in EXPECTED if 'compressed' in t}
    assert {file.format for file in files.values()} == {
        'rgb8; jpeg compressed bgr8',
        'rgb8; png compressed bgr8',
    }
    camera, colours, difference = (
        decoded(files[t].data).astype(int)
        for t in (f'{CAMERA}/compressed', topics.LABEL_COLOURS, topics.DIFFERENCE)
    )
    assert np.abs(camera - image).mean() < 4
    assert len({tuple(c) for c in colours[labels == labels[45, 60]]}) == 1
    right, wrong = (labels == truth) & (truth != 255), (labels != truth) & (truth != 255)
    tint = difference[..., 1] - difference[..., 0]  # green above red
    own = 0.45 * (image[..., 1].astype(int) - image[..., 0])
    assert (tint - own)[right].mean() > 60
    assert (tint - own)[wrong].mean() < -60


def test_messages_are_those_of_the_node(
    bag: Path, predictions: list[Prediction], segmenter: Segmenter
) -> None:
    pytest.importorskip('rclpy')
    from builtin_interfaces.msg import Time
    from rclpy.serialization import deserialize_message, serialize_message
    from std_msgs.msg import Header

    from seg_ros.msg import ModelInfo, SegmentCodeArray
    from seg_ros.ros.messages import model_info, segment_array

    tracker = Tracker()
    with BagReader(bag) as reader:
        arrays = list(reader.messages(topics.SEGMENTS))
        (info,) = reader.messages(topics.MODEL_INFO)
    assert deserialize_message(info.cdr, ModelInfo) == model_info(segmenter)
    for stamp, prediction, message in zip(STAMPS, predictions, arrays, strict=True):
        found = segments_of(prediction)
        expected = segment_array(
            found,
            confidence=prediction.confidence,
            track_ids=tracker(found.regions, found.codes),
            codebook=segmenter.codebook,
            max_count=500,
            header=Header(stamp=Time(sec=stamp // SECOND, nanosec=stamp % SECOND), frame_id='front'),
        )
        # as it comes from the wire: floats of 32 bits (bytes cannot be compared: their padding is undefined)
        expected = deserialize_message(serialize_message(expected), SegmentCodeArray)
        assert deserialize_message(message.cdr, SegmentCodeArray) == expected


def test_an_error_leaves_the_frames_so_far(
    segmenter: Segmenter, predictions: list[Prediction], tmp_path: Path
) -> None:
    path, image, labels = tmp_path / 'out.mcap', DRIVE[0][0], predictions[0].labels

    def write() -> None:
        with AnnotatedBag(path, segmenter, 'a/compressed') as bag:
            bag.write(SECOND, SECOND, '', image, labels)
            bag.write(SECOND, SECOND, '', image, labels, segments=predictions[0].segments)

    with pytest.raises(ImageError, match='confidence'):
        write()
    with BagReader(path) as reader:
        assert len(list(reader.messages(topics.LABELS))) == 2
        assert reader.image_topic('/a/compressed').n_messages == 2
    with pytest.raises(BagError, match='exists'):
        AnnotatedBag(path, segmenter, '/a')
    with pytest.raises(BagError, match='/seg_ros'):
        AnnotatedBag(tmp_path / 'b.mcap', segmenter, '/seg_ros/overlay')
    with AnnotatedBag(tmp_path / 'c.mcap', segmenter, '/a') as bag:
        with pytest.raises(ImageError, match='sizes'):
            bag.write(SECOND, SECOND, '', image, labels, truth=labels[1:])
        bag.discard()
    assert not (tmp_path / 'c.mcap').exists()


def test_the_colours_of_labels_are_those_of_their_classes(
    bag: Path, segmenter: Segmenter, predictions: list[Prediction]
) -> None:
    with BagReader(bag) as reader:
        plate = next(reader.messages(topics.LABEL_COLOURS)).decode()
    picture = cv2.imdecode(plate.data, cv2.IMREAD_COLOR)[..., ::-1]
    expected = np.array([c.colour for c in segmenter.classes.classes], np.uint8)[predictions[0].labels]
    np.testing.assert_array_equal(picture, expected)

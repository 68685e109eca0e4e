import sqlite3
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from seg_ros.bags.frame import read_frame
from seg_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, image_cdr, message_types, numbered, stamp_ns
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import BagError, SegRosError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 12, 17, 3), np.uint8)
SECOND = 1_000_000_000


def write(path: Path, topic: str = '/camera/image_raw') -> Path:
    with BagWriter(path) as bag:
        for index, image in enumerate(IMAGES):
            bag.write_image(topic, image, SECOND + index, frame_id='front', received_ns=2 * SECOND + index)
    return path


def write_folder(path: Path, plugin: StoragePlugin, *compression: object) -> Path:
    """A bag as rosbags itself writes it."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(*compression)
    with writer:
        connection = writer.add_connection('/camera/image_raw', IMAGE, typestore=message_types())
        for index, image in enumerate(IMAGES):
            writer.write(connection, 2 * SECOND + index, image_cdr(image, SECOND + index, 'front'))
    return path


def check_images(path: Path) -> None:
    with BagReader(path) as bag:
        assert bag.image_topic().name == '/camera/image_raw'
        messages = list(bag.messages('/camera/image_raw'))
    assert [m.stamp_ns for m in messages] == [SECOND + index for index in range(5)]
    assert [m.received_ns for m in messages] == [2 * SECOND + index for index in range(5)]
    for message, image in zip(messages, IMAGES, strict=True):
        assert message.type == IMAGE
        np.testing.assert_array_equal(message.decode().data.reshape(12, 17, 3), image)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = write(tmp_path / 'new/folder/bag.mcap')
    check_images(path)
    assert [p.name for p in path.parent.iterdir()] == ['bag.mcap']


def test_an_independent_reader_agrees(tmp_path: Path) -> None:
    make_reader = pytest.importorskip('mcap.reader').make_reader
    DecoderFactory = pytest.importorskip('mcap_ros2.decoder').DecoderFactory  # noqa: N806
    with write(tmp_path / 'bag.mcap').open('rb') as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == 'ros2'
        found = list(reader.iter_decoded_messages())
    for (schema, channel, message, decoded), image in zip(found, IMAGES, strict=True):
        assert (schema.name, schema.encoding, channel.topic) == (IMAGE, 'ros2msg', '/camera/image_raw')
        assert channel.message_encoding == 'cdr'
        assert message.log_time >= 2 * SECOND
        assert (decoded.encoding, decoded.header.frame_id, decoded.step) == ('rgb8', 'front', 51)
        assert decoded.header.stamp.sec == 1
        assert bytes(decoded.data) == image.tobytes()


def test_our_own_messages_carry_their_definition(tmp_path: Path) -> None:
    types = message_types()
    kind = types.types['seg_ros/msg/ClassInfo']
    cdr = types.serialize_cdr(
        kind(id=3, name='road', colour=np.array([1, 2, 3], np.uint8)), 'seg_ros/msg/ClassInfo'
    )
    with BagWriter(tmp_path / 'bag.mcap') as bag:
        bag.write('/classes', 'seg_ros/msg/ClassInfo', bytes(cdr), 7, latched=True)
    with AnyReader([tmp_path / 'bag.mcap']) as reader:  # knows only what the bag tells it
        ((connection, _, raw),) = reader.messages()
        message = reader.deserialize(raw, connection.msgtype)
        assert connection.ext.offered_qos_profiles[0].durability.name == 'TRANSIENT_LOCAL'
    assert (message.id, message.name, list(message.colour)) == (3, 'road', [1, 2, 3])


@pytest.mark.parametrize(
    ('plugin', 'mode'),
    [
        (StoragePlugin.SQLITE3, None),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, None),
        (StoragePlugin.MCAP, CompressionMode.FILE),
        (StoragePlugin.MCAP, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
    ],
)
def test_folders_of_every_kind(tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode | None) -> None:
    compression = [mode, CompressionFormat.ZSTD] if mode else []
    path = write_folder(tmp_path / 'bag', plugin, *compression)
    check_images(path)
    if mode != CompressionMode.FILE:
        (path / 'metadata.yaml').unlink()  # as after a crash, or when one file was copied
        check_images(path)
        check_images(next(file for file in path.iterdir()))


def test_type_names_of_the_first_distributions(tmp_path: Path) -> None:
    path = write_folder(tmp_path / 'bag', StoragePlugin.SQLITE3) / 'bag.db3'
    with sqlite3.connect(path) as database:
        database.execute("UPDATE topics SET type = 'sensor_msgs/Image'")
        database.execute('DROP TABLE message_definitions')
        database.execute('UPDATE schema SET schema_version = 3')
    database.close()
    check_images(path)


def test_the_topic_is_chosen_or_the_choice_listed(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'two.mcap') as bag:
        bag.write_image('/left', IMAGES[0], 1)
        bag.write_image('/right', IMAGES[1], 2)
        bag.write('/note', 'std_msgs/msg/String', b'\0\1\0\0\2\0\0\0a\0', 3)
    with BagReader(tmp_path / 'two.mcap') as bag:
        assert bag.image_topic('/right').n_messages == bag.image_topic('left').n_messages == 1
        with pytest.raises(BagError, match=r'--topic: /left \(Image, 1\), /right'):
            bag.image_topic()
        with pytest.raises(BagError, match=r"no images on '/rear'; it has them on /left"):
            bag.image_topic('/rear')
    with BagWriter(tmp_path / 'none.mcap') as bag:
        bag.write('/note', 'std_msgs/msg/String', b'\0\1\0\0\2\0\0\0a\0', 3)
    with (
        BagReader(tmp_path / 'none.mcap') as bag,
        pytest.raises(BagError, match=r'no image topic; it has /note'),
    ):
        bag.image_topic()


@pytest.mark.parametrize('name', ['bag.mcap', 'bag.db3'])
@pytest.mark.parametrize('content', [b'', b'\x89MCAP0\r\n', b'SQLite format 3\0', b'garbage' * 100])
def test_what_is_no_bag_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=name):
        BagReader(tmp_path / name)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r'missing\.mcap does not exist'):
        BagReader(tmp_path / 'missing.mcap')
    with pytest.raises(BagError, match='expected metadata'):
        BagReader(tmp_path)
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(BagError, match=r'ends in .mcap or .db3'):
        BagReader(tmp_path / 'notes.txt')


def test_damage_anywhere_is_a_bag_error_or_none(tmp_path: Path) -> None:
    content = write(tmp_path / 'bag.mcap').read_bytes()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        start = int(rng.integers(0, len(damaged) - 8))
        damaged[start : start + 8] = rng.bytes(8)
        (tmp_path / 'damaged.mcap').write_bytes(damaged)
        try:
            with BagReader(tmp_path / 'damaged.mcap') as bag:
                for message in bag.messages():
                    message.decode()
        except SegRosError:
            pass


def test_an_existing_file_stays_unless_it_may_go(tmp_path: Path) -> None:
    path = write(tmp_path / 'bag.mcap')
    with pytest.raises(BagError, match='exists already'):
        BagWriter(path)
    with BagWriter(path, overwrite=True) as bag:
        bag.discard()
    check_images(path)
    with BagWriter(path, overwrite=True) as bag:
        bag.write_image('/other', IMAGES[0], 1)
    with BagReader(path) as bag:
        assert [topic.name for topic in bag.topics] == ['/other']


@pytest.mark.parametrize('keep', [True, False])
def test_an_error_leaves_a_readable_bag_or_none(tmp_path: Path, keep: bool) -> None:
    def write_and_fail() -> None:
        with BagWriter(tmp_path / 'bag.mcap', keep_unfinished=keep) as bag:
            bag.write_image('/camera', IMAGES[0], 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert [path.name for path in tmp_path.iterdir()] == (['bag.mcap'] if keep else [])
    if keep:
        with BagReader(tmp_path / 'bag.mcap') as bag:
            assert len(list(bag.messages())) == 1


def test_unknown_types_are_refused_by_name(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag.mcap') as bag, pytest.raises(BagError, match='no_such_msgs/msg/Thing'):
        bag.write('/thing', 'no_such_msgs/msg/Thing', b'', 0)


def test_stamps_are_read_from_the_bytes() -> None:
    for stamp in (0, 1, SECOND, 1_753_000_000_123_456_789):
        assert stamp_ns(image_cdr(IMAGES[0], stamp, 'x')) == stamp
    assert stamp_ns(b'\0\0\0\0' + b'\0\0\0\5' + b'\0\0\0\7') == 5 * SECOND + 7  # big endian
    for short in (b'', b'\0\1\0\0', b'\0\1\0\0\1\0\0\0'):
        with pytest.raises(BagError, match='too short'):
            stamp_ns(short)


def test_samples_of_12_bits_are_scaled_by_the_whole_topic(tmp_path: Path) -> None:
    frames = [RNG.integers(0, most, (48, 64), np.uint16) for most in (1, 200, 900, 4096, 60, 1000)]
    with BagWriter(tmp_path / 'bag.mcap') as bag:
        for index, frame in enumerate(frames):
            bag.write_image('/camera', frame, SECOND + index)
            bag.write_image('/bright', frame << 4, SECOND + index)
    for wanted in (range(6), (4, 1)):
        with BagReader(tmp_path / 'bag.mcap') as bag:
            messages = {topic: list(bag.messages(topic)) for topic in ('/camera', '/bright')}
            for index in wanted:
                for topic in messages:
                    image = bag.image(messages[topic][index])
                    assert image is not None
                    np.testing.assert_array_equal(image, np.dstack(3 * [frames[index] >> 4]))
            assert not bag.losses
    image = read_frame(tmp_path / 'bag.mcap', 1, '/camera')
    np.testing.assert_array_equal(image, np.dstack(3 * [frames[1] >> 4]))


def test_frames_that_share_a_stamp_are_numbered(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag.mcap') as bag:
        for received, stamp in enumerate((0, 0, 5, 0)):
            bag.write_image('/camera', IMAGES[0], stamp, received_ns=received)
    with BagReader(tmp_path / 'bag.mcap') as bag:
        assert [key for key, _ in numbered(bag.messages())] == [(0, 0), (0, 1), (5, 0), (0, 2)]


def test_real_bags(data_folder: Path) -> None:
    with BagReader(data_folder / 'bags/soccer_goal_12.mcap') as bag:  # its messages are compressed
        first, second = bag.messages(bag.image_topic().name)
        image = first.decode()
    assert (image.height, image.width, image.encoding, image.data.size) == (480, 640, 'rgb8', 640 * 480 * 3)
    assert second.received_ns > first.received_ns
    with BagReader(data_folder / 'bags/sample.db3') as bag:
        assert {topic.name: topic.type for topic in bag.topics}['/imu'] == 'sensor_msgs/msg/Imu'
        with pytest.raises(BagError, match=r'/image \(Image, 1\), /image/compressed \(CompressedImage, 1\)'):
            bag.image_topic()
        assert bag.image_topic('/image/compressed').type == COMPRESSED_IMAGE

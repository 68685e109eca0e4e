"""Replays through the real node in its own process and real DDS."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from seg_ros.arrays import UInt8Array
from seg_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, message_types
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.cli.main import main
from seg_ros.inference.process import limit_thread_spinning
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.metrics.labels import mean_iou
from seg_ros.replay.recording import Recording
from seg_ros.ros.dds import large_image_transport, profile_variable
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(4, 12, 90, 120)
SECOND = 1_000_000_000
T = TypeVar('T')
TOPIC = '/camera/image_raw'


@pytest.fixture(scope='module')
def drive_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images at 10 Hz and their true labels."""
    path = tmp_path_factory.mktemp('bags') / 'drive.mcap'
    with BagWriter(path) as bag:
        for index in range(len(DRIVE)):
            image, labels = DRIVE[index]
            stamp = SECOND + index * SECOND // 10
            bag.write_image(TOPIC, image, stamp, frame_id='front')
            bag.write_image('/truth/labels', labels, stamp)
    return path


def words(model_file: Path) -> list[str]:
    return ['--model', str(model_file), '--backend', 'torch', '--device', 'cpu', '--n-threads', '1']


def replay(bag: Path, output: Path, model_file: Path, *more: object) -> int:
    """A replay in this process, whose environment must stay as it was."""
    limit_thread_spinning()  # changes it for good, as the first thing that the command does
    before = dict(os.environ)
    code = main(['replay', str(bag), '-o', str(output), *words(model_file), *map(str, more)])
    assert dict(os.environ) == before
    return code


def user_environment() -> dict[str, str]:
    """The environment of a user who has chosen no transport; tests have one of their own."""
    return {name: value for name, value in os.environ.items() if name != profile_variable(os.environ)}


def start(bag: Path, output: Path, model_file: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, '-m', 'seg_ros.cli', 'replay', str(bag), '-o', str(output)]
    return subprocess.Popen(
        [*command, *words(model_file), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=user_environment(),
    )


def wait_for(find: Callable[[], T]) -> T:
    give_up_s = time.monotonic() + 120
    while not (found := find()):
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    return found


def wait_for_frames(output: Path) -> None:
    """Until a replay has recorded something: its bag grows in a file beside it."""
    growing = output.with_name(output.name + '.part')
    wait_for(lambda: growing.is_file() and growing.stat().st_size > 2**20)


def environment_of(pid: int | None) -> dict[str, str]:
    content = Path(f'/proc/{pid}/environ').read_text()
    return dict(entry.split('=', 1) for entry in content.split('\0') if '=' in entry)


def node_of(replaying: subprocess.Popen[str]) -> int | None:
    """Process id of the node that a replay has started."""
    for child in Path(f'/proc/{replaying.pid}/task/{replaying.pid}/children').read_text().split():
        if b'seg_ros.ros.main' in Path(f'/proc/{child}/cmdline').read_bytes():
            return int(child)
    return None


def grey(message: object) -> UInt8Array:
    image = message.decode()
    assert image.step == image.width
    return image.data.reshape(image.height, image.width)


@pytest.fixture(scope='module')
def recorded(drive_bag: Path, model_file: Path) -> tuple[Path, dict[str, object]]:
    """Every frame of the drive, with all outputs: the bag and the figures."""
    output, figures = drive_bag.with_name('out.mcap'), drive_bag.with_name('figures.json')
    options = [
        '--topic',
        TOPIC,
        '--every-frame',
        '--confidence',
        '--overlay',
        '--timeout',
        '60',
        '--json',
        figures,
    ]
    assert replay(drive_bag, output, model_file, *options) == 0
    return output, json.loads(figures.read_text())


def test_every_frame_comes_back_as_the_pipeline_has_it(
    recorded: tuple[Path, dict[str, object]], model_file: Path
) -> None:
    settings = Settings(model=str(model_file), backend='torch', device='cpu', n_threads=1)
    segmenter = Segmenter.load(settings)
    with BagReader(recorded[0]) as bag:
        labels, confidences, overlays, images = (
            list(bag.messages(topic))
            for topic in ('/seg_ros/labels', '/seg_ros/confidence', '/seg_ros/overlay', TOPIC)
        )
    assert len(labels) == len(confidences) == len(overlays) == len(images) == 12
    for index, (label, confidence, overlay) in enumerate(zip(labels, confidences, overlays, strict=True)):
        prediction = segmenter(DRIVE[index][0], confidence=True)
        np.testing.assert_array_equal(grey(label), prediction.labels)
        np.testing.assert_array_equal(grey(confidence), prediction.confidence)
        stamp = SECOND + index * SECOND // 10
        assert label.stamp_ns == confidence.stamp_ns == overlay.stamp_ns == stamp
        assert label.decode().header.frame_id == 'front'
        assert (label.decode().encoding, overlay.decode().encoding) == ('mono8', 'rgb8')


def test_figures_and_pictures(recorded: tuple[Path, dict[str, object]], drive_bag: Path) -> None:
    output, figures = recorded
    assert (figures['frames_in'], figures['frames_out'], figures['dropped']) == (12, 12, 0)
    assert 0 < figures['latency_ms']['p50'] <= figures['latency_ms']['max']
    assert (figures['backend'], figures['quantization'], figures['device']) == ('torch', 'fp32', 'cpu')
    assert sum(figures['class_shares'].values()) == pytest.approx(1)
    sheet = cv2.imread(str(output.with_suffix('.png')))
    assert sheet.shape[1] == 960
    recording = Recording(output, TOPIC)
    with BagReader(drive_bag) as truth:
        assert mean_iou(recording.confusion('/truth/labels', truth)) > 0.1
        recording.write_contact_sheet(output.with_name('truth.png'), truth=truth, truth_topic='/truth/labels')
    assert cv2.imread(str(output.with_name('truth.png'))).shape[1] == 1440


def test_segments_are_recorded_and_drawn(drive_bag: Path, coded_model_file: Path, tmp_path: Path) -> None:
    output = tmp_path / 'segments.mcap'
    options = ['--topic', TOPIC, '--every-frame', '--segments', '--limit', 3, '--timeout', 60]
    assert replay(drive_bag, output, coded_model_file, *options) == 0
    with BagReader(output) as bag:
        arrays, ids, pictures = (
            [m.decode() for m in bag.messages(f'/seg_ros/{name}')]
            for name in ('segments', 'segment_ids', 'segments_overlay')
        )
    assert len(arrays) == len(ids) == len(pictures) == 3
    for told, image in zip(arrays, ids, strict=True):
        assert told.header.stamp == image.header.stamp
        pixels = image.data.view(np.uint16).reshape(image.height, image.width)
        assert {s.id: s.area for s in told.segments} == dict(
            zip(*(part.tolist() for part in np.unique(pixels, return_counts=True)), strict=True)
        )
    sheet = cv2.imread(str(output.with_suffix('.png')))
    assert sheet.shape[1] == 3 * 480


def test_the_bag_is_one_that_others_read(recorded: tuple[Path, dict[str, object]]) -> None:
    make_reader = pytest.importorskip('mcap.reader').make_reader
    with recorded[0].open('rb') as file:
        summary = make_reader(file).get_summary()
    schemas = {channel.topic: summary.schemas[channel.schema_id] for channel in summary.channels.values()}
    assert schemas['/seg_ros/model_info'].name == 'seg_ros/msg/ModelInfo'
    assert b'seg_ros/ClassInfo' in schemas['/seg_ros/model_info'].data
    assert schemas['/seg_ros/labels'].name == 'sensor_msgs/msg/Image'


def test_recorded_pace_and_compressed_images(tmp_path: Path, model_file: Path) -> None:
    types = message_types()
    header, time_type = types.types['std_msgs/msg/Header'], types.types['builtin_interfaces/msg/Time']
    with BagWriter(tmp_path / 'in.mcap') as bag:
        for index in range(8):  # all with the stamp 0, as some cameras have it
            _, png = cv2.imencode('.png', cv2.cvtColor(DRIVE[index][0], cv2.COLOR_RGB2BGR))
            kind = types.types[COMPRESSED_IMAGE]
            message = kind(header=header(time_type(0, 0), 'front'), format='png', data=png.ravel())
            cdr = bytes(types.serialize_cdr(message, COMPRESSED_IMAGE))
            bag.write('/front/compressed', COMPRESSED_IMAGE, cdr, (5 + index) * SECOND)
    assert replay(tmp_path / 'in.mcap', tmp_path / 'out.mcap', model_file, '--rate', 2, '--limit', 6) == 0
    with BagReader(tmp_path / 'out.mcap') as bag:
        played = list(bag.messages('/front/compressed'))
        answers = list(bag.messages('/seg_ros/labels'))
    assert [message.received_ns for message in played] == [(5 + index) * SECOND for index in range(6)]
    assert 1 <= len(answers) <= 6
    assert {message.stamp_ns for message in answers} == {0}
    assert answers[0].received_ns > 5 * SECOND


@pytest.fixture(scope='module')
def large_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds of images so large that they reach the disk one by one."""
    path = tmp_path_factory.mktemp('bags') / 'large.mcap'
    with BagWriter(path) as bag:
        for index in range(40):
            bag.write_image(TOPIC, np.full((480, 640, 3), index, np.uint8), (1 + index) * SECOND)
    return path


def test_ctrl_c_in_the_middle_leaves_a_readable_bag(
    large_bag: Path, model_file: Path, tmp_path: Path
) -> None:
    replaying = start(large_bag, tmp_path / 'out.mcap', model_file)
    wait_for_frames(tmp_path / 'out.mcap')
    node = node_of(replaying)
    environment = environment_of(node)
    replaying.send_signal(signal.SIGINT)
    told, errors = replaying.communicate(timeout=60)
    assert replaying.returncode == 130, errors
    assert 'dropped' in told
    assert 10 < int(environment['ROS_DOMAIN_ID']) < 101
    assert environment['ROS_DOMAIN_ID'] != os.environ['ROS_DOMAIN_ID']
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    transport = large_image_transport(user_environment())
    assert transport
    assert transport.items() <= environment.items()
    assert not Path(f'/proc/{node}').exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out.mcap', 'out.png']
    with BagReader(tmp_path / 'out.mcap') as bag:
        assert 1 <= len(list(bag.messages('/seg_ros/labels'))) <= len(list(bag.messages(TOPIC))) < 40


def test_a_signal_while_the_node_starts_leaves_nothing(
    large_bag: Path, model_file: Path, tmp_path: Path
) -> None:
    replaying = start(large_bag, tmp_path / 'out.mcap', model_file, '--domain', '7')
    node = wait_for(lambda: node_of(replaying))
    assert environment_of(node)['ROS_DOMAIN_ID'] == '7'
    replaying.send_signal(signal.SIGTERM)
    _, errors = replaying.communicate(timeout=60)
    assert replaying.returncode == 130, errors
    assert 'Traceback' not in errors
    assert not Path(f'/proc/{node}').exists()
    assert not list(tmp_path.iterdir())


def test_a_node_that_dies_is_noticed(large_bag: Path, model_file: Path, tmp_path: Path) -> None:
    replaying = start(large_bag, tmp_path / 'out.mcap', model_file)
    wait_for_frames(tmp_path / 'out.mcap')
    os.kill(node_of(replaying), signal.SIGKILL)
    _, errors = replaying.communicate(timeout=60)
    assert replaying.returncode == 1
    assert 'SIGKILL' in errors
    assert 'loading model' in errors  # the log of the node
    with BagReader(tmp_path / 'out.mcap') as bag:
        assert bag.image_topic(TOPIC).n_messages >= 1


def test_a_node_that_refuses_says_why(
    drive_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'broken.safetensors').write_bytes(b'garbage')
    assert replay(drive_bag, tmp_path / 'out.mcap', tmp_path / 'broken.safetensors', '--topic', TOPIC) == 1
    errors = capsys.readouterr().err
    said, _, log = errors.partition('log')
    assert 'could not configure' in said
    assert 'broken.safetensors' in log
    assert not list(tmp_path.glob('out*'))


def test_input_is_checked_before_anything_starts(
    drive_bag: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / 'out.mcap'
    output.touch()
    for more, problem in (
        ([], 'choose one with --topic'),
        (['--topic', TOPIC], '--overwrite'),
        (['--topic', TOPIC, '--rate', '0'], '--rate is 0'),
        (['--topic', TOPIC, '--limit', '-1'], '--limit is -1'),
        (['--topic', TOPIC, '--model', 'no/such.safetensors'], 'no/such.safetensors'),
    ):
        assert replay(drive_bag, output, model_file, *more) == 1
        assert problem in capsys.readouterr().err
    assert replay(drive_bag, drive_bag, model_file, '--topic', TOPIC, '--overwrite') == 1
    assert f'{drive_bag} is the bag to play' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['out.mcap']


def test_real_bags(data_folder: Path, model_file: Path, tmp_path: Path) -> None:
    for name, topic, n_frames in (
        ('soccer_goal_12.mcap', '/camera/image_raw', 2),
        ('sample.db3', '/image/compressed', 1),
    ):
        output = tmp_path / name.replace('.db3', '.mcap')
        options = ['--topic', topic, '--every-frame', '--timeout', '60']
        assert replay(data_folder / 'bags' / name, output, model_file, *options) == 0
        with BagReader(output) as bag:
            answers = list(bag.messages('/seg_ros/labels'))
        assert len(answers) == n_frames
        assert answers[0].decode().data.size == 640 * 480


def test_bad_frames_and_a_cut_do_not_stop_a_replay(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / 'in.mcap'
    with BagWriter(path) as bag:
        bag.write(TOPIC, IMAGE, b'\0\1\0\0', SECOND)
        for index in range(3):
            bag.write_image(TOPIC, DRIVE[index][0], (2 + index) * SECOND)
        bag.write(TOPIC, IMAGE, b'\0\1\0\0' + b'\xff' * 30, 5 * SECOND)
    content = path.read_bytes()
    path.write_bytes(content[: content.find(b'\0\1\0\0' + b'\xff' * 30) + 34])  # no end mark
    options = ['--every-frame', '--timeout', 60]
    assert replay(path, tmp_path / 'out.mcap', model_file, *options) == 0
    with BagReader(tmp_path / 'out.mcap') as bag:
        stamps = [message.stamp_ns for message in bag.messages('/seg_ros/labels')]
    assert stamps == [2 * SECOND, 3 * SECOND, 4 * SECOND]
    assert caplog.text.count('1 message is lost') == 2

"""The node through DDS: what it publishes, and what it does with everything that can go wrong."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from seg_ros.drawing.overlay import Overlay
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.msg import ModelInfo
from seg_ros.resources import resource
from seg_ros.ros.messages import label_info_type
from seg_ros.synthetic import RenderedDrive

SECOND = 1_000_000_000
DRIVE = RenderedDrive(7, 4, 90, 120)
IMAGES = [DRIVE[index][0] for index in range(4)]
LABELS = '/seg_ros/labels'


@pytest.fixture(scope='module')
def segmenter(model_file: Path) -> Segmenter:
    return Segmenter.load(Settings(model=str(model_file), backend='torch', device='cpu'))


def array(message: Image) -> Any:
    """The content of an image message, read without our conversions."""
    assert not message.is_bigendian
    channels = {'mono8': (), 'rgb8': (3,)}[message.encoding]
    assert message.step == message.width * int(np.prod(channels))
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, *channels)


def stamps(messages: list[Any]) -> list[int]:
    return [m.header.stamp.sec * SECOND + m.header.stamp.nanosec for m in messages]


def same(one: Any, other: Any) -> bool:
    """Whether two label images agree but for rounding: threads may split sums differently."""
    return one.shape == other.shape and float((one == other).mean()) > 0.999


def test_outputs_are_those_of_the_pipeline_under_the_header_of_the_image(
    robot: Any, segmenter: Segmenter
) -> None:
    robot.start_active()
    outputs = {name: robot.listen(Image, f'/seg_ros/{name}') for name in ('labels', 'confidence', 'overlay')}
    camera = robot.camera()
    message = robot.message(IMAGES[0], 12 * SECOND + 345)
    camera.publish(message)
    robot.wait(lambda: all(outputs.values()))
    prediction = segmenter(IMAGES[0], confidence=True)
    got = {name: array(messages[0]) for name, messages in outputs.items()}
    assert same(got['labels'], prediction.labels)
    assert len(np.unique(got['labels'])) > 3
    assert np.abs(got['confidence'].astype(int) - prediction.confidence).max() <= 1
    overlay = Overlay(segmenter.classes)(IMAGES[0], got['labels'], opacity=0.5, legend=True)
    np.testing.assert_array_equal(got['overlay'], overlay)
    assert all(messages[0].header == message.header for messages in outputs.values())
    assert [m[0].encoding for m in outputs.values()] == ['mono8', 'mono8', 'rgb8']


def test_thresholds_change_between_frames(robot: Any, segmenter: Segmenter) -> None:
    robot.start_active()
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    assert robot.set('confidence_threshold', 0.6) == ''
    camera.publish(robot.message(IMAGES[1]))
    robot.wait(lambda: labels)
    expected = segmenter(IMAGES[1], confidence=True)
    unsure = expected.confidence < 0.6 * 255 - 1
    assert unsure.any()
    assert (array(labels[0])[unsure] == 255).all()
    sure = expected.confidence > 0.6 * 255 + 1
    assert same(array(labels[0])[sure], expected.labels[sure])


def test_compressed_images_come_from_below_the_remapped_topic(robot: Any, segmenter: Segmenter) -> None:
    robot.start_active(image_transport='compressed', remap=('image:=/front/image_raw',))
    labels = robot.listen(Image, LABELS)
    camera = robot.camera('/front/image_raw/compressed', CompressedImage)
    png = cv2.imencode('.png', cv2.cvtColor(IMAGES[2], cv2.COLOR_RGB2BGR))[1].tobytes()
    camera.publish(CompressedImage(header=robot.message(IMAGES[2]).header, format='png', data=png))
    robot.wait(lambda: labels)
    assert same(array(labels[0]), segmenter(IMAGES[2]).labels)


def test_the_compressed_topic_can_be_remapped_by_itself(robot: Any) -> None:
    robot.start_active(image_transport='compressed', remap=('image/compressed:=/jpegs',))
    robot.camera('/jpegs', CompressedImage)


def test_nothing_is_computed_for_nobody(robot: Any) -> None:
    robot.start_active()
    camera = robot.camera()
    camera.publish(robot.message(IMAGES[0]))
    robot.wait(lambda: robot.says('nobody subscribes') and robot.values()['dropped_nobody_subscribed'] == '1')
    assert 'network_ms' not in robot.values()
    assert robot.values()['frames_out'] == '0'
    labels = robot.listen(Image, LABELS)
    camera.publish(robot.message(IMAGES[0]))
    robot.wait(lambda: labels and robot.values()['frames_out'] == '1')
    assert 'network_ms' in robot.values()
    assert 'overlay_ms' not in robot.values()
    overlay = robot.listen(Image, '/seg_ros/overlay')
    camera.publish(robot.message(IMAGES[0]))
    robot.wait(lambda: overlay and 'overlay_ms' in robot.values())


def test_model_and_labels_are_told_to_late_joiners(robot: Any, segmenter: Segmenter) -> None:
    robot.start_active()
    told = robot.listen(ModelInfo, '/seg_ros/model_info', robot.LATCHED)
    robot.wait(lambda: told)
    info = told[0]
    assert (info.digest, info.backend, info.device) == (segmenter.model.digest, 'torch', 'cpu')
    assert (info.input_height, info.input_width) == (96, 128)
    assert info.licence == 'CC0-1.0, a test'
    assert [(c.id, c.name, tuple(c.colour)) for c in info.classes] == [
        (c.id, c.name, c.colour) for c in segmenter.classes.classes
    ]


def test_label_info_follows_the_threshold(robot: Any, segmenter: Segmenter) -> None:
    label_info = label_info_type()
    if label_info is None:
        pytest.skip('needs vision_msgs')
    robot.start_active(confidence_threshold=0.25)
    told = robot.listen(label_info, '/seg_ros/label_info', robot.LATCHED)
    robot.wait(lambda: told)
    assert [(c.class_id, c.class_name) for c in told[0].class_map] == list(enumerate(segmenter.classes.names))
    assert told[0].threshold == 0.25
    robot.set('confidence_threshold', 0.5)
    robot.wait(lambda: told[-1].threshold == 0.5)


def bad_messages(robot: Any) -> dict[str, Image]:
    def spoilt(**fields: Any) -> Image:
        message = robot.message(IMAGES[0])
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    return {
        'truncated': spoilt(data=robot.message(IMAGES[0]).data[:-1]),
        'step': spoilt(step=7),
        'empty': spoilt(height=0),
        'unknown encoding': spoilt(encoding='rgb7'),
    }


def test_bad_images_are_told_and_the_next_good_one_is_segmented(robot: Any, segmenter: Segmenter) -> None:
    robot.start_active()
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    for number, (words, message) in enumerate(bad_messages(robot).items(), 1):
        camera.publish(message)
        robot.wait(lambda n=number: robot.diagnostics and robot.values()['dropped_bad'] == str(n))
        robot.wait(lambda words=words: robot.says('bad images: image') and robot.says(words))
    camera.publish(robot.message(IMAGES[3]))
    robot.wait(lambda: labels)
    assert same(array(labels[0]), segmenter(IMAGES[3]).labels)
    robot.wait(lambda: robot.says('images bad'))


def test_corrupt_jpeg(robot: Any) -> None:
    robot.start_active(image_transport='compressed')
    labels, camera = robot.listen(Image, LABELS), robot.camera('/image/compressed', CompressedImage)
    jpeg = cv2.imencode('.jpg', IMAGES[0])[1].tobytes()
    camera.publish(CompressedImage(format='jpeg', data=jpeg[: len(jpeg) // 2]))
    robot.wait(lambda: robot.says('truncated'))
    camera.publish(CompressedImage(format='jpeg', data=jpeg))
    robot.wait(lambda: labels)


def test_encoding_and_size_may_change_from_frame_to_frame(robot: Any, segmenter: Segmenter) -> None:
    robot.start_active()
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    large = np.ascontiguousarray(np.kron(IMAGES[0], np.ones((24, 32, 1), np.uint8)))
    assert large.shape == (2160, 3840, 3)
    frames = [
        (robot.message(IMAGES[0], 1), IMAGES[0]),
        (robot.message(IMAGES[1][:, :, 0].copy(), 2, 'mono8'), np.repeat(IMAGES[1][:, :, :1], 3, 2)),
        (robot.message(large, 3), large),
        (robot.message(IMAGES[2][:33, :77].copy(), 4), IMAGES[2][:33, :77].copy()),
    ]
    for number, (message, image) in enumerate(frames, 1):
        camera.publish(message)
        robot.wait(lambda n=number: len(labels) == n)
        assert same(array(labels[-1]), segmenter(image).labels)


def test_services_answer_while_a_frame_is_in_work(robot: Any) -> None:
    node = robot.start_active(input_height=1280, input_width=1600)  # long in work
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    assert robot.state() == 'active'
    assert robot.set('overlay_opacity', 0.75) == ''
    assert robot.get('overlay_opacity') == 0.75  # by now all services are connected
    camera.publish(robot.message(IMAGES[0]))
    robot.wait(lambda: node._statistics.summary().n_in == 1)
    assert robot.state() == 'active'
    assert robot.set('overlay_opacity', 0.25) == ''
    assert robot.get('overlay_opacity') == 0.25
    assert robot.change_state('deactivate')
    assert not labels
    assert robot.change_state('cleanup')
    robot.spin_for(0.2)
    assert not labels
    assert node._statistics.summary().dropped


def test_newest_frame_wins(robot: Any) -> None:
    robot.start_active(input_height=768, input_width=1024)
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    camera.publish(robot.message(IMAGES[0], 1))
    robot.wait(lambda: robot.values()['frames_in'] == '1')
    for stamp in (2, 3, 4):
        camera.publish(robot.message(IMAGES[0], stamp))
        robot.wait(lambda stamp=stamp: robot.values()['frames_in'] == str(stamp))
    robot.wait(lambda: 4 in stamps(labels))
    robot.wait(lambda: int(robot.values()['frames_out']) == len(labels))
    assert int(robot.values()['dropped_replaced']) == 4 - len(labels) > 0


def test_old_frames_are_dropped_but_not_those_without_a_stamp(robot: Any) -> None:
    robot.start_active(max_age_ms=2000.0)
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    camera.publish(robot.message(IMAGES[0], 1))
    robot.wait(lambda: robot.says('all frames older than max_age_ms = 2000'))
    now, future = robot.peer.get_clock().now().nanoseconds, 2_000_000_000 * SECOND
    for number, stamp in enumerate((0, now, future), 1):
        camera.publish(robot.message(IMAGES[0], stamp))
        robot.wait(lambda n=number: len(labels) == n)
    assert stamps(labels)[:2] == [0, now]
    assert robot.set('max_age_ms', 0.0) == ''
    camera.publish(robot.message(IMAGES[0], 1))
    robot.wait(lambda: len(labels) == 4)


def test_simulated_time_may_jump_back(robot: Any) -> None:
    clock = robot.peer.create_publisher(Clock, '/clock', 10)
    node = robot.start_active(use_sim_time=True, max_age_ms=500.0)
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    robot.wait(lambda: clock.get_subscription_count())

    def tick(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds
        clock.publish(message)
        robot.spin_for(0.2)

    tick(100)
    camera.publish(robot.message(IMAGES[0], 100 * SECOND - SECOND // 5))
    robot.wait(lambda: labels and 'age_p50_ms' in robot.values())
    assert float(robot.values()['age_p50_ms']) == 200
    tick(10)
    assert not node._statistics.summary().age_ms, 'ages by another time'
    camera.publish(robot.message(IMAGES[0], 10 * SECOND))
    robot.wait(lambda: len(labels) == 2)
    camera.publish(robot.message(IMAGES[0], 9 * SECOND))
    robot.wait(lambda: robot.values()['dropped_too_old'] == '1')


def test_frames_beyond_the_rate_are_skipped(robot: Any) -> None:
    robot.start_active(max_rate_hz=0.01)
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    for stamp in range(1, 6):
        camera.publish(robot.message(IMAGES[0], stamp))
        robot.wait(lambda stamp=stamp: robot.values()['frames_in'] == str(stamp))
    robot.wait(lambda: labels)
    assert int(robot.values()['dropped_over_rate']) >= 3


BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def test_reliability_follows_what_all_publishers_offer(robot: Any) -> None:
    robot.start_active()
    labels = robot.listen(Image, LABELS)
    robot.wait(lambda: robot.reliability_asked() == [ReliabilityPolicy.BEST_EFFORT])
    reliable = robot.camera()
    robot.wait(lambda: robot.reliability_asked() == [ReliabilityPolicy.RELIABLE])
    best_effort = robot.publisher(Image, '/image', BEST_EFFORT)
    robot.wait(lambda: robot.reliability_asked() == [ReliabilityPolicy.BEST_EFFORT])
    robot.wait(lambda: best_effort.get_subscription_count() == reliable.get_subscription_count() == 1)
    for number, camera in enumerate((reliable, best_effort), 1):
        camera.publish(robot.message(IMAGES[0], number))
        robot.wait(lambda n=number: stamps(labels) == list(range(1, n + 1)))


def test_why_there_is_no_output_is_told(robot: Any) -> None:
    robot.start(input_reliability='reliable')
    robot.wait(lambda: robot.says('unconfigured'))
    assert robot.change_state('configure')
    robot.wait(lambda: robot.says('inactive'))
    assert robot.change_state('activate')
    robot.wait(lambda: robot.says('no publisher on /image'))
    camera = robot.publisher(Image, '/image', BEST_EFFORT)
    robot.wait(lambda: robot.says('incompatible QoS: publisher offers best effort, reliable was asked'))
    robot.peer.destroy_publisher(camera)
    robot.wait(lambda: robot.says('no publisher on /image'))
    camera = robot.camera()
    robot.wait(lambda: robot.says('no image yet on /image'))
    robot.listen(Image, LABELS)
    camera.publish(robot.message(IMAGES[0]))
    robot.wait(lambda: robot.says(' Hz'))
    robot.wait(lambda: robot.says('image stalled: last frame 2.'))
    status = robot.diagnostics[-1].status[0]
    assert status.name == 'seg_ros: segmentation'
    assert {'state', 'rate_in_hz', 'backend', 'model', 'digest', 'quantization', 'device'} <= set(
        robot.values()
    )


def test_another_message_type_is_told(robot: Any) -> None:
    robot.start_active()
    robot.publisher(CompressedImage, '/image', robot.RELIABLE)
    robot.wait(
        lambda: robot.says('sends sensor_msgs/msg/CompressedImage, but sensor_msgs/msg/Image was asked for')
    )


def test_qos_overrides(robot: Any) -> None:
    robot.start_active(
        **{
            'qos_overrides./image.subscription.reliability': 'reliable',
            'qos_overrides./image.subscription.depth': 3,
            'qos_overrides./seg_ros/labels.publisher.reliability': 'best_effort',
        }
    )
    robot.wait(lambda: robot.reliability_asked() == [ReliabilityPolicy.RELIABLE])
    robot.wait(lambda: robot.peer.count_publishers(LABELS))
    (labels,) = robot.peer.get_publishers_info_by_topic(LABELS)
    assert labels.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert robot.get('qos_overrides./image.subscription.depth') == 3


@pytest.mark.parametrize(
    ('parameter', 'value', 'transition'),
    [
        ('/seg_ros/labels.publisher.reliability', 'perhaps', 'configure'),
        ('/seg_ros/overlay.publisher.depth', 'deep', 'configure'),
        ('/image.subscription.reliability', 'perhaps', 'activate'),
        ('/image.subscription.history', 'perhaps', 'activate'),
    ],
)
def test_wrong_qos_overrides_are_refused_by_name(
    robot: Any, parameter: str, value: str, transition: str
) -> None:
    robot.start(**{f'qos_overrides.{parameter}': value})
    if transition == 'activate':
        assert robot.change_state('configure')
    assert not robot.change_state(transition)
    assert robot.state() == ('unconfigured' if transition == 'configure' else 'inactive')
    topic = '~/' + parameter.split('/')[2].split('.')[0] if 'seg_ros' in parameter else '/image'
    robot.wait(lambda: robot.says(f'{transition} failed: ') and robot.says(topic))
    if transition == 'configure':
        assert not robot.peer.count_publishers(LABELS)


def test_rviz_shows_what_the_node_publishes(robot: Any) -> None:
    robot.start_active(remap=('image:=/camera/image_raw',))
    layout = yaml.safe_load(resource('config/segmentation.rviz').read_text())
    displays = layout['Visualization Manager']['Displays']
    shown = {display['Topic']['Value'] for display in displays}
    assert {display['Class'] for display in displays} == {'rviz_default_plugins/Image'}

    def topics() -> set[str]:
        found = robot.peer.get_topic_names_and_types()
        return {name for name, types in found if types == ['sensor_msgs/msg/Image']}

    robot.wait(lambda: topics() == shown)

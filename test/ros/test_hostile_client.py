"""A hostile process on the network: malformed, huge and many requests, texts that would forge log lines."""

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from type_description_interfaces.srv import GetTypeDescription

from seg_ros.inference.parameter import Mutability
from seg_ros.inference.settings import PARAMETERS
from seg_ros.ros.guard import MOST_ENTRIES
from seg_ros.ros.qos import find_qos_mismatch
from seg_ros.srv import FindSimilar

FORGED = 'x\n[FATAL] [1.0] [seg_ros]: forged\r\x1b[31m\u2028\x85forged'
LONG = 'A' * 1_000_000
NODE, LABELS = '/seg_ros', '/seg_ros/labels'
TEXTS = [p.name for p in PARAMETERS if type(p.default) is str and p.change is not Mutability.NEVER]


@pytest.fixture(autouse=True)
def log_is_not_forged(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Every line of the log begins as lines of a log do, and is of bounded length."""
    yield
    log = capfd.readouterr().err
    for line in log.splitlines():  # at every character that ends a line somewhere
        assert line.startswith(('[DEBUG]', '[INFO]', '[WARN]', '[ERROR]', '[FATAL]')), line[:200]
        assert not line.startswith('[FATAL]'), line[:200]
        assert len(line) < 10_000
        assert line.isprintable()


def parameter(name: str, **value: Any) -> Parameter:
    return Parameter(name=name, value=ParameterValue(**value))


def set_all(robot: Any, *parameters: Parameter) -> Any:
    request = SetParameters.Request(parameters=list(parameters))
    return robot.call(SetParameters, f'{NODE}/set_parameters', request).results


def test_a_parameter_of_a_type_that_does_not_exist(robot: Any) -> None:
    robot.start()
    for kind in (10, 77, 255):
        refuses_type(robot, kind)
    assert robot.state() == 'unconfigured'


def refuses_type(robot: Any, kind: int) -> None:
    good = parameter('max_rate_hz', type=3, double_value=5.0)
    results = set_all(robot, good, parameter(FORGED, type=kind))
    assert [r.successful for r in results] == [False, False]
    assert f'type {kind}' in results[0].reason
    assert robot.get('max_rate_hz') == 0.0, 'all or nothing'
    request = SetParametersAtomically.Request(parameters=[good, parameter('model', type=kind)])
    answer = robot.call(SetParametersAtomically, f'{NODE}/set_parameters_atomically', request)
    assert not answer.result.successful
    assert f'type {kind}' in answer.result.reason


def test_texts_are_bounded_and_have_one_line(robot: Any) -> None:
    robot.start()
    assert {'model', 'device'} < set(TEXTS)
    for name in TEXTS:
        refuses_texts(robot, name)


def refuses_texts(robot: Any, name: str) -> None:
    before = robot.get(name)
    texts = [FORGED, LONG, f'{robot.folder}/{FORGED}', f'{robot.folder}/{"A" * 5000}', '\u202ecod.x']
    for text in texts:
        reason = robot.set(name, text)
        assert name in reason
        assert len(reason) < 1000
        assert reason.isprintable()
    assert robot.get(name) == before


def test_a_device_that_does_not_exist_and_a_missing_model(robot: Any) -> None:
    robot.start()
    assert robot.set('device', 'x' * 4000) == ''
    assert not robot.change_state('configure')
    assert robot.set('device', 'cpu') == ''
    assert robot.set('model', f'{robot.folder}/{"y" * 200}.safetensors') == ''
    assert not robot.change_state('configure')


def test_names_of_parameters(robot: Any) -> None:
    robot.start()
    for name in ('', FORGED, LONG, 'max_rate', 'a' * 300 + '.b'):
        (result,) = set_all(robot, parameter(name, type=4, string_value=LONG))
        assert not result.successful
        assert 'does not exist' in result.reason
        assert len(result.reason) < 300
    assert "did you mean 'max_rate_hz'" in set_all(robot, parameter('max_rate', type=2))[0].reason
    (result,) = set_all(robot, parameter('use_sim_time', type=4, string_value='yes'))
    assert 'string; expected bool' in result.reason


def test_arrays_and_nothing_as_values(robot: Any) -> None:
    robot.start()
    arrays: dict[int, dict[str, Any]] = {
        0: {},
        5: {'byte_array_value': [b'\0'] * 20_000},
        6: {'bool_array_value': [True] * 20_000},
        7: {'integer_array_value': [1] * 20_000},
        8: {'double_array_value': [np.inf] * 20_000},
        9: {'string_array_value': [FORGED] * 20_000},
    }
    for kind, value in arrays.items():
        for result in set_all(robot, *(parameter(p.name, type=kind, **value) for p in PARAMETERS[:4])):
            assert not result.successful
            assert len(result.reason) < 1000


def test_numbers_that_are_none(robot: Any) -> None:
    robot.start()
    floats = [p.name for p in PARAMETERS if type(p.default) is float and p.change is not Mutability.NEVER]
    assert len(floats) > 5
    for name in floats:
        for value in (float('nan'), float('inf'), float('-inf'), 1e308):
            assert name in robot.set(name, value)


def test_requests_with_too_many_entries(robot: Any) -> None:
    robot.start()
    many = MOST_ENTRIES + 1
    results = set_all(robot, *[parameter('max_rate_hz', type=3, double_value=1.0)] * many)
    assert len(results) == many
    assert not any(r.successful for r in results)
    asks: list[tuple[Any, str, dict[str, Any]]] = [
        (GetParameters, 'get_parameters', {'names': ['model'] * many}),
        (GetParameterTypes, 'get_parameter_types', {'names': ['model'] * many}),
        (DescribeParameters, 'describe_parameters', {'names': ['model'] * many}),
        (ListParameters, 'list_parameters', {'prefixes': ['a'] * many, 'depth': 2**63}),
        (GetParameters, 'get_parameters', {'names': [LONG, FORGED]}),
        (DescribeParameters, 'describe_parameters', {'names': [LONG, FORGED]}),
    ]
    for kind, service, fields in asks:
        robot.call(kind, f'{NODE}/{service}', kind.Request(**fields))
    for text in ('', FORGED, LONG):
        request = GetTypeDescription.Request(type_name=text, type_hash=text)
        assert not robot.call(GetTypeDescription, f'{NODE}/get_type_description', request).successful
    assert robot.get('max_rate_hz') == 0.0


def test_transitions_that_are_not_for_clients(robot: Any) -> None:
    """The ends of transitions have numbers from 10 (configure succeeded) to 66 in rcl."""
    robot.start()
    for number in set(range(256)) - {Transition.TRANSITION_CONFIGURE, 5}:
        request = ChangeState.Request(transition=Transition(id=number))
        assert not robot.call(ChangeState, f'{NODE}/change_state', request).success
    for label in ('transition_success', 'transition_error', FORGED, LONG, 'Configure', ' '):
        request = ChangeState.Request(transition=Transition(label=label))
        assert not robot.call(ChangeState, f'{NODE}/change_state', request).success
    assert robot.state() == 'unconfigured'
    assert robot.change_state('configure')


def test_frames_go_on_during_a_flood_of_requests(robot: Any) -> None:
    robot.start_active()
    camera, labels = robot.camera(), robot.listen(Image, LABELS)
    client = robot.peer.create_client(GetState, f'{NODE}/get_state')
    robot.wait(client.service_is_ready)
    image = np.zeros((90, 120, 3), np.uint8)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for _ in range(100):
            client.call_async(GetState.Request())
        camera.publish(robot.message(image, time.time_ns()))
        robot.spin_for(0.05)
    robot.wait(lambda: len(labels) >= 10, 10)
    assert robot.state() == 'active'


HOSTILE_SEARCHES: list[dict[str, Any]] = [
    {'code': bytes(3_000_000), 'codebook': 'x'},
    {'code': b'\xff', 'codebook': FORGED},
    {'code': b'\xff', 'codebook': LONG},
    {'code': bytes(4), 'radius': 65535, 'max_count': 2**32 - 1},
    {'segment_id': 2**32 - 1, 'max_count': 2**32 - 1, 'radius': 65535},
    {'segment_id': 0, 'max_count': 0},
]


def test_find_similar(robot: Any, coded_model_file: Path) -> None:
    robot.start_active(model=str(coded_model_file))
    for fields in HOSTILE_SEARCHES:
        answer = robot.call(FindSimilar, f'{NODE}/find_similar', FindSimilar.Request(**fields))
        assert not answer.success
        assert 0 < len(answer.message) < 600
        assert answer.message.isprintable()


def images() -> Iterator[Image]:
    for text in (FORGED, LONG, '', '\0', 'rgb8\n'):
        for encoding, frame in ((text, 'camera'), ('16UC1', f'depth {text}'), ('rgb8', text)):
            data = bytes(range(48)) * 2
            yield Image(
                header=Header(frame_id=frame), height=4, width=4, step=24, encoding=encoding, data=data
            )
    yield Image(height=2**32 - 1, width=2**32 - 1, step=2**32 - 1, encoding='rgb8', data=b'\0')


def payloads() -> Iterator[bytes]:
    """Serialized images that are none: ends, sizes, texts, byte orders and representations."""
    head, stamp = b'\0\1\0\0', struct.pack('<iI', 1, 1)
    size, data = struct.pack('<II', 2, 2), struct.pack('<III', 6, 12, 0)
    yield from (b'', b'\0', head, head + b'\xff' * 64)
    yield head + stamp + struct.pack('<I', 0xFFFFFFF0) + b'abcd'  # a text of 4 GB
    yield (
        head
        + stamp
        + struct.pack('<I', 4)
        + b'\xff\xfe\xc3\0'
        + size
        + struct.pack('<I', 4)
        + b'\xff\xfe\xc3\0'
    )
    yield head + stamp + struct.pack('<I', 4) + b'ABCD' + size + struct.pack('<I', 4) + b'rgb8' + data
    for kind in (0, 3, 7):  # big-endian, parameter list, XCDR2
        yield bytes([0, kind, 0, 0]) + b'\1' * 40


def compressed() -> Iterator[CompressedImage]:
    for text in (FORGED, LONG, '', f'rgb8; jpeg compressed {FORGED}', f'16UC1; compressedDepth {FORGED}'):
        yield CompressedImage(header=Header(frame_id=text), format=text, data=b'\xff\xd8 no image')


@pytest.mark.parametrize(
    ('kind', 'made', 'transport'),
    [(Image, images, 'raw'), (CompressedImage, compressed, 'compressed')],
    ids=['raw', 'compressed'],
)
def test_texts_in_images(robot: Any, kind: Any, made: Callable[[], Iterator[Any]], transport: str) -> None:
    node = robot.start_active(image_transport=transport)
    node._report_error.__globals__['_THROTTLE_S'] = 0.0  # every message goes to the log
    try:
        robot.listen(Image, LABELS)
        camera = robot.camera('/image' if transport == 'raw' else '/image/compressed', kind)
        for message in (*made(), *payloads()):
            camera.publish(message)
            robot.spin_for(0.1)
        assert robot.state() == 'active'
        for status in robot.diagnostics[-1].status:
            assert status.message.isprintable()
            assert all(v.value.isprintable() and len(v.value) < 1000 for v in status.values)
    finally:
        node._report_error.__globals__['_THROTTLE_S'] = 5.0


def test_the_type_of_a_foreign_publisher_is_told_in_one_line() -> None:
    class Endpoint:
        topic_type = f'evil/msg/{FORGED}'

    for topic_type in (FORGED, LONG):
        Endpoint.topic_type = topic_type
        told = find_qos_mismatch([Endpoint()], 'sensor_msgs/msg/Image', None)  # type: ignore[arg-type]
        assert told.isprintable()
        assert len(told) < 300

"""Live evaluation: the real node over DDS at true rate."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import UnavailableError
from seg_ros.inference.drops import Drop
from seg_ros.inference.settings import Settings
from seg_ros.replay.latency import LatencyLog
from seg_ros.replay.live import drops_by_cause, evaluate_live
from seg_ros.replay.options import ReplayOptions
from seg_ros.replay.recording import NodeCounts
from seg_ros.replay.resources import ResourceMeter
from seg_ros.synthetic import RenderedDrive

SECOND = 1_000_000_000
TOPIC = '/front/image_raw'


def counts(n_in: int, n_out: int, **dropped: int) -> NodeCounts:
    return NodeCounts(n_in, n_out, {cause.value: dropped.get(cause.value, 0) for cause in Drop})


def log_of(n_in: int, n_out: int) -> LatencyLog:
    latencies = LatencyLog()
    for index in range(n_in):
        latencies.publish(index, index)
    for index in range(n_out):
        latencies.result(index, index + 0.5)
    return latencies


def test_drops_add_up_to_the_missing_frames() -> None:
    # 100 published, 3 lost on the way, 17 replaced, 1 bad, 75 processed, 73 came back, 4 still in the node
    found = drops_by_cause(log_of(100, 73), counts(97, 75, replaced=17, bad=1))
    assert found == {'replaced': 17, 'bad': 1, 'lost_input': 3, 'lost_output': 2, 'unfinished': 4}
    assert drops_by_cause(log_of(5, 5), counts(5, 5)) == {}
    assert drops_by_cause(log_of(5, 5), counts(3, 2)) == {}  # the last diagnostics are older
    assert sum(drops_by_cause(log_of(9, 2), counts(0, 0)).values()) == 7


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='Linux has /proc')
def test_resources_are_those_of_the_process() -> None:
    code = 'a = bytearray(80_000_000)\nprint(1, flush=True)\nwhile True: pass'
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            meter, started_s = ResourceMeter(process.pid), time.monotonic()
            time.sleep(0.4)
            found = meter.read()
            assert found is not None
            assert 0 < found.cpu_cores <= 1 + 0.05 / (time.monotonic() - started_s)
            assert 80 < found.peak_memory_mb < 200
        finally:
            process.kill()
    assert meter.read() is None


def test_without_ros_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n in ('seg_ros.replay.run', 'seg_ros.replay.player')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    with pytest.raises(UnavailableError, match=r'seg_ros\[ros\]'):
        evaluate_live(tmp_path / 'a', tmp_path / 'b', Settings(), ReplayOptions())


@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_a_bag_at_true_rate_through_the_real_node(tmp_path: Path, model_file: Path) -> None:
    pytest.importorskip('rclpy')
    drive, path, output = RenderedDrive(4, 12, 90, 120), tmp_path / 'in.mcap', tmp_path / 'live.mcap'
    with BagWriter(path) as bag:
        for index in range(12):
            stamp = SECOND + index * SECOND // 10
            bag.write_image(TOPIC, drive[index][0], stamp, frame_id='front')
            if index >= 9:  # a burst of three frames: the node takes the newest, or two of them
                bag.write_image(TOPIC, drive[index][0], stamp + 1, received_ns=stamp)
                bag.write_image(TOPIC, drive[index][0], stamp + 2, received_ns=stamp)
    settings = Settings(model=str(model_file), backend='torch', device='cpu', n_threads=1)
    found = evaluate_live(path, output, settings, ReplayOptions(), topic=TOPIC)
    with BagReader(output) as bag:
        stamps = {message.stamp_ns for message in bag.messages('/seg_ros/labels')}
        n_played = bag.image_topic(TOPIC).n_messages
    assert found.frames_in == n_played == 18
    assert found.frames_out == len(stamps)
    assert 1 <= found.frames_out <= 18
    assert sum(found.drops.values()) == found.frames_in - found.frames_out
    assert found.age_ms is not None
    assert 0 < found.age_ms['p50'] <= found.age_ms['p90'] <= found.age_ms['p99'] <= found.age_ms['max']
    assert found.stage_ms['network_ms'] > 0
    assert found.resources is not None
    assert 0 < found.resources.cpu_cores < os.cpu_count()
    assert found.resources.peak_memory_mb > 100
    figures = found.as_json()
    assert figures['resources'].keys() == {'cpu_cores', 'peak_memory_mb'}
    assert np.isfinite(list(figures['age_ms'].values())).all()

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from seg_ros.bag_evaluation.measures import PartMeasures
from seg_ros.bag_evaluation.run import Request
from seg_ros.bag_evaluation.systems import System, find_systems
from seg_ros.bag_evaluation.truth import LabelSource
from seg_ros.bags.writer import BagWriter
from seg_ros.inference.settings import Settings
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(4, 24, 90, 120)
SECOND = 1_000_000_000
TOPIC, TRUTH = '/camera/image_raw', '/camera/labels'
PLAIN = Settings(backend='torch', device='cpu', n_threads=1)


@pytest.fixture(scope='session')
def street_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four images at 10 Hz; every other frame has true labels, and frame 7 cannot be read."""
    path = tmp_path_factory.mktemp('bags') / 'street.mcap'
    with BagWriter(path) as bag:
        for index in range(len(DRIVE)):
            image, labels = DRIVE[index]
            stamp = 1_700_000_000 * SECOND + index * SECOND // 10
            bag.write_image(TOPIC, image[:, :0] if index == 7 else image, stamp, frame_id='front')
            if index % 2 == 0:
                bag.write_image(TRUTH, labels, stamp)
    return path


@pytest.fixture
def systems(coded_model_file: Path) -> tuple[System, ...]:
    """A small network with codes, in float32 and bfloat16."""
    found, failures = find_systems([str(coded_model_file)], ['fp32', 'bf16'], PLAIN)
    assert not failures
    return tuple(found)


@pytest.fixture
def request_of() -> Callable[..., Request]:
    """Makes requests with parts of eight frames and runs of four; the first system is the reference."""

    def make(bag: Path, systems: Sequence[System], folder: Path, **changes: object) -> Request:
        plain = Request((bag,), TOPIC, LabelSource(TRUTH), tuple(systems), systems[0], folder, 8, 4)
        return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def assert_equal() -> Callable[[PartMeasures, PartMeasures], None]:
    """Checks that measures are equal to the digit, but for times and memory."""

    def check(one: PartMeasures, other: PartMeasures) -> None:
        for name, counts in one.runs.items():
            np.testing.assert_array_equal(counts, other.runs[name], name)
        for name, values in one.frames.items():
            if name not in ('times_ms', 'total_ms', 'wall_ms', 'cpu_ms', 'memory_mb'):
                np.testing.assert_array_equal(values, other.frames[name], name)

    return check

"""The node with a model that has embeddings, and the filter that they drive."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.synthetic import RenderedDrive

SECOND = 1_000_000_000
IMAGE = RenderedDrive(5, 1, 90, 120)[0][0]
ENABLED = {'embedding_filter.enabled': True}


def labels_of(model: Path, **values: Any) -> np.ndarray:
    settings = Settings.from_values({'model': str(model), 'backend': 'torch', 'device': 'cpu', **values})
    return Segmenter.load(settings)(IMAGE).labels


def test_labels_are_filtered_and_the_filter_can_be_changed(robot: Any, embedded_model_file: Path) -> None:
    robot.start_active(model=str(embedded_model_file), **ENABLED)
    labels, camera = robot.listen(Image, '/seg_ros/labels'), robot.camera()
    camera.publish(robot.message(IMAGE, SECOND))
    robot.wait(lambda: labels)
    robot.wait(lambda: 'filter_ms' in robot.values())
    robot.set('embedding_filter.iterations', 30)
    robot.set('embedding_filter.hardness', 0.05)
    camera.publish(robot.message(IMAGE, 2 * SECOND))
    robot.wait(lambda: len(labels) > 1)
    own, soft = (np.frombuffer(message.data, np.uint8).reshape(90, 120) for message in labels[:2])
    assert (own == labels_of(embedded_model_file, **ENABLED)).mean() > 0.999
    softer = {**ENABLED, 'embedding_filter.iterations': 30, 'embedding_filter.hardness': 0.05}
    assert (soft == labels_of(embedded_model_file, **softer)).mean() > 0.999
    assert (soft != own).mean() > 0.01


def test_a_filter_needs_embeddings(robot: Any) -> None:
    robot.start(**ENABLED)
    assert not robot.change_state('configure')


@pytest.mark.parametrize('window', [4, 99])
def test_a_window_that_does_not_fit_is_told_when_configured(
    robot: Any, embedded_model_file: Path, window: int
) -> None:
    robot.start(model=str(embedded_model_file), **ENABLED, **{'embedding_filter.window': window})
    assert not robot.change_state('configure')
    robot.set('embedding_filter.window', 5)
    assert robot.change_state('configure')

"""Layouts for viewers show topics that an annotated bag has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from seg_ros.bag_evaluation import annotated_topics as topics
from seg_ros.bag_evaluation.annotation import AnnotatedBag
from seg_ros.bag_evaluation.views import write_views
from seg_ros.bags.reader import BagReader
from seg_ros.errors import BagError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.resources import resource

TOPIC = re.compile(r'(/[a-z_]+(?:/[a-z_]+)+)(?:\.data)?')
CAMERA = '/robot/front/image_raw'


@pytest.fixture(scope='module')
def written(coded_model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Topics, with their types, of an annotated bag that has everything."""
    segmenter = Segmenter.load(
        Settings(model=str(coded_model_file), backend='torch', device='cpu', n_threads=1)
    )
    image = np.random.default_rng(3).integers(0, 255, (96, 128, 3), np.uint8)
    found = segmenter(image, confidence=True, segments=True)
    path = tmp_path_factory.mktemp('views') / 'annotated.mcap'
    with AnnotatedBag(path, segmenter, CAMERA) as bag:
        bag.write(
            *(10**9, 10**9, 'front', image, found.labels, found.confidence, found.segments),
            truth=found.labels,
            values=dict.fromkeys(topics.PLOTTED, 0.5),
        )
    with BagReader(path) as reader:
        return {topic.name: topic.type for topic in reader.topics}


def panels_in(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        assert set(tree) == {'direction', 'first', 'second', 'splitPercentage'}
        assert tree['direction'] in ('row', 'column')
        yield from (*panels_in(tree['first']), *panels_in(tree['second']))


def found_in(path: Path) -> set[str]:
    return set(TOPIC.findall(path.read_text()))


def test_every_topic_of_the_views_is_written_and_every_picture_is_shown(
    written: dict[str, str], tmp_path: Path
) -> None:
    layout, rviz = write_views(tmp_path, CAMERA)
    pictures = {topic for topic, kind in written.items() if kind.endswith('Image')}
    for path in (layout, rviz):
        assert found_in(path) <= set(written)
        assert f'{CAMERA}/compressed' in found_in(path)
    in_foxglove = pictures - {topics.LABELS, topics.SEGMENT_IDS}  # they have pictures in colours
    assert found_in(layout) == in_foxglove | {topics.MODEL_INFO} | {
        topics.value_topic(name) for name in topics.PLOTTED
    }
    assert found_in(rviz) == pictures


def test_the_layout_has_the_form_of_foxglove(tmp_path: Path) -> None:
    layout = json.loads(write_views(tmp_path, CAMERA)[0].read_text())
    assert set(layout) == {'configById', 'globalVariables', 'userNodes', 'playbackConfig', 'layout'}
    panels = list(panels_in(layout['layout']))
    assert sorted(panels) == sorted(layout['configById'])
    assert {panel.partition('!')[0] for panel in panels} == {'Image', 'Plot', 'RawMessages'}


def test_panels_without_messages_are_left_out(written: dict[str, str], tmp_path: Path) -> None:
    few = [f'{CAMERA}/compressed', topics.OVERLAY, topics.value_topic('confidence')]
    layout, rviz = write_views(tmp_path, CAMERA, few)
    content = json.loads(layout.read_text())
    assert sorted(panels_in(content['layout'])) == ['Image!camera', 'Image!overlay', 'Plot!accuracy']
    assert found_in(layout) == set(few)
    assert found_in(rviz) == {f'{CAMERA}/compressed', topics.OVERLAY}


def test_rviz_reads_the_displays_that_it_knows(tmp_path: Path) -> None:
    _, rviz = write_views(tmp_path, CAMERA)
    content = yaml.safe_load(rviz.read_text())
    shipped = yaml.safe_load(resource('config/segmentation.rviz').read_text())
    assert set(content) == set(shipped)
    displays = content['Visualization Manager']['Displays']
    assert {display['Class'] for display in displays} == {'rviz_default_plugins/Image'}
    assert len({display['Name'] for display in displays}) == len(displays)
    with pytest.raises(BagError, match='cannot be written'):
        write_views(tmp_path / 'absent', CAMERA)

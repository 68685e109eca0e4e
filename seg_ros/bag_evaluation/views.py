"""Views of an annotated bag: a layout for Foxglove and a configuration for RViz, with its topics."""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from seg_ros.bag_evaluation.annotated_topics import image_topic
from seg_ros.errors import BagError
from seg_ros.resources import resource

FOXGLOVE, RVIZ = 'evaluation_foxglove.json', 'evaluation.rviz'
"""Names of the files, in ``config/`` and in the folder of an evaluation."""

_CAMERA = '/camera/image_raw/compressed'
_IS_TOPIC = Callable[[str], bool]


def write_views(folder: Path, camera_topic: str, written: Collection[str] | None = None) -> list[Path]:
    """Write both files.

    Args:
        folder: Existing folder.
        camera_topic: Topic of the images in the evaluated bag.
        written: Topics of the annotated bag; panels and displays without any of them are left out. None = all
            are kept.

    Returns:
        Paths of the files.

    Raises:
        BagError: A file cannot be written.
    """
    camera = image_topic(camera_topic)

    def is_shown(topic: str) -> bool:
        return written is None or topic in written

    contents = {FOXGLOVE: foxglove_layout(camera, is_shown), RVIZ: rviz_configuration(camera, is_shown)}
    try:
        for name, content in contents.items():
            (folder / name).write_text(content, encoding='utf-8')
    except OSError as err:
        raise BagError(f'{folder} cannot be written: {err.strerror}; choose another folder') from err
    return [folder / name for name in contents]


def foxglove_layout(camera: str, is_shown: _IS_TOPIC) -> str:
    """The layout as JSON.

    Args:
        camera: Topic of the images in the annotated bag.
        is_shown: Tells whether the annotated bag has a topic.
    """
    layout: dict[str, Any] = json.loads(_template(FOXGLOVE))
    panels = layout['configById']
    panels['Image!camera']['imageMode']['imageTopic'] = camera
    for panel in panels.values():
        if 'paths' in panel:
            panel['paths'] = [path for path in panel['paths'] if any(map(is_shown, topics_of(path)))]
    kept = {key: panel for key, panel in panels.items() if any(map(is_shown, topics_of(panel)))}
    layout |= {'configById': kept, 'layout': _pruned(layout['layout'], kept)}
    return json.dumps(layout, indent=2) + '\n'


def rviz_configuration(camera: str, is_shown: _IS_TOPIC) -> str:
    """The configuration as YAML; see `foxglove_layout` for the arguments."""
    content: dict[str, Any] = yaml.safe_load(_template(RVIZ))
    manager = content['Visualization Manager']
    for display in manager['Displays']:
        if display['Topic']['Value'] == _CAMERA:
            display['Topic']['Value'] = camera
    manager['Displays'] = [d for d in manager['Displays'] if is_shown(d['Topic']['Value'])]
    return yaml.safe_dump(content, sort_keys=False)


def topics_of(panel: Any) -> Iterator[str]:
    """Topics in a part of a Foxglove layout, without the fields of their messages."""
    if isinstance(panel, dict):
        for key, value in panel.items():
            if key in ('imageTopic', 'topicPath', 'value') and isinstance(value, str):
                yield value.partition('.')[0]
            else:
                yield from topics_of(value)
    elif isinstance(panel, list):
        for part in panel:
            yield from topics_of(part)


def _pruned(tree: Any, kept: Collection[str]) -> Any:
    """The tree of splits without panels that are not kept; None if nothing is left."""
    if isinstance(tree, str):
        return tree if tree in kept else None
    first, second = (_pruned(tree[side], kept) for side in ('first', 'second'))
    if first is None or second is None:
        return second if first is None else first
    return {**tree, 'first': first, 'second': second}


def _template(name: str) -> str:
    return resource(f'config/{name}').read_text(encoding='utf-8')

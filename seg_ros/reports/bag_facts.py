"""Facts of a report on bags: bags, computer, versions, and the ways in which measures are computed."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from seg_ros.reports.bag_tables import MOST_ROWS, BagCell, BagTable
from seg_ros.reports.bag_values import (
    MISSING,
    as_number,
    count,
    file_size,
    image_size,
    look_up,
    seconds,
    system_name,
)

_LONGEST_COMMAND = 2000
_METHODS = {
    'Interval': 'The bags are cut into runs of 32 consecutive frames. Runs are drawn with replacement many '
    'times, and the interval holds 95 % of the results (bootstrap). Frames of one run resemble each '
    'other, so they are drawn together. Few runs give no interval.',
    'Comparison': 'Two systems see the same frames, so their difference is computed from the same runs. '
    'Two systems cannot be told apart if the 95 % interval of the difference contains 0.',
    'Mean IoU': 'Intersection over union of each class over the labelled pixels of all frames together, then '
    'the mean over the classes that occur. Over time, it is the mean IoU of each frame.',
    'Boundary IoU': 'IoU of the pixels near the borders of each class. It is low for blurred outlines.',
    'Calibration error (ECE)': 'Pixels are sorted by confidence into 15 bins. The ECE is the mean difference '
    'between confidence and accuracy of a bin, weighted by the number of pixels.',
    'Agreement': 'Fraction of the pixels to which the system and the reference model give the same class.',
    'Flicker': 'Fraction of the pixels whose class changes between consecutive frames. To compensate the '
    'motion, the labels are first moved along the dense optical flow, so that moving objects do not count.',
    'Flicker of codes': 'Fraction of the bits of a code that change between frames, for tracked segments.',
    'Flicker of track ids': 'Fraction of the pixels whose track id changes, with compensation of the motion.',
    'Confidence': 'Largest softmax probability of a pixel. Over time, it is the mean of each frame.',
    'Novelty': 'Score of the difference between a frame and the training images. A frame above the threshold '
    'is out of distribution: its labels are not reliable.',
    'Latency': 'Time from the decoded image to the labels on this computer. p50 is the median; 1 % of the '
    'frames take longer than p99.',
    'Long bags': 'Plots over time have at most 600 points. A point is then the mean of several frames.',
}
_LIVE = {
    'Live': 'The node received the bag at its recorded rate over DDS. The age is the time from the '
    'publication of an image to the arrival of its labels. A drop is a frame without labels, counted by '
    'cause.'
}


def run_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """Command, computer and versions, name to text."""
    command = results.get('command')
    machine = results.get('machine')
    words = [str(word) for word in command] if isinstance(command, list) else [str(command or '')]
    text = shlex.join(words) if len(words) > 1 else words[0]
    facts = {
        'command': text if len(text) <= _LONGEST_COMMAND else text[: _LONGEST_COMMAND - 1] + '…',
        'computer': ', '.join(_machine_texts(machine)) if isinstance(machine, Mapping) else '',
        'seg_ros': str(results.get('seg_ros') or ''),
        'created': str(results.get('created') or ''),
        'format of results.json': f'version {results.get("schema")}'
        if results.get('schema') is not None
        else '',
    }
    return {name: value for name, value in facts.items() if value}


def _machine_texts(machine: Mapping[str, Any]) -> list[str]:
    texts = []
    for name, value in machine.items():
        if value is not None and value != '':
            texts.append({'cores': f'{value} cores', 'python': f'Python {value}'}.get(name, str(value)))
    return texts


def methods(is_live: bool) -> dict[str, str]:
    """The way in which each measure is computed, name to text."""
    return {**_METHODS, **_LIVE} if is_live else _METHODS


def bags_table(bags: Sequence[Mapping[str, Any]]) -> BagTable:
    """Facts of each bag."""
    head = ['bag', 'topic', 'images', 'true labels', 'frames', 'evaluated', 'length', 'rate']
    rows = [[BagCell(text) for text in _bag_texts(bag)] for bag in bags[:MOST_ROWS]]
    return BagTable(head, rows, 4, max(len(bags) - MOST_ROWS, 0))


def _bag_texts(bag: Mapping[str, Any]) -> list[str]:
    rate = as_number(bag.get('frame_rate_hz'))
    labels = str(bag.get('labels') or 'none')
    n_labelled = as_number(bag.get('n_labelled'))
    if bag.get('labels') and n_labelled is not None:
        labels += f', {count(n_labelled)} frames'
    return [
        str(bag.get('name') or ''),
        str(bag.get('topic') or MISSING),
        f'{image_size(bag.get("size"))} {bag.get("encoding") or ""}'.strip() or MISSING,
        labels,
        count(as_number(bag.get('n_frames'))),
        count(as_number(bag.get('n_evaluated'))),
        seconds(as_number(bag.get('duration_s'))),
        MISSING if rate is None else f'{rate:.3g} Hz',
    ]


def models_table(systems: Sequence[Mapping[str, Any]]) -> BagTable:
    """Facts of each system."""
    head = ['system', 'file', 'digest', 'backend', 'device', 'input', 'parameters', 'size', 'frames']
    return BagTable(head, [_model_cells(k, system) for k, system in enumerate(systems)], 6)


def _model_cells(k: int, system: Mapping[str, Any]) -> list[BagCell]:
    parameters = as_number(system.get('n_parameters'))
    texts = [
        str(system.get('path') or MISSING),
        str(system.get('digest') or MISSING).split(':')[-1][:12],
        str(system.get('backend') or MISSING),
        str(system.get('device') or MISSING),
        image_size(system.get('input_size')) or MISSING,
        MISSING if parameters is None else f'{parameters / 1e6:.3g} M',
        file_size(as_number(system.get('n_bytes'))),
        count(as_number(system.get('n_frames'))),
    ]
    return [BagCell(system_name(system), system=k), *map(BagCell, texts)]


def evaluated_text(bags: Sequence[Mapping[str, Any]]) -> str:
    """Numbers of bags and frames, in a few words."""
    frames = [as_number(bag.get('n_evaluated')) for bag in bags]
    lengths = [as_number(bag.get('duration_s')) for bag in bags]
    labelled = sum(as_number(look_up(bag, 'n_labelled')) or 0 for bag in bags)
    parts = [
        '1 bag' if len(bags) == 1 else f'{count(len(bags))} bags',
        f'{count(sum(n or 0 for n in frames))} frames',
        seconds(sum(length or 0 for length in lengths)),
        f'{count(labelled)} with true labels' if labelled else 'no true labels',
    ]
    return ' · '.join(parts)

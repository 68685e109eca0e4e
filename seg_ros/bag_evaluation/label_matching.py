"""Frames of the label messages of a topic: by stamps, else by times of recording.

A stamp that one frame has alone names it. Stamps that are zero or negative, or that several frames have, do
not: cameras without a clock, and recordings of a played bag. Then a label belongs to the frame that was
recorded at the same time. If none was, labels of a repeated stamp belong to its frames in their order, if
there are as many of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg_ros.bag_evaluation.frames import BagProblem, FrameIndex, stamped
from seg_ros.bags.reader import BagReader
from seg_ros.errors import BagError

Matches = dict[int, int]
"""Position of a frame -> position of its label."""


@dataclass(frozen=True)
class LabelMatches:
    """Labels of the frames of a bag.

    Attributes:
        positions: (N,) int64, position of the label message of each frame; -1 = none.
        problem: Labels that belong to no frame, or that cannot be read; None = all of them are used.
    """

    positions: npt.NDArray[np.int64]
    problem: BagProblem | None


def match_topic(path: Path, topic: str, frames: FrameIndex) -> LabelMatches:
    """Read the stamps of a topic of labels and find their frames.

    Args:
        path: Path of the bag.
        topic: Topic of the labels.
        frames: Frames of the bag.
    """
    stamps, received = list[int](), list[int]()
    try:
        with BagReader(path) as bag:
            for stamp, message in stamped(bag, topic):
                stamps.append(stamp)
                received.append(message.received_ns)
    except BagError as err:
        return LabelMatches(np.full(frames.n_frames, -1), BagProblem(f'labels: {err}', None))
    found = match_times(frames.stamps_ns.tolist(), frames.received_ns.tolist(), stamps, received)
    positions = np.full(frames.n_frames, -1, np.int64)
    positions[list(found)] = list(found.values())
    n_left = len(stamps) - len(found)
    return LabelMatches(positions, _left_over(topic, n_left, set(stamps), frames) if n_left else None)


def match_times(
    frame_stamps: Sequence[int],
    frame_times: Sequence[int],
    label_stamps: Sequence[int],
    label_times: Sequence[int],
) -> Matches:
    """Find the frames of labels.

    Args:
        frame_stamps: Stamp of each frame in ns.
        frame_times: Time of recording of each frame in ns.
        label_stamps: Stamp of each label in ns.
        label_times: Time of recording of each label in ns.
    """
    frames_of, found = _grouped(range(len(frame_stamps)), frame_stamps), Matches()
    untold = list[int]()
    for stamp, labels in _grouped(range(len(label_stamps)), label_stamps).items():
        frames = frames_of.get(stamp, [])
        if stamp <= 0 or not frames:
            untold += labels
        elif len(frames) == 1:
            found[frames[0]] = labels[0]
        else:
            by_time = _recorded_together(frames, frame_times, labels, label_times)
            found |= by_time or _in_order(frames, labels)
    unstamped = [k for k, stamp in enumerate(frame_stamps) if stamp <= 0]
    found |= _recorded_together(unstamped, frame_times, sorted(untold), label_times)
    used = set(found.values())
    frames = [k for k, stamp in enumerate(frame_stamps) if stamp > 0 and k not in found]
    labels = [k for k, stamp in enumerate(label_stamps) if stamp <= 0 and k not in used]
    return found | _recorded_together(frames, frame_times, labels, label_times)


def _grouped(positions: Iterable[int], values: Sequence[int]) -> dict[int, list[int]]:
    """Value -> its positions."""
    groups = defaultdict[int, list[int]](list)
    for position in positions:
        groups[values[position]].append(position)
    return groups


def _recorded_together(
    frames: Iterable[int], frame_times: Sequence[int], labels: Iterable[int], label_times: Sequence[int]
) -> Matches:
    """Frames and labels with equal times of recording."""
    frames_at, found = _grouped(frames, frame_times), Matches()
    for time, together in _grouped(labels, label_times).items():
        found |= _in_order(frames_at.get(time, []), together)
    return found


def _in_order(frames: Sequence[int], labels: Sequence[int]) -> Matches:
    """Pairs in the order of the topics; none if the numbers differ."""
    return dict(zip(frames, labels, strict=True)) if len(frames) == len(labels) else Matches()


def _left_over(topic: str, n_labels: int, label_stamps: set[int], frames: FrameIndex) -> BagProblem:
    """Reason why labels belong to no frame."""
    stamps = frames.stamps_ns
    is_vague = min(label_stamps) <= 0 or stamps.min() <= 0 or len(np.unique(stamps)) < len(stamps)
    reason = f'labels on {topic} belong to no frame of {frames.topic}'
    if is_vague:
        reason += '; stamps are zero or repeated, and no frame was recorded at the same time'
    return BagProblem(reason, n_labels)

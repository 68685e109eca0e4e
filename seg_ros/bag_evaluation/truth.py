"""True labels of the frames of a bag: on a topic of the bag, or in a folder of label images."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.bag_evaluation.frames import BagFrame, BagProblem, FrameIndex, stamped
from seg_ros.bag_evaluation.label_matching import LabelMatches, match_topic
from seg_ros.bag_evaluation.label_messages import LabelKind, kind_of, labels_of
from seg_ros.bags.image_names import bag_stem
from seg_ros.bags.messages import Message
from seg_ros.bags.reader import BagReader
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_labels
from seg_ros.errors import BagError, DatasetError, SegRosError
from seg_ros.images.files import IMAGE_SUFFIXES

_N_KEPT = 64
"""Maximum number of labels that wait for their frame if the topics have different orders."""

_NUMBERS = re.compile(r'(\d+)(?:_(\d+))?$')
_MILLISECONDS = 13
"""Number of digits of a time in milliseconds since 1970 in the names of seg_ros make-images."""


class Truth(Protocol):
    """True labels of a bag."""

    name: str
    """Topic or folder, for reports."""

    def labels(self, frame: BagFrame) -> UInt8Array | None:
        """True labels of a frame, (H, W) uint8, 255 = void; None if it has none.

        Raises:
            DatasetError, ImageError, BagError: The frame's labels cannot be used; the message says why.
        """


class TopicTruth:
    """Labels on a topic: images of class ids, or images of the classes' colours.

    Frames should be asked for in the order of the bag; others take longer.

    Args:
        frames: Frames of the bag.
        topic: Topic of the labels.
        classes: Classes of the labels.
        matches: Labels of the frames, if they are known.

    Raises:
        BagError: The bag has no such topic.
    """

    def __init__(
        self, frames: FrameIndex, topic: str, classes: ClassSet, matches: LabelMatches | None = None
    ) -> None:
        self.name = '/' + topic.lstrip('/')
        self._classes, self._path = classes, frames.path
        _check_topic(frames.path, self.name)
        positions = (matches or match_topic(frames.path, self.name, frames)).positions
        self._position_of = {k: position for k, position in enumerate(positions.tolist()) if position >= 0}
        self._used = set(self._position_of.values())
        self._waiting = dict[int, Message]()
        self._messages, self._next = self._read(), 0

    def labels(self, frame: BagFrame) -> UInt8Array | None:
        """See :class:`Truth`."""
        position = self._position_of.get(frame.index)
        message = None if position is None else self._at(position)
        if message is None:
            return None
        return checked(labels_of(message, self._classes, self._kind_of_all), frame, self._classes)

    def _at(self, position: int) -> Message | None:
        """The message at a position; those before it that frames have wait for them."""
        if position in self._waiting:
            return self._waiting.pop(position)
        if position < self._next:
            self._messages, self._next = self._read(), 0
        for message in self._messages:
            self._next += 1
            if self._next == position + 1:
                return message
            if self._next - 1 in self._used:
                self._waiting[self._next - 1] = message
            if len(self._waiting) > _N_KEPT:
                del self._waiting[next(iter(self._waiting))]
        return None

    @cached_property
    def _kind(self) -> LabelKind | None:
        """Kind of the values of the first image that leaves no doubt; None if the topic has no such image."""
        for message in self._read():
            try:
                kind = kind_of(message, self._classes)
            except SegRosError:
                continue
            if kind is not None:
                return kind
        return None

    def _kind_of_all(self) -> LabelKind | None:
        return self._kind

    def _read(self) -> Iterator[Message]:
        with BagReader(self._path) as bag:
            for _, message in stamped(bag, self.name):
                yield message


class FolderTruth:
    """Labels in a folder of label images, one file a frame.

    A file is named by its frame: as ``seg_ros make-images`` names images (``BAG_MILLISECONDS.png``), by the
    stamp in nanoseconds, or by the position of the frame in its topic. With several bags, the labels of a bag
    are in the subfolder of its name if there is one.

    Args:
        folder: Folder of the label images.
        frames: Frames of the bag.
        classes: Classes of the labels.

    Raises:
        DatasetError: The folder does not exist, or no file is named by a frame of the bag.
    """

    def __init__(self, folder: Path, frames: FrameIndex, classes: ClassSet) -> None:
        own = folder / bag_stem(frames.path)
        folder = own if own.is_dir() else folder
        if not folder.is_dir():
            raise DatasetError(f'there is no folder of labels {folder}; choose one with --labels')
        self.name = str(folder)
        self._classes = classes
        _check_classes(folder, classes)
        self._files = _match(folder, frames)
        if not self._files:
            raise DatasetError(
                f'no label image in {folder} is named by a frame of {frames.path}; expected names such as '
                f'{_names(frames, 0)} (the position of the frame, 0..{frames.n_frames - 1})'
            )

    @property
    def n_files(self) -> int:
        """Number of frames that have a file."""
        return len(self._files)

    def labels(self, frame: BagFrame) -> UInt8Array | None:
        """See :class:`Truth`."""
        path = self._files.get(frame.index)
        return None if path is None else checked(read_labels(path, self._classes), frame, self._classes)


@dataclass(frozen=True)
class LabelSource:
    """Where the true labels are, in a form that can be sent to another process.

    Attributes:
        topic: Topic of the bag; '' = none.
        folder: Folder of label images; None = none.
        matches: Labels of the frames of a bag on the topic; None = not yet known.
    """

    topic: str = ''
    folder: Path | None = None
    matches: LabelMatches | None = field(default=None, compare=False, repr=False)

    def matched(self, frames: FrameIndex) -> 'LabelSource':
        """The same for one bag, with the labels of its frames.

        Raises:
            BagError: The bag has no such topic.
        """
        if not self.topic:
            return self
        name = '/' + self.topic.lstrip('/')
        _check_topic(frames.path, name)
        return replace(self, matches=match_topic(frames.path, name, frames))

    @property
    def problem(self) -> BagProblem | None:
        """Labels that belong to no frame."""
        return self.matches.problem if self.matches else None

    def open(self, frames: FrameIndex, classes: ClassSet) -> Truth | None:
        """Open the labels of a bag; None if there are none."""
        if self.topic:
            return TopicTruth(frames, self.topic, classes, self.matches)
        return None if self.folder is None else FolderTruth(self.folder, frames, classes)


def _check_topic(path: Path, name: str) -> None:
    """Refuse a topic that a bag does not have."""
    with BagReader(path) as bag:
        names = [topic.name for topic in bag.topics]
    if name not in names:
        raise BagError(
            f'bag {path} has no labels on {name}; its topics are {", ".join(names)}: '
            'choose one of them with --labels-topic'
        )


def checked(labels: UInt8Array, frame: BagFrame, classes: ClassSet) -> UInt8Array:
    """Labels of a frame, if they fit its image and the classes.

    Raises:
        DatasetError: They have another size, or an id that is not a class.
    """
    if frame.image is not None and labels.shape != frame.image.shape[:2]:
        raise DatasetError(
            f'labels of frame {frame.index} have {labels.shape[1]}x{labels.shape[0]} pixels, its image '
            f'{frame.image.shape[1]}x{frame.image.shape[0]}; expected equal sizes'
        )
    high = labels[labels != UNLABELLED]
    if high.size and int(high.max()) >= len(classes):
        raise DatasetError(
            f'labels of frame {frame.index} hold the id {int(high.max())}; expected 0..{len(classes) - 1}, '
            f'or 255 for void: the model has the classes {", ".join(classes.names)}'
        )
    return labels


def _check_classes(folder: Path, classes: ClassSet) -> None:
    """Refuse labels whose class file, in the folder or beside it, has other classes."""
    for path in (folder / 'classes.yaml', folder.parent / 'classes.yaml'):
        if path.is_file():
            names = ClassSet.from_yaml(path).names
            if names != classes.names:
                raise DatasetError(
                    f'{path} has the classes {", ".join(names)}, but the model {", ".join(classes.names)}; '
                    'expected labels of the classes of the model'
                )
            return


def _match(folder: Path, frames: FrameIndex) -> dict[int, Path]:
    """Position of a frame -> its label file."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != '.')
    by_time, by_ms = dict[int, int](), dict[tuple[int, int], int]()
    number_of_ms = dict[int, int]()
    for index in range(frames.n_frames):
        time_ns = _time_ns(frames, index)
        by_time.setdefault(time_ns, index)
        ms = time_ns // 1_000_000
        number_of_ms[ms] = number_of_ms.get(ms, 0) + 1
        by_ms[ms, number_of_ms[ms]] = index
    found: dict[int, Path] = {}
    for path in paths:
        position = _frame_of(path.stem, bag_stem(frames.path), by_time, by_ms, frames.n_frames)
        if position is not None:
            found.setdefault(position, path)
    return found


def _frame_of(
    name: str, bag: str, by_time: dict[int, int], by_ms: dict[tuple[int, int], int], n_frames: int
) -> int | None:
    """Position of the frame that a file is named by; None if it is named otherwise."""
    match = _NUMBERS.fullmatch(name.removeprefix(f'{bag}_'))
    if not match:
        return None
    number, copy_number = int(match[1]), int(match[2] or 1)
    if name.startswith(f'{bag}_') and len(match[1]) >= _MILLISECONDS:
        return by_ms.get((number, copy_number))
    if number in by_time:
        return by_time[number]
    return number if number < n_frames and not match[2] else by_ms.get((number, copy_number))


def _names(frames: FrameIndex, index: int) -> str:
    """Names that the label file of a frame may have."""
    time_ns = _time_ns(frames, index)
    ms = f'{bag_stem(frames.path)}_{time_ns // 1_000_000:0{_MILLISECONDS}}.png'
    return f'{ms}, {time_ns}.png or {index:06}.png'


def _time_ns(frames: FrameIndex, index: int) -> int:
    stamp = int(frames.stamps_ns[index])
    return stamp if stamp > 0 else int(frames.received_ns[index])

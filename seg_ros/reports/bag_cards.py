"""Frames of a report on bags: cards of remarkable frames, and the frames of the scrubber."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seg_ros.bag_evaluation.gallery import GalleryFrame
from seg_ros.reports.bag_pictures import FramePictures, severity
from seg_ros.reports.bag_values import as_number, metric_name, milliseconds, percent, plain_number
from seg_ros.reports.html import Picture

_TITLES = {
    'worst': ('Worst', 'Lowest mean IoU of a frame, or lowest agreement without true labels.'),
    'best': ('Best', 'Highest mean IoU of a frame, or highest agreement without true labels.'),
    'flickering': (
        'Most flickering',
        'Most pixels change their class from the frame before, after compensation of the motion.',
    ),
    'uncertain': ('Least certain', 'Lowest mean confidence.'),
    'unlike': ('Most unlike the training images', 'Highest novelty.'),
}
REASON_WORDS = {reason: title.lower() for reason, (title, _) in _TITLES.items()}
"""Words of each reason to show a frame."""


@dataclass(frozen=True)
class FrameCard:
    """A frame as the page shows it.

    Attributes:
        key: Id of the card in the page.
        place: Position among the frames of the scrubber.
        title: Number and time of the frame.
        bag: Name of its bag.
        values: Measures, name and text.
        image: The image; the scrubber reads it from the card.
        others: Further pictures: labels, and the difference if there is one.
    """

    key: str
    place: int
    title: str
    bag: str
    values: list[tuple[str, str]]
    image: Picture
    others: list[Picture]


@dataclass(frozen=True)
class FrameGroup:
    """Frames that are shown for one reason.

    Attributes:
        reason: Reason of the gallery.
        title: Title of the group.
        note: Explanation.
        cards: Frames, the most remarkable first.
        elsewhere: Key and title of frames that an earlier group shows.
    """

    reason: str
    title: str
    note: str
    cards: list[FrameCard]
    elsewhere: list[tuple[str, str]]


def frame_groups(pictures: Sequence[FramePictures]) -> list[FrameGroup]:
    """Groups of frames, each frame in the first group that it belongs to."""
    shown: dict[int, FrameCard] = {}
    groups = []
    for reason, (title, note) in _TITLES.items():
        members = [k for k, picture in enumerate(pictures) if reason in picture.frame.reasons]
        members.sort(key=lambda k: severity(reason, pictures[k].frame))
        elsewhere = [(shown[k].key, shown[k].title) for k in members if k in shown]
        cards = {k: _card(k, pictures[k]) for k in members if k not in shown}
        shown |= cards
        if members:
            groups.append(FrameGroup(reason, title, note, list(cards.values()), elsewhere))
    return groups


def _card(place: int, pictures: FramePictures) -> FrameCard:
    frame = pictures.frame
    others = [p for p in (pictures.overlay, pictures.difference) if p is not None]
    return FrameCard(
        f'frame-{place}', place, _frame_title(frame), frame.bag, _value_texts(frame), pictures.image, others
    )


def _frame_title(frame: GalleryFrame) -> str:
    time = as_number(frame.time_s)
    return f'frame {frame.index}' + ('' if time is None else f' at {time:.2f} s')


def _value_texts(frame: GalleryFrame) -> list[tuple[str, str]]:
    """Measures of a frame as texts; values that are not finite are left out."""
    texts = []
    for name, value in frame.values.items():
        number = as_number(float(value))
        if number is not None:
            is_time, is_score = name.endswith('_ms'), name.startswith('novelty')
            text = milliseconds(number) if is_time else plain_number(number) if is_score else percent(number)
            texts.append((metric_name(name), text))
    return texts


def scrubber_frames(pictures: Sequence[FramePictures], groups: Sequence[FrameGroup]) -> list[dict[str, Any]]:
    """Frames of the scrubber as the script of the page reads them.

    Returns:
        Rows with ``labels`` (URI), ``image`` (URI) or ``card`` (id of the card that has the image), ``size``
        ([width, height]), ``title``, ``bag``, ``values`` (list of [name, text]) and ``reasons`` (words).
    """
    keys = {card.place: card.key for group in groups for card in group.cards}
    rows: list[dict[str, Any]] = []
    for place, picture in enumerate(pictures):
        frame = picture.frame
        source = {'card': keys[place]} if place in keys else {'image': picture.image.uri}
        rows.append(
            {
                **source,
                'labels': picture.layer.uri,
                'size': [picture.image.width, picture.image.height],
                'title': _frame_title(frame),
                'bag': frame.bag,
                'values': _value_texts(frame),
                'reasons': [REASON_WORDS[reason] for reason in frame.reasons if reason in REASON_WORDS],
            }
        )
    return rows

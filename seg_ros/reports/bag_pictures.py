"""Pictures of single frames, reduced until all of them together fit into a number of bytes."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.bag_evaluation.gallery import REASONS, GalleryFrame
from seg_ros.classes import ClassSet
from seg_ros.drawing.overlay import Overlay, colourise
from seg_ros.images.files import encode_jpeg
from seg_ros.images.resize import resize_image
from seg_ros.reports.html import Picture, data_uri

DIFFERS, NOT_COMPARED = (255, 176, 0), (20, 34, 60)
"""Colours (r, g, b) of pixels that differ and of pixels without anything to compare with."""
MOST_CARDS = 6
"""Maximum number of frames shown for one reason."""
MOST_FRAMES = 400
"""Maximum number of frames of the scrubber."""
_OPACITY = 0.6
_DIMMED = 0.5
_QUALITIES = [(480, 80), (480, 66), (400, 66), (320, 62), (256, 60), (192, 56), (128, 50), (96, 40)]
"""Longest side in pixels and JPEG quality, tried one after another."""
_N_SAMPLES = 8
_SLACK = 1.2
"""Pictures are tried if their expected size is below this multiple of the limit."""
_SORTED_BY = {
    'worst': (('mean_iou', 'agreement'), 1),
    'best': (('mean_iou', 'agreement'), -1),
    'flickering': (('flicker_compensated', 'flicker'), -1),
    'uncertain': (('confidence',), 1),
    'unlike': (('novelty',), -1),
}
"""Values that decide about each reason, the first that was measured; 1 = small values first."""


@dataclass(frozen=True)
class FramePictures:
    """Pictures of one frame.

    Attributes:
        frame: The frame.
        image: The image.
        layer: Labels in the colours of their classes, to lay over the image.
        overlay: Labels over the image; None for a frame that only the scrubber shows.
        difference: Pixels at which labels differ; None for a frame of the scrubber, or without other labels.
    """

    frame: GalleryFrame
    image: Picture
    layer: Picture
    overlay: Picture | None
    difference: Picture | None

    @property
    def n_bytes(self) -> int:
        """Size in the page in bytes."""
        pictures = self.image, self.layer, self.overlay, self.difference
        return sum(len(picture.uri) for picture in pictures if picture is not None)


def fit_pictures(frames: Sequence[GalleryFrame], classes: ClassSet, n_bytes: int) -> list[FramePictures]:
    """Encode frames as sharply as the size allows.

    Resolution and quality are reduced until everything fits. If the smallest pictures do not fit either,
    frames are left out evenly, first those without a reason to show them.

    Args:
        frames: Frames in any order.
        classes: Classes of the labels.
        n_bytes: Maximum size of all pictures together in the page.

    Returns:
        Frames with pictures, sorted by bag (in the order of their first frames) and time.
    """
    chosen = _thinned(_with_few_cards(_in_order(frames)), MOST_FRAMES)
    for side, quality in _QUALITIES:
        if _expected_size(chosen, classes, side, quality) > _SLACK * n_bytes:
            continue
        pictures = [_encode(frame, classes, side, quality) for frame in chosen]
        if _size(pictures) <= n_bytes:
            return pictures
    pictures = [_encode(frame, classes, *_QUALITIES[-1]) for frame in chosen]
    while _size(pictures) > n_bytes:
        kept = _thinned([p.frame for p in pictures], len(pictures) - max(len(pictures) // 10, 1))
        pictures = [p for p in pictures if any(p.frame is frame for frame in kept)]
    return pictures


def _expected_size(frames: Sequence[GalleryFrame], classes: ClassSet, side: int, quality: int) -> float:
    """Estimate the size of all pictures in bytes from a few frames of each kind."""
    total = 0.0
    for has_reason in (True, False):
        members = [frame for frame in frames if bool(frame.reasons) == has_reason]
        samples = members[:: max(len(members) // _N_SAMPLES, 1)]
        if samples:
            size = _size([_encode(frame, classes, side, quality) for frame in samples])
            total += size * len(members) / len(samples)
    return total


def _in_order(frames: Sequence[GalleryFrame]) -> list[GalleryFrame]:
    places = {bag: k for k, bag in enumerate(dict.fromkeys(frame.bag for frame in frames))}
    return sorted(frames, key=lambda frame: (places[frame.bag], frame.index))


def _with_few_cards(frames: Sequence[GalleryFrame]) -> list[GalleryFrame]:
    """Keep each reason only for the ``MOST_CARDS`` most remarkable frames."""
    kept: list[tuple[str, ...]] = [()] * len(frames)
    for reason in REASONS:
        members = [k for k, frame in enumerate(frames) if reason in frame.reasons]
        for k in sorted(members, key=lambda k: severity(reason, frames[k]))[:MOST_CARDS]:
            kept[k] += (reason,)
    return [replace(frame, reasons=reasons) for frame, reasons in zip(frames, kept, strict=True)]


def severity(reason: str, frame: GalleryFrame) -> float:
    """Sorting key of the frames of a reason: the most remarkable frame has the smallest."""
    names, sign = _SORTED_BY[reason]
    values = [frame.values[name] for name in names if np.isfinite(frame.values.get(name, np.nan))]
    return sign * values[0] if values else 0.0


def _thinned(frames: Sequence[GalleryFrame], n: int) -> list[GalleryFrame]:
    """At most ``n`` frames: those with a reason, and others at even steps."""
    if len(frames) <= n:
        return list(frames)
    with_reason = [k for k, frame in enumerate(frames) if frame.reasons][:n]
    others = [k for k, frame in enumerate(frames) if not frame.reasons]
    n_others = n - len(with_reason)
    n_others = n_others if others else 0
    steps = np.linspace(0, max(len(others) - 1, 0), n_others).round().astype(int)
    return [frames[k] for k in sorted({*with_reason, *(others[step] for step in steps)})]


def _size(pictures: Sequence[FramePictures]) -> int:
    return sum(picture.n_bytes for picture in pictures)


def _encode(frame: GalleryFrame, classes: ClassSet, side: int, quality: int) -> FramePictures:
    height, width = frame.image.shape[:2]
    factor = min(side / max(height, width), 1)
    size = max(round(factor * height), 1), max(round(factor * width), 1)
    image = resize_image(frame.image, *size)
    labels = _nearest(frame.labels, size)
    shown = _picture('image/jpeg', encode_jpeg(image, quality), size, 'image')
    layer = _picture(*_encode_labels(labels, classes, quality), size, 'labels')
    if not frame.reasons:
        return FramePictures(frame, shown, layer, None, None)
    blended = Overlay(classes)(image, labels, opacity=_OPACITY, legend=False)
    overlay = _picture('image/jpeg', encode_jpeg(blended, quality), size, 'labels over the image')
    difference = None
    if frame.difference is not None:
        drawn = _draw_differences(image, _nearest(frame.difference, size))
        others = 'true labels' if frame.difference_to == 'labels' else 'reference'
        caption = f'differences from the {others}'
        difference = _picture('image/jpeg', encode_jpeg(drawn, quality), size, caption)
    return FramePictures(frame, shown, layer, overlay, difference)


def _picture(mime_type: str, content: bytes, size: tuple[int, int], caption: str) -> Picture:
    return Picture(data_uri(mime_type, content), size[1], size[0], caption)


def _nearest(values: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize (h, w) uint8 values without mixing them."""
    if values.shape == size:
        return values
    resized = cv2.resize(np.ascontiguousarray(values), size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized.astype(np.uint8, copy=False)


def _encode_labels(labels: UInt8Array, classes: ClassSet, quality: int) -> tuple[str, bytes]:
    """Labels as a PNG file with a palette, or as a JPEG file if that is smaller and no pixel is unlabelled.

    Returns:
        MIME type and content of the file.
    """
    as_png = palette_png(labels, classes)
    if labels.max() < len(classes):
        as_jpeg = encode_jpeg(colourise(labels, classes), quality)
        if len(as_jpeg) < len(as_png):
            return 'image/jpeg', as_jpeg
    return 'image/png', as_png


def palette_png(labels: UInt8Array, classes: ClassSet) -> bytes:
    """Labels, (h, w) uint8, as a PNG file with a palette; pixels without a class are transparent.

    Source of the layout: Portable Network Graphics (PNG) Specification, 3rd edition, sections 5 and 11.
    """
    height, width = labels.shape
    opacity = np.zeros(256, np.uint8)
    opacity[: len(classes)] = 255
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter, 0 = none
    rows[:, 1:] = labels
    chunks = [
        (b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 3, 0, 0, 0)),
        (b'PLTE', classes.palette.tobytes()),
        (b'tRNS', opacity.tobytes()),
        (b'IDAT', zlib.compress(rows.tobytes(), 9)),
        (b'IEND', b''),
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def _draw_differences(image: UInt8Array, difference: UInt8Array) -> UInt8Array:
    """Mark pixels that differ over a dark grey image: (h, w, 3) uint8 RGB."""
    picture = np.repeat((image.mean(axis=2, keepdims=True) * _DIMMED).astype(np.uint8), 3, axis=2)
    picture[difference == 1] = DIFFERS
    picture[difference == 255] = NOT_COMPARED
    return picture

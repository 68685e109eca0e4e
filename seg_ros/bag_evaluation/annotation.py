"""Annotated bags: images and results in one MCAP file, for RViz, Foxglove and ``ros2 bag play``.

Labels, confidence and segments are exact, in messages of the node's types. Pictures for the eye are JPEG
files, and the label colours are PNG files. Chunks are compressed by Zstandard.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array, UInt16Array, UInt64Array
from seg_ros.bag_evaluation import annotated_topics as topics
from seg_ros.bag_evaluation import annotation_messages as messages
from seg_ros.bags.messages import COMPRESSED_IMAGE
from seg_ros.bags.writer import BagWriter
from seg_ros.drawing.difference import draw_correctness
from seg_ros.drawing.overlay import Overlay, colourise, draw_segments
from seg_ros.errors import BagError, ImageError
from seg_ros.images.files import encode_jpeg
from seg_ros.inference.segmenter import Segmenter
from seg_ros.segments.listing import segment_ids
from seg_ros.segments.segments import Segments

_PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class _FrameWriter:
    """Writes the messages of one frame, all with its stamp and its time of recording."""

    def __init__(self, bag: BagWriter, stamp_ns: int, received_ns: int, frame_id: str) -> None:
        self._bag, self._received_ns = bag, received_ns
        self.stamp_ns, self.frame_id = stamp_ns, frame_id

    def put(self, topic: str, kind: str, cdr: bytes) -> None:
        """Write a serialized message."""
        self._bag.write(topic, kind, cdr, self._received_ns)

    def results(self, topic: str, image: UInt8Array | UInt16Array) -> None:
        """Write values of pixels, exactly."""
        self._bag.write_image(
            topic, image, self.stamp_ns, frame_id=self.frame_id, received_ns=self._received_ns
        )

    def picture(self, topic: str, jpeg: bytes) -> None:
        """Write a picture as a JPEG file."""
        self.put(topic, COMPRESSED_IMAGE, messages.jpeg_cdr(jpeg, self.stamp_ns, self.frame_id))

    def plate(self, topic: str, picture: UInt8Array) -> None:
        """Write a picture of few colours, (H, W, 3) uint8 RGB, as a PNG file."""
        _, content = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _PNG_OPTIONS)
        png = messages.png_cdr(content.tobytes(), self.stamp_ns, self.frame_id)
        self.put(topic, COMPRESSED_IMAGE, png)


class AnnotatedBag:
    """Writes an annotated bag, frame by frame; a context manager.

    Until it is closed, the bag is in the file ``<path>.part``. After an error inside the context, the frames
    so far are a readable bag.

    Args:
        path: Path of the MCAP file.
        segmenter: Segmenter that gives the results.
        camera_topic: Topic of the images in the evaluated bag.
        overwrite: Whether an existing file may be replaced.
        opacity: Opacity of the overlays, 0..1.
        quality: Quality of the JPEG files, 0..100.
        max_segments: Maximum number of listed segments of a frame.

    Attributes:
        topic: Topic of the images in the annotated bag.

    Raises:
        BagError: The file exists already or cannot be written, or the topic is one of the results.
    """

    def __init__(
        self,
        path: Path,
        segmenter: Segmenter,
        camera_topic: str,
        *,
        overwrite: bool = False,
        opacity: float = 0.5,
        quality: int = 75,
        max_segments: int = 500,
    ) -> None:
        self.topic = topics.image_topic(camera_topic)
        if self.topic.startswith('/seg_ros/'):
            raise BagError(
                f'images of {camera_topic} cannot be annotated, since results have names below /seg_ros; '
                'choose the topic of a camera'
            )
        self._segmenter, self._opacity, self._quality = segmenter, opacity, quality
        self._max_segments = max_segments
        self._overlay = Overlay(segmenter.classes)
        self._is_announced = False
        self._bag = BagWriter(path, overwrite=overwrite, keep_unfinished=True, compression='zstd')

    def write(
        self,
        stamp_ns: int,
        received_ns: int,
        frame_id: str,
        image: UInt8Array,
        labels: UInt8Array,
        confidence: UInt8Array | None = None,
        segments: Segments | None = None,
        track_ids: UInt64Array | None = None,
        truth: UInt8Array | None = None,
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Write a frame with its results, all under its stamp.

        Args:
            stamp_ns: Stamp of the image in ns.
            received_ns: Time at which the image was recorded, in ns.
            frame_id: Frame of its header.
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8, predicted class ids; 255 = unlabelled.
            confidence: (H, W) uint8; 255 stands for 1. None = not written.
            segments: Segments of the image's size; None = not written.
            track_ids: (S,) uint64, number of each segment over time; None = not tracked.
            truth: (H, W) uint8, true class ids, 255 = void; None = no picture of the difference.
            values: Values for plots, with names in ``annotated_topics.PLOTTED``. Those that are not finite
                are left out.

        Raises:
            BagError: The file cannot be written.
            ImageError: The sizes differ, or the segments have no confidence beside them.
        """
        frame = _FrameWriter(self._bag, stamp_ns, received_ns, frame_id)
        self._announce(stamp_ns, received_ns)
        frame.picture(self.topic, encode_jpeg(image, self._quality))
        frame.results(topics.LABELS, labels)
        if confidence is not None:
            frame.results(topics.CONFIDENCE, confidence)
        self._write_pictures(frame, image, labels, truth)
        if segments is not None:
            self._write_segments(frame, image, segments, confidence, track_ids)
        for name, value in (values or {}).items():
            if math.isfinite(value):
                frame.put(topics.value_topic(name), messages.VALUE_TYPE, messages.value_cdr(value))

    @property
    def topics(self) -> list[str]:
        """Topics with messages so far, for ``views.write_views``."""
        return self._bag.topics

    def discard(self) -> None:
        """Write no bag on closing; an existing file of the same name stays."""
        self._bag.discard()

    def close(self) -> None:
        """Write the index and move the bag to its path.

        Raises:
            BagError: The file cannot be written; the messages that were written are in ``<path>.part``.
        """
        self._bag.close()

    def _announce(self, stamp_ns: int, received_ns: int) -> None:
        """Before the first frame, write the model and the meaning of its labels."""
        if self._is_announced:
            return
        self._is_announced = True
        model_info = messages.model_info_cdr(self._segmenter)
        self._bag.write(topics.MODEL_INFO, messages.MODEL_INFO_TYPE, model_info, received_ns, latched=True)
        label_info = messages.label_info_cdr(self._segmenter, stamp_ns)
        if label_info is not None:
            kind = messages.LABEL_INFO_TYPE
            self._bag.write(topics.LABEL_INFO, kind, label_info, received_ns, latched=True)

    def _write_pictures(
        self, frame: '_FrameWriter', image: UInt8Array, labels: UInt8Array, truth: UInt8Array | None
    ) -> None:
        """Write overlay, label colours and difference."""
        overlay = self._overlay(image, labels, opacity=self._opacity, legend=True)
        frame.picture(topics.OVERLAY, encode_jpeg(overlay, self._quality))
        frame.plate(topics.LABEL_COLOURS, colourise(labels, self._segmenter.classes))
        if truth is not None:
            difference = draw_correctness(image, truth, labels)
            frame.picture(topics.DIFFERENCE, encode_jpeg(difference, self._quality))

    def _write_segments(
        self,
        frame: '_FrameWriter',
        image: UInt8Array,
        segments: Segments,
        confidence: UInt8Array | None,
        track_ids: UInt64Array | None,
    ) -> None:
        """Write the list of segments, the image of their ids and their overlay."""
        if confidence is None:
            raise ImageError(
                'segments are written with their confidence; give the confidence of the frame too'
            )
        numbers = np.zeros(segments.n, np.uint64) if track_ids is None else track_ids
        listed = messages.segments_cdr(
            segments,
            confidence=confidence,
            track_ids=numbers,
            codebook=self._segmenter.codebook,
            max_count=self._max_segments,
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
        )
        frame.put(topics.SEGMENTS, messages.SEGMENT_CODE_ARRAY, listed)
        frame.results(topics.SEGMENT_IDS, segment_ids(segments))
        drawn = draw_segments(image, segments, opacity=self._opacity)
        frame.picture(topics.SEGMENTS_OVERLAY, encode_jpeg(drawn, self._quality))

    def __enter__(self) -> 'AnnotatedBag':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bag.__exit__(kind, err, trace)

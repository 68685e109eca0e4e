"""Messages about the model, its segments and the node's health."""

import logging
import sys
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from seg_ros.arrays import UInt8Array, UInt64Array
from seg_ros.errors import ImageError
from seg_ros.inference.health import Verdict
from seg_ros.inference.model_facts import model_facts
from seg_ros.inference.segmenter import Segmenter
from seg_ros.msg import ClassInfo, ModelInfo, SegmentCode, SegmentCodeArray
from seg_ros.segments.listing import ID_LIMIT as ID_LIMIT
from seg_ros.segments.listing import list_segments
from seg_ros.segments.listing import segment_ids as segment_ids
from seg_ros.segments.segments import Segments

log = logging.getLogger(__name__)


def label_info_type() -> Any:
    """``vision_msgs/LabelInfo``; None where that package is not installed."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError as err:
        log.info(
            'vision_msgs is not installed (%s): ~/label_info is not published, ~/model_info has the classes',
            err,
        )
        return None
    return LabelInfo


def model_info(segmenter: Segmenter) -> ModelInfo:
    """Description of the running model, for ``~/model_info``."""
    return ModelInfo(
        **model_facts(segmenter),
        classes=[ClassInfo(id=c.id, name=c.name, colour=c.colour) for c in segmenter.classes.classes],
    )


def segment_array(
    segments: Segments,
    *,
    confidence: UInt8Array,
    track_ids: UInt64Array,
    codebook: str,
    max_count: int,
    header: Header,
) -> SegmentCodeArray:
    """The largest segments of a frame, with their codes.

    Args:
        segments: Segments of the frame, at its size.
        confidence: (H, W) uint8, as on its topic.
        track_ids: (S,) uint64, id of each segment over time.
        codebook: Digest under which the codes are comparable.
        max_count: Maximum number of segments in the message.
        header: Header of the frame.
    """
    listed = [
        SegmentCode(
            id=row.id,
            track_id=row.track_id,
            class_id=row.class_id,
            confidence=row.confidence,
            area=row.area,
            box=RegionOfInterest(x_offset=row.left, y_offset=row.top, width=row.width, height=row.height),
            centroid=row.centroid,
            code=array('B', row.code.tobytes()),
        )
        for row in list_segments(segments, confidence, track_ids, max_count)
    ]
    n_bits = 8 * segments.codes.shape[1]
    return SegmentCodeArray(
        header=header, n_bits=n_bits, codebook=codebook, segments=listed, n_omitted=segments.n - len(listed)
    )


def label_info(segmenter: Segmenter, threshold: float, stamp: Time) -> Any:
    """``vision_msgs/LabelInfo``: names of the classes, and the confidence threshold."""
    from vision_msgs.msg import LabelInfo, VisionClass

    return LabelInfo(
        header=Header(stamp=stamp),
        class_map=[VisionClass(class_id=c.id, class_name=c.name) for c in segmenter.classes.classes],
        threshold=threshold,
    )


def diagnostic_array(verdict: Verdict, name: str, hardware_id: str, stamp: Time) -> DiagnosticArray:
    """A verdict as one status, for ``/diagnostics``."""
    status = DiagnosticStatus(
        level=bytes([verdict.level.value]),
        name=name,
        message=verdict.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in verdict.values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


_LAYOUTS: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
    'mono8': (np.dtype(np.uint8), ()),
    'rgb8': (np.dtype(np.uint8), (3,)),
    '16UC1': (np.dtype(np.uint16), ()),
}


def message_from_image(pixels: npt.NDArray[Any], encoding: str, header: Header) -> Image:
    """Build an image message, without row padding and in the byte order of this machine.

    Args:
        pixels: (H, W) uint8 for ``mono8``, (H, W, 3) uint8 for ``rgb8``, (H, W) uint16 for ``16UC1``.
        encoding: One of these three.
        header: Goes into the message as it is: the same object.

    Returns:
        ``sensor_msgs/Image`` with a copy of the pixels.

    Raises:
        ImageError: The encoding is none of the three, or the array does not fit it or is empty.
    """
    if encoding not in _LAYOUTS:
        raise ImageError(f'cannot build an image of encoding {encoding!r}; known ones: {", ".join(_LAYOUTS)}')
    dtype, channels = _LAYOUTS[encoding]
    if pixels.dtype != dtype or pixels.shape[2:] != channels or pixels.ndim < 2 or pixels.size == 0:
        expected = ', '.join(('H', 'W', *map(str, channels)))
        raise ImageError(
            f'{encoding} image is {pixels.shape} {pixels.dtype.str}; '
            f'expected ({expected}) {dtype.str}, not empty'
        )
    msg = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.is_bigendian = int(sys.byteorder == 'big')
    msg.step = pixels[0].nbytes
    # Constructor and setter copy what they are given, some byte by byte: fill the message's own array.
    msg.data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    return msg

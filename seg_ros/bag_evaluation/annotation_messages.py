"""Messages of an annotated bag, made by rosbags and without ROS; their content is that of the node's."""

from typing import Any

import numpy as np

from seg_ros.arrays import UInt8Array, UInt64Array
from seg_ros.bag_evaluation.results import valid_text
from seg_ros.bags.messages import COMPRESSED_IMAGE, message_types
from seg_ros.inference.model_facts import model_facts
from seg_ros.inference.segmenter import Segmenter
from seg_ros.segments.listing import list_segments
from seg_ros.segments.segments import Segments

SEGMENT_CODE_ARRAY = 'seg_ros/msg/SegmentCodeArray'
MODEL_INFO_TYPE = 'seg_ros/msg/ModelInfo'
LABEL_INFO_TYPE = 'vision_msgs/msg/LabelInfo'
VALUE_TYPE = 'std_msgs/msg/Float64'

_JPEG, _PNG = 'rgb8; jpeg compressed bgr8', 'rgb8; png compressed bgr8'


def jpeg_cdr(content: bytes, stamp_ns: int, frame_id: str) -> bytes:
    """Serialized ``sensor_msgs/CompressedImage`` with a JPEG file of colours, as image_transport names it."""
    return _file_cdr(content, _JPEG, stamp_ns, frame_id)


def png_cdr(content: bytes, stamp_ns: int, frame_id: str) -> bytes:
    """Serialized ``sensor_msgs/CompressedImage`` with a PNG file of colours, as image_transport names it."""
    return _file_cdr(content, _PNG, stamp_ns, frame_id)


def segments_cdr(
    segments: Segments,
    *,
    confidence: UInt8Array,
    track_ids: UInt64Array,
    codebook: str,
    max_count: int,
    stamp_ns: int,
    frame_id: str,
) -> bytes:
    """Serialized ``seg_ros/SegmentCodeArray``.

    Args:
        segments: Segments of the frame, at its size.
        confidence: (H, W) uint8; 255 stands for 1.
        track_ids: (S,) uint64, number of each segment over time; 0 = not tracked.
        codebook: Digest under which the codes are comparable.
        max_count: Maximum number of segments in the message.
        stamp_ns: Stamp of the frame in ns.
        frame_id: Frame of the header.
    """
    kinds = message_types().types
    rows = list_segments(segments, confidence, track_ids, max_count)
    listed = [
        kinds['seg_ros/msg/SegmentCode'](
            id=row.id,
            track_id=row.track_id,
            class_id=row.class_id,
            confidence=row.confidence,
            area=row.area,
            box=kinds['sensor_msgs/msg/RegionOfInterest'](
                x_offset=row.left, y_offset=row.top, height=row.height, width=row.width, do_rectify=False
            ),
            centroid=row.centroid,
            code=row.code,
        )
        for row in rows
    ]
    return _cdr(
        SEGMENT_CODE_ARRAY,
        header=_header(stamp_ns, frame_id),
        n_bits=8 * segments.codes.shape[1],
        codebook=codebook,
        segments=listed,
        n_omitted=segments.n - len(listed),
    )


def model_info_cdr(segmenter: Segmenter) -> bytes:
    """Serialized ``seg_ros/ModelInfo`` of a model."""
    class_info = message_types().types['seg_ros/msg/ClassInfo']
    facts = model_facts(segmenter)
    return _cdr(
        MODEL_INFO_TYPE,
        **{name: valid_text(fact) if isinstance(fact, str) else fact for name, fact in facts.items()},
        classes=[
            class_info(id=c.id, name=c.name, colour=np.array(c.colour, np.uint8))
            for c in segmenter.classes.classes
        ],
    )


def label_info_cdr(segmenter: Segmenter, stamp_ns: int) -> bytes | None:
    """Serialized ``vision_msgs/LabelInfo``; None where vision_msgs is not installed."""
    types = message_types('vision_msgs')
    if LABEL_INFO_TYPE not in types.fielddefs:
        return None
    vision_class = types.types['vision_msgs/msg/VisionClass']
    message = types.types[LABEL_INFO_TYPE](
        header=_header(stamp_ns, ''),
        class_map=[vision_class(class_id=c.id, class_name=c.name) for c in segmenter.classes.classes],
        threshold=segmenter.options.confidence_threshold,
    )
    return bytes(types.serialize_cdr(message, LABEL_INFO_TYPE))


def value_cdr(value: float) -> bytes:
    """Serialized ``std_msgs/Float64``."""
    return _cdr(VALUE_TYPE, data=float(value))


def _file_cdr(content: bytes, kind: str, stamp_ns: int, frame_id: str) -> bytes:
    header, data = _header(stamp_ns, frame_id), np.frombuffer(content, np.uint8)
    return _cdr(COMPRESSED_IMAGE, header=header, format=kind, data=data)


def _header(stamp_ns: int, frame_id: str) -> Any:
    kinds = message_types().types
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    time = kinds['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
    return kinds['std_msgs/msg/Header'](stamp=time, frame_id=frame_id)


def _cdr(type_name: str, **fields: Any) -> bytes:
    types = message_types()
    return bytes(types.serialize_cdr(types.types[type_name](**fields), type_name))

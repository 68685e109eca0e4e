"""What the node says about its model, as messages."""

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from seg_ros.arrays import UInt8Array
from seg_ros.inference.health import Verdict
from seg_ros.inference.segmenter import Segmenter
from seg_ros.msg import ClassInfo, ModelInfo, SegmentCode, SegmentCodeArray
from seg_ros.segments.regions import describe
from seg_ros.segments.segments import Segments

ID_LIMIT = 65535
"""Largest id in a segment image, whose pixels have 16 bits."""


def label_info_type() -> Any:
    """``vision_msgs/LabelInfo``; None where that package is not installed."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        return None
    return LabelInfo


def model_info(segmenter: Segmenter) -> ModelInfo:
    """Everything about the model that runs."""
    metadata = segmenter.model.metadata
    height, width = segmenter.input_size
    return ModelInfo(
        architecture=metadata.architecture,
        path=str(segmenter.model.path),
        digest=segmenter.model.digest,
        quantization=segmenter.quantization,
        backend=segmenter.backend_name,
        device=str(segmenter.device),
        input_height=height,
        input_width=width,
        n_parameters=segmenter.model.n_parameters,
        licence=metadata.licence,
        classes=[ClassInfo(id=c.id, name=c.name, colour=c.colour) for c in metadata.classes.classes],
    )


def segment_array(
    segments: Segments,
    *,
    confidence: UInt8Array,
    numbers: npt.NDArray[np.uint64],
    codebook: str,
    max_count: int,
    header: Header,
) -> SegmentCodeArray:
    """The largest segments of a frame, with their codes.

    Args:
        segments: of the frame, in its size.
        confidence: (H, W) uint8, as on its topic.
        numbers: (S,) uint64, what each is called over time.
        codebook: digest that the codes belong to.
        max_count: most segments in the message.
        header: of the frame.
    """
    shapes, runs = describe(segments.regions), segments.regions.runs
    of_runs = np.add.reduceat(confidence.ravel(), runs.starts[:-1], dtype=np.uint32)
    sums = np.bincount(runs.ids, of_runs, segments.n)
    shares = (sums / (255 * shapes.areas)).tolist()
    tops, lefts, bottoms, rights = shapes.boxes.T.tolist()
    areas, centroids = shapes.areas.tolist(), shapes.centroids.astype(np.float32)
    n_listed = min(segments.n, max_count, ID_LIMIT)
    listed = [
        SegmentCode(
            id=k + 1,
            track_id=int(numbers[k]),
            class_id=int(segments.class_ids[k]),
            confidence=shares[k],
            area=areas[k],
            box=RegionOfInterest(
                x_offset=lefts[k], y_offset=tops[k], width=rights[k] - lefts[k], height=bottoms[k] - tops[k]
            ),
            centroid=centroids[k],
            code=array('B', segments.codes[k].tobytes()),
        )
        for k in range(n_listed)
    ]
    n_bits = 8 * segments.codes.shape[1]
    return SegmentCodeArray(
        header=header, n_bits=n_bits, codebook=codebook, segments=listed, n_omitted=segments.n - n_listed
    )


def segment_ids(segments: Segments) -> npt.NDArray[np.uint16]:
    """(H, W) uint16: the id of every pixel's segment, 1 .., or 0 for one whose id does not fit."""
    runs = segments.regions.runs
    return runs.spread(np.where(runs.ids < ID_LIMIT, runs.ids + 1, 0).astype(np.uint16))


def label_info(segmenter: Segmenter, threshold: float, stamp: Time) -> Any:
    """``vision_msgs/LabelInfo``: names of the classes, and the confidence below which a pixel is 255."""
    from vision_msgs.msg import LabelInfo, VisionClass

    return LabelInfo(
        header=Header(stamp=stamp),
        class_map=[VisionClass(class_id=c.id, class_name=c.name) for c in segmenter.classes.classes],
        threshold=threshold,
    )


def diagnostic_array(verdict: Verdict, name: str, hardware_id: str, stamp: Time) -> DiagnosticArray:
    """One status, for ``/diagnostics``."""
    status = DiagnosticStatus(
        level=bytes([verdict.level.value]),
        name=name,
        message=verdict.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in verdict.values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])

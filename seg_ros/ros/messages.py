"""What the node says about its model, as messages."""

from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from seg_ros.msg import ClassInfo, ModelInfo
from seg_ros.pipeline import Pipeline
from seg_ros.ros.diagnostics import Verdict


def label_info_type() -> Any:
    """``vision_msgs/LabelInfo``; None where that package is not installed."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        return None
    return LabelInfo


def model_info(pipeline: Pipeline) -> ModelInfo:
    """Everything about the model that runs."""
    about = pipeline.model.description
    height, width = pipeline.input_size
    return ModelInfo(
        architecture=about.architecture,
        path=str(pipeline.model.path),
        digest=pipeline.model.digest,
        quantization=pipeline.quantization,
        backend=pipeline.backend_name,
        device=str(pipeline.device),
        input_height=height,
        input_width=width,
        n_parameters=pipeline.model.n_parameters,
        licence=about.licence,
        classes=[ClassInfo(id=c.id, name=c.name, colour=c.colour) for c in about.classes.classes],
    )


def label_info(pipeline: Pipeline, threshold: float, stamp: Time) -> Any:
    """``vision_msgs/LabelInfo``: names of the classes, and the confidence below which a pixel is 255."""
    from vision_msgs.msg import LabelInfo, VisionClass

    return LabelInfo(
        header=Header(stamp=stamp),
        class_map=[VisionClass(class_id=c.id, class_name=c.name) for c in pipeline.classes.classes],
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

"""Facts about a running model, under the names of the fields of ``seg_ros/ModelInfo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg_ros.inference.segmenter import Segmenter


def model_facts(segmenter: Segmenter) -> dict[str, Any]:
    """All fields of the message but ``classes``."""
    height, width = segmenter.input_size
    return {
        'architecture': segmenter.model.metadata.architecture,
        'path': str(segmenter.model.path),
        'digest': segmenter.model.digest,
        'quantization': segmenter.quantization,
        'backend': segmenter.backend_name,
        'device': str(segmenter.device),
        'input_height': height,
        'input_width': width,
        'n_parameters': segmenter.model.n_parameters,
        'licence': segmenter.model.metadata.licence,
    }

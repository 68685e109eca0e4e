"""Real-time semantic segmentation for ROS 2.

::

    import seg_ros

    segmenter = seg_ros.Segmenter.load('lite_camvid')
    prediction = segmenter(image, confidence=True)  # image: (H, W, 3) uint8 RGB
    prediction.labels, prediction.confidence, prediction.times

Importing this package is cheap and changes nothing in the process: a name is imported when it is first used.
``seg_ros.msg`` and ``seg_ros.srv`` hold the messages and services, built from ``msg/`` and ``srv/``.
"""

import importlib
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg_ros.classes import ClassSet
    from seg_ros.errors import (
        BagError,
        BudgetError,
        CalibrationError,
        DatasetError,
        ImageError,
        ModelFileError,
        ParameterError,
        RecipeError,
        SegRosError,
        SelfCheckError,
        UnavailableError,
        UnknownNameError,
    )
    from seg_ros.inference.options import FrameOptions
    from seg_ros.inference.prediction import Prediction
    from seg_ros.inference.segmenter import Segmenter
    from seg_ros.inference.settings import Settings
    from seg_ros.modelfile.file import load_model

__all__ = [
    'BagError',
    'BudgetError',
    'CalibrationError',
    'ClassSet',
    'DatasetError',
    'FrameOptions',
    'ImageError',
    'ModelFileError',
    'ParameterError',
    'Prediction',
    'RecipeError',
    'SegRosError',
    'Segmenter',
    'SelfCheckError',
    'Settings',
    'UnavailableError',
    'UnknownNameError',
    '__version__',
    'load_model',
]

_HOMES = {
    '__version__': 'seg_ros.resources',
    'ClassSet': 'seg_ros.classes',
    'FrameOptions': 'seg_ros.inference.options',
    'Prediction': 'seg_ros.inference.prediction',
    'Segmenter': 'seg_ros.inference.segmenter',
    'Settings': 'seg_ros.inference.settings',
    'load_model': 'seg_ros.modelfile.file',
}
"""Public name -> module that defines it; the exceptions are in seg_ros.errors."""

__version__: str

# The built messages may lie elsewhere on sys.path than these files: a colcon workspace beside a checkout.
__path__ = extend_path(__path__, __name__)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = importlib.import_module(_HOMES.get(name, 'seg_ros.errors'))
    found = module.version() if name == '__version__' else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Levels of precision that a model file can run at. Nothing here needs torch."""

from pathlib import Path
from typing import Protocol

from seg_ros.errors import UnavailableError, look_up
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.graph_names import no_pytorch
from seg_ros.quantization.levels import QUANTIZATIONS


class Described(Protocol):
    """A model file whose metadata are known."""

    @property
    def metadata(self) -> ModelMetadata:
        """Metadata of the file."""
        ...

    @property
    def path(self) -> Path:
        """Path of the file."""
        ...


def choose_quantization(model: Described, level: str) -> str:
    """Choose the level that a model runs at.

    Args:
        model: Described file in memory.
        level: Name of a level, or 'auto' for the level of the file.

    Raises:
        UnavailableError: The level cannot be derived from the file; the message lists those that can, and
            the command that makes a file of this level.
        UnknownNameError: The level does not exist.
    """
    stored = model.metadata.quantization
    if level == 'auto':
        return stored
    wanted = look_up(QUANTIZATIONS, level, 'quantization level')
    if not is_derivable(model, level):
        lacks = ' without a calibration record' if stored in wanted.derivable_from else ''
        if model.metadata.is_graph:
            raise UnavailableError(f'{model.path}: {no_pytorch(f"quantization {level}")}')
        command = f'; {wanted.made_by} makes a file of that level' if wanted.made_by else ''
        raise UnavailableError(
            f'quantization {level} cannot be derived from {model.path}, which holds {stored}{lacks}; '
            f'possible: auto, {", ".join(possible_levels(model))}{command}'
        )
    return level


def possible_levels(model: Described) -> list[str]:
    """Levels that a file can give, without 'auto'."""
    return [name for name in QUANTIZATIONS if is_derivable(model, name)]


def is_derivable(model: Described, level: str) -> bool:
    """Whether a level can be derived from a file."""
    metadata = model.metadata
    if metadata.is_graph:
        return level == metadata.quantization
    has_ranges = QUANTIZATIONS[level].computes_in != 'int8' or metadata.calibration is not None
    return has_ranges and metadata.quantization in QUANTIZATIONS[level].derivable_from

"""Systems to evaluate: models at levels of quantization."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from seg_ros.bag_evaluation.results import valid_text
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError, SegRosError, UnavailableError, look_up
from seg_ros.inference.backends.backend import choose_device
from seg_ros.inference.backends.select import choose_level
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.find import find_model
from seg_ros.quantization.levels import QUANTIZATIONS


@dataclass(frozen=True)
class System:
    """A model at a level of quantization.

    Attributes:
        name: Name of the model and its level, such as 'lite_camvid int8'.
        settings: Settings that load it.
        digest: Digest of the model file.
        classes: Classes of its labels.
        has_codes: Whether the model has codes.
    """

    name: str
    settings: Settings
    digest: str
    classes: ClassSet
    has_codes: bool

    @property
    def key(self) -> str:
        """Name for files that changes whenever the results may change."""
        settings = {**asdict(self.settings), 'model': '', 'backend': ''}
        content = json.dumps([self.digest, self.settings.backend, settings], sort_keys=True, default=str)
        return f'{_plain(self.name)}-{hashlib.sha256(content.encode()).hexdigest()[:12]}'


class SystemFailure(NamedTuple):
    """A system that cannot be evaluated.

    Attributes:
        system: Name of the system.
        bag: Name of the bag; '' = on all bags.
        reason: Reason, one line.
    """

    system: str
    bag: str
    reason: str


def find_systems(
    models: Sequence[str], levels: Sequence[str], settings: Settings
) -> tuple[list[System], list[SystemFailure]]:
    """List each model at each level.

    Args:
        models: Paths, or names of shipped models.
        levels: Levels of quantization; empty = the own level of each model.
        settings: Settings of all systems.

    Returns:
        Systems in the order of models and levels, and those that cannot be evaluated.

    Raises:
        DatasetError: Models have different classes.
        SegRosError: No model can be used; the message is that of the first.
        UnknownNameError: A level is unknown.
    """
    for level in levels:
        look_up(QUANTIZATIONS, level, 'quantization level')
    found, failures = list[System](), list[SystemFailure]()
    first: SegRosError | None = None
    for name in dict.fromkeys(models):
        for level in dict.fromkeys(levels or ['auto']):
            try:
                found.append(_system(name, level, settings))
            except SegRosError as err:
                first = first or err
                failures.append(SystemFailure(f'{name} {level}', '', str(err)))
    if not found:
        raise first or UnavailableError('no model was given; choose one with --models')
    _check_classes(found)
    unique = {system.key: system for system in found}
    return list(unique.values()), failures


def _system(name: str, level: str, settings: Settings) -> System:
    model = load_model(name)
    wanted = settings.quantization if level == 'auto' else level
    chosen = choose_level(model, wanted, settings.backend, choose_device(settings.device))
    stem = valid_text(find_model(name).stem)
    shown = stem if stem.endswith(chosen) else f'{stem} {chosen}'
    return System(
        shown,
        replace(settings, model=name, quantization=chosen),
        model.digest,
        _classes(model),
        model.codes is not None,
    )


def _classes(model: Model) -> ClassSet:
    classes = model.metadata.classes
    if not len(classes):
        raise UnavailableError(f'model {model.path} has no classes, so it gives no labels to evaluate')
    return classes


def _check_classes(systems: Sequence[System]) -> None:
    first = systems[0]
    for system in systems[1:]:
        if system.classes.names != first.classes.names:
            raise DatasetError(
                f'{system.name} has the classes {", ".join(system.classes.names)}, but {first.name} has '
                f'{", ".join(first.classes.names)}; evaluate models of equal classes together'
            )


def _plain(name: str) -> str:
    return ''.join(c if c.isalnum() or c in '_.-' else '_' for c in name)

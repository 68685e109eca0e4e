"""Candidates of a comparison: models at levels of quantization, with and without filter and merging."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import DatasetError, SegRosError, UnavailableError, look_up
from seg_ros.inference.backends.backend import choose_device
from seg_ros.inference.backends.select import choose_level
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.find import find_model
from seg_ros.modelfile.levels import choose_quantization
from seg_ros.quantization.levels import QUANTIZATIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """An optional step after the network.

    Attributes:
        needs: Parts of the model file that the step needs, for messages.
        fits: Whether a model has them.
        changes: Settings that enable the step.
    """

    needs: str
    fits: Callable[[Model], bool]
    changes: dict[str, Any]


_FILTER, _MERGE = {'embedding_filter_enabled': True}, {'segments_refinement': 0.5}

VARIANTS: dict[str, Variant] = {
    'filter': Variant('embeddings', lambda model: model.embeddings is not None, _FILTER),
    'merge': Variant('codes', lambda model: model.codes is not None, _MERGE),
    'filter-merge': Variant(
        'embeddings and codes',
        lambda model: model.embeddings is not None and model.codes is not None,
        _FILTER | _MERGE,
    ),
}
"""Variants by name: the embedding filter, labels refined by segments, or both."""


@dataclass(frozen=True)
class Candidate:
    """A model at a level of quantization.

    Attributes:
        name: Name of the file; with its folder only if two models share the name.
        settings: Settings that load the model at this level.
    """

    name: str
    settings: Settings


@dataclass(frozen=True)
class Failure:
    """A model that could not be measured.

    Attributes:
        path: Path or name of the model, as it was given.
        quantization: Level of quantization, or 'auto' if it is unknown.
        reason: Reason of the failure.
    """

    path: str
    quantization: str
    reason: str


def find_candidates(
    models: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    levels: Sequence[str],
    variants: Sequence[str] = (),
) -> tuple[list[Candidate], list[Failure]]:
    """List each model at its own level, at further levels, and in variants.

    Args:
        models: Paths, or names of shipped models.
        dataset: Data set of the comparison.
        settings: Settings of all models; ``quantization`` is the own level of each model.
        levels: Further levels; each is used for the models whose files allow it.
        variants: Names in VARIANTS; each is used at the own level of the models that support it.

    Returns:
        Candidates in the order of the models, and the models that cannot be read.

    Raises:
        DatasetError: A model has other classes than the data set.
        SegRosError: The first model cannot be read, or not at its level.
        UnavailableError: No model supports any of the variants.
        UnknownNameError: A level or variant is unknown.
    """
    for level in levels:
        look_up(QUANTIZATIONS, level, 'quantization level')
    for variant in variants:
        look_up(VARIANTS, variant, 'variant')
    found: list[_Choice] = []
    failed: list[Failure] = []
    for name in models:
        try:
            model = load_model(name)
            device = choose_device(settings.device)
            own = choose_level(model, settings.quantization, settings.backend, device)
        except SegRosError as err:
            if not found:
                raise
            failed.append(failure(replace(settings, model=name), err))
            continue
        _check_classes(name, model, dataset)
        found += [_Choice(name, level) for level in _levels(model, [own, *levels])]
        found += [_Choice(name, own, variant) for variant in _fitting(model, name, variants)]
    if variants and not any(choice.variant for choice in found):
        needs = ', or '.join(dict.fromkeys(VARIANTS[variant].needs for variant in variants))
        raise UnavailableError(
            f'variants {", ".join(variants)}: no model has {needs}; seg_ros info MODEL prints its content'
        )
    names = _short_names(models)
    return [_candidate(choice, names[choice.model], settings) for choice in dict.fromkeys(found)], failed


class _Choice(NamedTuple):
    """A model as it was named, a level of quantization, and a name in VARIANTS or ''."""

    model: str
    level: str
    variant: str = ''


def _candidate(choice: _Choice, name: str, settings: Settings) -> Candidate:
    changes = VARIANTS[choice.variant].changes if choice.variant else {}
    return Candidate(
        f'{name} + {choice.variant}' if choice.variant else name,
        replace(settings, model=choice.model, quantization=choice.level, **changes),
    )


def _short_names(models: Sequence[str]) -> dict[str, str]:
    """Names of the files, or their paths without suffix if two models share a name."""
    stems = {model: find_model(model).stem for model in models}
    if len(set(stems.values())) == len(stems):
        return stems
    return {model: str(find_model(model).with_suffix('')) for model in models}


def _check_classes(name: str, model: Model, dataset: Dataset) -> None:
    if model.metadata.classes.names != dataset.classes.names:
        raise DatasetError(
            f'{name} has classes {model.metadata.classes.names}, the data set '
            f'{dataset.classes.names}; compare models that have the classes of the data set'
        )


def _levels(model: Model, levels: Sequence[str]) -> list[str]:
    """Levels that the file of a model allows, each once."""
    found = []
    for level in dict.fromkeys(levels):
        try:
            found.append(choose_quantization(model, level))
        except UnavailableError as err:
            log.info('left out: %s', err)
    return found


def _fitting(model: Model, name: str, variants: Sequence[str]) -> list[str]:
    """Variants that a model supports, with a warning for each of the others."""
    for variant in variants:
        if not VARIANTS[variant].fits(model):
            log.warning('%s has no %s: not measured with %s', name, VARIANTS[variant].needs, variant)
    return [variant for variant in variants if VARIANTS[variant].fits(model)]


def failure(settings: Settings, err: Exception) -> Failure:
    """Log an error of a model as a warning, and make it a failure."""
    reason = str(err) or type(err).__name__
    log.warning('%s at %s: %s', settings.model, settings.quantization, reason)
    return Failure(settings.model, settings.quantization, reason)

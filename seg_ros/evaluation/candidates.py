"""What a comparison is to measure: models, each at some levels, with and without what they can do beside."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import DatasetError, SegRosError, UnavailableError, look_up
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.find import find_model
from seg_ros.modelfile.precision import choose_quantization
from seg_ros.quantization.levels import QUANTIZATIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """Something that a model can be run with or without.

    Attributes:
        needs: what a model must have for it, in words.
        fits: whether a model has that.
        changes: of the settings.
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
"""What models are compared with: the embedding filter, labels refined by their segments, or both."""


@dataclass(frozen=True)
class Candidate:
    """A model at a level.

    Attributes:
        name: of the file, without its folder where that is clear.
        settings: that load it, with the level.
    """

    name: str
    settings: Settings


@dataclass(frozen=True)
class Failure:
    """A model that could not be measured.

    Attributes:
        path: as it was given.
        quantization: the level, or 'auto' where it was not found out.
        reason: why.
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
    """Each model at its own level and at those of ``levels`` that it can give; what cannot be read is told.

    At its own level, each is taken in those of ``variants`` too that it has what is needed for.

    Raises:
        DatasetError: a model has other classes than the data set.
        SegRosError: the first model cannot be read, or not at its level.
        UnavailableError: no model has what any of the variants needs.
        UnknownNameError: there is no such level, or variant.
    """
    for level in levels:
        look_up(QUANTIZATIONS, level, 'quantization level')
    for variant in variants:
        look_up(VARIANTS, variant, 'variant')
    found: list[tuple[str, str, str]] = []
    failed: list[Failure] = []
    for name in models:
        try:
            model = load_model(name)
            own = choose_quantization(model, settings.quantization)
        except SegRosError as err:
            if not found:
                raise
            failed.append(failure(replace(settings, model=name), err))
            continue
        if model.metadata.classes.names != dataset.classes.names:
            raise DatasetError(
                f'{name} tells {model.metadata.classes.names} apart, the data set '
                f'{dataset.classes.names}; compare models that have the classes of the data set'
            )
        found += [(name, level, '') for level in _levels(model, [own, *levels])]
        found += [(name, own, variant) for variant in _fitting(model, name, variants)]
    if variants and not any(variant for _, _, variant in found):
        needs = ', or '.join(dict.fromkeys(VARIANTS[variant].needs for variant in variants))
        raise UnavailableError(
            f'variants {", ".join(variants)}: no model has {needs}; seg_ros info MODEL says what it has'
        )
    short = {name: find_model(name).stem for name in models}
    is_clear = len(set(short.values())) == len(short)
    return [
        Candidate(
            (short[name] if is_clear else str(find_model(name).with_suffix('')))
            + (f' + {variant}' if variant else ''),
            replace(
                settings, model=name, quantization=level, **(VARIANTS[variant].changes if variant else {})
            ),
        )
        for name, level, variant in dict.fromkeys(found)
    ], failed


def _levels(model: Model, levels: Sequence[str]) -> list[str]:
    """Those that a model can give, each once."""
    found = []
    for level in dict.fromkeys(levels):
        try:
            found.append(choose_quantization(model, level))
        except UnavailableError as err:
            log.info('left out: %s', err)
    return found


def _fitting(model: Model, name: str, variants: Sequence[str]) -> list[str]:
    """Those that a model has what is needed for; a warning says what it lacks for the others."""
    for variant in variants:
        if not VARIANTS[variant].fits(model):
            log.warning('%s has no %s: not measured with %s', name, VARIANTS[variant].needs, variant)
    return [variant for variant in variants if VARIANTS[variant].fits(model)]


def failure(settings: Settings, err: Exception) -> Failure:
    """What becomes of a model that raised ``err``; a warning says so at once."""
    reason = str(err) or type(err).__name__
    log.warning('%s at %s: %s', settings.model, settings.quantization, reason)
    return Failure(settings.model, settings.quantization, reason)

"""Opening a data set by its name."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from seg_ros.datasets.class_groups import ClassGroups
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.folder import UnlabelledFolder
from seg_ros.datasets.registry import DATASETS
from seg_ros.datasets.wrappers import Relabel, Relabelled, Resized
from seg_ros.errors import DatasetError, look_up
from seg_ros.schema import check_value, shown


def open_dataset(
    name: str,
    root: Path | None,
    split: str,
    options: Mapping[str, Any] | None = None,
    *,
    relabel: Relabel | None = None,
    scale: float = 1.0,
    groups: ClassGroups | None = None,
) -> Dataset:
    """Open a data set of the registry.

    Args:
        name: Name in ``seg_ros.datasets.registry.DATASETS``.
        root: Root folder; None if the data set needs no folder.
        split: Split of the data set.
        options: Further arguments of the data set, such as ``classes`` of ``folder``; None = no arguments.
        relabel: Translation of the classes; None keeps them.
        scale: Factor for the width and height of the images, above 0.
        groups: Numbers the groups of classes that ``relabel`` has; None refuses them.

    Raises:
        DatasetError: The data set does not take these options, needs a folder and there is no root, or the
            folder is not as expected.
        RecipeError: No image is left after relabelling, or groups of classes are refused.
        UnknownNameError: The data set, a class to relabel, or the class file to relabel to is unknown.
    """
    build, given = look_up(DATASETS, name, 'data set'), dict(options or {})
    signature = inspect.signature(build)
    try:
        signature.bind(root, split, **given)
    except TypeError as err:
        known = ', '.join(list(signature.parameters)[2:]) or 'none'
        raise DatasetError(
            f'data set {name} does not take options {shown(given)}: {err}; known options: {known}. Give them '
            'with --classes or --options, or as options in a recipe'
        ) from err
    hints = get_type_hints(build.__init__, include_extras=True)
    for key, value in given.items():
        given[key] = check_value(hints[key], value, f'option {key} of data set {name}', DatasetError)
    dataset = build(root, split, **given)
    if relabel is not None:
        dataset = Relabelled.by(relabel, dataset, groups)
    return dataset if scale == 1 else Resized(dataset, scale)


def open_images(
    name: str, root: Path | None, split: str, options: Mapping[str, Any] | None = None
) -> Dataset:
    """Open a data set whose labels are not needed: a ``folder`` without ``classes`` may have images alone.

    Args:
        name: Name of the data set.
        root: Root folder; None if the data set needs no folder.
        split: Split of the data set.
        options: Further arguments of the data set; None = no arguments.

    Raises:
        DatasetError, UnknownNameError: As for :func:`open_dataset`.
    """
    if name == 'folder' and not options:
        return UnlabelledFolder(root, split)
    return open_dataset(name, root, split, options)

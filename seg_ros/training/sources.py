"""The data of a training run, opened as its recipe says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_ros.classes import ClassSet
from seg_ros.datasets.class_groups import ClassGroups
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.folder import class_file
from seg_ros.datasets.open import open_dataset
from seg_ros.errors import RecipeError
from seg_ros.training.loader import InMemory
from seg_ros.training.recipe import Recipe, Source


@dataclass(frozen=True)
class TrainingData:
    """Data sets of a training run, all with the same classes.

    Attributes:
        train: Data sets to learn from.
        validation: Data set to measure on during training, or None.
        test: Data set to measure the best weights on, or None; read only when it is needed.
        groups: Ids of the classes of each group of classes that labels of ``train`` may be.
    """

    train: tuple[InMemory, ...]
    validation: InMemory | None
    test: Dataset | None
    groups: tuple[tuple[int, ...], ...] = ()

    @property
    def classes(self) -> ClassSet:
        """The classes of all data sets."""
        return self.train[0].classes


def open_data(recipe: Recipe, data: Path | None, *, is_quiet: bool = False) -> TrainingData:
    """Open all data sets of a recipe, and read those for training and validation into memory.

    Args:
        recipe: Names the data sets.
        data: Root folder of the data sets; None if they need no folder.
        is_quiet: Show no progress bars.

    Raises:
        RecipeError: The classes of the data sets differ, or a data set does not take its options.
        DatasetError: A data set needs a folder and ``data`` is None, or its folder is not as expected.
    """

    def read(source: Source, groups: ClassGroups | None = None) -> InMemory:
        label = '' if is_quiet else f'reading {source.dataset} {source.split}'
        return InMemory(open_source(source, data, groups), label, is_quiet=is_quiet)

    groups = _groups_of(recipe.train)
    train = tuple(read(source, groups) for source in recipe.train)
    validation = read(recipe.validation) if recipe.validation else None
    test = open_source(recipe.test, data) if recipe.test else None
    for part in (*train, validation, test):
        if part is not None and part.classes != train[0].classes:
            raise RecipeError('train, validation, test: the classes differ; expected one class set')
    return TrainingData(train, validation, test, groups.members if groups else ())


def open_source(source: Source, data: Path | None, groups: ClassGroups | None = None) -> Dataset:
    """Open the data set that an entry of a recipe names.

    Args:
        source: Entry of the recipe.
        data: Root folder of the data sets; None if the data set needs no folder.
        groups: Numbers the groups of classes of training data; None refuses them.

    Raises:
        DatasetError: The data set does not take these options, needs a folder and ``data`` is None, or the
            folder is not as expected.
        RecipeError: No image is left after relabelling.
        UnavailableError: The class set to relabel to does not exist.
        UnknownNameError: The data set is unknown, or a class to relabel is in neither set.
    """
    root = data / source.root if data else None
    return open_dataset(
        source.dataset,
        root,
        source.split,
        source.options,
        relabel=source.relabel,
        scale=source.scale,
        groups=groups,
    )


def _groups_of(sources: Sequence[Source]) -> ClassGroups | None:
    """Numbers for the groups of classes of the sources; None if none is relabelled."""
    class_sets = [source.relabel.classes for source in sources if source.relabel]
    if not class_sets:
        return None
    return ClassGroups(len(ClassSet.from_yaml(class_file(class_sets[0], Path()))))


def describe_sources(sources: Sequence[Source], parts: Sequence[Dataset]) -> str:
    """One line about the training data, for the model file."""
    return ' + '.join(
        f'{source.repeat} x {source.dataset} {source.split} ({len(part)} images)'
        for source, part in zip(sources, parts, strict=True)
    )

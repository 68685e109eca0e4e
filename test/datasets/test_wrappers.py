from pathlib import Path

import numpy as np
import pytest

from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.registry import DATASETS
from seg_ros.datasets.wrappers import Relabel, Relabelled, Resized
from seg_ros.errors import RecipeError, UnknownNameError
from seg_ros.training.recipe import Source
from seg_ros.training.sources import open_source

OTHERS = ClassSet(
    (
        ClassInfo(0, 'car', (0, 0, 0)),
        ClassInfo(1, 'cow', (1, 0, 0)),
        ClassInfo(2, 'bicycle', (2, 0, 0)),
        ClassInfo(3, 'motorbike', (3, 0, 0)),
    )
)
WANTED = ClassSet((ClassInfo(0, 'bike', (0, 0, 0)), ClassInfo(1, 'car', (1, 0, 0))))
NAMES = {'car': 'car', 'bicycle': 'bike', 'motorbike': 'bike'}
LABELS = [
    np.array([[0, 1, 2, 3], [0, 255, 2, 3]], np.uint8),
    np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.uint8),
]


class Pictures:
    """Two small pictures, of which the second has next to no vehicle."""

    classes = OTHERS
    names = ('street', 'meadow')

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((*LABELS[index].shape, 3), index, np.uint8), LABELS[index].copy()


def pictures() -> Dataset:
    found: Dataset = Pictures()  # type: ignore[assignment]
    return found


def test_classes_count_as_those_of_another_set_or_not_at_all() -> None:
    dataset = Relabelled(pictures(), WANTED, NAMES)
    assert dataset.classes == WANTED
    assert list(dataset.names) == ['street', 'meadow']
    image, labels = dataset[0]
    assert labels.tolist() == [[1, 255, 0, 0], [1, 255, 0, 0]]
    assert (image == 0).all()


def test_images_with_little_of_them_are_left_out() -> None:
    assert list(Relabelled(pictures(), WANTED, NAMES, labelled=0.5).names) == ['street']
    assert len(Relabelled(pictures(), WANTED, NAMES, labelled=1 / 8)) == 2
    with pytest.raises(RecipeError, match='no image has 80% of its pixels in car, bicycle, motorbike'):
        Relabelled(pictures(), WANTED, NAMES, labelled=0.8)


@pytest.mark.parametrize(
    ('names', 'message'),
    [({'horse': 'car'}, "'horse'; known: car, cow, bic"), ({'car': 'lorry'}, "'lorry'; known: bike, car")],
)
def test_a_class_that_is_not_there_is_told(names: dict[str, str], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        Relabelled(pictures(), WANTED, names)


@pytest.mark.parametrize('scale', [0.5, 1.5, 0.01])
def test_images_and_labels_change_size_together(scale: float) -> None:
    dataset = Resized(pictures(), scale)
    image, labels = dataset[0]
    assert image.shape[:2] == labels.shape == (max(1, round(2 * scale)), max(1, round(4 * scale)))
    assert set(np.unique(labels)) <= set(np.unique(LABELS[0]))


def test_a_recipe_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, 'pictures', lambda root, split: pictures())
    relabel = Relabel('camvid11', {'car': 'car', 'bicycle': 'bicyclist'}, 0.3)
    dataset = open_source(Source('pictures', relabel=relabel, scale=2.0), Path())
    assert list(dataset.names) == ['street']
    image, labels = dataset[0]
    assert image.shape == (4, 8, 3)
    assert labels.tolist()[0] == [8, 8, 255, 255, 10, 10, 255, 255]
    with pytest.raises(UnknownNameError, match='camvid12'):
        open_source(Source('pictures', relabel=Relabel('camvid12', {'car': 'car'})), Path())


@pytest.mark.parametrize('content', [{'names': {}}, {'names': {'car': 3}}, {'labelled': 1.5}])
def test_what_makes_no_sense_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match='expected'):
        Relabel(**{'classes': 'camvid11', 'names': {'car': 'car'}, **content})  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match='scale'):
        Source('camvid', scale=0.0)

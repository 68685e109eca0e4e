import numpy as np
import pytest

from seg_ros.classes import ClassSet
from seg_ros.datasets.class_groups import ClassGroups
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.datasets.wrappers import Relabel, Relabelled
from seg_ros.errors import RecipeError
from seg_ros.resources import resource


def test_groups_are_numbered_after_the_classes_and_once() -> None:
    groups = ClassGroups(4)
    assert [groups.id_of(members) for members in ([2], [1, 3], [0, 1], [3, 1, 1])] == [2, 4, 5, 4]
    assert groups.members == ((1, 3), (0, 1))


def test_labels_have_room_for_so_many_groups() -> None:
    groups = ClassGroups(253)
    groups.id_of([0, 1])
    groups.id_of([0, 2])
    with pytest.raises(RecipeError, match='more than 2 groups of classes'):
        groups.id_of([0, 3])


def test_a_class_becomes_one_of_several() -> None:
    squares = SquaresDataset(None, 'test', n_images=1)
    groups = ClassGroups(11)
    relabel = Relabel('camvid11', {'square': ('car', 'bicyclist'), 'background': 'sky'})
    labels = Relabelled.by(relabel, squares, groups)[0][1]
    is_square = squares[0][1] == 1
    assert np.unique(labels[is_square]).tolist() == [11]
    assert np.unique(labels[~is_square]).tolist() == [0]
    names = ClassSet.from_yaml(resource('config/labels/camvid11.yaml')).names
    assert [names[k] for k in groups.members[0]] == ['car', 'bicyclist']


def test_only_training_data_may_have_groups() -> None:
    squares = SquaresDataset(None, 'test', n_images=1)
    relabel = Relabel('camvid11', {'square': ('car', 'bicyclist')})
    with pytest.raises(RecipeError, match='Only training data may have several'):
        Relabelled.by(relabel, squares)
    with pytest.raises(RecipeError, match='expected one class'):
        Relabelled.by(Relabel('camvid11', {'square': ()}), squares, ClassGroups(11))

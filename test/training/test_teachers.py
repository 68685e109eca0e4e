import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.errors import RecipeError, UnknownNameError
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.training.teachers import TaughtBy, Teachers, class_matrix, restrict

IMAGES = torch.randint(0, 256, (2, 8, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.full((2, 8, 12), 255, dtype=torch.uint8)


class Fixed(nn.Module):
    """The same scores everywhere; remembers the size of its last input."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))
        self.size = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        self.size = x.shape[-2], x.shape[-1]
        return self.scores.view(1, -1, 1, 1).expand(len(x), -1, *self.size)


def classes(*names: str) -> ClassSet:
    return ClassSet(tuple(ClassInfo(i, name, (i, 0, 0)) for i, name in enumerate(names)))


def taught_by(network: Fixed, matrix: Tensor, **more: float) -> TaughtBy:
    return TaughtBy(ImageNetwork(network, Normalisation()), matrix, **more)


def test_the_mean_of_probabilities_is_weighted_and_translated() -> None:
    first, second = Fixed(1.0, 0.0), Fixed(0.5, 2.0, -1.0)
    matrix = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    teachers = Teachers(
        [taught_by(first, torch.eye(2), share=3.0), taught_by(second, matrix, scale=2.0)], temperature=2.0
    )
    got = teachers(IMAGES, LABELS)
    p = np.exp([0.5, 0.0])
    q = np.exp([0.25, 1.0, -0.5])
    p, q = p / p.sum(), q / q.sum()
    want = 0.75 * p + 0.25 * np.array([q[0] + q[2], q[1]])
    assert got.shape == (2, 2, 8, 12)
    np.testing.assert_allclose(got[1, :, 3, 4], want, rtol=1e-5)
    assert (first.size, second.size) == ((8, 12), (16, 24))
    assert not teachers.train().networks[0].training
    assert not any(parameter.requires_grad for parameter in teachers.parameters())


def test_groups_restrict_probabilities_and_single_labels_do_not() -> None:
    probs = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1).expand(1, 3, 1, 3)
    got = restrict(probs, torch.tensor([[[0, 3, 255]]], dtype=torch.uint8), [(1, 2)])
    np.testing.assert_allclose(got[0, :, 0, 0], [0.5, 0.3, 0.2], rtol=1e-4)
    np.testing.assert_allclose(got[0, :, 0, 1], [0.0, 0.6, 0.4], rtol=1e-4)
    np.testing.assert_allclose(got[0, :, 0, 2], [0.5, 0.3, 0.2], rtol=1e-4)


def test_a_teacher_that_is_sure_of_what_is_not_allowed_says_nothing() -> None:
    probs = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    got = restrict(probs, torch.full((1, 1, 1), 3, dtype=torch.uint8), [(1, 2)])
    np.testing.assert_allclose(got.flatten(), [0.0, 0.5, 0.5])


def test_classes_are_translated_by_name() -> None:
    teacher, student = classes('car', 'bus', 'sea'), classes('sky', 'car')
    matrix = class_matrix(teacher, student, {'car': 'car', 'bus': 'car'}, 'it')
    assert matrix.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert class_matrix(student, student, None, 'it').tolist() == [[1, 0], [0, 1]]
    with pytest.raises(RecipeError, match='it has other classes than the data'):
        class_matrix(teacher, student, None, 'it')
    with pytest.raises(UnknownNameError, match='ship'):
        class_matrix(teacher, student, {'ship': 'car'}, 'it')

"""Teachers: trained networks whose probabilities a network learns from (Hinton et al., arXiv 1503.02531)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.classes import ClassSet
from seg_ros.errors import RecipeError
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.score_size import at_size


class TaughtBy(NamedTuple):
    """One teacher: its network, and how its result is used.

    Attributes:
        network: The trained network.
        classes: (K, T) float: 1 where class t of the teacher counts as class k of the student, else 0.
        share: Weight of its probabilities in the mean, above 0.
        scale: Factor for width and height of the images that it gets.
    """

    network: ImageNetwork
    classes: Tensor
    share: float = 1.0
    scale: float = 1.0


class Teachers(nn.Module):
    """The mean probabilities of several teachers, in the classes of the student.

    Args:
        teachers: The teachers, at least one; frozen here.
        temperature: Divisor of their scores, above 0.
        groups: Ids of the classes of each group that labels may be, to which probabilities are restricted;
            none = not restricted.
    """

    def __init__(
        self, teachers: Sequence[TaughtBy], temperature: float = 1.0, groups: Sequence[Sequence[int]] = ()
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(teacher.network.eval().requires_grad_(False) for teacher in teachers)
        total = sum(teacher.share for teacher in teachers)
        self.shares = [teacher.share / total for teacher in teachers]
        self.scales = [teacher.scale for teacher in teachers]
        self.temperature = temperature
        self.matrices = [f'classes_{number}' for number in range(len(teachers))]
        for name, teacher in zip(self.matrices, teachers, strict=True):
            self.register_buffer(name, teacher.classes)
        self.groups = groups

    def train(self, mode: bool = True) -> 'Teachers':
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Probabilities for (B, H, W, 3) uint8 images and (B, H, W) uint8 labels: (B, K, H, W) float32.

        They sum to 1, or to less where a teacher sees a class that the student has not. Not compiled: with
        teachers of several sizes, torch 2.13 makes the sizes dynamic, and fails at ESPNetv2's pooling.
        """
        mean = torch.zeros((), device=images.device)
        for network, name, share, scale in zip(
            self.networks, self.matrices, self.shares, self.scales, strict=True
        ):
            scores = network(_resized(images, scale)).float() / self.temperature
            probs = torch.einsum('kt,bthw->bkhw', self.get_buffer(name), scores.softmax(1))
            mean = mean + share * at_size(probs, labels.shape[-2:])
        return restrict(mean, labels, self.groups)


def restrict(probs: Tensor, labels: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Probabilities given that a pixel has one of the classes of its label (Bayes' rule).

    Pixels of one class or none keep their probabilities: what else a teacher sees there is worth learning.

    Args:
        probs: (B, K, H, W) float, 0..1.
        labels: (B, H, W) uint8, class ids, K + n for group n, and 255.
        groups: Ids of the classes of each group.

    Returns:
        (B, K, H, W) float. Where a teacher gives all classes of a group less than a millionth, they are even.
    """
    n_classes = probs.shape[1]
    for label, members in enumerate(groups, start=n_classes):
        is_member = torch.tensor([k in members for k in range(n_classes)], device=probs.device).view(-1, 1, 1)
        inside = (probs + 1e-6) * is_member
        probs = torch.where((labels == label)[:, None], inside / inside.sum(1, keepdim=True), probs)
    return probs


def class_matrix(teacher: ClassSet, student: ClassSet, names: Mapping[str, str] | None, file: str) -> Tensor:
    """Translation of a teacher's classes to the student's, (K, T) float: 1 where class t counts as class k.

    Args:
        teacher: Classes of the teacher.
        student: Classes of the data.
        names: Class of the teacher -> class of the data; None = both have the same classes.
        file: Name of the teacher's file, for error messages.

    Raises:
        RecipeError: ``names`` is None and the classes differ.
        UnknownNameError: A class is in neither set.
    """
    if names is None:
        if teacher != student:
            raise RecipeError(
                f'teacher: {file} has other classes than the data: {teacher.names}; give "names", which '
                'translate them'
            )
        return torch.eye(len(student))
    matrix = torch.zeros(len(student), len(teacher))
    for old, new in names.items():
        matrix[student.id_of(new), teacher.id_of(old)] = 1
    return matrix


def _resized(images: Tensor, scale: float) -> Tensor:
    """(B, H, W, 3) uint8 images with another width and height."""
    if scale == 1:
        return images
    size = [round(n * scale) for n in images.shape[1:3]]
    resized = F.interpolate(images.permute(0, 3, 1, 2), size, mode='bilinear', antialias=scale < 1)
    return resized.permute(0, 2, 3, 1)

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.training.losses import SegmentationLoss
from seg_ros.training.recipe import Teacher
from seg_ros.training.score_size import at_size
from seg_ros.training.teachers import TaughtBy, Teachers
from seg_ros.training.training_step import TrainingStep

IMAGES = torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 5, (2, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
GROUPS = ((1, 3),)
"""Labels 0 to 3 are classes, 4 is class 1 or 3."""


class Small(nn.Module):
    """Scores of all pixels, or of every second one each way."""

    def __init__(self, half_scores: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.last = nn.Conv2d(8, 4 if half_scores else 16, 3, padding=1)
        self.half_scores = half_scores

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.first(x).relu())
        return scores if self.half_scores else F.pixel_shuffle(scores, 2)


def gradients(half_scores: bool, *, compiled: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    student, teacher = Small(half_scores), Small(half_scores=False)
    taught = ImageNetwork(teacher, Normalisation())
    plain, smaller = TaughtBy(taught, torch.eye(4)), TaughtBy(taught, torch.eye(4).flip(0), scale=1.5)
    step = TrainingStep(
        ImageNetwork(student, Normalisation()),
        SegmentationLoss(torch.ones(4), jaccard=1.0, groups=GROUPS),
        'fp32',
        Teachers([plain, smaller], temperature=2.0, groups=GROUPS),
        Teacher('teacher', weight=1.0, temperature=2.0),
    ).train()
    run = torch.compile(step, dynamic=False) if compiled else step
    run(IMAGES, LABELS).backward()
    return {name: p.grad for name, p in student.named_parameters() if p.grad is not None}


# Dynamo looks at what it goes on with behind the interpolation.
@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor')
@pytest.mark.parametrize('half_scores', [False, True])
def test_compiled_steps_learn_what_plain_ones_do(half_scores: bool) -> None:
    want = gradients(half_scores, compiled=False)
    torch.compiler.reset()
    got = gradients(half_scores, compiled=True)
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-4)


def test_scores_come_to_the_size_of_the_labels() -> None:
    scores = torch.randn(1, 4, 5, 7)
    assert at_size(scores, (5, 7)) is scores
    want = F.interpolate(scores, (10, 15), mode='bilinear', align_corners=False)
    torch.testing.assert_close(at_size(scores, (10, 15)), want)

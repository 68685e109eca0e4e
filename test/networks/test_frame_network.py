import copy

import torch
from torch import Tensor, nn

from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation


class Small(nn.Module):
    """A map at 1/2 and one at 1/8, of which the second is returned among others; scores of 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.coarse = nn.MaxPool2d(4, return_indices=True)
        self.classify = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classify(self.coarse(self.fine(x))[0])
        return scores


def frame_network() -> FrameNetwork:
    torch.manual_seed(0)
    return FrameNetwork(
        ImageNetwork(Small(), Normalisation()),
        codes=BinaryLayer([4, 4], 16),
        taps=['fine', 'coarse'],
        embeddings=EmbeddingHead([4], 5, 4),
        embedding_taps=['coarse'],
    ).eval()


IMAGES = torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_all_outputs_have_their_shapes() -> None:
    answers = frame_network()(IMAGES)
    shapes = {name: tuple(value.shape) for name, value in answers.items()}
    assert shapes == {'scores': (2, 3, 4, 6), 'codes': (2, 4, 6, 16), 'embeddings': (2, 5, 8, 12)}
    assert {value.dtype for value in answers.values()} == {torch.float32}


def test_heads_read_the_tapped_maps() -> None:
    frames = frame_network()
    small = frames.network.network
    fine, coarse = frames.maps(IMAGES)
    torch.testing.assert_close(coarse, small.coarse(fine)[0])
    answers = frames(IMAGES)
    torch.testing.assert_close(answers['scores'], small.classify(coarse))
    logits = frames.codes([fine, coarse], (4, 6))
    torch.testing.assert_close(answers['codes'], logits.permute(0, 2, 3, 1))
    pixels = IMAGES.permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(answers['embeddings'], frames.embeddings(pixels, [coarse]))


def test_a_copy_captures_its_own_maps() -> None:
    frames = frame_network()
    other = copy.deepcopy(frames)
    nn.init.zeros_(other.network.network.fine.weight)
    before = frames(IMAGES)
    other(IMAGES)
    torch.testing.assert_close(frames(IMAGES), before)


def test_closed_hooks_leave_the_network() -> None:
    frames = frame_network()
    frames.close()
    assert not any(module._forward_hooks for module in frames.network.network.modules())

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ModelFileError
from seg_ros.modelfile.golden import GOLDEN_LIMIT_BYTES
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.synthetic import RenderedDrive
from seg_ros.training.golden_record import (
    GOLDEN_SIZE,
    agreement,
    candidate_scenes,
    choose_scenes,
    label_image,
    make_golden,
)

SIZE = (48, 64)


class Reddest(nn.Module):
    """Class 1 where red exceeds blue, class 2 where it is bright."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] - x[:, 2], x.mean(1) - 1.0], dim=1)


def reddest(normalisation: Normalisation | None = None) -> ImageNetwork:
    return ImageNetwork(Reddest(), normalisation or Normalisation()).eval()


def test_a_record_fits_and_reproduces() -> None:
    network = reddest()
    golden = make_golden(network, choose_scenes(network, SIZE), SIZE)
    assert golden.images.shape == (2, *GOLDEN_SIZE, 3)
    assert golden.images.nbytes + golden.labels.nbytes <= GOLDEN_LIMIT_BYTES
    again = np.stack([label_image(network, image, SIZE) for image in golden.images])
    assert agreement(again, golden.labels) == 1
    np.testing.assert_array_equal(choose_scenes(network, SIZE), golden.images)


def test_chosen_scenes_show_swapped_channels_and_a_missing_mean() -> None:
    network = reddest()
    mistakes = (Normalisation(channel_order='bgr'), Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))

    def weakest(scene: UInt8Array) -> float:
        labels = label_image(network, scene, SIZE)
        return min(1 - agreement(label_image(reddest(wrong), scene, SIZE), labels) for wrong in mistakes)

    chosen = [weakest(scene) for scene in choose_scenes(network, SIZE)]
    assert chosen == sorted(map(weakest, candidate_scenes()), reverse=True)[:2]
    assert min(chosen) > 0.1


def test_labels_are_those_of_interpolated_scores() -> None:
    image = candidate_scenes()[0]
    network = reddest()
    x = torch.from_numpy(image)[None].permute(0, 3, 1, 2).float()
    # A network input of exactly the image's size needs no resize at all.
    scores = network.network(x * network.scale + network.offset)
    np.testing.assert_array_equal(label_image(network, image, GOLDEN_SIZE), scores[0].argmax(0))

    doubled = label_image(network, image.repeat(2, 0).repeat(2, 1), GOLDEN_SIZE)
    expected = F.interpolate(scores, (108, 144), mode='bilinear')[0].argmax(0)
    np.testing.assert_array_equal(doubled, expected)


def test_candidates_differ_and_too_large_a_record_is_refused() -> None:
    scenes = candidate_scenes()
    assert len({scene.tobytes() for scene in scenes}) == len(scenes) == 24
    with pytest.raises(ModelFileError, match='32768'):
        make_golden(reddest(), np.zeros((3, 54, 72, 3), np.uint8), SIZE)


def test_agreement_is_a_share_of_pixels() -> None:
    labels = np.array([[[0, 1], [2, 255]]], np.uint8)
    assert agreement(labels, labels) == 1
    assert agreement(labels, np.array([[[0, 1], [2, 3]]], np.uint8)) == 0.75


def test_shipped_scenes_are_rendered_streets() -> None:
    scenes = candidate_scenes()
    assert scenes.shape == (24, *GOLDEN_SIZE, 3)
    for seed in range(4):
        drive = RenderedDrive(seed, 60, *GOLDEN_SIZE)
        rendered = np.stack([drive[10 * k][0] for k in range(6)])
        assert (rendered == scenes[6 * seed : 6 * seed + 6]).mean() > 0.999  # but for rounding of processors

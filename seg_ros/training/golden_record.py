"""Golden record of a model file: small rendered scenes with the labels of the model.

The self-check labels the scenes again and compares. The scenes are chosen so that common faults, such as
swapped red and blue or a wrong normalisation, change as many labels as possible.
"""

from functools import cache

import numpy as np
import torch
from torch.nn import functional as F

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.images.files import read_image
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.golden import Golden
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.resources import resource
from seg_ros.segments.code_pooling import CodePooling

GOLDEN_SIZE = (54, 72)
N_SCENES = 2
SCENES_FILE = 'config/golden_scenes.png'

_WRONG_NORMALISATIONS = (Normalisation(), Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
"""Normalisations that are often used by mistake: ImageNet's mean and deviation, or plain 0..1."""


@torch.inference_mode()
def label_image(
    network: ImageNetwork | FilteredNetwork, image: UInt8Array, input_size: tuple[int, int]
) -> UInt8Array:
    """Labels of one image, computed in the plain way; the reference for all faster ways.

    Args:
        network: Network in evaluation mode, on any device.
        image: (H, W, 3) uint8 RGB.
        input_size: (height, width) to which the image is resized.

    Returns:
        (H, W) uint8: class with the largest score, after bilinear interpolation to the image's size.
    """
    x = torch.from_numpy(resize_image(image, *input_size))[None].to(next(network.buffers()).device)
    scores = network(x)
    if scores.shape[-2:] != image.shape[:2]:
        scores = F.interpolate(scores, image.shape[:2], mode='bilinear', align_corners=False)
    labels: UInt8Array = scores[0].argmax(0).to(torch.uint8).cpu().numpy()
    return labels


@cache
def candidate_scenes() -> UInt8Array:
    """Scenes to choose golden images from, (24, 54, 72, 3) uint8 RGB.

    They are six frames of each of four rendered streets. They come with the package as one picture, four
    rows of six, since rendering them takes seconds.
    """
    height, width = GOLDEN_SIZE
    sheet = read_image(resource(SCENES_FILE))
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // width
    return sheet.reshape(rows, height, columns, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)


def choose_scenes(network: ImageNetwork, input_size: tuple[int, int], n_scenes: int = N_SCENES) -> UInt8Array:
    """Choose the candidates whose labels change most under the least visible fault.

    Args:
        network: Network in evaluation mode, on the CPU.
        input_size: (height, width) of its input.
        n_scenes: Number of scenes.

    Returns:
        (n_scenes, 54, 72, 3) uint8 RGB.
    """
    scenes = candidate_scenes()
    changes = [_smallest_change(network, scene, input_size) for scene in scenes]
    # A stable sort chooses equal candidates always in the same order.
    return scenes[np.argsort(changes, kind='stable')[::-1][:n_scenes]]


def make_golden(
    network: ImageNetwork,
    images: UInt8Array,
    input_size: tuple[int, int],
    filtered: FilteredNetwork | None = None,
) -> Golden:
    """Make a golden record of a network's labels.

    Args:
        network: Network in evaluation mode, float32, on the CPU.
        images: (N, H, W, 3) uint8 RGB, from :func:`choose_scenes`.
        input_size: (height, width) of its input.
        filtered: The same network with its embedding filter, whose labels are recorded too; None = no filter.

    Raises:
        ModelFileError: The record is too large for a model file.
    """
    labels = np.stack([label_image(network, image, input_size) for image in images])
    if filtered is None:
        return Golden(images, labels)
    filtered_labels = np.stack([label_image(filtered, image, input_size) for image in images])
    return Golden(images, labels, filtered=filtered_labels)


def make_code_golden(frames: FrameNetwork, input_size: tuple[int, int], golden: Golden | None) -> Golden:
    """Add codes to a golden record.

    Args:
        frames: Network with a binary layer, in evaluation mode, float32, on the CPU.
        input_size: (height, width) of its input.
        golden: Record of the labels; None for a model without classes.

    Raises:
        ModelFileError: The record is too large for a model file.
    """
    images = candidate_scenes()[:N_SCENES] if golden is None else golden.images
    labels = np.full(images.shape[:3], UNLABELLED, np.uint8) if golden is None else golden.labels
    assert frames.codes is not None
    code_pooling = CodePooling.of(frames.codes)
    codes = []
    for image in images:
        resized = np.array(resize_image(image, *input_size))
        with torch.no_grad():
            logits = frames(torch.from_numpy(resized)[None])['codes'][0]
        codes.append(code_pooling.golden(logits, resized))
    filtered = None if golden is None else golden.filtered
    return Golden(images, labels, np.stack(codes), filtered)


def agreement(labels: UInt8Array, golden_labels: UInt8Array) -> float:
    """Fraction of pixels with the recorded label, 0..1; both are uint8 arrays of the same shape."""
    return float((labels == golden_labels).mean())


def _smallest_change(network: ImageNetwork, scene: UInt8Array, input_size: tuple[int, int]) -> float:
    """Fraction of a scene's labels that the least visible of the common faults changes, 0..1."""
    correct = label_image(network, scene, input_size)
    swapped = np.ascontiguousarray(scene[..., ::-1])
    wrong = [label_image(network, swapped, input_size)]
    for normalisation in _WRONG_NORMALISATIONS:
        faulty = ImageNetwork(network.network, normalisation)
        if not _same_scale(faulty, network):
            faulty.flip = network.flip
            wrong.append(label_image(faulty.eval(), scene, input_size))
    return 1 - max(agreement(labels, correct) for labels in wrong)


def _same_scale(one: ImageNetwork, other: ImageNetwork) -> bool:
    return torch.equal(one.scale, other.scale) and torch.equal(one.offset, other.offset)

"""Compare the Taylor criterion with the oracle: rank correlation in each layer and over all layers.

Molchanov et al., ICLR 2017, report about 0.73 for VGG16. Two networks are measured: a small SegNet, trained
for some seconds on squares, and the shipped ENet. ENet sees rendered streets or, with a folder that has
camvid/, frames of the training split of CamVid.

    python benchmarks/taylor_against_oracle.py [--data DIR] [--images 4] [--json OUT]
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.compression.importance import (
    Scoring,
    Task,
    importance,
    oracle_importance,
    rank_correlation,
    taylor,
)
from seg_ros.datasets.camvid import CamVid
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.file import load_model
from seg_ros.networks.graph.channels import trace_channels
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.segnet import SegNetSmall
from seg_ros.synthetic import RenderedDrive

CRITERIA = ('taylor', 'taylor, not by layer', 'l1', 'random')


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(scores, labels.long(), ignore_index=255)


def batch(
    pairs: Dataset | RenderedDrive, indices: Sequence[int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for index in indices:
        image, truth = pairs[index]
        images.append(torch.from_numpy(resize_image(image, *size)))
        labels.append(torch.from_numpy(cv2.resize(truth, size[::-1], interpolation=cv2.INTER_NEAREST)))
    return torch.stack(images), torch.stack(labels)


def trained_segnet(size: tuple[int, int]) -> nn.Module:
    torch.manual_seed(0)
    network = SegNetSmall(2)
    wrapped = ImageNetwork(network, Normalisation())
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    images, labels = batch(SquaresDataset(None, 'train'), range(24), size)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(wrapped(images), labels).backward()
        optimizer.step()
    return network.eval()


def compare(name: str, network: nn.Module, task: Task) -> dict[str, object]:
    channels = trace_channels(network, torch.zeros(1, 3, *task.batches[0][0].shape[1:3]))
    truth = oracle_importance(network, channels, task).abs()
    result: dict[str, object] = {'loss': task.mean_loss(network), 'n_units': len(truth)}
    print(f'{name}: {len(truth)} units in {len(channels.layers)} layers, loss {result["loss"]:.3f}')
    for criterion in CRITERIA:
        if criterion == 'taylor, not by layer':
            score = taylor(Scoring(network, channels, task, seed=0))
        else:
            score = importance(network, channels, criterion, task=task)
        by_layer = {
            layer: rank_correlation(score[list(n)], truth[list(n)])
            for layer, n in channels.layers.items()
            if len(n) > 3
        }
        pooled = rank_correlation(score, truth)
        mean = statistics.fmean(by_layer.values())
        result[criterion] = {'all_layers': pooled, 'mean_of_layers': mean, 'layers': by_layer}
        print(f'  {criterion:20} all layers together {pooled:5.2f}, mean of the layers {mean:5.2f}')
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, help='folder that has camvid/')
    parser.add_argument('--images', type=int, default=4)
    parser.add_argument('--model', type=Path, default=Path('models/enet_camvid.safetensors'))
    parser.add_argument('--json', type=Path)
    options = parser.parse_args()
    size = (60, 80)
    squares = batch(SquaresDataset(None, 'train'), range(options.images), size)
    found = {'segnet_small': compare('SegNet small', trained_segnet(size), Task([squares], cross_entropy))}
    model = load_model(options.model)
    frames: Dataset | RenderedDrive = RenderedDrive(5, options.images, 240, 320)
    indices = list(range(options.images))
    if options.data:
        frames = CamVid(options.data / 'camvid', 'train')
        indices = [len(frames) * i // options.images for i in indices]
    task = Task([batch(frames, indices, (180, 240))], cross_entropy, model.metadata.normalisation)
    found['enet'] = compare('ENet', model.network, task)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()

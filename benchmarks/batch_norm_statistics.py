"""Measure new statistics of batch normalisations: before testing, after pruning, and after zeros.

Makes the table of docs/experiments/batch_norm_statistics.md. Nothing learns after a change.

    python benchmarks/batch_norm_statistics.py benchmarks/weights/segnet_train.safetensors --data DIR
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import torch

from seg_ros.compression.context import CompressionContext
from seg_ros.compression.cost_target import CostTarget
from seg_ros.compression.learning import take
from seg_ros.compression.steps import Prune, Sparsify
from seg_ros.datasets.camvid import CamVid
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.modelfile.file import Model, load_model
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.batch_norm_statistics import recompute_statistics
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Source
from seg_ros.training.validation import as_figures, measure

ALONE = Processes(0, 1, torch.device('cpu'))
N_IMAGES, BATCH_SIZE = 64, 8
"""Training images for the statistics of the unchanged network, and those that normalise each other."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--data', type=Path, required=True, help='root folder of CamVid')
    parser.add_argument('--limit', type=int, default=34, help='number of images of val to measure on')
    parser.add_argument('--images', type=int, default=32, help='number of images after a change')
    arguments = parser.parse_args()
    validation = EvenSample(CamVid(arguments.data, 'val'), arguments.limit)
    train = (Source('camvid', 'train'),)
    context = CompressionContext(train, None, arguments.data, ALONE, {}, arguments.model)
    whole = load_model(arguments.model)
    whole.network.float()
    before = figures(whole, validation)
    samples = torch.cat([image for image, _ in context.samples(N_IMAGES, whole.metadata)])
    images = ImageNetwork(whole.network, whole.metadata.normalisation)
    recompute_statistics(images, torch.split(samples, BATCH_SIZE))
    print(f'{"none":12} kept {before}  new {figures(whole, validation)}', flush=True)
    steps: list[tuple[str, Prune | Sparsify]] = [
        (f'prune {share}', Prune(CostTarget(share=share), images=arguments.images)) for share in (0.9, 0.7)
    ]
    steps += [(f'sparsify {share}', Sparsify(share, images=arguments.images)) for share in (0.6, 0.8)]
    for name, step in steps:
        found = []
        for statistics in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / 'changed.safetensors'
                changed = dataclasses.replace(step, statistics=statistics)
                take(changed, load_model(arguments.model), path, context)
                found.append(figures(load_model(path), validation))
        print(f'{name:12} kept {found[0]}  new {found[1]}', flush=True)


def figures(model: Model, validation: EvenSample) -> str:
    """Mean IoU and pixel accuracy in percent."""
    metadata = model.metadata
    network = ImageNetwork(model.network, metadata.normalisation).eval()
    measured = measure(network, validation, metadata.input_size, ALONE)
    found = as_figures(measured.matrix, metadata.classes)
    return f'{100 * found["mean_iou"]:6.2f} {100 * found["pixel_accuracy"]:6.2f}'


if __name__ == '__main__':
    main()

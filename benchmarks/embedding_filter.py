"""Compare the embedding filter with no filter, with a filter by colour, and with a dense CRF.

The filter by colour has the same loops, window and iterations, and the three values of a colour instead of
embeddings, so it is faster. The CRF (pip install pydensecrf2) works at the input size of the network. The
strengths of both are tuned on the split ``--tune``.

    python benchmarks/embedding_filter.py MODEL --data DIR --split val --tune train --json OUT
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.camvid import CamVid
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.images.resize import resize_image
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.metrics.labels import boundary_counts, confusion_matrix, mean_boundary_iou, mean_iou

Method = Callable[[UInt8Array, torch.Tensor, torch.Tensor], torch.Tensor]
"""Image of the input size, scores (K, H, W), embeddings (D, h, w) -> scores (K, h', w')."""

STRENGTHS = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Values for the hardness of the filter by colour, whose distances are L1 in Lab with values in 0..1."""


@dataclass(frozen=True)
class Scored:
    """An image and the outputs of the network.

    Attributes:
        image: Image at the input size, (H, W, 3) uint8 RGB.
        truth: True labels at the original size, (H', W') uint8.
        scores: (K, H, W) float32 scores.
        embeddings: (D, h, w) float32 embeddings.
    """

    image: UInt8Array
    truth: UInt8Array
    scores: torch.Tensor
    embeddings: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('--data', type=Path, required=True, help='root folder of CamVid')
    parser.add_argument('--split', default='val')
    parser.add_argument('--tune', default='train', help='split for tuning the strengths')
    parser.add_argument('--limit', type=int, default=101, help='number of images to measure on')
    parser.add_argument('--tune-limit', type=int, default=24, help='number of images to tune on')
    parser.add_argument(
        '--stride', type=int, default=1, help='size of the cells over which scores are averaged, in pixels'
    )
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args()

    settings = Settings(model=arguments.model, backend=arguments.backend, embedding_filter_enabled=True)
    segmenter = Segmenter.load(settings)
    own = segmenter.embedding_filter
    assert own is not None
    to_tune = EvenSample(CamVid(arguments.data, arguments.tune), arguments.tune_limit)
    to_measure = EvenSample(CamVid(arguments.data, arguments.split), arguments.limit)
    tuning, measured = (score(segmenter, images, arguments.stride) for images in (to_tune, to_measure))
    n_classes = len(segmenter.classes)

    def best(methods: Sequence[Method]) -> Method:
        return max(methods, key=lambda method: figures(method, tuning, n_classes)['mean_iou'])

    by_colour = best([colour_filter(replace(own, hardness=strength)) for strength in STRENGTHS])
    methods: dict[str, Method] = {
        'no filter': unchanged,
        f'embeddings, {own.window}x{own.window}, {own.iterations} times': embedding_filter(own),
        f'embeddings, {own.window}x{own.window}, 7 times': embedding_filter(replace(own, iterations=7)),
        'embeddings, every pixel, 9x9, 7 times': at_every_pixel(replace(own, window=9, iterations=7)),
        f'colour, {own.window}x{own.window}, {own.iterations} times': by_colour,
    }
    if (crfs := dense_crfs()) is not None:
        methods['dense CRF'] = best(crfs)
        methods['embeddings, then dense CRF'] = best([after(embedding_filter(own), crf) for crf in crfs])
    report = {}
    for name, method in methods.items():
        report[name] = figures(method, measured, n_classes)
        print(f'{name:40}', *(f'{k} {v:8.4f}  ' for k, v in report[name].items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')


def score(segmenter: Segmenter, dataset: Dataset, stride: int) -> list[Scored]:
    """Run the network without filters, and average its scores over cells of ``stride`` pixels."""
    found = []
    for index in range(len(dataset)):
        image, truth = dataset[index]
        resized = np.ascontiguousarray(resize_image(image, *segmenter.input_size))
        answers = segmenter.backend(torch.from_numpy(resized)[None])
        scores, embeddings = (answers[key][0].clone() for key in ('scores', 'embeddings'))
        found.append(Scored(resized, truth, F.avg_pool2d(scores, stride), embeddings))
    return found


def figures(method: Method, images: Sequence[Scored], n_classes: int) -> dict[str, float]:
    """Accuracy and median time of a method."""
    matrix, boundary = np.zeros((n_classes, n_classes + 1), np.int64), np.zeros((n_classes, 2), np.int64)
    times = []
    for each in images:
        started = time.perf_counter()
        scores = method(each.image, each.scores, each.embeddings)
        times.append(time.perf_counter() - started)
        labels = argmax_labels(scores, *each.truth.shape).labels
        matrix += confusion_matrix(each.truth, labels, n_classes)
        boundary += boundary_counts(each.truth, labels, n_classes)
    return {
        'mean_iou': mean_iou(matrix),
        'boundary_iou': mean_boundary_iou(boundary),
        'ms': 1e3 * float(np.median(times)),
    }


def unchanged(_image: UInt8Array, scores: torch.Tensor, _embeddings: torch.Tensor) -> torch.Tensor:
    return scores


def embedding_filter(settings: EmbeddingFilter) -> Method:
    return lambda _image, scores, embeddings: settings(scores, embeddings)


def at_every_pixel(settings: EmbeddingFilter) -> Method:
    """Filter with embeddings at every pixel, as published; they are interpolated here."""

    def run(image: UInt8Array, scores: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        size = image.shape[:2]
        scores, embeddings = (F.interpolate(x[None], size, mode='bilinear')[0] for x in (scores, embeddings))
        return settings(scores, embeddings)

    return run


def colour_filter(settings: EmbeddingFilter) -> Method:
    """Filter by colours, averaged over the cell of an embedding."""

    def run(image: UInt8Array, scores: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        height, width = embeddings.shape[-2:]
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32) / 255
        return settings(scores, torch.from_numpy(lab).permute(2, 0, 1))

    return run


def after(first: Method, second: Method) -> Method:
    return lambda image, scores, embeddings: second(image, first(image, scores, embeddings), embeddings)


def dense_crfs() -> list[Method] | None:
    """Dense CRFs of P. Kraehenbuehl and V. Koltun, NIPS 2011, of several strengths; None = not installed."""
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as err:
        print(f'no dense CRF: {err}; pip install pydensecrf2')
        return None

    def make(weight: float, reach: float, colour: float) -> Method:
        def run(image: UInt8Array, scores: torch.Tensor, _embeddings: torch.Tensor) -> torch.Tensor:
            height, width = image.shape[:2]
            if scores.shape[1:] != (height, width):
                scores = F.interpolate(scores[None], (height, width), mode='bilinear')[0]
            field = DenseCRF2D(width, height, len(scores))
            unary = -scores.log_softmax(0).reshape(len(scores), -1).contiguous().numpy()
            field.setUnaryEnergy(np.ascontiguousarray(unary))
            field.addPairwiseGaussian(sxy=3, compat=1)
            field.addPairwiseBilateral(sxy=reach, srgb=colour, rgbim=image.copy(), compat=weight)
            marginals = np.array(field.inference(5), np.float32).reshape(len(scores), height, width)
            return torch.from_numpy(marginals).clamp_min(1e-12).log()

        return run

    return [make(*values) for values in product((1.0, 3.0), (20.0, 50.0), (5.0, 10.0))]


if __name__ == '__main__':
    main()

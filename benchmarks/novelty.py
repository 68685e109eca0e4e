"""Separation of other images from known ones by the score of novelty, for docs/experiments/novelty.md.

python benchmarks/novelty.py --model lite_camvid --known camvid/val ford_dashcam --unknown bsds500/images/val

Rendered soccer fields, noise, black, overexposed and blurred images are made here.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from seg_ros import Segmenter
from seg_ros.arrays import Float64Array, UInt8Array
from seg_ros.datasets.soccer import SoccerDataset
from seg_ros.images.files import read_image
from seg_ros.metrics.novelty import novelty_score, novelty_threshold

N_MADE = 30
"""Number of images of each kind that is made here."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='lite_camvid', help='name or file (default: lite_camvid)')
    parser.add_argument('--known', type=Path, nargs='+', required=True, help='folders of known images')
    parser.add_argument('--unknown', type=Path, nargs='*', default=[], help='folders of other images')
    parser.add_argument('--every', type=int, default=2, help='use every n-th image (default: 2)')
    arguments = parser.parse_args()
    segmenter = Segmenter.load(arguments.model)
    golden = scores_of(segmenter, segmenter.model.golden.images)
    known = {str(p): scores_of(segmenter, folder_images(p, arguments.every)) for p in arguments.known}
    other = {str(p): scores_of(segmenter, folder_images(p, arguments.every)) for p in arguments.unknown}
    made = made_kinds(list(folder_images(arguments.known[0], arguments.every))[:N_MADE])
    other |= {kind: scores_of(segmenter, images) for kind, images in made.items()}
    reference = np.concatenate(list(known.values()))
    limit = novelty_threshold(golden.tolist(), reference)
    above = {kind: round(float((scores > limit).mean()), 3) for kind, scores in (known | other).items()}
    report = {
        'golden': golden.round(3).tolist(),
        'threshold': round(limit, 3),
        'above_threshold': above,
        'auroc': {kind: round(auroc(reference, scores), 3) for kind, scores in other.items()},
    }
    print(json.dumps(report, indent=2))


def scores_of(segmenter: Segmenter, images: Iterable[UInt8Array]) -> Float64Array:
    """Score of each image."""
    n_classes = len(segmenter.classes)
    scores = []
    for image in images:
        prediction = segmenter(image, confidence=True)
        assert prediction.confidence is not None
        labels = np.minimum(prediction.labels, n_classes).ravel()
        scores.append(
            novelty_score(
                np.bincount(labels, minlength=n_classes + 1),
                np.bincount(prediction.confidence.ravel(), minlength=256),
            )
        )
    return np.array(scores)


def folder_images(folder: Path, every: int) -> Iterator[UInt8Array]:
    """Every n-th image of a folder, by name."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in ('.png', '.jpg', '.jpeg', '.webp'))
    for path in files[::every]:
        yield read_image(path)


def made_kinds(streets: list[UInt8Array]) -> dict[str, Iterable[UInt8Array]]:
    """Images of each kind that needs no photographs but streets."""
    rng = np.random.default_rng(0)
    fields = SoccerDataset(None, 'test', n_images=N_MADE, height=360, width=480)
    sizes = [(360 // step, 480 // step, 3) for step in (1, 1, 4, 8, 16, 32)] * (N_MADE // 6)
    return {
        'soccer': (fields[index][0] for index in range(N_MADE)),
        'noise': (cv2.resize(rng.integers(0, 256, size, np.uint8), (480, 360)) for size in sizes),
        'black': (np.uint8(0.03 * image) for image in streets),
        'overexposed': (np.clip(5.0 * image + 40, 0, 255).astype(np.uint8) for image in streets),
        'blurred': (cv2.GaussianBlur(image, (0, 0), 8) for image in streets),
    }


def auroc(known: Float64Array, other: Float64Array) -> float:
    """Probability that another image has a higher score than a known one; equal scores count half."""
    higher = (other[:, None] > known).mean()
    return float(higher + (other[:, None] == known).mean() / 2)


if __name__ == '__main__':
    main()

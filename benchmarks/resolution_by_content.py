"""Whether frames that look easy may run at a lower resolution, for docs/experiments/resolution.md.

python benchmarks/resolution_by_content.py idd_lite --data DIR --names idd7_camvid11 --split val

Every image runs at the full size of the model and at a smaller one. A rule that sees only the result of the
smaller one (its mean confidence) chooses the images that run again at the full size. Beside it are
rules that draw them and that know the truth.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg_ros import Segmenter
from seg_ros.datasets.open import open_dataset
from seg_ros.datasets.walk import walk
from seg_ros.evaluation.class_translation import ClassTranslation
from seg_ros.inference.settings import Settings
from seg_ros.metrics.batched import mean_iou
from seg_ros.metrics.labels import confusion_matrix

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', help='kind of data set')
    parser.add_argument('--data', type=Path, required=True, help='root folder of the data set')
    parser.add_argument('--split', default='val', help='split (default: val)')
    parser.add_argument('--names', help='translation of classes (default: the same classes)')
    parser.add_argument(
        '--model', default='lite_camvid_int8', help='name or file (default: lite_camvid_int8)'
    )
    parser.add_argument('--size', type=int, nargs=2, default=(240, 320), help='smaller height and width')
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.dataset, arguments.data, arguments.split, {})
    height, width = arguments.size
    full = Segmenter.load(Settings(model=arguments.model))
    small = Segmenter.load(Settings(model=arguments.model, input_height=height, input_width=width))
    translation = ClassTranslation.between(dataset.classes, full.classes, arguments.names)
    n_classes = len(dataset.classes)
    matrices: list[list[npt.NDArray[np.int64]]] = [[], []]
    seconds, confidences = np.zeros(2), []
    for _, (image, truth) in walk(dataset, 'evaluating'):
        truth = translation.true_labels(truth)
        for number, segmenter in enumerate((full, small)):
            started = time.perf_counter()
            prediction = segmenter(image, confidence=True)
            seconds[number] += time.perf_counter() - started
            labels = translation.as_data(truth, prediction.labels)
            matrices[number].append(confusion_matrix(truth, labels, n_classes))
        assert prediction.confidence is not None
        confidences.append(prediction.confidence.mean())
    at_full, at_small = (np.stack(part) for part in matrices)
    right = [m[:, :, :n_classes].trace(axis1=1, axis2=2) for m in (at_full, at_small)]
    orders = {
        'least confident first': np.argsort(confidences),
        'drawn': np.random.default_rng(0).permutation(len(confidences)),
        'largest gain first (knows the truth)': np.argsort(right[1] - right[0]),
    }
    cost = seconds[1] / seconds[0]
    print(f'{len(confidences)} images, {height}x{width} takes {cost:.2f} of the time of {full.input_size}')
    print('| images that run at the full size, too | time | ' + ' | '.join(orders) + ' |')
    print('| --: | --: |' + ' --: |' * len(orders))
    for share in SHARES:
        n = round(share * len(confidences))
        cells = []
        for order in orders.values():
            chosen = at_small.copy()
            chosen[order[:n]] = at_full[order[:n]]
            cells.append(f'{100 * float(mean_iou(chosen.sum(0)[None])[0]):.2f}')
        print(f'| {100 * share:.0f} % | {share + cost:.2f} | ' + ' | '.join(cells) + ' |')


if __name__ == '__main__':
    main()

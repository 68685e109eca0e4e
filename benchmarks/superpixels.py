"""Boundary recall and undersegmentation error of superpixels on BSDS500, for docs/experiments/segments.md.

python benchmarks/superpixels.py --data bsds500 --superpixels slic --region-size 16
"""

import argparse
import json
from pathlib import Path

import numpy as np

from seg_ros.datasets.segmented import BSDS500
from seg_ros.metrics.segments import boundary_recall, undersegmentation_error
from seg_ros.segments.registry import SUPERPIXELS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='folder of BSDS500')
    parser.add_argument('--split', default='val', choices=('train', 'val', 'test'), help='part of the data')
    parser.add_argument('--every', type=int, default=5, help='use every n-th image (default: 5)')
    parser.add_argument('--superpixels', default='slic', choices=tuple(SUPERPIXELS), help='method')
    parser.add_argument('--region-size', type=int, default=16, help='size in pixels (default: 16)')
    arguments = parser.parse_args()
    dataset = BSDS500(arguments.data, arguments.split)
    counts, recalls, errors = [], [], []
    for index in range(0, len(dataset), arguments.every):
        image, annotations = dataset[index]
        regions = SUPERPIXELS[arguments.superpixels](image, region_size=arguments.region_size, n_threads=1)
        counts.append(regions.n)
        recalls.append(np.mean([boundary_recall(regions.ids, drawn) for drawn in annotations]))
        errors.append(np.mean([undersegmentation_error(regions.ids, drawn) for drawn in annotations]))
    report = {
        'n_images': len(counts),
        'n_superpixels': round(float(np.mean(counts))),
        'boundary_recall': round(float(np.mean(recalls)), 4),
        'undersegmentation_error': round(float(np.mean(errors)), 4),
    }
    print(json.dumps(report, indent=2))


if __name__ == '__main__':
    main()

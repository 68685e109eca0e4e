"""Time the steps from a frame to the message with its segments, and the network with codes.

Run it when nothing else runs:

    python benchmarks/segments.py --model enet_camvid --image FRAME.png --json out.json
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from std_msgs.msg import Header

from seg_ros.arrays import moved_to_memory
from seg_ros.cli.options import add_model_arguments, settings_from
from seg_ros.images.files import read_image
from seg_ros.images.resize import resize_image
from seg_ros.inference.segmenter import Segmenter
from seg_ros.ros.messages import segment_array, segment_ids
from seg_ros.segments.colour import colour_moments, lab_planes
from seg_ros.segments.greedy_merging import merge_most_similar
from seg_ros.segments.regions import find_borders, region_means, region_shapes
from seg_ros.segments.registry import SUPERPIXELS
from seg_ros.segments.segments import find_segments
from seg_ros.synthetic import RenderedDrive

_RUNS = 60


def median_ms(step: Callable[[], Any]) -> float:
    """Median time of a step, after a warm-up."""
    for _ in range(5):
        step()
    times = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    return round(float(np.median(times)), 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--image', type=Path, help='image file (default: a rendered frame)')
    parser.add_argument('--json', type=Path)
    add_model_arguments(parser)
    arguments = parser.parse_args()
    segmenter = Segmenter.load(settings_from(arguments))
    code_pooling, rules = segmenter.code_pooling, segmenter.segment_rules()
    if code_pooling is None:
        raise SystemExit('the model has no codes')
    image = read_image(arguments.image) if arguments.image else RenderedDrive(5, 2, 480, 640)[1][0]
    image = np.array(resize_image(image, *segmenter.input_size))
    frames = image[None]
    answers = {name: moved_to_memory(maps).copy() for name, maps in segmenter.backend(frames).items()}
    logits = answers['codes'][0]
    scores = answers['scores'][0] if 'scores' in answers else None
    superpixels = SUPERPIXELS[rules.superpixels](image, region_size=rules.region_size)
    planes, borders = lab_planes(image), find_borders(superpixels)
    means = code_pooling.means(logits, planes, superpixels)
    sizes = np.bincount(superpixels.ids.ravel(), minlength=superpixels.n)
    fractions = (sizes / sizes.sum()).astype(np.float32)
    sums = means * fractions[:, None]
    numbers = [np.float32(v) for v in (rules.merge_limit, rules.size_power, rules.border_share)]
    segments = find_segments(image, logits, scores, code_pooling, rules)
    confidence = np.zeros(image.shape[:2], np.uint8)
    identities = np.ones(segments.n, np.uint64)

    def merge() -> Any:
        return merge_most_similar(
            borders.pairs, borders.lengths, sums.copy(), fractions.copy(), True, *numbers
        )

    def message() -> Any:
        segment_ids(segments)
        return segment_array(
            segments,
            confidence=confidence,
            track_ids=identities,
            codebook=segmenter.codebook,
            max_count=500,
            header=Header(),
        )

    steps: dict[str, Callable[[], Any]] = {
        'network with codes': lambda: segmenter.backend(frames),
        'superpixels': lambda: SUPERPIXELS[rules.superpixels](image, region_size=rules.region_size),
        'lab': lambda: lab_planes(image),
        'colour': lambda: colour_moments(planes, superpixels),
        'bits': lambda: region_means(logits, superpixels),
        'borders': lambda: find_borders(superpixels),
        'join': merge,
        'scores': lambda: (
            None
            if scores is None
            else region_means(np.ascontiguousarray(scores.transpose(1, 2, 0)), segments.regions)
        ),
        'all segments': lambda: find_segments(image, logits, scores, code_pooling, rules),
        'describe': lambda: region_shapes(segments.regions),
        'message': message,
    }
    report = {
        'n_bits': code_pooling.n_bits,
        'n_superpixels': superpixels.n,
        'n_segments': segments.n,
        'milliseconds': {name: median_ms(step) for name, step in steps.items()},
    }
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()

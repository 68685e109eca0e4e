"""``seg_ros match``: find similar segments in two images."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_ros.cli.options import add_json, add_model_arguments, add_output, add_topic, settings_from
from seg_ros.errors import ParameterError, UnavailableError

if TYPE_CHECKING:
    from seg_ros.arrays import UInt8Array
    from seg_ros.inference.segmenter import Segmenter
    from seg_ros.segments.regions import Shapes
    from seg_ros.segments.segments import Segments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('a', type=Path, metavar='A', help='first image, or bag')
    parser.add_argument('b', type=Path, metavar='B', help='second image, or bag')
    parser.add_argument(
        '--frame',
        type=int,
        nargs=2,
        default=(0, 0),
        metavar=('I', 'J'),
        help='frame numbers in bags A and B, from 0 (default: the first frames)',
    )
    add_topic(parser)
    parser.add_argument(
        '--radius',
        type=float,
        default=0.2,
        help='maximum fraction of differing bits of two codes, 0..1 (default: %(default)s)',
    )
    parser.add_argument(
        '--min-area',
        type=float,
        default=0.002,
        help='minimum fraction of the image that a segment covers, 0..1 (default: %(default)s)',
    )
    add_output(parser, 'PNG', 'picture file for the matches', default=Path('match.png'))
    add_json(parser, 'matches and codes')
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment both images, match, draw, and write the figures."""
    from seg_ros.bags.frame import read_frame
    from seg_ros.drawing.matches import draw_matches
    from seg_ros.evaluation.figures import format_table, write_json
    from seg_ros.images.files import write_image
    from seg_ros.inference.segmenter import Segmenter
    from seg_ros.segments.matching import match_segments
    from seg_ros.segments.regions import region_shapes

    if not (0 <= arguments.radius <= 1 and 0 <= arguments.min_area <= 1):
        raise ParameterError(
            f'--radius is {arguments.radius}, --min-area is {arguments.min_area}; expected fractions in 0..1'
        )
    segmenter = Segmenter.load(settings_from(arguments))
    paths = zip((arguments.a, arguments.b), arguments.frame, strict=True)
    images = [read_frame(path, index, arguments.topic) for path, index in paths]
    found = [_segments(segmenter, image) for image in images]
    shapes = [region_shapes(segments.regions) for segments in found]
    matches = match_segments(found[0], found[1], shapes, radius=arguments.radius, min_area=arguments.min_area)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_image(arguments.output, draw_matches(images, found, shapes, matches))
    figures = {
        **segmenter.as_json(),
        'codebook': segmenter.codebook,
        'segments': [_as_json(*parts) for parts in zip(found, shapes, strict=True)],
        'matches': [asdict(match) for match in matches],
    }
    write_json(arguments.json, figures)
    n_bits = 8 * found[0].codes.shape[1]
    rows = {
        'segments': f'{found[0].n} and {found[1].n}, codes of {n_bits} bits',
        'matches': f'{len(matches)} within {arguments.radius * n_bits:.0f} bits',
        'picture': str(arguments.output),
    }
    print(format_table(rows))
    return 0


def _segments(segmenter: Segmenter, image: UInt8Array) -> Segments:
    segments = segmenter(image, segments=True).segments
    if segments is None:
        raise UnavailableError(f'model {segmenter.model.path} has no codes; add them with seg_ros fit-codes')
    return segments


def _as_json(segments: Segments, shapes: Shapes) -> list[dict[str, Any]]:
    return [
        {
            'id': k + 1,
            'class_id': int(segments.class_ids[k]),
            'area': int(shapes.areas[k]),
            'box': shapes.boxes[k].tolist(),
            'centroid': shapes.centroids[k].tolist(),
            'code': segments.codes[k].tobytes().hex(),
        }
        for k in range(segments.n)
    ]

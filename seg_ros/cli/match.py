"""``seg_ros match``: which segments of two images look alike."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.bags.reader import BagReader
from seg_ros.cli.options import add_model_arguments, settings_from
from seg_ros.drawing.overlay import code_colours, draw_segments
from seg_ros.errors import BagError, ImageError, ParameterError, UnavailableError
from seg_ros.evaluation.figures import table, write_json
from seg_ros.images.files import IMAGE_SUFFIXES, read_image
from seg_ros.images.messages import image_of
from seg_ros.inference.segmenter import Segmenter
from seg_ros.segments.hamming import hamming
from seg_ros.segments.regions import Shapes, region_shapes
from seg_ros.segments.segments import Segments


@dataclass(frozen=True)
class Match:
    """Two segments that look alike: their ids, 1 .., and in how many bits their codes differ."""

    a: int
    b: int
    distance: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('a', type=Path, metavar='A', help='image or bag')
    parser.add_argument('b', type=Path, metavar='B', help='image or bag')
    parser.add_argument(
        '--frame', type=int, nargs=2, default=(0, 0), metavar=('I', 'J'), help='of bags: frame of A and of B'
    )
    parser.add_argument('--topic', help='of bags with several image topics')
    parser.add_argument(
        '--radius', type=float, default=0.2, help='share of bits that may differ (default: %(default)s)'
    )
    parser.add_argument(
        '--min-area',
        type=float,
        default=0.002,
        help='share of the image that a segment must cover (%(default)s)',
    )
    parser.add_argument(
        '-o', '--output', type=Path, default=Path('match.png'), metavar='PNG', help='default: %(default)s'
    )
    parser.add_argument('--json', type=Path, metavar='OUT', help='write matches and codes here')
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment both, match, draw."""
    if not (0 <= arguments.radius <= 1 and 0 <= arguments.min_area <= 1):
        raise ParameterError(
            f'--radius {arguments.radius}, --min-area {arguments.min_area}; expected shares in 0..1'
        )
    segmenter = Segmenter.load(settings_from(arguments))
    images = [
        read_frame(path, index, arguments.topic)
        for path, index in zip((arguments.a, arguments.b), arguments.frame, strict=True)
    ]
    found = [_segments(segmenter, image) for image in images]
    shapes = [region_shapes(segments.regions) for segments in found]
    matches = match(found[0], found[1], shapes, radius=arguments.radius, min_area=arguments.min_area)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    picture = draw_matches(images, found, shapes, matches)
    if not cv2.imwrite(str(arguments.output), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise ImageError(f'{arguments.output} cannot be written as an image')
    parts = zip(found, shapes, strict=True)
    write_json(
        arguments.json,
        {
            **segmenter.as_json(),
            'codebook': segmenter.codebook,
            'segments': [_listed(segments, shape) for segments, shape in parts],
            'matches': [vars(pair) for pair in matches],
        },
    )
    n_bits = 8 * found[0].codes.shape[1]
    print(
        table(
            {
                'segments': f'{found[0].n} and {found[1].n}, codes of {n_bits} bits',
                'matches': f'{len(matches)} within {arguments.radius * n_bits:.0f} bits',
                'picture': str(arguments.output),
            }
        )
    )
    return 0


def read_frame(path: Path, index: int, topic: str | None) -> UInt8Array:
    """An image file, or a frame of a bag, as (H, W, 3) uint8 RGB.

    Raises:
        DatasetError, BagError, ImageError: it cannot be read, or there is no such frame.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return read_image(path)
    with BagReader(path) as bag:
        source = bag.image_topic(topic)
        for position, message in enumerate(bag.messages(source.name)):
            if position == index:
                return image_of(message.decode())
    raise BagError(f'bag {path} has {source.n_messages} frames on {source.name}, none of index {index}')


def match(
    one: Segments, other: Segments, shapes: list[Shapes], *, radius: float, min_area: float
) -> list[Match]:
    """Segments that are each other's nearest, the nearest first.

    Args:
        one, other: segments with codes of one codebook.
        shapes: of both.
        radius: share of bits, 0..1, that may differ.
        min_area: share of its image that a segment must cover.
    """
    candidates = [np.flatnonzero(s.areas >= min_area * s.areas.sum()) for s in shapes]
    if not all(len(ids) for ids in candidates):
        return []
    distance = hamming(one.codes[candidates[0]], other.codes[candidates[1]])
    nearest, back = distance.argmin(1), distance.argmin(0)
    pairs = [
        Match(int(candidates[0][a]) + 1, int(candidates[1][b]) + 1, int(distance[a, b]))
        for a, b in enumerate(nearest)
        if back[b] == a and distance[a, b] <= radius * 8 * one.codes.shape[1]
    ]
    return sorted(pairs, key=lambda pair: pair.distance)


def draw_matches(
    images: list[UInt8Array], found: list[Segments], shapes: list[Shapes], matches: list[Match]
) -> UInt8Array:
    """Both images side by side in the colours of their codes, matches joined: (H, W, 3) uint8 RGB."""
    height = max(image.shape[0] for image in images)
    pictures, scales = [], []
    for image, segments in zip(images, found, strict=True):
        drawn = draw_segments(image, segments, opacity=0.45)
        scale = height / image.shape[0]
        size = round(image.shape[1] * scale), height
        pictures.append(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False))
        scales.append(scale)
    picture = np.ascontiguousarray(np.concatenate(pictures, axis=1))
    shift = pictures[0].shape[1]
    colours = code_colours(found[0].codes)
    for pair in matches:
        ends = []
        for side, segment in enumerate((pair.a, pair.b)):
            x, y = shapes[side].centroids[segment - 1] * scales[side]
            ends.append((round(x) + side * shift, round(y)))
        colour = tuple(int(v) for v in colours[pair.a - 1])
        cv2.line(picture, ends[0], ends[1], (20, 20, 20), 3, cv2.LINE_AA)
        cv2.line(picture, ends[0], ends[1], colour, 1, cv2.LINE_AA)
        for end in ends:
            cv2.circle(picture, end, 4, (20, 20, 20), -1, cv2.LINE_AA)
            cv2.circle(picture, end, 3, colour, -1, cv2.LINE_AA)
    return picture


def _segments(segmenter: Segmenter, image: UInt8Array) -> Segments:
    segments = segmenter(image, segments=True).segments
    if segments is None:
        raise UnavailableError(f'model {segmenter.model.path} has no codes; seg_ros fit-codes adds them')
    return segments


def _listed(segments: Segments, shapes: Shapes) -> list[dict[str, Any]]:
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

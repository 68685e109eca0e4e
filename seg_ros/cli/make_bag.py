"""``seg_ros make-bag``: make a bag from a folder of images, to replay images recorded without ROS."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.bags.writer import BagWriter
from seg_ros.cli.options import add_output, add_overwrite
from seg_ros.datasets.pairs import images_by_stem
from seg_ros.datasets.walk import walk
from seg_ros.errors import DatasetError, ParameterError
from seg_ros.images.files import read_image

FIRST_STAMP_NS = 1_000_000_000
"""Stamp of the first frame; not zero, which means "no time" in ROS."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('folder', type=Path, help='folder of images, which are sorted by name')
    add_output(parser, 'OUT.mcap', 'bag to write', required=True)
    parser.add_argument(
        '--match', default='*', metavar='GLOB', help="pattern of file names, such as 'drive1_*'"
    )
    parser.add_argument('--rate-hz', type=float, default=10.0, help='frame rate in Hz (default: %(default)s)')
    parser.add_argument('--topic', default='/camera/image_raw', help='image topic (default: %(default)s)')
    parser.add_argument(
        '--frame-id', default='camera', help='frame_id of the messages (default: %(default)s)'
    )
    add_overwrite(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the bag and print its content; 1 if an image cannot be read, after all others."""
    paths = find_images(arguments.folder, arguments.match)
    if not 0 < arguments.rate_hz <= 1000:
        raise ParameterError(f'--rate-hz is {arguments.rate_hz}; expected above 0, up to 1000')
    n_images = 0
    with BagWriter(arguments.output, overwrite=arguments.overwrite) as bag:
        for index, image in walk(_ImageFiles(paths), 'writing'):
            stamp_ns = stamp_of(index, arguments.rate_hz)
            bag.write_image(arguments.topic, image, stamp_ns, frame_id=arguments.frame_id)
            n_images += 1
    print(f'{arguments.output}: {n_images} images on {arguments.topic} at {arguments.rate_hz:g} Hz')
    return 0 if n_images == len(paths) else 1


class _ImageFiles:
    """Image files, read when they are asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> UInt8Array:
        return read_image(self._paths[index])


def find_images(folder: Path, match: str = '*') -> Sequence[Path]:
    """Find the images of a folder, sorted by the numbers in their names: 2.png before 10.png.

    Args:
        folder: Folder of the images.
        match: Pattern of file names.

    Raises:
        DatasetError: No image matches.
    """
    paths = [path for path in images_by_stem(folder).values() if path.match(match)]
    if not paths:
        raise DatasetError(f"{folder} has no image that matches '{match}'")
    return sorted(paths, key=lambda path: _by_numbers(path.name))


def stamp_of(index: int, rate_hz: float) -> int:
    """Stamp of a frame in nanoseconds, at a constant frame rate."""
    return FIRST_STAMP_NS + round(index * 1e9 / rate_hz)


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Sort key that compares digits as numbers."""
    return [(int(part), '') if part.isdigit() else (-1, part) for part in re.split(r'(\d+)', name)]

"""``seg_ros make-bag``: a bag from a folder of images, to replay what was recorded without ROS."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from seg_ros.bags.writer import BagWriter
from seg_ros.datasets.dataset import images_by_stem, read_image
from seg_ros.errors import DatasetError, ParameterError

FIRST_STAMP_NS = 1_000_000_000
"""Not zero, which stands for "no time" in ROS."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('folder', type=Path, help='folder of images, taken in the order of their names')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='OUT.mcap')
    parser.add_argument('--match', default='*', metavar='GLOB', help="only names like this, e.g. 'drive1_*'")
    parser.add_argument(
        '--rate-hz', type=float, default=10.0, help='frames per second (default: %(default)s)'
    )
    parser.add_argument('--topic', default='/camera/image_raw', help='default: %(default)s')
    parser.add_argument('--frame-id', default='camera', help='default: %(default)s')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT.mcap if it is there')


def run(arguments: argparse.Namespace) -> int:
    """Write the bag and say what is in it."""
    paths = find_images(arguments.folder, arguments.match)
    if not 0 < arguments.rate_hz <= 1000:
        raise ParameterError(f'--rate-hz is {arguments.rate_hz}; expected above 0, up to 1000')
    with BagWriter(arguments.output, overwrite=arguments.overwrite) as bag:
        for index, path in enumerate(tqdm(paths, desc='writing', unit='frame', disable=None)):
            stamp_ns = stamp_of(index, arguments.rate_hz)
            bag.write_image(arguments.topic, read_image(path), stamp_ns, frame_id=arguments.frame_id)
    print(f'{arguments.output}: {len(paths)} images on {arguments.topic} at {arguments.rate_hz:g} Hz')
    return 0


def find_images(folder: Path, match: str = '*') -> Sequence[Path]:
    """The images of a folder as people count: 2.png before 10.png.

    Raises:
        DatasetError: there is none.
    """
    paths = [path for path in images_by_stem(folder).values() if path.match(match)]
    if not paths:
        raise DatasetError(f"{folder} holds no image like '{match}'")
    return sorted(paths, key=lambda path: _numbers_as_such(path.name))


def stamp_of(index: int, rate_hz: float) -> int:
    """Stamp in ns of a frame of a steady camera."""
    return FIRST_STAMP_NS + round(index * 1e9 / rate_hz)


def _numbers_as_such(name: str) -> list[tuple[int, str]]:
    return [(int(part), '') if part.isdigit() else (-1, part) for part in re.split(r'(\d+)', name)]

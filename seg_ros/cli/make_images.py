"""``seg_ros make-images``: extract images from a bag, for labelling."""

import argparse
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.bags.image_names import image_name, time_of
from seg_ros.bags.reader import BagReader
from seg_ros.cli.options import add_output, add_topic
from seg_ros.errors import ImageError, ParameterError, SegRosError
from seg_ros.images.files import read_image, write_image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, help='bag: a folder, or a .mcap or .db3 file')
    add_output(parser, 'FOLDER', 'folder for the images, BAG_MILLISECONDS.png', required=True)
    parser.add_argument(
        '--every-s',
        type=float,
        default=1.0,
        metavar='S',
        help='time between two images in seconds; 0 = all images (default: %(default)s)',
    )
    add_topic(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the images and print their number; 1 if a frame could not be read, after all others."""
    if not 0 <= arguments.every_s < math.inf:
        raise ParameterError(f'--every-s is {arguments.every_s}; expected 0 or more')
    with BagReader(arguments.bag) as bag:
        topic = bag.image_topic(arguments.topic)
        try:
            arguments.output.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise ImageError(f'{arguments.output} cannot be made: {err}; choose another folder') from err
        writer = _Writer(arguments.output, arguments.bag)
        n_images, last_ns = 0, None
        messages = bag.messages(topic.name)
        for message in tqdm(messages, desc='reading', total=topic.n_messages, unit='frame', disable=None):
            time_ns = time_of(message)
            if last_ns is not None and 0 <= time_ns - last_ns < 1e9 * arguments.every_s:
                continue
            if (image := bag.image(message)) is None:
                continue
            writer.write(image, time_ns)
            n_images, last_ns = n_images + 1, time_ns
        n_lost, has_lost = bag.losses.n_messages, bool(bag.losses)
    print(f'{arguments.output}: {n_images} of {topic.n_messages} images of {topic.name}')
    if has_lost:
        print(
            f'bad frames: {n_lost}, left out' if n_lost else 'parts of the bag could not be read; see above'
        )
    return 1 if has_lost else 0


class _Writer:
    """Writes images; no image replaces another one, also none of an earlier run or another topic.

    Args:
        folder: Folder of the images.
        bag: Path of the bag, whose name begins each name.
    """

    def __init__(self, folder: Path, bag: Path) -> None:
        self._folder, self._bag = folder, bag
        self._written: set[str] = set()

    def write(self, image: UInt8Array, time_ns: int) -> None:
        """Write BAG_MILLISECONDS.png, or BAG_MILLISECONDS_2.png if that is another image."""
        name = base = image_name(self._bag, time_ns)
        number = 1
        while name in self._written or _is_other(self._folder / f'{name}.png', image):
            number += 1
            name = f'{base}_{number}'
        self._written.add(name)
        path = self._folder / f'{name}.png'
        if not path.exists():
            write_image(path, image)


def _is_other(path: Path, image: UInt8Array) -> bool:
    """Whether a file exists and is not this image."""
    if not path.exists():
        return False
    try:
        return not np.array_equal(read_image(path), image)
    except SegRosError:
        return True

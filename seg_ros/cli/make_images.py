"""``seg_ros make-images``: extract images from a bag, for labelling."""

import argparse
from pathlib import Path

from tqdm import tqdm

from seg_ros.bags.reader import BagReader
from seg_ros.cli.options import add_output, add_topic
from seg_ros.errors import ParameterError
from seg_ros.images.files import write_image
from seg_ros.images.messages import image_of


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
    """Write the images and print their number."""
    if not arguments.every_s >= 0:
        raise ParameterError(f'--every-s is {arguments.every_s}; expected 0 or more')
    arguments.output.mkdir(parents=True, exist_ok=True)
    with BagReader(arguments.bag) as bag:
        topic = bag.image_topic(arguments.topic)
        n_images, last_ns = 0, None
        messages = bag.messages(topic.name)
        for message in tqdm(messages, desc='reading', total=topic.n_messages, unit='frame', disable=None):
            stamp_ns = message.stamp_ns
            if last_ns is not None and 0 <= stamp_ns - last_ns < 1e9 * arguments.every_s:
                continue
            last_ns = stamp_ns
            path = arguments.output / f'{arguments.bag.stem}_{stamp_ns // 1_000_000:013}.png'
            write_image(path, image_of(message.decode()))
            n_images += 1
    print(f'{arguments.output}: {n_images} of {topic.n_messages} images of {topic.name}')
    return 0

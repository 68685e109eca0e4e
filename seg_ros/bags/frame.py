"""One image, from an image file or from a bag."""

from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.bags.reader import BagReader
from seg_ros.errors import BagError
from seg_ros.images.files import IMAGE_SUFFIXES, read_image


def read_frame(path: Path, index: int, topic: str | None) -> UInt8Array:
    """Read an image file, or a frame of a bag.

    Args:
        path: Path of an image file or of a bag.
        index: Position of the frame in the bag, from 0; not used for an image file.
        topic: Image topic of the bag; None = the only image topic.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BagError: The bag cannot be read, has no such topic, or has no frame of that index.
        ImageError: The image cannot be read.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return read_image(path)
    with BagReader(path) as bag:
        source = bag.image_topic(topic)
        for position, message in enumerate(bag.messages(source.name)):
            if position == index:
                return bag.read_image(message)
    raise BagError(
        f'bag {path} has {source.n_messages} frames on {source.name}, none of index {index}; '
        f'expected 0..{source.n_messages - 1}'
    )

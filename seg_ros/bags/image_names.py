"""Names of image files that are taken out of a bag: BAG_MILLISECONDS."""

from pathlib import Path

from seg_ros.bags.messages import Message
from seg_ros.errors import BagError


def time_of(message: Message) -> int:
    """Stamp of a message in ns; the time of recording if the stamp is absent, zero or negative."""
    try:
        stamp_ns = message.stamp_ns
    except BagError:
        return message.received_ns
    return stamp_ns if stamp_ns > 0 else message.received_ns


def bag_stem(bag: Path) -> str:
    """Name of a bag without its suffix."""
    name = bag.resolve().name if bag.name in ('', '..') else bag.name
    for suffix in ('.zstd', '.part', '.mcap', '.db3'):
        name = name.removesuffix(suffix)
    return name


def image_name(bag: Path, time_ns: int) -> str:
    """Name without suffix of an image of a bag.

    Args:
        bag: Path of the bag.
        time_ns: Time of the image in ns, as `time_of` has it.
    """
    return f'{bag_stem(bag)}_{time_ns // 1_000_000:013}'

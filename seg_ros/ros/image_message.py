"""Image messages for ROS, built from arrays."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_ros.errors import ImageError

_BUILT: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
    'mono8': (np.dtype(np.uint8), ()),
    'rgb8': (np.dtype(np.uint8), (3,)),
    '16UC1': (np.dtype(np.uint16), ()),
}


def message_from_image(array: npt.NDArray[Any], encoding: str, header: Header) -> Image:
    """Build an image message, without row padding and in the byte order of this machine.

    Args:
        array: (H, W) uint8 for ``mono8``, (H, W, 3) uint8 for ``rgb8``, (H, W) uint16 for ``16UC1``.
        encoding: One of these three.
        header: Goes into the message as it is: the same object.

    Returns:
        ``sensor_msgs/Image`` with a copy of the array.

    Raises:
        ImageError: The encoding is none of the three, or the array does not fit it or is empty.
    """
    if encoding not in _BUILT:
        raise ImageError(f'cannot build an image of encoding {encoding!r}; known ones: {", ".join(_BUILT)}')
    dtype, channels = _BUILT[encoding]
    if array.dtype != dtype or array.shape[2:] != channels or array.ndim < 2 or array.size == 0:
        expected = ', '.join(('H', 'W', *map(str, channels)))
        raise ImageError(
            f'{encoding} image is {array.shape} {array.dtype.str}; '
            f'expected ({expected}) {dtype.str}, not empty'
        )
    msg = Image(header=header, height=array.shape[0], width=array.shape[1], encoding=encoding)
    msg.is_bigendian = int(sys.byteorder == 'big')
    msg.step = array[0].nbytes
    # Constructor and setter copy what they are given, some byte by byte: fill the message's own array.
    msg.data.frombytes(np.ascontiguousarray(array).data.cast('B'))
    return msg

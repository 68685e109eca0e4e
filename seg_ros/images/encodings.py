"""Encodings of raw images and their conversion to RGB."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import cv2

from seg_ros.arrays import UInt8Array


def _as_is(plane: UInt8Array) -> UInt8Array:
    return plane


def _recoloured(code: int, plane: UInt8Array) -> UInt8Array:
    return cast(UInt8Array, cv2.cvtColor(plane, code))


def _two_planes(code: int, luma: UInt8Array, chroma: UInt8Array) -> UInt8Array:
    return cast(UInt8Array, cv2.cvtColorTwoPlane(luma, chroma, code))


def _full_chroma(luma: UInt8Array, chroma: UInt8Array) -> UInt8Array:
    # OpenCV has no limited-range 4:4:4: make each pixel a YUYV pair of two equal ones, keep the first.
    height, width = luma.shape[:2]
    u, v = cv2.split(chroma)
    yuyv = cv2.merge((luma, u, luma, v)).reshape(height, 2 * width, 2)
    rgb = cv2.cvtColor(yuyv, cv2.COLOR_YUV2RGB_YUYV)
    return cast(UInt8Array, cv2.resize(rgb, (width, height), interpolation=cv2.INTER_NEAREST))


@dataclass(frozen=True)
class Encoding:
    """Memory layout of an image message, and its conversion to RGB.

    Attributes:
        channels: Samples per pixel of the first plane.
        itemsize: Bytes per sample.
        to_rgb: Function from the planes, (H, W, channels) and possibly chroma (H / rows, W / columns, 2), to
            (H, W, 3); all are uint8.
        subsampling: Rows and columns of pixels that share a chroma sample; they must divide height and width.
        has_chroma_plane: Whether a plane of interleaved chroma pairs follows the first plane.
        min_size: Smallest height and width that can be converted.
    """

    channels: int
    itemsize: int
    to_rgb: Callable[..., UInt8Array]
    subsampling: tuple[int, int] = (1, 1)
    has_chroma_plane: bool = False
    min_size: int = 1


_GREY = partial(_recoloured, cv2.COLOR_GRAY2RGB)
_BGR = partial(_recoloured, cv2.COLOR_BGR2RGB)
_BGRA = partial(_recoloured, cv2.COLOR_BGRA2RGB)
_RGBA = partial(_recoloured, cv2.COLOR_RGBA2RGB)
_UYVY = Encoding(2, 1, partial(_recoloured, cv2.COLOR_YUV2RGB_UYVY), subsampling=(1, 2))
_YUYV = Encoding(2, 1, partial(_recoloured, cv2.COLOR_YUV2RGB_YUYV), subsampling=(1, 2))

# OpenCV names a Bayer pattern after the second and third pixel of its second row, ROS after the first four.
_RGGB = partial(_recoloured, cv2.COLOR_BayerBG2RGB)
_BGGR = partial(_recoloured, cv2.COLOR_BayerRG2RGB)
_GBRG = partial(_recoloured, cv2.COLOR_BayerGR2RGB)
_GRBG = partial(_recoloured, cv2.COLOR_BayerGB2RGB)

ENCODINGS: Mapping[str, Encoding] = {
    'rgb8': Encoding(3, 1, _as_is),
    'bgr8': Encoding(3, 1, _BGR),
    'rgba8': Encoding(4, 1, _RGBA),
    'bgra8': Encoding(4, 1, _BGRA),
    'mono8': Encoding(1, 1, _GREY),
    'rgb16': Encoding(3, 2, _as_is),
    'bgr16': Encoding(3, 2, _BGR),
    'rgba16': Encoding(4, 2, _RGBA),
    'bgra16': Encoding(4, 2, _BGRA),
    'mono16': Encoding(1, 2, _GREY),
    '8UC1': Encoding(1, 1, _GREY),
    '8UC3': Encoding(3, 1, _BGR),
    '8UC4': Encoding(4, 1, _BGRA),
    '16UC1': Encoding(1, 2, _GREY),
    '16UC3': Encoding(3, 2, _BGR),
    'bayer_rggb8': Encoding(1, 1, _RGGB, min_size=3),
    'bayer_bggr8': Encoding(1, 1, _BGGR, min_size=3),
    'bayer_gbrg8': Encoding(1, 1, _GBRG, min_size=3),
    'bayer_grbg8': Encoding(1, 1, _GRBG, min_size=3),
    'bayer_rggb16': Encoding(1, 2, _RGGB, min_size=3),
    'bayer_bggr16': Encoding(1, 2, _BGGR, min_size=3),
    'bayer_gbrg16': Encoding(1, 2, _GBRG, min_size=3),
    'bayer_grbg16': Encoding(1, 2, _GRBG, min_size=3),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': Encoding(1, 1, partial(_two_planes, cv2.COLOR_YUV2RGB_NV12), (2, 2), has_chroma_plane=True),
    'nv21': Encoding(1, 1, partial(_two_planes, cv2.COLOR_YUV2RGB_NV21), (2, 2), has_chroma_plane=True),
    'nv24': Encoding(1, 1, _full_chroma, has_chroma_plane=True),
}
"""Encodings that are read without cv_bridge, by their names in ``sensor_msgs/image_encodings.hpp``."""

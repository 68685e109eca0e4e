"""Flicker: labels that change between consecutive frames, with and without compensation of the motion.

Motion is dense optical flow: DIS, T. Kroeger, R. Timofte, D. Dai, L. Van Gool, "Fast optical flow using dense
inverse search", ECCV 2016, as in OpenCV, on gray images of at most 320 pixels. Flow is computed both ways.
A pixel is trusted if both flows agree (N. Sundaram, T. Brox, K. Keutzer, "Dense point trajectories by
GPU-accelerated large displacement optical flow", ECCV 2010, equation 5) and its brightness did not change
more than that of the whole image.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, Float32Array, UInt8Array

Mask = npt.NDArray[np.bool_]
Pixels = TypeVar('Pixels', bound=np.generic)

FLOW_SIZE = 320
"""Longer side of the images between which the flow is computed, in pixels; smaller images keep their size."""

SMALLEST_SIDE = 12
"""Shorter side of the smallest images between which a flow is computed, in pixels."""

MAX_BRIGHTNESS_CHANGE = 20
"""Largest difference in brightness, 0..255, between a trusted pixel and the place that it came from."""


def id_changes(
    before: npt.NDArray[Any], after: npt.NDArray[Any], valid: Mask | None = None
) -> tuple[int, int]:
    """Count the pixels whose id changed; for numbers of tracks, which have no value for "none".

    Args:
        before: (H, W) integers, ids of the frame before.
        after: (H, W) integers, ids of the frame.
        valid: (H, W) bool, pixels that are compared; None = all.

    Returns:
        Number of changed and of compared pixels. Images of different sizes are not compared: (0, 0).
    """
    if before.shape != after.shape:
        return 0, 0
    changed = before != after
    if valid is None:
        return int(np.count_nonzero(changed)), changed.size
    return int(np.count_nonzero(changed & valid)), int(np.count_nonzero(valid))


def label_changes(before: UInt8Array, after: UInt8Array, valid: Mask | None = None) -> tuple[int, int]:
    """Count the pixels whose label changed; pixels that are unlabelled in a frame are not compared.

    Args:
        before: (H, W) uint8, labels of the frame before; 255 = unlabelled.
        after: (H, W) uint8, labels of the frame; 255 = unlabelled.
        valid: (H, W) bool, further restriction of the compared pixels; None = no restriction.

    Returns:
        Number of changed and of compared pixels. Images of different sizes are not compared: (0, 0).
    """
    if before.shape != after.shape:
        return 0, 0
    labelled = (before != UNLABELLED) & (after != UNLABELLED)
    return id_changes(before, after, labelled if valid is None else labelled & valid)


@dataclass(frozen=True)
class Motion:
    """Origin of each pixel of a frame in the frame before.

    Attributes:
        origins: (H, W) int64, index of the pixel in the flat frame before.
        trusted: (H, W) bool, pixels whose origin can be trusted.
    """

    origins: npt.NDArray[np.int64]
    trusted: Mask

    def warp(self, before: npt.NDArray[Pixels]) -> npt.NDArray[Pixels]:
        """Move labels or ids of the frame before to where their pixels are now, by the nearest neighbour.

        Args:
            before: (H, W) of any integer type, of the frame before.

        Returns:
            (H, W) of the same type; without meaning where the motion is not trusted.
        """
        return before.reshape(-1).take(self.origins)


def find_motion(before: UInt8Array, after: UInt8Array) -> Motion:
    """Find the motion between two consecutive frames.

    The same frames give the same motion, whatever frames came earlier. No pixel is trusted if the frames
    differ in size or are smaller than 12 pixels.

    Args:
        before: (H, W, 3) uint8 RGB, the frame before.
        after: (H, W, 3) uint8 RGB, the frame.

    Returns:
        Motion of the size of ``after``.
    """
    height, width = after.shape[:2]
    size = _flow_size(height, width)
    if before.shape != after.shape or min(size) < SMALLEST_SIDE:
        return Motion(np.zeros((height, width), np.int64), np.zeros((height, width), np.bool_))
    gray_before, gray_after = _shrunk(before, size), _shrunk(after, size)
    solver = _solver()
    back = np.asarray(solver.calc(gray_after, gray_before, np.empty(0)), np.float32)
    forth = np.asarray(solver.calc(gray_before, gray_after, np.empty(0)), np.float32)
    trusted = _trusted(gray_before, gray_after, back, forth)
    return _enlarged(back, trusted, height, width)


def _flow_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the images for the flow."""
    scale = min(FLOW_SIZE / max(height, width), 1.0)
    return round(height * scale), round(width * scale)


def _shrunk(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Image (H, W, 3) RGB as gray image of a size."""
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _solver() -> cv2.DISOpticalFlow:
    """DIS for flow at half of its images' size: a quarter, as the preset has it, is wrong at edges."""
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    solver.setFinestScale(1)
    return solver


def _trusted(before: UInt8Array, after: UInt8Array, back: Float32Array, forth: Float32Array) -> Mask:
    """Pixels (h, w) with their origin in the frame, flows that agree, and the brightness of their origin."""
    height, width = after.shape
    x, y = _targets(back)
    there = np.asarray(cv2.remap(forth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    agreeing = _squared_length(back + there) <= 0.01 * (_squared_length(back) + _squared_length(there)) + 0.5
    origin = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    change = after.astype(np.int16) - origin
    # the exposure may change between frames: every fourth row and column are enough to tell
    change = np.abs(change - np.int16(np.median(change[::4, ::4])))
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    trusted: Mask = inside & agreeing & (change <= MAX_BRIGHTNESS_CHANGE)
    return trusted


def _enlarged(back: Float32Array, trusted: Mask, height: int, width: int) -> Motion:
    """Motion of the frame's size from flow and trusted pixels at reduced size."""
    scale = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
    flow = cv2.resize(back * scale, (width, height), interpolation=cv2.INTER_LINEAR)
    x, y = (np.rint(part, out=part).astype(np.int32) for part in _targets(np.asarray(flow, np.float32)))
    np.clip(x, 0, width - 1, out=x)
    np.clip(y, 0, height - 1, out=y)
    nearest = cv2.resize(trusted.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return Motion(x + y.astype(np.intp) * width, np.asarray(nearest, np.uint8).view(np.bool_))


def _targets(flow: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Columns and rows (h, w) to which a flow (h, w, 2) leads."""
    height, width = flow.shape[:2]
    x, y = (np.asarray(part, np.float32) for part in cv2.split(flow))
    x += np.arange(width, dtype=np.float32)
    y += np.arange(height, dtype=np.float32)[:, None]
    return x, y


def _squared_length(vectors: Float32Array) -> Float32Array:
    """Squared length (h, w) of vectors (h, w, 2)."""
    return np.asarray(cv2.transform(vectors * vectors, np.ones((1, 2))), np.float32)

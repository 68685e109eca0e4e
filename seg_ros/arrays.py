"""NumPy array types, maps of numbers, and the value that marks an unlabelled pixel."""

from typing import TYPE_CHECKING, TypeAlias, TypeVar, Union, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

UInt8Array = npt.NDArray[np.uint8]
UInt16Array = npt.NDArray[np.uint16]
UInt32Array = npt.NDArray[np.uint32]
UInt64Array = npt.NDArray[np.uint64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
FloatingArray = npt.NDArray[np.floating]

Maps: TypeAlias = Union[Float32Array, 'torch.Tensor']
"""Maps of numbers that a network computes: an array in the memory of the computer, or a tensor of torch."""

AnyMaps = TypeVar('AnyMaps', bound=Maps)

UNLABELLED = 255
"""Class id of a pixel without a class, in every label image (as in vision_msgs and torchvision)."""


_N_FOLDED_AXES = 5


def in_memory(maps: Maps) -> Float32Array | None:
    """Maps as float32 array that shares their memory where it can; None for a tensor on a GPU."""
    if isinstance(maps, np.ndarray):
        return maps if maps.dtype == np.float32 else maps.astype(np.float32)
    if maps.device.type != 'cpu':
        return None
    array: Float32Array = maps.detach().float().numpy()
    return array


def moved_to_memory(maps: Maps) -> Float32Array:
    """Maps as float32 array, copied from a GPU if they are there."""
    array = in_memory(maps)
    if array is None:
        assert not isinstance(maps, np.ndarray)
        array = maps.detach().float().cpu().numpy()
    return array


def is_folded(maps: Maps) -> bool:
    """Whether maps are folded, see :func:`unfolded`."""
    return maps.ndim == _N_FOLDED_AXES and maps.shape[2] == maps.shape[4] == 2


def map_shape(maps: Float32Array) -> tuple[int, int, int]:
    """(C, H, W) of maps that may be folded."""
    if is_folded(maps):
        channels, rows, _, columns, _ = maps.shape
        return channels, 2 * rows, 2 * columns
    channels, height, width = maps.shape
    return channels, height, width


def blocks_of(maps: Float32Array) -> Float32Array | None:
    """Folded maps as (H / 2, W / 2, C, 2, 2), without gaps in memory; None for maps in another order."""
    if not is_folded(maps):
        return None
    blocks = maps.transpose(1, 3, 0, 2, 4)
    return blocks if blocks.flags.c_contiguous else None


def unfolded(maps: AnyMaps) -> AnyMaps:
    """Maps (C, H, W), copied if they are folded.

    Folded maps are (C, H / 2, 2, W / 2, 2), as a network computes them whose last layer has four values for
    blocks of 2x2 pixels. To sort them takes a tenth of the time of such a network.
    """
    if not is_folded(maps):
        return maps
    assert isinstance(maps, np.ndarray)
    by_pixel = maps.transpose(1, 2, 3, 4, 0)
    in_rows = by_pixel.reshape(by_pixel.shape[0] * 2, -1, maps.shape[0])
    return cast('AnyMaps', in_rows.transpose(2, 0, 1))

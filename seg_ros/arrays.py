"""NumPy array types, maps of numbers, and the value that marks an unlabelled pixel."""

from typing import TYPE_CHECKING, TypeAlias, Union

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

UNLABELLED = 255
"""Class id of a pixel without a class, in every label image (as in vision_msgs and torchvision)."""


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

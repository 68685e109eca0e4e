"""Images to a GPU, and results back, through pinned memory, which a GPU reads and writes by itself.

Everything is done in order on one stream: with one image at a time, a second one would find nothing to do
meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg_ros.images.interpolation import area_matrix, linear_matrix
from seg_ros.images.resize import averages_area, resize_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from seg_ros.arrays import Maps, UInt8Array

_MOST_SIZES = 8


class GpuImages:
    """Copies images to a GPU, and resizes them there as ``resize_image`` does.

    Args:
        device: The GPU; a CPU does the same without pinned memory.
        size: (height, width) that images get, in pixels.
    """

    def __init__(self, device: torch.device, size: tuple[int, int]) -> None:
        self._device, self._size = device, size
        self._matrices: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._pinned: Tensor | None = None

    def __call__(self, images: UInt8Array) -> Tensor:
        """Image (1, H, W, 3) uint8 of any size to a tensor (1, height, width, 3) uint8 on the GPU."""
        old = images.shape[1], images.shape[2]
        if old == self._size:
            return self._copied(images)
        height, width = self._size
        if averages_area(old, self._size) and (old[0] < height or old[1] < width):
            # one side shrinks, the other grows: OpenCV has rules of its own for that
            return self._copied(np.ascontiguousarray(resize_image(images[0], height, width))[None])
        return self._resized(self._copied(images)[0])[None]

    def _copied(self, images: UInt8Array) -> Tensor:
        """The images on the GPU. The copy may still be under way; what is computed later waits for it."""
        import torch

        if self._device.type == 'cpu':
            return torch.from_numpy(images.copy())
        if self._pinned is None or self._pinned.shape != images.shape:
            self._pinned = torch.empty(images.shape, dtype=torch.uint8, pin_memory=True)
        else:
            # The copy of the image before must be over; after its labels have arrived, it is.
            torch.cuda.current_stream(self._device).synchronize()
        np.copyto(self._pinned.numpy(), images)
        return self._pinned.to(self._device, non_blocking=True)

    def _resized(self, image: Tensor) -> Tensor:
        """An image (H, W, 3) uint8 by one matrix for its rows and one for its columns."""
        rows, columns = self._matrices_for(image)
        height, width = self._size
        in_rows = (rows @ image.float().flatten(1)).view(height, -1, image.shape[2])
        resized: Tensor = (columns @ in_rows).round().clamp(0, 255).byte()
        return resized.view(height, width, -1)

    def _matrices_for(self, image: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        old = image.shape[0], image.shape[1]
        if old not in self._matrices:
            matrix = area_matrix if averages_area(old, self._size) else linear_matrix
            if len(self._matrices) >= _MOST_SIZES:
                self._matrices.clear()
            rows, columns = (
                torch.from_numpy(matrix(n, m)).to(self._device) for n, m in zip(old, self._size, strict=True)
            )
            self._matrices[old] = rows, columns
        return self._matrices[old]


def wait_for_gpu(answers: Mapping[str, Maps]) -> None:
    """Wait until answers of a network are computed; nothing for arrays."""
    answer = next(iter(answers.values()), None)
    if answer is None or isinstance(answer, np.ndarray) or not answer.is_cuda:
        return
    import torch

    torch.cuda.synchronize(answer.device)


def to_memory(*tensors: Tensor) -> list[UInt8Array]:
    """Tensors of bytes of one device as arrays, copied together and waited for once."""
    import torch

    on_gpu = tensors[0].is_cuda
    copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=on_gpu) for t in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=on_gpu)
    if on_gpu:
        torch.cuda.current_stream(tensors[0].device).synchronize()
    return [copy.numpy() for copy in copies]

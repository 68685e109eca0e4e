"""Layers that several networks share: pooling that remembers where the maximum was, and its inverse."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def max_pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """2x2 max pooling that also says where in its window each maximum was.

    The position is an offset in the window rather than torch's index in the whole map, because two bits then
    hold it and because unpooling becomes arithmetic that every backend can run and fuse.

    Args:
        x: (B, C, H, W) float, H and W even.

    Returns:
        The maxima, (B, C, H / 2, W / 2), and the pool_indices of the same shape, uint8,
        2 * row + column in the window.
    """
    pooled, index = F.max_pool2d(x, kernel_size=2, return_indices=True)
    width = x.shape[-1]
    return pooled, ((index // width % 2) * 2 + index % 2).to(torch.uint8)


def max_unpool(x: Tensor, pool_indices: Tensor) -> Tensor:
    """Inverse of :func:`max_pool`: put each value where its maximum was, zeros elsewhere.

    Written as four masked copies and a pixel shuffle, not as a scatter: torch.export, ONNX (DepthToSpace) and
    compilers take it, and neighbouring operations fuse into it.

    Args:
        x: (B, C, H, W) float.
        pool_indices: (B, C, H, W) uint8 in 0..3, from :func:`max_pool`.

    Returns:
        (B, C, 2 H, 2 W), the type of ``x``.
    """
    batch, channels, height, width = x.shape
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    quarters = [torch.where(pool_indices == offset, x, zero) for offset in range(4)]
    stacked = torch.stack(quarters, dim=2).reshape(batch, 4 * channels, height, width)
    return F.pixel_shuffle(stacked, 2)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width divide by ``multiple``.

    Args:
        x: (B, C, H, W).
        multiple: 1 or more.

    Returns:
        (B, C, H', W') with H' >= H and W' >= W; ``x`` itself where nothing is missing.
    """
    below, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, below), mode='replicate') if below or right else x


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Conv2d``."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())

"""Layers that several networks share: pooling that remembers where the maximum was, and its inverse."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def max_pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """2x2 max pooling that also says where in its window each maximum was.

    The position is an offset in the window rather than torch's index in the whole map, because two bits hold
    it and because unpooling becomes arithmetic that every backend can run and fuse. It comes as a number of
    the type of ``x``, with which compilers compare many values at once.

    Args:
        x: (B, C, H, W) float, H and W even.

    Returns:
        The maxima, (B, C, H / 2, W / 2), and the pool_indices of the same shape and type: 0, 1, 2 or 3,
        2 * row + column in the window, the first of equal ones. Both lie channels last in memory.
    """
    pixels = channels_last(x)
    corners = [pixels[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    places = [torch.full((), place, dtype=x.dtype, device=x.device) for place in range(4)]
    top, in_top = corners[0].maximum(corners[1]), places[1].where(corners[1] > corners[0], places[0])
    bottom, in_bottom = corners[2].maximum(corners[3]), places[3].where(corners[3] > corners[2], places[2])
    return channels_first(top.maximum(bottom)), channels_first(in_bottom.where(bottom > top, in_top))


def max_unpool(x: Tensor, pool_indices: Tensor) -> Tensor:
    """Inverse of :func:`max_pool`: put each value where its maximum was, zeros elsewhere.

    Written as a comparison of each window with its four places, not as a scatter: torch.export and ONNX take
    it, and neighbouring operations fuse into it.

    Args:
        x: (B, C, H, W) float.
        pool_indices: (B, C, H, W) in 0..3, from :func:`max_pool`.

    Returns:
        (B, C, 2 H, 2 W), the type of ``x``, channels last in memory.
    """
    batch, channels, height, width = x.shape
    windows = (batch, height, 1, width, 1, channels)
    # A constant and not torch.arange, of which Inductor would compute every value anew.
    places = torch.tensor([[0, 1], [2, 3]], dtype=pool_indices.dtype, device=x.device).view(1, 1, 2, 1, 2, 1)
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    chosen = channels_last(pool_indices).reshape(windows) == places
    pixels = channels_last(x).reshape(windows).where(chosen, zero)
    return channels_first(pixels.reshape(batch, 2 * height, 2 * width, channels))


def concatenate(*maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) one after another along their channels, channels last in memory."""
    return channels_first(torch.cat([channels_last(x) for x in maps], dim=-1))


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), a view.

    What is computed in this order lies in it in memory too, as convolutions on a CPU read and write it;
    compilers that choose for themselves turn maps around before and after every pooling.
    """
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W), a view."""
    return x.permute(0, 3, 1, 2)


def convolved_at(features: Tensor, convolution: nn.Module, size: tuple[int, int]) -> Tensor:
    """A map convolved where it is, or smaller, and brought to one size with others.

    Args:
        features: (B, C, h, w); averaged first where it is a whole number of times as large as ``size``.
        convolution: 1x1; gives C' channels.
        size: (height, width) of the result; reached by bilinear interpolation from maps of other sizes.

    Returns:
        (B, C', height, width).
    """
    ratio = max(features.shape[-2] // size[0], 1), max(features.shape[-1] // size[1], 1)
    part: Tensor = convolution(F.avg_pool2d(features, ratio) if ratio != (1, 1) else features)
    return part if part.shape[-2:] == size else F.interpolate(part, size, mode='bilinear')


def pad_to_multiple(x: Tensor, multiple: int, least: int = 0) -> Tensor:
    """Repeat the last row and column until both sides divide by ``multiple``, and are ``least`` or more.

    Args:
        x: (B, C, H, W).
        multiple: 1 or more.
        least: a multiple of it.

    Returns:
        (B, C, H', W') with H' >= H and W' >= W; ``x`` itself where nothing is missing.
    """
    below, right = (max(-n % multiple, least - n) for n in x.shape[-2:])
    return F.pad(x, (0, right, 0, below), mode='replicate') if below or right else x


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2 H, 2 W), each pixel four times.

    Not ``F.interpolate``: compiled for a CPU by torch 2.13, its gradients in bfloat16 are 0.
    """
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def unfold_pixels(x: Tensor) -> Tensor:
    """(B, 4 C, H, W) to (B, C, 2 H, 2 W): each value becomes the 2x2 pixels whose channels it holds.

    A pixel shuffle whose channels go pixel by pixel, row by row, so that whole rows of channels move at once
    in channels-last memory; ``F.pixel_shuffle``, whose channels alternate, takes four times as long there.
    """
    batch, channels, height, width = x.shape
    rows = channels_last(x).reshape(batch, height, width, 2, channels // 2).permute(0, 1, 3, 2, 4)
    return channels_first(rows.reshape(batch, 2 * height, 2 * width, channels // 4))


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Conv2d``."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())

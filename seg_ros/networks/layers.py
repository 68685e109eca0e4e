"""Functions and layers that several networks share, such as max pooling with indices and its inverse."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.networks import onnx_forms


def max_pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """2x2 max pooling that also returns the position of each maximum in its window.

    The position is an offset in the window, unlike torch's index in the whole map. An offset fits into two
    bits, and unpooling becomes arithmetic that every backend can run and fuse. Its dtype is the dtype of
    ``x``, because compilers vectorise the comparison then.

    Args:
        x: (B, C, H, W) float, H and W even.

    Returns:
        The maxima, (B, C, H / 2, W / 2), and the pool_indices of the same shape and dtype: 2 * row + column
        in the window, 0..3, the first of equal maxima. Both are channels last in memory.
    """
    if onnx_forms.is_exporting():
        return onnx_forms.max_pool(x)
    pixels = channels_last(x)
    corners = [pixels[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    places = [torch.full((), place, dtype=x.dtype, device=x.device) for place in range(4)]
    top, in_top = corners[0].maximum(corners[1]), places[1].where(corners[1] > corners[0], places[0])
    bottom, in_bottom = corners[2].maximum(corners[3]), places[3].where(corners[3] > corners[2], places[2])
    return channels_first(top.maximum(bottom)), channels_first(in_bottom.where(bottom > top, in_top))


def max_unpool(x: Tensor, pool_indices: Tensor) -> Tensor:
    """Inverse of :func:`max_pool`: put each value at the position of its maximum, zeros elsewhere.

    It compares each window with its four places instead of scattering, because torch.export and ONNX support
    that and compilers fuse it with its neighbours.

    Args:
        x: (B, C, H, W) float.
        pool_indices: (B, C, H, W) in 0..3, from :func:`max_pool`.

    Returns:
        (B, C, 2 H, 2 W), dtype of ``x``, channels last in memory.
    """
    if onnx_forms.is_exporting():
        return onnx_forms.max_unpool(x, pool_indices)
    batch, channels, height, width = x.shape
    windows = (batch, height, 1, width, 1, channels)
    places = _places_of_window(pool_indices).view(1, 1, 2, 1, 2, 1)
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    chosen = channels_last(pool_indices).reshape(windows) == places
    pixels = channels_last(x).reshape(windows).where(chosen, zero)
    return channels_first(pixels.reshape(batch, 2 * height, 2 * width, channels))


def _places_of_window(pool_indices: Tensor) -> Tensor:
    """Places 0 to 3 of a window, (4,), of the type and on the device of ``pool_indices``."""
    kind, device = pool_indices.dtype, pool_indices.device
    if device.type == 'cpu':
        # A constant instead of torch.arange, which Inductor would compute for each value.
        return torch.tensor([0, 1, 2, 3], dtype=kind, device=device)
    # A constant would be copied to the GPU for each frame, which a CUDA graph cannot do.
    return torch.cat([torch.full((1,), place, dtype=kind, device=device) for place in range(4)])


def concatenate(*maps: Tensor) -> Tensor:
    """Concatenate maps (B, C, H, W) along their channels; the result is channels last in memory."""
    if onnx_forms.is_exporting():
        return torch.cat(maps, dim=1)
    return channels_first(torch.cat([channels_last(x) for x in maps], dim=-1))


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), a view.

    A result computed in this order also lies in it in memory, where convolutions on a CPU read and write it.
    Otherwise compilers transpose maps before and after every pooling.
    """
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W), a view."""
    return x.permute(0, 3, 1, 2)


def convolved_at(features: Tensor, convolution: nn.Module, size: tuple[int, int]) -> Tensor:
    """A map after a 1x1 convolution, resized to ``size``.

    Args:
        features: (B, C, h, w) float. A map at least twice as large as ``size`` is averaged before.
        convolution: 1x1 convolution to C' channels.
        size: (height, width) of the result. Maps that differ from it are interpolated bilinearly.

    Returns:
        (B, C', height, width) float.
    """
    ratio = max(features.shape[-2] // size[0], 1), max(features.shape[-1] // size[1], 1)
    part: Tensor = convolution(F.avg_pool2d(features, ratio) if ratio != (1, 1) else features)
    return part if part.shape[-2:] == size else F.interpolate(part, size, mode='bilinear')


def pad_to_multiple(x: Tensor, multiple: int, least: int = 0) -> Tensor:
    """Pad by repeating the last row and column until both sides divide by ``multiple``.

    Args:
        x: (B, C, H, W).
        multiple: Divisor of the new height and width, 1 or more.
        least: Minimum height and width, a multiple of ``multiple``.

    Returns:
        (B, C, H', W') with H' >= H and W' >= W; ``x`` itself if nothing is missing.
    """
    below, right = (max(-n % multiple, least - n) for n in x.shape[-2:])
    if onnx_forms.is_exporting() and onnx_forms.is_image(x):
        return onnx_forms.padded(x, below, right)
    return F.pad(x, (0, right, 0, below), mode='replicate') if below or right else x


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2 H, 2 W), each pixel four times.

    ``F.interpolate`` is not used, because torch 2.13 compiles it for CPUs with gradients of 0 in bfloat16.
    """
    if onnx_forms.is_exporting():
        return onnx_forms.doubled(x)
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def unfold_pixels(x: Tensor) -> Tensor:
    """(B, 4 C, H, W) to (B, C, 2 H, 2 W): the channels of each value become those of 2x2 pixels.

    This is a pixel shuffle whose input channels are ordered pixel by pixel, row by row. In channels-last
    memory whole rows of channels move at once. ``F.pixel_shuffle`` interleaves channels and takes four times
    as long.
    """
    if onnx_forms.is_exporting():
        return onnx_forms.unfold_pixels(x)
    batch, channels, height, width = x.shape
    rows = channels_last(x).reshape(batch, height, width, 2, channels // 2).permute(0, 1, 3, 2, 4)
    return channels_first(rows.reshape(batch, 2 * height, 2 * width, channels // 4))


def mean_grid(x: Tensor, grid: int) -> Tensor:
    """(B, C, H, W) to (B, C, grid, grid), means of cells, which may share pixels."""
    if onnx_forms.is_exporting():
        return onnx_forms.mean_grid(x, grid)
    return F.adaptive_avg_pool2d(x, grid)


class Float32Conv2d(nn.Conv2d):
    """A convolution that stays in float32 under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in float32, as ``nn.Conv2d``."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def start_convolutions(network: nn.Module) -> None:
    """Draw the kernels of all convolutions anew for layers of ReLU without normalisation, biases 0.

    With the initialisation of ``nn.Conv2d``, values shrink from layer to layer, and the deep maps of an
    untrained VGG are nearly constant (K. He et al., "Delving deep into rectifiers", ICCV 2015, section 2.2).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
            if module.bias is not None:
                nn.init.zeros_(module.bias)

"""Layers as single operations of ONNX, for the time of an export.

PyTorch has no operation for some layers of ``seg_ros.networks.layers``. They are written in a way that
compilers fuse: views, comparisons and shuffles in channels-last order. Engines that run ONNX graphs do not
fuse these, and copy whole maps instead. ONNX has single operations for them: DepthToSpace, SpaceToDepth,
Resize and MatMul (https://onnx.ai/onnx/operators). The values are the same to the last bit, except that sums
of several pixels are rounded differently.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_symbolic = getattr(getattr(torch.onnx, 'ops', None), 'symbolic', None)
"""Makes an operation of ONNX in an exported graph (torch 2.8); it cannot compute."""

_OPSET = 13
_N_AXES, _N_COLOURS = 4, 3
_exporting: set[int] = set()
"""Threads that export. Another thread may run a network meanwhile, and an operation of ONNX cannot run."""


@contextlib.contextmanager
def exporting() -> Iterator[None]:
    """Let the layers of networks that this thread traces be operations of ONNX, if torch can write them."""
    thread = threading.get_ident()
    if _symbolic is not None:
        _exporting.add(thread)
    try:
        yield
    finally:
        _exporting.discard(thread)


def is_exporting() -> bool:
    """Whether this thread exports a network to ONNX."""
    return bool(_exporting) and threading.get_ident() in _exporting


def max_pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """See ``seg_ros.networks.layers.max_pool``."""
    batch, channels, height, width = x.shape
    corners = _operation('SpaceToDepth', x, {}, (batch, 4 * channels, height // 2, width // 2)).chunk(4, 1)
    places = [_number(place, x) for place in range(4)]
    top, in_top = corners[0].maximum(corners[1]), places[1].where(corners[1] > corners[0], places[0])
    bottom, in_bottom = corners[2].maximum(corners[3]), places[3].where(corners[3] > corners[2], places[2])
    return F.max_pool2d(x, 2), in_bottom.where(bottom > top, in_top)


def max_unpool(x: Tensor, pool_indices: Tensor) -> Tensor:
    """See ``seg_ros.networks.layers.max_unpool``."""
    zero = _number(0, x)
    return unfold_pixels(torch.cat([x.where(pool_indices == _number(k, x), zero) for k in range(4)], dim=1))


def doubled(x: Tensor) -> Tensor:
    """See ``seg_ros.networks.layers.doubled``."""
    return F.interpolate(x, scale_factor=2.0, mode='nearest')


def unfold_pixels(x: Tensor) -> Tensor:
    """See ``seg_ros.networks.layers.unfold_pixels``."""
    batch, channels, height, width = x.shape
    return _operation('DepthToSpace', x, {'mode': 'DCR'}, (batch, channels // 4, 2 * height, 2 * width))


def padded(x: Tensor, below: int, right: int) -> Tensor:
    """Images (B, 3, H, W) with the last row and column repeated, which stay pixel by pixel."""

    def repeat_ends(pixels: Tensor) -> Tensor:
        return F.pad(pixels.unsqueeze(1), (0, 0, 0, right, 0, below), mode='replicate').squeeze(1)

    return by_pixel(x, repeat_ends) if below or right else x


def is_image(x: Tensor) -> bool:
    """Whether (B, C, H, W) maps are images, which come pixel by pixel."""
    return x.ndim == _N_AXES and x.shape[1] == _N_COLOURS


def by_pixel(x: Tensor, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """An operation on (B, H, W, C) for (B, C, H, W); of changes of the order, all but the last one vanish."""
    return operation(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def mean_grid(x: Tensor, grid: int) -> Tensor:
    """See ``seg_ros.networks.layers.mean_grid``."""
    if grid == 1:
        return x.mean((2, 3), keepdim=True)
    rows, columns = (_shares(n, grid).to(x) for n in x.shape[-2:])
    return rows @ x @ columns.T


def _shares(n: int, n_cells: int) -> Tensor:
    """(n_cells, n) float32, share of each of ``n`` pixels in the mean of each cell."""
    shares = torch.zeros(n_cells, n)
    for cell in range(n_cells):
        first, stop = cell * n // n_cells, -(-(cell + 1) * n // n_cells)
        shares[cell, first:stop] = 1 / (stop - first)
    return shares


def _number(value: float, like: Tensor) -> Tensor:
    return torch.full((), float(value), dtype=like.dtype, device=like.device)


def _operation(name: str, x: Tensor, attributes: dict[str, str], shape: Sequence[int]) -> Tensor:
    """An operation on blocks of 2x2 pixels."""
    assert _symbolic is not None
    result: Tensor = _symbolic(
        name, (x,), {'blocksize': 2, **attributes}, dtype=x.dtype, shape=shape, version=_OPSET
    )
    return result

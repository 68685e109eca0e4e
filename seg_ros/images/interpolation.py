"""Bilinear interpolation with pixel centres aligned as in torch (align_corners=False)."""

from typing import Any

import numpy as np


def neighbours_1d(n_in: int, n_out: int) -> tuple[Any, Any]:
    """Which input each output follows, (n_out,) uint32, and the weight of the one after, (n_out,) float32."""
    position = (np.arange(n_out, dtype=np.float32) + np.float32(0.5)) * np.float32(n_in / n_out)
    position = np.clip(position - np.float32(0.5), 0, n_in - 1)
    index = position.astype(np.uint32)
    return index, position - index.astype(np.float32)

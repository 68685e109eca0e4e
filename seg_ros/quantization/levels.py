"""The levels of numerical precision, by name."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Quantization:
    """A level of numerical precision.

    Attributes:
        dtype: what the network computes in; int8 means 8-bit activations and weights.
        derivable_from: levels of a file from which this one can be had without further data.
        packed_as: how a file keeps the weights, see seg_ros.modelfile.packing; None for tensors as they are.
        n_bits: of a weight in a file.
    """

    dtype: torch.dtype
    derivable_from: tuple[str, ...]
    packed_as: str | None = None
    n_bits: int = 32


_SHARED = {n_bits: f'shared-{n_bits}' for n_bits in range(2, 9)}
_COARSE = ('int8', 'int4', *_SHARED.values())


QUANTIZATIONS: dict[str, Quantization] = {
    'fp32': Quantization(torch.float32, ('fp32', *_COARSE)),
    'bf16': Quantization(torch.bfloat16, ('fp32', 'bf16', *_COARSE), n_bits=16),
    'fp16': Quantization(torch.float16, ('fp32', 'fp16', *_COARSE), n_bits=16),
    'int8': Quantization(torch.int8, ('fp32', 'int8'), 'int8', 8),
    'int4': Quantization(torch.float32, ('int4',), 'int4', 4),
    **{level: Quantization(torch.float32, (level,), 'shared', n_bits) for n_bits, level in _SHARED.items()},
}
"""Levels of precision by name. int8 also needs a calibration record in the file."""

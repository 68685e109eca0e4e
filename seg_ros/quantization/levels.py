"""Levels of numerical precision, by name; seg_ros.modelfile.precision chooses the one for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Quantization:
    """A level of numerical precision.

    Attributes:
        computes_in: Name of the torch dtype that the network computes in; int8 means 8-bit activations and
            weights.
        derivable_from: Levels of a file from which this one can be derived without further data.
        packed_as: Kind of packing of the weights in a file (seg_ros.modelfile.packing); None = plain tensors.
        n_bits: Number of bits of a weight in a file.
        made_by: Command that makes a file of this level; '' for fp32, which training makes.
    """

    computes_in: str
    derivable_from: tuple[str, ...]
    packed_as: str | None = None
    n_bits: int = 32
    made_by: str = ''

    @property
    def dtype(self) -> torch.dtype:
        """The dtype named by ``computes_in``."""
        import torch  # names of levels must be cheap to import

        dtypes = (torch.float32, torch.bfloat16, torch.float16, torch.int8)
        return next(dtype for dtype in dtypes if str(dtype) == f'torch.{self.computes_in}')


_SHARED = {n_bits: f'shared-{n_bits}' for n_bits in range(2, 9)}
_QUANTIZE = 'seg_ros quantize --level {}'
_COARSE = ('int8', 'int4', *_SHARED.values())

QUANTIZATIONS: dict[str, Quantization] = {
    'fp32': Quantization('float32', ('fp32', *_COARSE)),
    'bf16': Quantization('bfloat16', ('fp32', 'bf16', *_COARSE), n_bits=16, made_by=_QUANTIZE.format('bf16')),
    'fp16': Quantization('float16', ('fp32', 'fp16', *_COARSE), n_bits=16, made_by=_QUANTIZE.format('fp16')),
    'int8': Quantization('int8', ('fp32', 'int8'), 'int8', 8, _QUANTIZE.format('int8')),
    'int4': Quantization('float32', ('int4',), 'int4', 4, _QUANTIZE.format('int4')),
    **{
        level: Quantization('float32', (level,), 'shared', n_bits, f'seg_ros share --bits {n_bits}')
        for n_bits, level in _SHARED.items()
    },
}
"""Levels by name. int8 also needs a calibration record in the file."""

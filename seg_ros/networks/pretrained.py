"""Networks, or parts of them, that take over weights which others have published."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError

_VGGS = {8: 'VGG11', 10: 'VGG13', 13: 'VGG16', 16: 'VGG19'}


class Pretrained(nn.Module, ABC):
    """Something that public ImageNet weights fit.

    Attributes:
        trained_on: what its public weights are called.
    """

    trained_on: str

    @abstractmethod
    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take over public weights, under the names they are published with.

        Raises:
            ModelFileError: they are of another network.
        """

    def load_weights(self, path: Path) -> None:
        """Load ImageNet weights from a file of torch.save that holds tensors alone.

        Raises:
            ModelFileError: the file is missing, is no plain state dict, or is of another network; the message
                says of which, where that can be seen.
        """
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
        except OSError as err:
            raise ModelFileError(f'{path} holds no weights of {self.trained_on}: {err}') from err
        except Exception as err:  # torch raises many kinds for a damaged file, and advises to trust it
            raise ModelFileError(
                f'{path} holds no weights of {self.trained_on}: it cannot be read as a file of torch.save '
                f'that holds tensors alone ({type(err).__name__})'
            ) from err
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ModelFileError(
                f'{path} holds no weights of {self.trained_on} but a {type(state).__name__}; '
                'expected a state dict, tensors by name'
            )
        try:
            self.load_pretrained(state)
        except (ModelFileError, RuntimeError) as err:  # torch, of values that do not fit each other
            kind = recognise(state)
            hint = f'; they look like those of {kind}' if kind and kind != self.trained_on else ''
            raise ModelFileError(f'{path} holds no weights of {self.trained_on}: {err}{hint}') from err

    def load_named(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under this network's own names.

        Counts of batches, which old files lack and nothing here reads, may be missing.

        Raises:
            ModelFileError: they are others than it has; the message names the first.
        """
        own = self.state_dict()
        state = {k: v for k, v in own.items() if k.endswith('.num_batches_tracked')} | dict(state)
        missing = [f'{k} is missing' for k in own if k not in state]
        surplus = [f'{k} has no place' for k in state if k not in own]
        reshaped = [
            f'{k} has shape {tuple(state[k].shape)}, expected {tuple(v.shape)}'
            for k, v in own.items()
            if k in state and state[k].shape != v.shape
        ]
        if missing or surplus or reshaped:
            raise ModelFileError('; '.join(kind[0] for kind in (missing, surplus, reshaped) if kind))
        self.load_state_dict(state)


def as_convolution(value: Tensor, like: Tensor) -> Tensor:
    """Weights of a layer that reads a whole map, as those of the convolution that does the same.

    Args:
        value: (outputs, channels * height * width), or in its shape already.
        like: (outputs, channels, height, width).

    Returns:
        ``value`` in the shape of ``like``, or as it is where it does not fit, for ``load_named`` to tell.
    """
    return value.reshape(like.shape) if value.numel() == like.numel() else value


def recognise(state: Mapping[str, Tensor]) -> str:
    """The network that public weights are of, by their names and shapes; '' where that cannot be seen."""
    if any(name.endswith('_conv_stem.weight') for name in state):
        return 'EfficientNet-Lite'
    kernels = [value for value in state.values() if value.ndim == 4]
    if not kernels:
        return ''
    n_channels, size = kernels[0].shape[0], tuple(kernels[0].shape[2:])
    if any('.squeeze.' in name for name in state):
        return 'SqueezeNet 1.0' if size == (7, 7) else 'SqueezeNet 1.1'
    if size == (11, 11):
        return 'AlexNet'
    kind = _VGGS.get(sum(tuple(kernel.shape[2:]) == (3, 3) for kernel in kernels), '')
    if kind and n_channels != 64:
        kind += f' of width {n_channels}'
    has_norms = any(name.endswith('running_mean') for name in state)
    return f'{kind} with batch normalisation' if kind and has_norms else kind

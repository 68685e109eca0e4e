"""Loading of public ImageNet weights into networks or parts of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError

_VGGS = {8: 'VGG11', 10: 'VGG13', 13: 'VGG16', 16: 'VGG19'}


class Pretrained(nn.Module, ABC):
    """A module that can load public ImageNet weights.

    Attributes:
        trained_on: Name of the network whose public weights fit.
    """

    trained_on: str

    @abstractmethod
    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load public weights under the names of their publisher.

        Raises:
            ModelFileError: The weights belong to another network.
        """

    def load_weights(self, path: Path) -> None:
        """Load ImageNet weights from a file of ``torch.save`` that holds only tensors.

        Raises:
            ModelFileError: The file is missing, is not a plain state dict, or belongs to another network. The
                message names that network if it is recognised.
        """
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
        except OSError as err:
            raise ModelFileError(f'{path} holds no weights of {self.trained_on}: {err}') from err
        except Exception as err:  # torch raises many types for a damaged file, and advises to trust it
            raise ModelFileError(
                f'{path} holds no weights of {self.trained_on}: it cannot be read as a file of torch.save '
                f'that holds only tensors ({type(err).__name__})'
            ) from err
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ModelFileError(
                f'{path} holds no weights of {self.trained_on}: it holds a {type(state).__name__}; '
                'expected a state dict, tensors by name'
            )
        try:
            self.load_pretrained(state)
        except (ModelFileError, RuntimeError) as err:  # torch raises RuntimeError for values that do not fit
            kind = recognise(state)
            hint = f'; the file looks like weights of {kind}' if kind and kind != self.trained_on else ''
            raise ModelFileError(f'{path} holds no weights of {self.trained_on}: {err}{hint}') from err

    def load_named(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under the names of this module.

        Counts of batches may be missing. Old files lack them, and they are not used.

        Raises:
            ModelFileError: Names or shapes differ from those of the module; the message has one example of
                each.
        """
        own = self.state_dict()
        state = {k: v for k, v in own.items() if k.endswith('.num_batches_tracked')} | dict(state)
        missing = [f'{k} is missing' for k in own if k not in state]
        unknown = [f'{k} is unknown' for k in state if k not in own]
        reshaped = [
            f'{k} has shape {tuple(state[k].shape)}, expected {tuple(v.shape)}'
            for k, v in own.items()
            if k in state and state[k].shape != v.shape
        ]
        if missing or unknown or reshaped:
            raise ModelFileError('; '.join(kind[0] for kind in (missing, unknown, reshaped) if kind))
        self.load_state_dict(state)


def as_convolution(value: Tensor, like: Tensor) -> Tensor:
    """Weights of a fully connected layer, in the shape of the equivalent convolution.

    Args:
        value: (outputs, channels * height * width), or already of the shape of ``like``.
        like: (outputs, channels, height, width).

    Returns:
        ``value`` in the shape of ``like``. If it does not fit, ``value`` itself, which ``load_named``
        reports.
    """
    return value.reshape(like.shape) if value.numel() == like.numel() else value


def recognise(state: Mapping[str, Tensor]) -> str:
    """Name of the network that public weights belong to, by their names and shapes; '' = not recognised."""
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

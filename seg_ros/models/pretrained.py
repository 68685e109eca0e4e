"""Networks, or parts of them, that take over weights which others have published."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError


class Pretrained(nn.Module, ABC):
    """Something that public ImageNet weights fit.

    Attributes:
        trained_on: what its public weights are called.
    """

    trained_on: str

    @abstractmethod
    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Take over public weights, under the names they are published with."""

    def load_weights(self, path: Path) -> None:
        """Load ImageNet weights from a file of torch.save that holds tensors alone.

        Raises:
            ModelFileError: the file is missing, is no plain state dict, or is of another network.
        """
        try:
            self.adopt(torch.load(path, map_location='cpu', weights_only=True))
        except Exception as err:  # torch raises many kinds for a damaged file
            raise ModelFileError(f'{path} holds no weights of {self.trained_on}: {err}') from err

    def load_named(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under this network's own names.

        Raises:
            ModelFileError: they are others than it has; the message names the first.
        """
        own = self.state_dict()
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

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

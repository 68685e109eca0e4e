"""Whole blocks of a network: taking them out."""

from collections.abc import Iterable

from torch import nn

from seg_ros.errors import ParameterError


def remove_block(network: nn.Module, name: str) -> None:
    """Replace a sub-module by ``nn.Identity``, in place.

    Raises:
        ParameterError: The network has no sub-module of that name.
    """
    check_names(network, [name])
    parent, _, leaf = name.rpartition('.')
    setattr(network.get_submodule(parent), leaf, nn.Identity())


def check_names(network: nn.Module, names: Iterable[str]) -> None:
    """Refuse names that are not those of sub-modules.

    Raises:
        ParameterError: The network has no sub-module of that name.
    """
    known = dict(network.named_modules())
    for name in names:
        if not name or name not in known:
            raise ParameterError(f"the network has no sub-module '{name}'")

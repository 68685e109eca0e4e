"""Reads weights in PyTorch layout: files of torch.save that hold only tensors, and safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seg_ros.errors import ModelFileError
from seg_ros.modelfile.container import DTYPES
from seg_ros.modelfile.identity import SIZE_LIMIT
from seg_ros.userfiles.reading import read_bytes, shown_path

_INSIDE = ('state_dict', 'model_state_dict', 'model_state', 'model', 'net', 'weights', 'params')
"""Keys under which training programs keep the weights beside their own state."""

_PREFIXES = ('module.', '_orig_mod.', 'model.')
"""Prefixes that wrappers put before each name."""

COUNT = 'num_batches_tracked'


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU, without counts of batches, and without prefixes of wrappers.

    Raises:
        ModelFileError: The file is missing or too large, or holds something else than tensors by name.
    """
    where = shown_path(path)
    if path.suffix == '.safetensors':
        content = _safetensors(path)
    else:
        content = _saved(path)
    for _ in _INSIDE:
        key = next((key for key in _INSIDE if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        content = content[key]
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    others = [str(name) for name in content if name not in state]
    if others or not state or not all(isinstance(name, str) for name in state):
        raise ModelFileError(
            f'{where} holds {", ".join(others[:5]) or "nothing"} besides tensors; expected tensors by name: '
            'save network.state_dict()'
        )
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {name: value for name, value in state.items() if not name.endswith(COUNT)}


def _saved(path: Path) -> dict[str, Any]:
    where = shown_path(path)
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ModelFileError(f'{where} has {path.stat().st_size} bytes; expected {SIZE_LIMIT} at most')
        content = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as err:
        raise ModelFileError(f'{where} cannot be read: {err}') from err
    except ModelFileError:
        raise
    except Exception as err:  # torch raises many types for a damaged file, and advises to trust it
        raise ModelFileError(
            f'{where} cannot be read as a file of torch.save that holds only tensors ({type(err).__name__}); '
            'load it where it was made, and save network.state_dict()'
        ) from err
    if not isinstance(content, Mapping):
        raise ModelFileError(
            f'{where} holds a {type(content).__name__}; expected tensors by name: save network.state_dict()'
        )
    return dict(content)


def _safetensors(path: Path) -> dict[str, Any]:
    from seg_ros.modelfile.container import read_container

    try:
        container = read_container(bytearray(read_bytes(path, ModelFileError, SIZE_LIMIT)))
    except ModelFileError as err:
        raise ModelFileError(
            f'{shown_path(path)} cannot be read as safetensors of {", ".join(DTYPES)}: {err}'
        ) from err
    return {name: container.tensor(name) for name in container.entries}

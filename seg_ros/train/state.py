"""What a run needs to go on after a kill, in one safetensors file: no pickle, written atomically."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn, optim

from seg_ros.errors import RecipeError


def save_state(
    path: Path, modules: dict[str, nn.Module], optimizer: optim.Optimizer, record: dict[str, Any]
) -> None:
    """Write modules, optimizer and ``record`` (JSON values), replacing ``path`` only when all is on disk."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        tensors |= {f'{prefix}/{k}': v for k, v in module.state_dict().items()}
    for number, slots in optimizer.state_dict()['state'].items():
        tensors |= {f'optimizer/{number}/{k}': torch.as_tensor(v) for k, v in slots.items()}
    # Clones: safetensors refuses tensors that share memory.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    save_file(tensors, partial, metadata={'record': json.dumps(record)})
    os.replace(partial, path)


def load_state(path: Path, modules: dict[str, nn.Module], optimizer: optim.Optimizer) -> dict[str, Any]:
    """Inverse of :func:`save_state`; returns the record.

    Raises:
        RecipeError: the file is damaged or of another network.
    """
    try:
        with safe_open(path, framework='pt') as file:
            record: dict[str, Any] = json.loads(file.metadata()['record'])
            tensors = {k: file.get_tensor(k) for k in file.keys()}
        for prefix, module in modules.items():
            module.load_state_dict(_below(tensors, prefix))
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as err:
        raise RecipeError(f'cannot resume from {path}: {err}; remove it to start anew') from err
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _below(tensors, 'optimizer').items():
        number, name = key.split('/')
        slots.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({'state': slots, 'param_groups': optimizer.state_dict()['param_groups']})
    return record


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix + '/'): v for k, v in tensors.items() if k.startswith(prefix + '/')}

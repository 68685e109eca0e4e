"""What a run needs to go on after a kill, in one safetensors file: no pickle, written atomically."""

import json
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
    """Write modules, optimizer and ``record`` (JSON values), replacing ``path`` only when all is written."""
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
    partial.replace(path)


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record and the tensors of a state file.

    Raises:
        RecipeError: the file is damaged.
    """
    try:
        with safe_open(path, framework='pt') as file:
            record: dict[str, Any] = json.loads(file.metadata()['record'])
            return record, {k: file.get_tensor(k) for k in file.keys()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as err:
        raise _cannot_resume(path, err) from err


def restore_state(
    path: Path, tensors: dict[str, Tensor], modules: dict[str, nn.Module], optimizer: optim.Optimizer
) -> None:
    """Put back what :func:`save_state` wrote.

    Raises:
        RecipeError: the tensors are not those of these modules.
    """
    try:
        for prefix, module in modules.items():
            module.load_state_dict(_below(tensors, prefix))
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, 'optimizer').items():
            number, name = key.split('/')
            slots.setdefault(int(number), {})[name] = _laid_out_like(parameters[int(number)], value)
        optimizer.load_state_dict({'state': slots, 'param_groups': optimizer.state_dict()['param_groups']})
    except (RuntimeError, LookupError, ValueError) as err:
        raise _cannot_resume(path, err) from err


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """The value in the parameter's memory order; in another, kernels round the last bit otherwise."""
    if value.ndim == 0:
        return value
    return torch.empty_like(parameter, device='cpu').copy_(value).detach()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix + '/'): v for k, v in tensors.items() if k.startswith(prefix + '/')}


def _cannot_resume(path: Path, err: Exception) -> RecipeError:
    return RecipeError(f'cannot resume from {path}: {err}; remove it to start anew')

"""The state file of a training run, from which a killed run continues.

It is one safetensors file without pickle, and replaces the previous one only when it is complete.
"""

import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn, optim

from seg_ros.errors import RecipeError
from seg_ros.training.progress import Progress
from seg_ros.training.recipe import Recipe

log = logging.getLogger(__name__)

STATE_FILE, BEST_FILE, LAST_FILE = 'state.safetensors', 'best.safetensors', 'last.safetensors'
"""Files in the folder of a run: its state, the model with the best validation, and the last model."""


def save_run(
    folder: Path,
    recipe: Recipe,
    progress: Progress,
    modules: dict[str, nn.Module],
    optimizer: optim.Optimizer,
) -> None:
    """Write the state of a run into its folder."""
    record = {'recipe': recipe.as_json(), 'progress': asdict(progress)}
    save_state(folder / STATE_FILE, modules, optimizer, record)


def resume(
    folder: Path, recipe: Recipe, modules: dict[str, nn.Module], optimizer: optim.Optimizer
) -> Progress:
    """Restore modules and optimizer from the state in a run's folder, in place.

    Returns:
        The progress of that run.

    Raises:
        RecipeError: The state file is damaged, or belongs to another recipe.
    """
    path = folder / STATE_FILE
    record, tensors = read_state(path)
    wanted = recipe.as_json()
    try:
        before, progress = dict(record['recipe']), Progress(**record['progress'])
    except (KeyError, TypeError, ValueError) as err:
        raise _cannot_resume(path, err) from err
    defaults = {field.name: field.default for field in fields(Recipe)}  # of keys that an older version lacks
    changed = [key for key in wanted if before.get(key, defaults[key]) != wanted[key]]
    if changed:
        raise RecipeError(
            f'{folder} holds a run whose {", ".join(changed)} differ from the recipe; '
            'remove the folder or choose another'
        )
    restore_state(path, tensors, modules, optimizer)
    return progress


def save_state(
    path: Path, modules: dict[str, nn.Module], optimizer: optim.Optimizer, record: dict[str, Any]
) -> None:
    """Write a state file.

    Args:
        path: Path of the file.
        modules: Name -> module whose tensors are kept.
        optimizer: Optimizer whose state is kept.
        record: JSON values to keep with them.
    """
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
    """Read the record and the tensors of a state file.

    Raises:
        RecipeError: The file is damaged.
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
    """Copy the tensors of a state file into modules and optimizer.

    Args:
        path: Path of the file, for error messages.
        tensors: Tensors from :func:`read_state`.
        modules: Modules as they were given to :func:`save_state`.
        optimizer: Optimizer over the same parameters.

    Raises:
        RecipeError: The tensors do not fit these modules.
    """
    try:
        for prefix, module in modules.items():
            module.load_state_dict(_below(tensors, prefix))
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, 'optimizer').items():
            number, name = key.split('/')
            slots.setdefault(int(number), {})[name] = _in_memory_order_of(parameters[int(number)], value)
        optimizer.load_state_dict({'state': slots, 'param_groups': optimizer.state_dict()['param_groups']})
    except (RuntimeError, LookupError, ValueError) as err:
        raise _cannot_resume(path, err) from err


def _in_memory_order_of(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy ``value`` into the memory order of ``parameter``; in another one, kernels round differently."""
    if value.ndim == 0:
        return value
    return torch.empty_like(parameter, device='cpu').copy_(value).detach()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix/``, by the rest of their names."""
    return {k.removeprefix(prefix + '/'): v for k, v in tensors.items() if k.startswith(prefix + '/')}


def _cannot_resume(path: Path, err: Exception) -> RecipeError:
    return RecipeError(f'cannot resume from {path}: {err}; remove it to start anew')

"""Compression recipes: chains of steps, each of which makes a model file from a model file.

A step is done when its file exists, so a stopped chain resumes at the first missing file. A step is repeated
if its settings or those of an earlier step have changed.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from seg_ros import schema
from seg_ros.compression.context import CompressionContext, CompressionStep
from seg_ros.compression.learning import check_learning, take
from seg_ros.compression.steps import STEPS, in_rounds
from seg_ros.errors import BudgetError, RecipeError
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.find import find_model
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Source, read_recipe

log = logging.getLogger(__name__)

DONE_FILE = 'steps.json'


@dataclass(frozen=True)
class CompressionRecipe:
    """A chain of steps, and the size limit of its last file.

    Attributes:
        model: Model to start from: a path, or the name of a shipped model.
        train: Data for scoring, calibration and learning.
        steps: Steps, each a mapping from its name to its settings.
        validation: Data for validation while learning.
        learning: Keys of a training recipe that all learning shares, such as ``augment`` and ``loss``.
        bytes: Maximum size of the last file in bytes; None = no limit.
    """

    model: str
    train: tuple[Source, ...]
    steps: tuple[dict[str, Any], ...]
    validation: Source | None = None
    learning: dict[str, Any] = field(default_factory=dict)
    bytes: int | None = None

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)

    @classmethod
    def from_yaml(cls, path: Path, changes: Sequence[str] = ()) -> 'CompressionRecipe':
        """Read a recipe file; ``changes`` as in ``Recipe.from_yaml``.

        Raises:
            RecipeError: The file cannot be read, a key or a step is unknown, or a value is wrong.
        """
        recipe = read_recipe(cls, path, changes)
        recipe.links()  # finds a wrong step before the first one has run for hours
        return recipe

    def links(self) -> 'list[Link]':
        """The steps to take, with the rounds of a step as steps of their own.

        Raises:
            RecipeError: A step is unknown, or its settings are wrong.
        """
        if not self.steps:
            raise RecipeError(f'steps is empty; expected some of {", ".join(STEPS)}')
        check_learning(self.learning, 'learning')
        numbered = enumerate(self.steps, start=1)
        return [link for number, content in numbered for link in _links(number, content)]


class Link(NamedTuple):
    """A step to take.

    Attributes:
        name: Name of its file, without the suffix.
        step: The step.
        content: Text that changes with the step, its settings and its round.
    """

    name: str
    step: CompressionStep
    content: str


def compress(recipe: CompressionRecipe, data: Path | None, folder: Path, processes: Processes) -> Path:
    """Run a chain, or the remaining steps of a stopped one.

    Args:
        recipe: The chain.
        data: Root of the data sets.
        folder: Folder for the files of all steps, ``1-prune.safetensors`` and so on; of
            rounds, ``1-prune-1.safetensors`` and so on.
        processes: Processes that learn together.

    Returns:
        Path of the last file.

    Raises:
        BudgetError: A budget cannot be met, or the last file is larger than its limit.
        RecipeError: A step does not fit the model.
    """
    path = find_model(recipe.model)
    context = CompressionContext(recipe.train, recipe.validation, data, processes, recipe.learning, path)
    folder.mkdir(parents=True, exist_ok=True)
    state = hashlib.sha256(path.read_bytes())
    state.update(json.dumps([dataclasses.asdict(s) for s in recipe.train] + [recipe.learning]).encode())
    for name, step, content in recipe.links():
        state.update(content.encode())
        target = folder / f'{name}.safetensors'
        is_done = target.is_file() and _read_done(folder).get(target.name) == state.hexdigest()
        processes.wait()  # all read the state before one writes it
        if is_done:
            log.info('step %s: done before', name)
        else:
            log.info('step %s', name)
            take(step, load_model(path), target, context)
            if processes.is_main:
                _write_done(folder, target.name, state.hexdigest())
        path = target
    n_bytes = path.stat().st_size
    if recipe.bytes is not None and n_bytes > recipe.bytes:
        raise BudgetError(
            f'{path} has {n_bytes:,} bytes; expected at most {recipe.bytes:,}: prune more, or use fewer bits'
        )
    return path


def _links(number: int, content: dict[str, Any]) -> list[Link]:
    where = f'steps[{number}]'
    if not isinstance(content, dict) or len(content) != 1:
        raise RecipeError(f'{where} is {content!r}; expected one of {", ".join(STEPS)} with its settings')
    name, settings = next(iter(content.items()))
    if name not in STEPS:
        raise RecipeError(f"{where}: unknown step '{name}'; known: {', '.join(STEPS)}")
    step: CompressionStep = schema.build(STEPS[name], settings or {}, f'{where}: {name}', RecipeError)
    check_learning(step.learning, f'{where}: {name}.learn')
    rounds = in_rounds(step)
    settings_text = json.dumps([name, content], sort_keys=True)
    if len(rounds) == 1:
        return [Link(f'{number}-{name}', step, settings_text)]
    return [
        Link(f'{number}-{name}-{k}', part, f'{settings_text} round {k}') for k, part in enumerate(rounds, 1)
    ]


def _read_done(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / DONE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _write_done(folder: Path, name: str, state: str) -> None:
    done = {**_read_done(folder), name: state}
    (folder / DONE_FILE).write_text(json.dumps(done, indent=2) + '\n')

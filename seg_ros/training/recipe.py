"""Training recipes: what ``config/train/*.yaml`` may say, checked before anything starts."""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from seg_ros.errors import ModelFileError, RecipeError, look_up
from seg_ros.networks.image_network import Normalisation
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.augment import Augmentation
from seg_ros.training.copy_paste import Paste

T = TypeVar('T')


@dataclass(frozen=True)
class Relabel:
    """Classes of one data set as those of another, for learning from both; see seg_ros.datasets.wrappers.

    Attributes:
        classes: the class set that its labels become: a file of ``config/labels`` by name, or a path.
        names: class of the data set -> class of that class set; what is left out becomes void.
        labelled: share of an image's pixels that must have a class then, 0..1, for the image to count.
    """

    classes: str
    names: dict[str, Any]
    labelled: float = 0.0

    def __post_init__(self) -> None:
        is_text = all(isinstance(name, str) for pair in self.names.items() for name in pair)
        _require(bool(self.names) and is_text, 'names', self.names, 'old class: new class, one or more')
        _require(0 <= self.labelled <= 1, 'labelled', self.labelled, '0..1')


@dataclass(frozen=True)
class Source:
    """One data set, or a part of one.

    Attributes:
        dataset: name in seg_ros.datasets.registry.DATASETS.
        split: of the data set.
        root: its folder, relative to ``--data``.
        options: further arguments of the data set, such as ``exclude``.
        repeat: how often each image is drawn in an epoch.
        relabel: what its classes count as, None for what they are.
        scale: of the images' width and height, above 0.
    """

    dataset: str
    split: str = 'train'
    root: str = '.'
    options: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1
    relabel: Relabel | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        _require(self.repeat >= 1, 'repeat', self.repeat, '1 or more')
        _require(self.scale > 0, 'scale', self.scale, 'more than 0')


@dataclass(frozen=True)
class LossRecipe:
    """Arguments of seg_ros.training.losses: how classes are balanced, and the terms' weights."""

    balance: str = 'enet'
    constant: float = 1.02
    jaccard: float = 0.0
    label_smoothing: float = 0.0
    adjust: float = 0.0

    def __post_init__(self) -> None:
        _require(self.balance in ('none', 'enet', 'median'), 'balance', self.balance, 'none, enet or median')
        _require(self.constant > 1, 'constant', self.constant, 'more than 1')
        _require(self.jaccard >= 0, 'jaccard', self.jaccard, '0 or more')
        _require(0 <= self.label_smoothing < 1, 'label_smoothing', self.label_smoothing, '0 or more, below 1')
        _require(0 <= self.adjust <= 1, 'adjust', self.adjust, '0 to 1')


@dataclass(frozen=True)
class Teacher:
    """A trained network whose scores are learned from as well (Hinton et al., arXiv 1503.02531).

    Attributes:
        model: its model file, a path.
        weight: of the Kullback-Leibler divergence from the teacher's probabilities, beside the loss on
            labels.
        temperature: divides both networks' scores first; above 1 the teacher's doubts count more.
    """

    model: str
    weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _require(self.weight >= 0, 'weight', self.weight, '0 or more')
        _require(self.temperature > 0, 'temperature', self.temperature, 'more than 0')


@dataclass(frozen=True)
class Columns:
    """Pre-training of a hypercolumn network's classifier, see seg_ros.training.pixel_pretraining.

    Attributes:
        per_class: pixels of each class to take of an image, at most.
        images: to take them of, at most; evenly drawn from the training images of an epoch.
        epochs: passes over the pixels.
        learning_rate: the peak, as of the training itself.
        weight_decay: decoupled (AdamW).
    """

    per_class: int = 4
    images: int = 400
    epochs: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        for key in ('per_class', 'images', 'epochs', 'learning_rate'):
            _require(getattr(self, key) > 0, key, getattr(self, key), 'more than 0')
        _require(self.weight_decay >= 0, 'weight_decay', self.weight_decay, '0 or more')


@dataclass(frozen=True)
class EmbeddingRecipe:
    """A head that gives embeddings, and the filter that they drive (Harley et al., arXiv 1511.04377).

    Attributes:
        taps: names of the sub-modules whose results the head reads, beside the image.
        dimensions: of an embedding.
        stride: pixels from one embedding to the next: 1, 2, 4 or 8.
        window: of the filter and of the loss on pairs, in embeddings, odd.
        iterations: of the filter.
        hardness: of the filter, that learning starts from.
        pairs: weight of the loss on pairs, seg_ros.training.losses.pair_loss.
        near: distance, L1, up to which two pixels of one class cost nothing.
        far: distance from which two pixels of different classes cost nothing.
        alone: the head learns, the network stays as it is; needs ``init``.
    """

    taps: tuple[str, ...]
    dimensions: int = 12
    stride: int = 8
    window: int = 9
    iterations: int = 4
    hardness: float = 4.0
    pairs: float = 1.0
    near: float = 0.5
    far: float = 2.0
    alone: bool = False

    def __post_init__(self) -> None:
        _require(len(self.taps) > 0, 'taps', self.taps, 'one sub-module or more')
        _require(self.dimensions >= 1, 'dimensions', self.dimensions, '1 or more')
        _require(self.stride in (1, 2, 4, 8), 'stride', self.stride, '1, 2, 4 or 8')
        _require(self.window % 2 == 1 and self.window >= 3, 'window', self.window, 'an odd number from 3 on')
        _require(self.iterations >= 1, 'iterations', self.iterations, '1 or more')
        _require(self.hardness > 0, 'hardness', self.hardness, 'more than 0')
        _require(self.pairs >= 0, 'pairs', self.pairs, '0 or more')
        _require(0 <= self.near < self.far, 'near', self.near, f'0 or more, below far ({self.far})')

    def check_size(self, key: str, size: tuple[int, int]) -> None:
        """Refuse images, (height, width) in pixels under ``key``, that embeddings or window do not fit."""
        fits = not any(n % self.stride for n in size)
        _require(fits, key, size, f'multiples of embeddings.stride, {self.stride}')
        least = self.window * self.stride
        _require(
            min(size) >= least, key, size, f'{least} or more each way, an embeddings.window ({self.window})'
        )


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run gives.

    Attributes:
        model: name in seg_ros.networks.registry.MODELS.
        input_size: (height, width) the trained network is meant to see, in pixels.
        train: data to learn from, together an epoch.
        validation: data to measure on; it decides nothing but which epoch is called best.
        augment: random changes of the training images.
        paste: things of one training image to paste into another, or None.
        arguments: of the model.
        test: data that the best weights are measured on at the end.
        loss: what is minimised.
        epochs: passes over the data.
        batch_size: images a step, over all processes together.
        learning_rate: the peak, after a linear rise and before a cosine fall to 0.
        warmup: share of all steps that the rise takes, 0..1.
        weight_decay: decoupled (AdamW); convolution kernels only.
        ema: decay a step of the averaged weights, which are what is validated and kept.
        precision: 'fp32' or 'bf16' (autocast).
        quantization: level that the network learns to compute at, and is kept at: rounding in the forward
            pass (int8, int4) or shared weights whose values are learnt (shared-N); needs ``init``.
        compile: fuse the training step with torch.compile.
        init: model file to start from instead of random weights, a path.
        encoder_weights: ImageNet weights in torchvision's layout for the network's encoder, a path.
        columns: pre-training of the classifier on few pixels, before the first epoch; hypercolumn networks
            without ``init`` only.
        teacher: trained network to learn from as well.
        embeddings: a head and a filter to train with the network, or on it.
        normalisation: of the input; that of the encoder_weights where there are some.
        validate_every: epochs between validations.
        stop_after: stop when this many validations in a row brought no better mIoU; 0 = never.
        workers: processes that prepare images.
        seed: of weights, order, augmentation and dropout, 0 or more.
        licence: of the weights, which the data decides; goes into the model file.
    """

    model: str
    input_size: tuple[int, int]
    train: tuple[Source, ...]
    augment: Augmentation
    paste: Paste | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    validation: Source | None = None
    test: Source | None = None
    loss: LossRecipe = field(default_factory=LossRecipe)
    epochs: int = 100
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-2
    ema: float = 0.999
    precision: str = 'bf16'
    quantization: str = 'fp32'
    compile: bool = False
    init: str | None = None
    encoder_weights: str | None = None
    columns: Columns | None = None
    teacher: Teacher | None = None
    embeddings: EmbeddingRecipe | None = None
    normalisation: Normalisation = field(default_factory=Normalisation)
    validate_every: int = 5
    stop_after: int = 0
    workers: int = 1
    seed: int = 0
    licence: str = ''

    def __post_init__(self) -> None:
        _require(len(self.train) > 0, 'train', list(self.train), 'one source or more')
        _require(self.precision in ('fp32', 'bf16'), 'precision', self.precision, 'fp32 or bf16')
        look_up(QUANTIZATIONS, self.quantization, 'quantization level')
        _require(
            self.quantization == 'fp32' or self.init is not None,
            'init',
            self.init,
            'a trained model to quantise',
        )
        _require(
            self.columns is None or self.init is None, 'init', self.init, 'none where columns are trained on'
        )
        _require(
            self.embeddings is None or not self.embeddings.alone or self.init is not None,
            'init',
            self.init,
            'a trained model, whose embeddings alone are to learn',
        )
        _require(min(self.input_size) >= 32, 'input_size', self.input_size, '32 pixels or more each way')
        if self.embeddings is not None:
            for key, size in (('input_size', self.input_size), ('augment.crop', self.augment.crop)):
                self.embeddings.check_size(key, size)
        for key in ('epochs', 'batch_size', 'learning_rate', 'validate_every'):
            _require(getattr(self, key) > 0, key, getattr(self, key), 'more than 0')
        for key in ('weight_decay', 'stop_after', 'workers', 'seed'):
            _require(getattr(self, key) >= 0, key, getattr(self, key), '0 or more')
        for key in ('ema', 'warmup'):
            _require(0 <= getattr(self, key) < 1, key, getattr(self, key), '0 or more, below 1')

    @classmethod
    def from_yaml(cls, path: Path, changes: Sequence[str] = ()) -> 'Recipe':
        """Read a recipe file.

        Args:
            path: of the file.
            changes: ``key=value`` each, in place of what the file says; the key may be a dotted path such as
                ``augment.flip`` or ``train.0.repeat``, the value is YAML.

        Raises:
            RecipeError: it cannot be read, a key is unknown or missing, or a value has the wrong type.
        """
        return read_recipe(cls, path, changes)

    def as_json(self) -> dict[str, Any]:
        """The form that files keep."""
        content: dict[str, Any] = _plain(dataclasses.asdict(self))
        return content

    def without_folders(self) -> 'Recipe':
        """The same, with the files it names stripped of where they lie on this machine."""
        teacher = self.teacher and dataclasses.replace(self.teacher, model=Path(self.teacher.model).name)
        return dataclasses.replace(
            self,
            init=self.init and Path(self.init).name,
            encoder_weights=self.encoder_weights and Path(self.encoder_weights).name,
            teacher=teacher,
        )


def _require(holds: bool, key: str, value: object, expected: str) -> None:
    if not holds:
        raise RecipeError(f'{key} is {value!r}; expected {expected}')


def read_recipe(kind: type[T], path: Path, changes: Sequence[str]) -> T:
    """A recipe of some kind from a YAML file; see ``Recipe.from_yaml``."""
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError) as err:
        raise RecipeError(f'recipe {path} cannot be read: {err}') from err
    for change in changes:
        _change(content, change)
    return build_dataclass(kind, content, str(path))


def _change(content: Any, change: str) -> None:
    """Apply one ``key=value`` to what a recipe file holds."""
    path, equals, text = change.partition('=')
    *parents, last = path.split('.')
    if not (equals and last):
        raise RecipeError(
            f"'{change}' changes nothing; expected key=value, such as epochs=5 or augment.flip=0"
        )
    try:
        for key in parents:
            content = content[int(key)] if isinstance(content, list) else content.setdefault(key, {})
        content[int(last) if isinstance(content, list) else last] = yaml.safe_load(text)
    except (AttributeError, LookupError, TypeError, ValueError, yaml.YAMLError) as err:
        raise RecipeError(f"'{change}' does not fit the recipe: {err}") from err


def build_dataclass(kind: type[T], content: Any, where: str) -> T:
    """A dataclass from a mapping, strictly: every key known, every type as annotated."""
    if not isinstance(content, dict):
        raise RecipeError(f'{where}: {content!r}; expected keys and values')
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(content) - set(fields)))
    if unknown:
        raise RecipeError(f'{where}: unknown {", ".join(unknown)}; known: {", ".join(fields)}')
    missing = [
        name
        for name, f in fields.items()
        if name not in content
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f'{where}: {", ".join(missing)} missing')
    values = {name: _convert(hints[name], value, f'{where}: {name}') for name, value in content.items()}
    try:
        return kind(**values)
    except (RecipeError, ModelFileError) as err:
        raise RecipeError(f'{where}: {err}') from err


def _convert(hint: Any, value: Any, where: str) -> Any:
    """A YAML value as the annotated type, or a RecipeError."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build_dataclass(typing.cast(type, hint), value, where)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(inner[0], value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(_convert(kind, value[i], f'{where}[{i}]') for i, kind in enumerate(kinds))
    elif origin is dict and isinstance(value, dict):
        return value
    elif hint is float and _is_number(value):
        return float(value)
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    expected = getattr(hint, '__name__', None) if origin is None else str(hint)
    raise RecipeError(f'{where} is {value!r}; expected {expected}')


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON."""
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return {str(k): _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _is_number(value: Any) -> bool:
    """Whether a YAML value is a finite number; 1e-3 is one, though YAML takes it for text."""
    if isinstance(value, str):
        return re.fullmatch(r'[-+]?\d+(\.\d*)?[eE][-+]?\d{1,2}', value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

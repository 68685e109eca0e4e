"""Training recipes: the content of ``config/train/*.yaml``, checked before training starts."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from seg_ros import schema
from seg_ros.datasets.wrappers import Relabel
from seg_ros.errors import RecipeError, look_up
from seg_ros.modelfile.metadata import SIZE_LIMIT
from seg_ros.networks.filter_rules import Averaged
from seg_ros.networks.normalisation import Normalisation
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.schema import Count, CountOrZero, Fraction, NotNegative, Positive
from seg_ros.training.augment import Augmentation
from seg_ros.training.copy_paste import Paste
from seg_ros.userfiles.reading import shown_path
from seg_ros.userfiles.yaml import DEPTH_LIMIT, parse_yaml, read_yaml

T = TypeVar('T')

_Side = Annotated[int, Meta(ge=32, le=SIZE_LIMIT)]
_LessThanOne = Annotated[float, Meta(ge=0, lt=1)]


@dataclass(frozen=True)
class Source:
    """One data set, or a part of one.

    Attributes:
        dataset: Name in seg_ros.datasets.registry.DATASETS.
        split: Split of the data set.
        root: Folder of the data set, relative to ``--data``.
        options: Further arguments of the data set, such as ``exclude``.
        repeat: Number of times that each image is used in an epoch.
        relabel: Translation of the classes; None keeps them.
        scale: Factor for the width and height of the images.
    """

    dataset: str
    split: str = 'train'
    root: str = '.'
    options: dict[str, Any] = field(default_factory=dict)
    repeat: Annotated[int, Meta(ge=1, le=10_000)] = 1
    relabel: Relabel | None = None
    scale: Annotated[float, Meta(gt=0, le=64)] = 1.0

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)


@dataclass(frozen=True)
class LossRecipe:
    """Arguments of seg_ros.training.losses: how classes are balanced, and weights of the terms."""

    balance: Literal['none', 'enet', 'median'] = 'enet'
    constant: Annotated[float, Meta(gt=1)] = 1.02
    jaccard: NotNegative = 0.0
    label_smoothing: _LessThanOne = 0.0
    adjust: Fraction = 0.0

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)


@dataclass(frozen=True)
class TeacherNetwork:
    """One of several teachers.

    Attributes:
        model: Path of its model file.
        share: Weight of its probabilities in the mean.
        scale: Factor for the width and height of the images that it gets.
        names: Class of the teacher -> class of the data; None = it has the classes of the data.
    """

    model: str
    share: Positive = 1.0
    scale: Annotated[float, Meta(gt=0, le=8)] = 1.0
    names: dict[str, str] | None = None

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)


@dataclass(frozen=True)
class Teacher:
    """A trained network whose scores are a second target (Hinton et al., arXiv 1503.02531).

    Attributes:
        model: Path of its model file, or several teachers, of whose probabilities the mean is learnt.
        weight: Weight of the Kullback-Leibler divergence from the teacher's probabilities, added to the loss
            on labels.
        temperature: Divisor of the scores of both networks. Above 1, the teacher's less likely classes count
            more.
        restricted: Whether pixels whose label is a group of classes are taught the teacher's probabilities of
            these classes alone.
    """

    model: str | tuple[TeacherNetwork, ...]
    weight: NotNegative = 1.0
    temperature: Positive = 1.0
    restricted: bool = False

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)
        _require(bool(self.model), 'model', self.model, 'a model file, or one or more teachers')

    @property
    def networks(self) -> tuple[TeacherNetwork, ...]:
        """The teachers, one or more."""
        return (TeacherNetwork(self.model),) if isinstance(self.model, str) else self.model

    def without_folders(self) -> 'Teacher':
        """The same with bare names of files, without their folders."""
        if isinstance(self.model, str):
            return dataclasses.replace(self, model=Path(self.model).name)
        bare = (dataclasses.replace(network, model=Path(network.model).name) for network in self.model)
        return dataclasses.replace(self, model=tuple(bare))


@dataclass(frozen=True)
class Columns:
    """Pre-training of the classifier of a hypercolumn network; see seg_ros.training.pixel_pretraining.

    Attributes:
        per_class: Maximum number of pixels of each class per image.
        images: Maximum number of images, drawn evenly from the training images of an epoch.
        epochs: Number of passes over the pixels.
        learning_rate: Peak learning rate, with the same schedule as in training.
        weight_decay: Decoupled weight decay (AdamW).
    """

    per_class: Count = 4
    images: Count = 400
    epochs: Count = 20
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-2

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)


@dataclass(frozen=True)
class EmbeddingRecipe:
    """An embedding head and the filter that uses its embeddings (Harley et al., arXiv 1511.04377).

    Attributes:
        taps: Names of the sub-modules whose results the head reads, beside the image.
        dimensions: Number of dimensions of an embedding, 1..256 as in model files.
        stride: Distance between embeddings, in pixels.
        window: Width and height of the window of the filter and of the pair loss, in embeddings: odd, 3..99.
        iterations: Number of times that the filter is applied, 1..100.
        averages: Values that the filter averages: probabilities, or scores as in the paper.
        hardness: Hardness of the filter at the start of training.
        pairs: Weight of seg_ros.training.losses.pair_loss.
        near: L1 distance up to which two pixels of one class cost nothing.
        far: L1 distance from which two pixels of different classes cost nothing.
        alone: Whether only the head is trained; needs ``init``.
    """

    taps: Annotated[tuple[str, ...], Meta(min_length=1)]
    dimensions: Annotated[int, Meta(ge=1, le=256)] = 12
    stride: Literal[1, 2, 4, 8] = 8
    window: Annotated[int, Meta(ge=3, le=99)] = 9
    iterations: Annotated[int, Meta(ge=1, le=100)] = 4
    averages: Averaged = 'probabilities'
    hardness: Positive = 4.0
    pairs: NotNegative = 1.0
    near: NotNegative = 0.5
    far: float = 2.0
    alone: bool = False

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)
        _require(self.window % 2 == 1, 'window', self.window, 'an odd number')
        _require(self.near < self.far, 'near', self.near, f'less than far ({self.far:g})')

    def check_size(self, key: str, size: tuple[int, int]) -> None:
        """Refuse a (height, width) in pixels that embeddings or window do not fit.

        Args:
            key: Key of the size in the recipe, for the error message.
            size: (height, width) of images, in pixels.

        Raises:
            RecipeError: The size is not a multiple of the stride, or smaller than the window.
        """
        fits = not any(n % self.stride for n in size)
        _require(fits, key, size, f'multiples of embeddings.stride, {self.stride}')
        least = self.window * self.stride
        expected = f'{least} or more pixels each way, the size of embeddings.window ({self.window})'
        _require(min(size) >= least, key, size, expected)


@dataclass(frozen=True)
class Recipe:
    """All settings of a training run.

    Attributes:
        model: Name in seg_ros.networks.registry.MODELS.
        input_size: (height, width) of the images that the trained network is used on, in pixels.
        train: Training data; an epoch uses all of it.
        augment: Random changes of the training images.
        paste: Settings of copy-paste augmentation; None turns it off.
        arguments: Keyword arguments of the model.
        validation: Data for validation, which only decides which epoch is the best.
        test: Data on which the best weights are measured at the end.
        loss: Settings of the loss.
        epochs: Number of passes over the data.
        batch_size: Number of images per step, over all processes.
        learning_rate: Peak learning rate, after a linear rise and before a cosine decay to 0.
        warmup: Fraction of all steps that the rise takes.
        weight_decay: Decoupled weight decay (AdamW) of convolution kernels.
        ema: Decay per step of the averaged weights, which are validated and kept.
        statistics: Number of training images from which the statistics of batch normalisations are computed
            anew before each validation and at the end; 0 = running averages.
        precision: 'bf16' computes with autocast.
        quantization: Level at which the network learns to compute and is saved: rounding in the forward pass
            (int8, int4) or shared weights with learned values (shared-N). All but fp32 need ``init``.
        compile: Whether torch.compile fuses the training step.
        init: Path of a model file with the initial weights; None = random weights.
        encoder_weights: Path of ImageNet weights of the encoder in torchvision's layout.
        columns: Pre-training of the classifier before the first epoch, for hypercolumn networks without
            ``init``.
        teacher: A trained network to learn from.
        embeddings: An embedding head and filter to train with the network, or on top of it.
        normalisation: Normalisation of the input; ``encoder_weights`` bring their own.
        validate_every: Number of epochs between validations.
        stop_after: Number of validations without a better mIoU after which training stops; 0 = never.
        workers: Number of processes that load images.
        seed: Seed of weights, order, augmentation and dropout.
        licence: Licence of the weights, which depends on the data; written to the model file.
    """

    model: str
    input_size: tuple[_Side, _Side]
    train: Annotated[tuple[Source, ...], Meta(min_length=1)]
    augment: Augmentation
    paste: Paste | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    validation: Source | None = None
    test: Source | None = None
    loss: LossRecipe = field(default_factory=LossRecipe)
    epochs: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    batch_size: Annotated[int, Meta(ge=1, le=65_536)] = 8
    learning_rate: Positive = 1e-3
    warmup: _LessThanOne = 0.05
    weight_decay: NotNegative = 1e-2
    ema: _LessThanOne = 0.999
    statistics: CountOrZero = 0
    precision: Literal['fp32', 'bf16'] = 'bf16'
    quantization: str = 'fp32'
    compile: bool = False
    init: str | None = None
    encoder_weights: str | None = None
    columns: Columns | None = None
    teacher: Teacher | None = None
    embeddings: EmbeddingRecipe | None = None
    normalisation: Normalisation = field(default_factory=Normalisation)
    validate_every: Count = 5
    stop_after: CountOrZero = 0
    workers: Annotated[int, Meta(ge=0, le=256)] = 1
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    licence: str = ''

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)
        look_up(QUANTIZATIONS, self.quantization, 'quantization level')
        trains_head = self.embeddings is not None and self.embeddings.alone
        is_trained = self.init is not None
        _require(is_trained or self.quantization == 'fp32', 'init', self.init, 'a trained model to quantize')
        _require(is_trained or not trains_head, 'init', self.init, 'a trained model for embeddings.alone')
        _require(not (is_trained and self.columns), 'init', self.init, 'none together with columns')
        _require(
            not (trains_head and self.statistics), 'statistics', self.statistics, '0 with embeddings.alone'
        )
        self._check_groups()
        if self.embeddings is not None:
            self.embeddings.check_size('input_size', self.input_size)
            self.embeddings.check_size('augment.crop', self.augment.crop)

    def _check_groups(self) -> None:
        """Refuse groups of classes where pixels must have one class."""
        for key, source in (('validation', self.validation), ('test', self.test)):
            has_groups = source is not None and source.relabel is not None and source.relabel.has_groups
            _require(not has_groups, f'{key}.relabel', 'several classes for one', 'one class for each')
        teaches_groups = any(source.relabel and source.relabel.has_groups for source in self.train)
        _require(
            not (teaches_groups and self.columns), 'columns', 'set', 'none where train has groups of classes'
        )

    @classmethod
    def from_yaml(cls, path: Path, changes: Sequence[str] = ()) -> 'Recipe':
        """Read a recipe file.

        Args:
            path: Path of the file.
            changes: Replacements of values in the file, ``key=value`` each. The key may be a dotted path such
                as ``augment.flip`` or ``train.0.repeat``; the value is YAML.

        Raises:
            RecipeError: The file cannot be read, a key is unknown or missing, or a value is wrong.
        """
        return read_recipe(cls, path, changes)

    def as_json(self) -> dict[str, Any]:
        """The recipe as parsed JSON, for model files and checkpoints."""
        content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return content

    def without_folders(self) -> 'Recipe':
        """The recipe with bare names of the files that it refers to, without their folders."""
        teacher = self.teacher and self.teacher.without_folders()
        return dataclasses.replace(
            self,
            init=self.init and Path(self.init).name,
            encoder_weights=self.encoder_weights and Path(self.encoder_weights).name,
            teacher=teacher,
        )


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    schema.require(holds, name, value, expected, RecipeError)


def read_recipe(kind: type[T], path: Path, changes: Sequence[str]) -> T:
    """Read a recipe of any kind from a YAML file; see ``Recipe.from_yaml``."""
    content = read_yaml(path, 'recipe', RecipeError)
    for change in changes:
        _change(content, change)
    return schema.build(kind, content, shown_path(path), RecipeError)


def _change(content: Any, change: str) -> None:
    """Apply one ``key=value`` to the content of a recipe file."""
    path, equals, text = change.partition('=')
    *parents, last = path.split('.')
    if not (equals and last):
        raise RecipeError(
            f'{schema.shown(change)} is not a change; expected key=value, such as epochs=5 or augment.flip=0'
        )
    where = f'change {schema.shown(change)}'
    schema.require(
        len(parents) < DEPTH_LIMIT, where, len(parents), f'at most {DEPTH_LIMIT} keys', RecipeError
    )
    value = parse_yaml(text, where, RecipeError)
    try:
        for key in parents:
            content = content[int(key)] if isinstance(content, list) else content.setdefault(key, {})
        content[int(last) if isinstance(content, list) else last] = value
    except (AttributeError, LookupError, TypeError, ValueError) as err:
        raise RecipeError(f'{where} does not fit the recipe: {err}') from err

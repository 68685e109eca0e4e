"""Options that several commands share, each declared once, and the values that they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import ModelFileError, ParameterError, RecipeError
from seg_ros.inference.parameter import field_of
from seg_ros.inference.settings import BY_NAME, MODEL_PARAMETERS, Settings, check
from seg_ros.modelfile.find import SUFFIX
from seg_ros.resources import find_file
from seg_ros.schema import shown
from seg_ros.userfiles.writing import check_target
from seg_ros.userfiles.yaml import parse_yaml

if TYPE_CHECKING:
    from seg_ros.datasets.dataset import Dataset
    from seg_ros.evaluation.class_translation import ClassTranslation
    from seg_ros.inference.segmenter import Segmenter

MODEL_FILE = 'model file: a path, or the name of a shipped model'
"""Help of an argument that names a model."""


def add_dataset(
    parser: argparse.ArgumentParser,
    names: Iterable[str] = DATASETS,
    *,
    default: str | None = None,
    split: str = 'val',
    classes: bool = False,
    options: bool = False,
) -> None:
    """Declare the data set, ``--data`` and ``--split``; see :func:`dataset_from`.

    Args:
        parser: Parser of the command.
        names: Names of the data sets to choose from.
        default: Default of ``--dataset``; None = the data set is a positional argument instead.
        split: Default of ``--split``.
        classes: Declare ``--classes`` too.
        options: Declare ``--options`` too.
    """
    if default is None:
        parser.add_argument('dataset', choices=list(names), help='kind of data set')
    else:
        parser.add_argument(
            '--dataset', choices=list(names), default=default, help='kind of data set (default: %(default)s)'
        )
    add_data(parser)
    add_split(parser, split)
    if classes:
        parser.add_argument(
            '--classes', help='class file of a folder data set: name of a shipped file, or path'
        )
    if options:
        parser.add_argument(
            '--options', default='{}', metavar='YAML', help='further options of the data set (YAML)'
        )


def add_datasets(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Declare several data sets to learn from, and their folders and split; see :func:`folders_from`."""
    parser.add_argument('dataset', nargs='+', choices=list(names), help='kinds of data sets to learn from')
    parser.add_argument(
        '--data',
        type=Path,
        action='append',
        metavar='DIR',
        help='root folder of a data set; given once for each data set, in their order',
    )
    add_split(parser, 'train')


def folders_from(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    """Name and root folder of each data set that :func:`add_datasets` declares.

    Raises:
        ParameterError: The numbers of data sets and folders differ.
    """
    names, folders = arguments.dataset, arguments.data or []
    if len(names) != len(folders):
        raise ParameterError('give --data DIR once for each data set, in their order')
    return list(zip(names, folders, strict=True))


def add_data(parser: argparse.ArgumentParser) -> None:
    """Declare ``--data``."""
    parser.add_argument('--data', type=Path, metavar='DIR', help='root folder of the data set')


def add_split(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare ``--split``."""
    parser.add_argument('--split', default=default, help='split of the data set (default: %(default)s)')


def dataset_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the data set, from ``--options`` and ``--classes`` of :func:`add_dataset`.

    Raises:
        RecipeError: ``--options`` is not a mapping in YAML.
    """
    options = mapping_from(getattr(arguments, 'options', '{}'), '--options')
    classes = getattr(arguments, 'classes', None)
    return {**options, 'classes': classes} if classes else options


def dataset_from(arguments: argparse.Namespace) -> Dataset:
    """Open the data set of :func:`add_dataset`.

    Raises:
        RecipeError: ``--options`` is not a mapping in YAML.
        DatasetError, UnknownNameError: As for :func:`seg_ros.datasets.open.open_dataset`.
    """
    from seg_ros.datasets.open import open_dataset

    return open_dataset(arguments.dataset, arguments.data, arguments.split, dataset_options(arguments))


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """Declare a data set, a model that is measured on it, and ``--json``; see :func:`measuring_from`."""
    add_dataset(parser, classes=True, options=True)
    parser.add_argument(
        '--names',
        metavar='FILE',
        help='YAML file that translates classes: class of the data set -> class of the model, or several; '
        'name of a shipped file (idd7_camvid11), or path (default: both have the same classes)',
    )
    add_json(parser)
    add_model_arguments(parser)


def measuring_from(arguments: argparse.Namespace) -> tuple[Segmenter, Dataset, ClassTranslation]:
    """Load the model and open the data set of :func:`add_measuring`, with the translation of their classes.

    Raises:
        DatasetError: The classes differ, and no file translates them; or as for :func:`dataset_from`.
        SegRosError: As for :meth:`seg_ros.inference.segmenter.Segmenter.load`.
    """
    from seg_ros.evaluation.class_translation import ClassTranslation
    from seg_ros.inference.segmenter import Segmenter

    dataset = dataset_from(arguments)
    segmenter = Segmenter.load(settings_from(arguments))
    return segmenter, dataset, ClassTranslation.between(dataset.classes, segmenter.classes, arguments.names)


def add_limit(parser: argparse.ArgumentParser, default: str = 'all') -> None:
    """Declare ``--limit``."""
    parser.add_argument(
        '--limit',
        type=int,
        metavar='N',
        help=f'maximum number of images, spread over the split (default: {default})',
    )


def add_output(
    parser: argparse.ArgumentParser,
    metavar: str,
    description: str,
    *,
    default: Path | None = None,
    required: bool = False,
) -> None:
    """Declare ``--output``.

    Args:
        parser: Parser of the command.
        metavar: Kind of file or folder, such as ``'FOLDER'``.
        description: Help; it names the default if ``default`` is None.
        default: Default path.
        required: Whether the option must be given.
    """
    shown = f'{description} (default: %(default)s)' if default else description
    parser.add_argument(
        '-o', '--output', type=Path, metavar=metavar, help=shown, default=default, required=required
    )


def add_model_output(
    parser: argparse.ArgumentParser, description: str = 'model file to write', *, required: bool = True
) -> None:
    """Declare ``--output`` of a command that writes a model file.

    Args:
        parser: Parser of the command.
        description: Help.
        required: Whether the option must be given.
    """
    parser.add_argument(
        '-o', '--output', type=_model_target, metavar='FILE', help=description, required=required
    )


def _model_target(text: str) -> Path:
    """Path of a model file to write, refused before any work is done for it."""
    path = Path(text)
    if path.suffix != SUFFIX:
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a model file, which ends in {SUFFIX}")
    try:
        check_target(path, ModelFileError)
    except ModelFileError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
    return path


def add_json(parser: argparse.ArgumentParser, content: str = 'the figures') -> None:
    """Declare ``--json``."""
    parser.add_argument('--json', type=Path, metavar='OUT', help=f'JSON file for {content}')


def add_topic(parser: argparse.ArgumentParser) -> None:
    """Declare ``--topic``."""
    parser.add_argument('--topic', help='image topic (default: the only image topic of the bag)')


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Declare ``--overwrite`` for commands that write a bag."""
    parser.add_argument('--overwrite', action='store_true', help='replace OUT.mcap if it exists')


def add_recipe(parser: argparse.ArgumentParser, example: str) -> None:
    """Declare the recipe and ``--set``.

    Args:
        parser: Parser of the command.
        example: Example of a shipped recipe.
    """
    parser.add_argument('recipe', help=f'recipe: a path, or the name of a shipped recipe, such as {example}')
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='change of the recipe, such as epochs=5 or augment.flip=0; may be repeated',
    )


def find_recipe(name: str, kind: str = 'train') -> Path:
    """Path of a recipe, given by its path or by the name of a shipped one.

    Args:
        name: Path or name.
        kind: Folder below ``config/`` that has the shipped recipes.

    Raises:
        UnknownNameError: No shipped recipe has that name.
    """
    return find_file(name, f'config/{kind}', ('.yaml', '.yml'), 'recipe')


def add_training_device(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device`` for commands that train."""
    parser.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        default='auto',
        help='device for the computations; auto = cuda if there is a GPU (default: %(default)s)',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device`` for commands that run a model."""
    parser.add_argument(
        '--device', default='auto', help='device: auto, cpu, or cuda:N (default: %(default)s)'
    )


def add_torch_only(parser: argparse.ArgumentParser, reason: str) -> None:
    """Declare ``--device``, ``--quantization`` and ``--backend`` for commands that need torch.

    Args:
        parser: Parser of the command.
        reason: Reason for this, for the help.
    """
    add_device(parser)
    parser.add_argument(
        '--quantization', default='auto', help='level of quantization, or auto (default: %(default)s)'
    )
    parser.add_argument(
        '--backend',
        default='auto',
        choices=('auto', 'torch'),
        help=f'inference backend; always torch, since {reason}',
    )


def add_model_arguments(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Declare ``--model``, ``--quantization``, ... with default, choices and help of the node's parameter.

    Args:
        parser: Parser of the command.
        without: Parameters that the command takes in another way.
    """
    group = parser.add_argument_group('model')
    for name in MODEL_PARAMETERS:
        if name in without:
            continue
        parameter = BY_NAME[name]
        constraint = f' [{parameter.constraint}]' if parameter.constraint and not parameter.choices else ''
        option = f'--{field_of(name).replace("_", "-")}'
        if parameter.default is False:
            group.add_argument(option, action='store_true', help=parameter.doc)
            continue
        group.add_argument(
            option,
            type=type(parameter.default),
            default=parameter.default,
            choices=parameter.choices,
            metavar=None if parameter.choices else field_of(name).rpartition('_')[2].upper(),
            help=f'{parameter.doc}{constraint} (default: %(default)s)',
        )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Settings from the options of :func:`add_model_arguments`, with defaults for all other parameters.

    Raises:
        ParameterError: A value is out of its range.
    """
    given = {name: field_of(name) for name in MODEL_PARAMETERS if hasattr(arguments, field_of(name))}
    return Settings.from_values({name: check(name, getattr(arguments, key)) for name, key in given.items()})


def add_compression(parser: argparse.ArgumentParser) -> None:
    """Declare the model to compress, the data for it, and the file to write."""
    parser.add_argument('model', help=MODEL_FILE)
    add_model_output(parser)
    add_dataset(parser, default='camvid', split='train', options=True)
    parser.add_argument(
        '--images',
        type=int,
        default=64,
        help='number of images for calibration and scoring (default: %(default)s)',
    )
    add_training_device(parser)
    group = parser.add_argument_group('fine-tuning')
    group.add_argument(
        '--epochs', type=int, default=0, help='number of epochs; 0 = no fine-tuning (default: %(default)s)'
    )
    group.add_argument(
        '--learning-rate', type=float, default=5e-4, help='initial learning rate (default: %(default)s)'
    )
    group.add_argument('--learn', default='{}', metavar='YAML', help='further keys of a training recipe')


def learning_from(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys of a training recipe, from the fine-tuning options of :func:`add_compression`.

    Raises:
        RecipeError: ``--learn`` is not a mapping in YAML.
    """
    if not arguments.epochs:
        return {}
    keys = {'epochs': arguments.epochs, 'learning_rate': arguments.learning_rate}
    return {**keys, **mapping_from(arguments.learn, '--learn')}


def mapping_from(text: str, option: str) -> dict[str, Any]:
    """Parse the YAML of an option.

    Args:
        text: Value of the option.
        option: Name of the option, for errors.

    Raises:
        RecipeError: The text is not a mapping in YAML.
    """
    content = parse_yaml(text, option, RecipeError)
    if not isinstance(content, dict):
        raise RecipeError(f'{option} is {shown(content)}; expected keys and values, such as "{{flip: 0.5}}"')
    return content


def check_at_least(arguments: argparse.Namespace, **least: int) -> None:
    """Refuse numbers that are too small.

    Args:
        arguments: Parsed arguments.
        **least: Smallest value of each option; an option without a value is not checked.

    Raises:
        ParameterError: A value is too small.
    """
    for name, smallest in least.items():
        value = getattr(arguments, name)
        if value is not None and value < smallest:
            raise ParameterError(f'--{name} is {value}; expected {smallest} or more')

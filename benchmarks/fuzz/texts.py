"""Targets of texts: class files, recipes, parameter files of the node, and lists of splits."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import yaml
from mutation import YAML_TOKENS, change_yaml
from target import Target, require

from seg_ros.classes import ClassSet
from seg_ros.compression.chain import CompressionRecipe
from seg_ros.datasets.open import open_dataset
from seg_ros.errors import ParameterError
from seg_ros.resources import resource
from seg_ros.ros.parameter_files import name_origin, read_parameter_file, warning_if_useless
from seg_ros.training.recipe import Recipe

_LARGEST = 1 << 13
_BETWEEN = b'\x1e'  # the record separator of ASCII: before each change of a recipe
_NAMES = ('a_1', 'b 2', 'über')


def _files(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(resource('config').glob(pattern))]


def _read_classes(data: bytes, folder: Path) -> None:
    path = folder / 'classes.yaml'
    path.write_bytes(data)
    classes = ClassSet.from_yaml(path)
    require(ClassSet.from_json(classes.as_json()) == classes, 'a class set is the same after JSON')


def _recipe_seeds() -> list[bytes]:
    changes = (b'epochs=5', b'augment.flip=0', b'train.0.repeat=2')
    recipes = _files('train/*.yaml')[::4]
    return [*recipes, *(_BETWEEN.join((recipes[0], change)) for change in changes)]


def _read_recipe(data: bytes, folder: Path) -> None:
    text, *changes = data.split(_BETWEEN)
    path = folder / 'recipe.yaml'
    path.write_bytes(text)
    recipe = Recipe.from_yaml(path, [change.decode('utf-8', 'replace') for change in changes])
    recipe.as_json()
    recipe.without_folders()


def _read_compression(data: bytes, folder: Path) -> None:
    path = folder / 'recipe.yaml'
    path.write_bytes(data)
    CompressionRecipe.from_yaml(path)


def _parameter_seeds() -> list[bytes]:
    nested = {'front': {'seg_ros': {'ros__parameters': {'segments': {'region_size': 2}, 'model': 'x'}}}}
    wild = {
        '/**': {'ros__parameters': {'n_threads': 2}},
        '/*/seg_ros': {'ros__parameters': {'device': 'cpu'}},
    }
    return [*_files('*.param.yaml'), *(yaml.safe_dump(tree).encode() for tree in (nested, wild))]


def _read_parameters(data: bytes, folder: Path) -> None:
    path = str(folder / 'parameters.yaml')
    Path(path).write_bytes(data)
    given = read_parameter_file(path)
    for entry in given[:20]:
        name_origin(ParameterError(f'{entry.name} is wrong'), given, '/front/seg_ros')
    warning = warning_if_useless(path, given, '/seg_ros')
    require(warning.isprintable() and len(warning) < 2000, 'a warning is one short line')


def _list_seeds() -> list[bytes]:
    lines = [f'/SegNet/CamVid/train/{name}.png /SegNet/CamVid/trainannot/{name}.png' for name in _NAMES]
    lists = ['\n'.join(part) for part in (lines, _NAMES, [f'images/{name}.png' for name in _NAMES])]
    return [text.encode(encoding) for text in lists for encoding in ('utf-8', 'latin-1', 'utf-16')]


def _make_pairs(folder: Path) -> None:
    """A small data set of both layouts, made once in a folder."""
    pixels = np.zeros((4, 4), np.uint8)
    for part in ('images', 'labels', 'train', 'trainannot'):
        (folder / part).mkdir()
        for name in _NAMES:
            (folder / part / f'{name}.png').write_bytes(cv2.imencode('.png', pixels)[1].tobytes())
    shutil.copy(resource('config/labels/camvid11.yaml'), folder / 'classes.yaml')


def _read_list(data: bytes, folder: Path) -> None:
    if not (folder / 'images').exists():
        _make_pairs(folder)
    (folder / 'val.txt').write_bytes(data)
    (folder / 'train.txt').write_bytes(data)
    for name, split, options in (('folder', 'val', {'classes': 'classes.yaml'}), ('camvid', 'train', {})):
        dataset = open_dataset(name, folder, split, options)
        require(0 < len(dataset) == len(dataset.names), 'a data set has images, and a name for each')


_LIST_TOKENS = (
    b'\r',
    b'\t',
    b'..',
    b'/',
    b'\\',
    b'\0',
    b'.png',
    b'\xef\xbb\xbf',
    b'\xff\xfe',
    b'[',
    b'*',
    b'e\xcc\x81',
)

TARGETS = {
    'class_file': Target(
        lambda: _files('labels/*.yaml'), _read_classes, [change_yaml], YAML_TOKENS, largest=_LARGEST
    ),
    'recipe': Target(_recipe_seeds, _read_recipe, [change_yaml], YAML_TOKENS, largest=_LARGEST),
    'compression_recipe': Target(
        lambda: _files('compress/*.yaml'), _read_compression, [change_yaml], YAML_TOKENS, largest=_LARGEST
    ),
    'parameter_file': Target(
        _parameter_seeds, _read_parameters, [change_yaml], YAML_TOKENS, largest=_LARGEST
    ),
    'split_list': Target(_list_seeds, _read_list, (), _LIST_TOKENS, largest=_LARGEST),
}

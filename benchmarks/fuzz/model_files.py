"""Targets of model files: the whole file, its header, its metadata and its packed weights.

Changes of a model file are tried with the digest as it was, and with a digest that fits the changed content.
"""

import functools
import hashlib
import json
import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from mutation import change_bytes, change_json, change_tree
from target import Target, require

from seg_ros.classes import ClassSet
from seg_ros.modelfile.container import Container, read_container, with_header, write_container
from seg_ros.modelfile.content import LARGEST_WEIGHT, PACKED
from seg_ros.modelfile.deep_compression import read_deep_compression, write_deep_compression
from seg_ros.modelfile.description import METADATA_KEY
from seg_ros.modelfile.digest import BLANK, DIGEST_KEY, seal
from seg_ros.modelfile.file import load_model, model_bytes
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.packed import rounded_to_file
from seg_ros.resources import resource

_KINDS = {'int8': 'int8', 'int4': 'int4', 'shared': 'shared-8'}
_SIDE = 32
_DIGEST = re.compile(rb'"seg_ros_digest": ?"([^"]*)"')
_EXAMPLE = torch.zeros(1, 3, _SIDE, _SIDE)


@functools.cache
def _model(quantization: str) -> bytes:
    """A small model file at a level."""
    torch.manual_seed(0)
    classes = ClassSet.from_yaml(resource('config/labels/soccer.yaml'))
    arguments = {'width': 4, 'kernel': 3}
    metadata = ModelMetadata(
        'segnet_small',
        classes,
        (_SIDE, _SIDE),
        quantization=quantization,
        arguments=arguments,
        licence='CC0-1.0',
    )
    network = metadata.build().eval()
    if quantization in _KINDS.values():
        kind = next(kind for kind, level in _KINDS.items() if level == quantization)
        network = rounded_to_file(network, kind, _EXAMPLE)
    golden = Golden(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8))
    return model_bytes(network, metadata, golden)


def _container(quantization: str = 'fp32') -> Container:
    return read_container(bytearray(_model(quantization)))


def _header(container: Container) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(container.header)
    return header


def _resealed(content: bytes) -> bytes:
    """The file with a digest that fits its content; as it is if it has none."""
    place = _DIGEST.search(content)
    if place is None or len(place[1]) != len(BLANK):
        return content
    blank = content[: place.start(1)] + BLANK.encode() + content[place.end(1) :]
    stated = hashlib.sha256(blank).hexdigest().encode()
    return content[: place.start(1)] + stated + content[place.end(1) :]


def _load(content: bytes, folder: Path) -> None:
    path = folder / 'model.safetensors'
    path.write_bytes(content)
    model = load_model(path)
    for name, value in model.network.state_dict().items():
        if value.is_floating_point():
            require(bool(value.float().abs().le(LARGEST_WEIGHT).all()), f'{name} of a loaded model is finite')
    labels = model.golden.labels
    require(
        bool(((labels < len(model.metadata.classes)) | (labels == 255)).all()), 'golden labels are classes'
    )


def _load_twice(data: bytes, folder: Path) -> None:
    """Load a file as it is, then with a digest that fits."""
    from seg_ros.errors import SegRosError

    place = _DIGEST.search(data)
    try:
        _load(data, folder)
        is_altered = place is not None and place[1] not in map(_stated, _seeds())
        require(not is_altered or _resealed(data) == data, 'a file that was altered is refused')
    except SegRosError:
        _load(_resealed(data), folder)


def _stated(content: bytes) -> bytes:
    place = _DIGEST.search(content)
    return place[1] if place else b''


def _seeds() -> list[bytes]:
    return [_model(level) for level in ('fp32', 'fp16', *_KINDS.values())]


def _change_header(data: bytes, random: Random) -> bytes:
    """Change one value of the header of a file."""
    n_header = int.from_bytes(data[:8], 'little')
    try:
        header = change_tree(json.loads(data[8 : 8 + n_header]), random)
        return with_header(header, data[8 + n_header :])
    except (ValueError, AttributeError, TypeError):
        return change_bytes(data, random)


def _change_metadata(data: bytes, random: Random) -> bytes:
    """Change one value of the metadata of a file."""
    n_header = int.from_bytes(data[:8], 'little')
    try:
        header = json.loads(data[8 : 8 + n_header])
        text = header['__metadata__'][METADATA_KEY].encode()
        header['__metadata__'][METADATA_KEY] = change_json(text, random).decode()
        return with_header(header, data[8 + n_header :])
    except (ValueError, LookupError, TypeError, AttributeError):
        return change_bytes(data, random)


def _metadata_seeds() -> list[bytes]:
    """Metadata of the small model, and of others with codes, embeddings, pruning and every architecture."""
    from seg_ros.networks.registry import ENCODERS, MODELS

    plain = json.loads(_container().texts[METADATA_KEY])
    codes = {
        'taps': {'encoder.0': 4},
        'n_bits': 32,
        'has_colour': True,
        'superpixels': 'grid',
        'region_size': 8,
    }
    others = [{'pruned': {'removed': []}}, {'codes': codes}, {'embeddings': _embeddings()}]
    others += [{'architecture': name, 'arguments': {}} for name in (*MODELS, *ENCODERS)]
    return [json.dumps(plain | other).encode() for other in ({}, *others)]


def _embeddings() -> dict[str, Any]:
    return {
        'taps': {'encoder.0': 4},
        'dimensions': 4,
        'stride': 4,
        'window': 5,
        'iterations': 1,
        'hardness': 1.0,
    }


def _load_metadata(data: bytes, folder: Path) -> None:
    container = _container()
    header = _header(container)
    header['__metadata__'] = {DIGEST_KEY: BLANK, METADATA_KEY: data.decode('utf-8', 'replace')}
    _load(seal(with_header(header, container.data)), folder)


def _packed_seeds() -> list[bytes]:
    containers = [_container(level) for level in _KINDS.values()]
    return [bytes([index]) + container.bytes_of(PACKED) for index, container in enumerate(containers)]


def _load_packed(data: bytes, folder: Path) -> None:
    """Load a model file with other packed weights; the first byte chooses kind and pruning."""
    levels = list(_KINDS.values())
    choice = data[0] if data else 0
    container = _container(levels[choice % len(levels)])
    tensors = {name: container.tensor(name) for name in container.entries}
    tensors[PACKED] = torch.from_numpy(np.frombuffer(data[1:] or b'\0', np.uint8).copy())
    metadata = json.loads(container.texts[METADATA_KEY])
    if choice & 128:
        metadata['pruned'] = {'removed': []}
    texts = {DIGEST_KEY: BLANK, METADATA_KEY: json.dumps(metadata)}
    _load(seal(write_container(tensors, texts)), folder)


_SHAPES = {'a.weight': torch.Size((4, 3, 3, 3)), 'a.bias': torch.Size((4,))}
_SHAPES |= {'b.weight': torch.Size((5, 4)), 'b.bias': torch.Size((5,))}


def _deep_seeds() -> list[bytes]:
    random = np.random.default_rng(0)
    state = {
        name: torch.from_numpy(random.integers(0, 3, shape).astype(np.float32))
        for name, shape in _SHAPES.items()
    }
    path = Path('/dev/shm') if Path('/dev/shm').is_dir() else Path.cwd()
    path = path / 'deep_compression.seed'
    write_deep_compression(state, path)
    content = path.read_bytes()
    path.unlink()
    return [content]


def _read_deep(data: bytes, folder: Path) -> None:
    path = folder / 'weights.bin'
    path.write_bytes(data)
    state = read_deep_compression(path, _SHAPES)
    require(
        {name: value.shape for name, value in state.items()} == _SHAPES, 'weights have the shapes asked for'
    )


TARGETS = {
    'model_file': Target(
        _seeds, _load_twice, [_change_header, _change_header, _change_metadata], memory=3 << 29
    ),
    'model_metadata': Target(_metadata_seeds, _load_metadata, [change_json], memory=3 << 29),
    'packed_weights': Target(_packed_seeds, _load_packed),
    'deep_compression': Target(_deep_seeds, _read_deep),
}

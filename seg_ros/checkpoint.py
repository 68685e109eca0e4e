"""Model files: architecture, weights, classes, normalisation, licence and proof of work in one file.

It is a safetensors file. Metadata key ``seg_ros`` holds one JSON object (see :class:`ModelDescription`); the
tensors are the network's state, and ``golden.images`` with the ``golden.labels`` that a working copy must
give for them. There is no pickle; nothing is allocated before names and shapes agree with the architecture.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from seg_ros.errors import DatasetError, ModelFileError
from seg_ros.image import Normalisation
from seg_ros.labels import ClassSet
from seg_ros.registry import MODELS, QUANTIZATIONS, look_up
from seg_ros.types import UInt8Array

FORMAT = 1
METADATA_KEY = 'seg_ros'
GOLDEN_IMAGES, GOLDEN_LABELS = 'golden.images', 'golden.labels'
GOLDEN_LIMIT_BYTES = 32 * 1024
SIZE_LIMIT = 8192
"""Largest height or width, in pixels, that a file may name as its input size."""


@dataclass(frozen=True)
class ModelDescription:
    """What a model file says of itself.

    Attributes:
        architecture: name in seg_ros.registry.MODELS, built with ``arguments``.
        classes: what the scores mean.
        normalisation: of the network's input.
        input_size: (height, width) in pixels that the network was trained for.
        quantization: level of the stored weights, a name in seg_ros.registry.QUANTIZATIONS.
        calibration: what int8 needs to know of activations; None where there is none.
        parent: digest and figures of the model this one was made from; None for an original.
        training: data, recipe, seed, commit.
        licence: of the weights, an SPDX identifier and a note.
        figures: measured results, fractions 0..1.
    """

    architecture: str
    classes: ClassSet
    input_size: tuple[int, int]
    normalisation: Normalisation = field(default_factory=Normalisation)
    arguments: dict[str, Any] = field(default_factory=dict)
    quantization: str = 'fp32'
    calibration: dict[str, Any] | None = None
    parent: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ''
    figures: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """A network of this architecture with untrained weights.

        Raises:
            ModelFileError: the architecture refuses the arguments.
            UnknownNameError: there is no such architecture.
        """
        network = look_up(MODELS, self.architecture, 'architecture')
        try:
            return network(len(self.classes), **self.arguments)
        except (TypeError, ValueError, OverflowError, RuntimeError) as err:
            raise ModelFileError(f'{self.architecture} refuses arguments {self.arguments}: {err}') from err

    def as_json(self) -> dict[str, Any]:
        """The object behind the metadata key."""
        return {
            'format': FORMAT,
            'architecture': self.architecture,
            'arguments': self.arguments,
            'classes': self.classes.as_json(),
            'normalisation': self.normalisation.as_json(),
            'input_size': list(self.input_size),
            'quantization': self.quantization,
            'calibration': self.calibration,
            'parent': self.parent,
            'training': self.training,
            'licence': self.licence,
            'figures': self.figures,
        }

    @classmethod
    def from_json(cls, content: Any) -> 'ModelDescription':
        """Inverse of :meth:`as_json`.

        Raises:
            ModelFileError: a key is missing or holds something else than it should.
        """
        if not isinstance(content, dict) or content.get('format') != FORMAT:
            found = content.get('format') if isinstance(content, dict) else content
            raise ModelFileError(f'format is {found!r}; this version of seg_ros reads format {FORMAT}')
        try:
            height, width = (int(v) for v in content['input_size'])
            if not (8 <= height <= SIZE_LIMIT and 8 <= width <= SIZE_LIMIT):
                raise ModelFileError(f'input size {height}x{width}; expected 8..{SIZE_LIMIT} pixels each')
            norm = content['normalisation']
            description = cls(
                architecture=str(content['architecture']),
                arguments=dict(content['arguments']),
                classes=ClassSet.from_json(content['classes']),
                normalisation=Normalisation(
                    tuple(float(v) for v in norm['mean']),  # type: ignore[arg-type]
                    tuple(float(v) for v in norm['std']),  # type: ignore[arg-type]
                    norm['channel_order'],
                ),
                input_size=(height, width),
                quantization=str(content['quantization']),
                calibration=content['calibration'],
                parent=content['parent'],
                training=dict(content['training']),
                licence=str(content['licence']),
                figures=dict(content['figures']),
            )
        except DatasetError as err:
            raise ModelFileError(str(err)) from err
        except (KeyError, TypeError, ValueError, OverflowError) as err:
            if isinstance(err, ModelFileError):
                raise
            raise ModelFileError(f'metadata lacks or garbles a key: {err!r}') from err
        look_up(QUANTIZATIONS, description.quantization, 'quantization level')
        return description


@dataclass(frozen=True)
class Golden:
    """Images and the labels that a working copy of the model gives for them.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, rendered scenes.
        labels: (N, H, W) uint8.
    """

    images: UInt8Array
    labels: UInt8Array

    def __post_init__(self) -> None:
        n_bytes = self.images.nbytes + self.labels.nbytes
        if self.images.ndim != 4 or self.images.shape[3] != 3 or self.images.shape[:3] != self.labels.shape:
            raise ModelFileError(
                f'golden images {self.images.shape} with labels {self.labels.shape}; '
                'expected (N, H, W, 3) with (N, H, W)'
            )
        if not 0 < n_bytes <= GOLDEN_LIMIT_BYTES:
            raise ModelFileError(f'golden record of {n_bytes} bytes; expected 1..{GOLDEN_LIMIT_BYTES}')


@dataclass(frozen=True)
class Model:
    """A model file in memory.

    Attributes:
        description: its metadata.
        network: (B, 3, H, W) normalised float -> (B, K, H, W) scores, in evaluation mode, on the CPU.
        golden: what it must reproduce.
        path: where it came from.
        digest: SHA-256 of the file, hexadecimal.
        n_bytes: size of the file.
    """

    description: ModelDescription
    network: nn.Module
    golden: Golden
    path: Path
    digest: str
    n_bytes: int

    @property
    def n_parameters(self) -> int:
        """Learned values of the network."""
        return sum(p.numel() for p in self.network.parameters())


def save_model(path: Path, network: nn.Module, description: ModelDescription, golden: Golden) -> None:
    """Write a model file; one that is there is replaced only when all is on disk.

    Raises:
        ModelFileError: a weight is not finite.
    """
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()}
    broken = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise ModelFileError(f'not saved: {broken[0]} holds values that are not finite')
    tensors[GOLDEN_IMAGES] = torch.from_numpy(golden.images.copy())
    tensors[GOLDEN_LABELS] = torch.from_numpy(golden.labels.copy())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(description.as_json())})
    partial.replace(path)


def load_model(path: Path) -> Model:
    """Read a model file.

    Raises:
        ModelFileError: it is missing, truncated, of another version, or its tensors are not those of its
            architecture.
        UnknownNameError: it names an architecture or quantization level that is not known here.
    """
    try:
        return _load(path)
    except (OSError, SafetensorError) as err:
        raise ModelFileError(f'model file {path} cannot be read: {err}') from err
    except ModelFileError as err:
        raise type(err)(f'model file {path}: {err}') from err


def _load(path: Path) -> Model:
    if not path.is_file():
        raise ModelFileError('there is no such file; give a path, or the name of a shipped model')
    with safe_open(path, framework='pt') as file:
        description = ModelDescription.from_json(_metadata(file.metadata()))
        with torch.device('meta'):
            network = description.build()
        _compare(file, network)
        state = {k: file.get_tensor(k) for k in network.state_dict()}
        golden = Golden(file.get_tensor(GOLDEN_IMAGES).numpy(), file.get_tensor(GOLDEN_LABELS).numpy())
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelFileError(f'{name} holds values that are not finite')
    network.load_state_dict(state, assign=True)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Model(description, network.eval(), golden, path, digest, len(content))


def _metadata(metadata: dict[str, str] | None) -> Any:
    if not metadata or METADATA_KEY not in metadata:
        raise ModelFileError(f"no metadata '{METADATA_KEY}'; it was not written by seg_ros")
    try:
        return json.loads(metadata[METADATA_KEY])
    except (json.JSONDecodeError, RecursionError) as err:
        raise ModelFileError(f"metadata '{METADATA_KEY}' is no JSON: {err}") from err


def _compare(file: Any, network: nn.Module) -> None:
    """Refuse a file whose tensors differ from the network's in name, shape or type."""
    expected = {k: (tuple(v.shape), v.dtype) for k, v in network.state_dict().items()}
    present = set(file.keys())
    wanted = {*expected, GOLDEN_IMAGES, GOLDEN_LABELS}
    if present != wanted:
        missing, extra = sorted(wanted - present), sorted(present - wanted)
        raise ModelFileError(
            f'tensors are not those of its architecture: missing {missing[:3]}, unknown {extra[:3]}'
        )
    for name, (shape, dtype) in expected.items():
        found = tuple(file.get_slice(name).get_shape())
        if found != shape:
            raise ModelFileError(f'{name} has shape {found}; its architecture has {shape}')
        if dtype.is_floating_point != (file.get_slice(name).get_dtype() in ('F16', 'BF16', 'F32', 'F64')):
            raise ModelFileError(f'{name} has type {file.get_slice(name).get_dtype()}; expected {dtype}')
    for name in (GOLDEN_IMAGES, GOLDEN_LABELS):
        part = file.get_slice(name)
        if part.get_dtype() != 'U8' or math.prod(part.get_shape()) > GOLDEN_LIMIT_BYTES:
            raise ModelFileError(
                f'{name} is {part.get_dtype()} {part.get_shape()}; expected 8-bit, 32 KB at most'
            )


def with_figures(description: ModelDescription, **figures: Any) -> ModelDescription:
    """The description with further measured figures."""
    return replace(description, figures={**description.figures, **figures})

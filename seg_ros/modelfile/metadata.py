"""What a model file says of itself: one JSON object, checked before anything is built from it."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError, ModelFileError, ParameterError, look_up
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.graph.channels import remove_block
from seg_ros.networks.image_network import Normalisation
from seg_ros.networks.registry import ENCODERS, MODELS
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.segments.superpixels import SUPERPIXELS

FORMAT = 1
SIZE_LIMIT = 8192
"""Largest height or width, in pixels, that a file may name as its input size."""

_CHANNEL_LIMIT = 65536


@dataclass(frozen=True)
class CodeMetadata:
    """How a model gives segments and their codes.

    Attributes:
        taps: name of each sub-module whose result the binary layer reads -> channels of that.
        n_bits: of a code.
        has_colour: whether the layer reads the colour of pixels too.
        superpixels: name in seg_ros.segments.superpixels.SUPERPIXELS.
        region_size: of the superpixels, in pixels of the network's input.
        merge_limit: share of bits, 0..1, up to which touching segments are joined.
        size_power: how much more readily small segments join than large ones, 0 = not at all.
        border_share: 0..1, how much the codes along a border count against those of whole segments.
    """

    taps: dict[str, int]
    n_bits: int
    has_colour: bool = True
    superpixels: str = 'slic'
    region_size: int = 16
    merge_limit: float = 0.1
    size_power: float = 0.0
    border_share: float = 0.0

    def build(self) -> BinaryLayer:
        """The binary layer with untrained weights."""
        return BinaryLayer(list(self.taps.values()), self.n_bits, has_colour=self.has_colour)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> 'CodeMetadata':
        """Inverse of ``dataclasses.asdict``; raises KeyError, TypeError or ValueError for what is no such."""
        metadata = cls(
            taps={str(name): int(count) for name, count in content['taps'].items()},
            n_bits=int(content['n_bits']),
            has_colour=bool(content['has_colour']),
            superpixels=str(content['superpixels']),
            region_size=int(content['region_size']),
            merge_limit=float(content['merge_limit']),
            size_power=float(content['size_power']),
            border_share=float(content['border_share']),
        )
        if not (2 <= metadata.region_size <= SIZE_LIMIT and 0 <= metadata.merge_limit <= 1):
            raise ValueError(f'region_size {metadata.region_size}, merge_limit {metadata.merge_limit}')
        if not 0 <= metadata.border_share <= 1:
            raise ValueError(f'border_share {metadata.border_share}')
        if not (0 <= metadata.size_power <= 10 and max(metadata.taps.values()) <= _CHANNEL_LIMIT):
            raise ValueError(f'size_power {metadata.size_power}, taps {metadata.taps}')
        look_up(SUPERPIXELS, metadata.superpixels, 'kind of superpixels')
        return metadata


@dataclass(frozen=True)
class EmbeddingMetadata:
    """How a model gives embeddings, and how the filter that they drive is meant to be set.

    Attributes:
        taps: name of each sub-module whose result the head reads -> channels of that.
        dimensions: of an embedding.
        stride: pixels of the network's input from one embedding to the next.
        window: of the filter, in embeddings, odd.
        iterations: of the filter.
    """

    taps: dict[str, int]
    dimensions: int = 8
    stride: int = 4
    window: int = 5
    iterations: int = 2

    def build(self) -> EmbeddingHead:
        """The head with untrained weights."""
        return EmbeddingHead(list(self.taps.values()), self.dimensions, self.stride)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> 'EmbeddingMetadata':
        """Inverse of ``dataclasses.asdict``; raises KeyError, TypeError or ValueError for what is no such."""
        taps = {str(name): int(count) for name, count in content['taps'].items()}
        numbers = {key: int(content[key]) for key in ('dimensions', 'stride', 'window', 'iterations')}
        metadata = cls(taps, **numbers)
        if not all(1 <= count <= _CHANNEL_LIMIT for count in taps.values()):
            raise ValueError(f'taps {taps}')
        if not 1 <= metadata.dimensions <= 256 or metadata.stride not in (1, 2, 4, 8):
            raise ValueError(f'dimensions {metadata.dimensions}, stride {metadata.stride}')
        if metadata.window % 2 == 0 or not 1 <= metadata.window <= 99:
            raise ValueError(f'window {metadata.window}')
        if not 0 <= metadata.iterations <= 100:
            raise ValueError(f'iterations {metadata.iterations}')
        return metadata


@dataclass(frozen=True)
class ModelMetadata:
    """What a model file says of itself.

    Attributes:
        architecture: name in seg_ros.networks.registry.MODELS, built with ``arguments``.
        classes: what the scores mean.
        normalisation: of the network's input.
        input_size: (height, width) in pixels that the network was trained for.
        quantization: level of the stored weights, a name in seg_ros.quantization.levels.QUANTIZATIONS.
        calibration: what int8 needs to know of activations: ``ranges``, name of a layer -> smallest and
            largest value that comes in, and ``method``, ``data``; None where there is none.
        pruned: what was taken out of the architecture: ``removed``, names of blocks; channels are told by the
            shapes of tensors. None where all is there.
        parent: digest and figures of the model this one was made from; None for an original.
        training: data, recipe, seed, commit.
        licence: of the weights, an SPDX identifier and a note.
        figures: measured results, fractions 0..1.
        codes: how segments and their codes are made; None where the model has none.
        embeddings: how embeddings are made and scores filtered by them; None where the model has none.
    """

    architecture: str
    classes: ClassSet
    input_size: tuple[int, int]
    normalisation: Normalisation = field(default_factory=Normalisation)
    arguments: dict[str, Any] = field(default_factory=dict)
    quantization: str = 'fp32'
    calibration: dict[str, Any] | None = None
    pruned: dict[str, Any] | None = None
    parent: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ''
    figures: dict[str, Any] = field(default_factory=dict)
    codes: CodeMetadata | None = None
    embeddings: EmbeddingMetadata | None = None

    def build(self) -> nn.Module:
        """A network of this architecture with untrained weights; blocks are out, channels are all there.

        Raises:
            ModelFileError: the architecture refuses the arguments, or has no such block.
            UnknownNameError: there is no such architecture.
        """
        try:
            if not len(self.classes):
                network = look_up(ENCODERS, self.architecture, 'encoder')(**self.arguments)
            else:
                table_entry = look_up(MODELS, self.architecture, 'architecture')
                network = table_entry(len(self.classes), **self.arguments)
        except (ParameterError, TypeError, ValueError, OverflowError, RuntimeError) as err:
            raise ModelFileError(f'{self.architecture} refuses arguments {self.arguments}: {err}') from err
        removed = (self.pruned or {}).get('removed', [])
        try:
            for name in removed:
                remove_block(network, str(name))
        except (ParameterError, TypeError, ValueError, RuntimeError) as err:
            raise ModelFileError(f'{self.architecture} without {removed}: {err}') from err
        return network

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
            'pruned': self.pruned,
            'parent': self.parent,
            'training': self.training,
            'licence': self.licence,
            'figures': self.figures,
            'codes': asdict(self.codes) if self.codes else None,
            'embeddings': asdict(self.embeddings) if self.embeddings else None,
        }

    @classmethod
    def from_json(cls, content: Any) -> 'ModelMetadata':
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
            metadata = cls(
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
                calibration=_calibration(content['calibration']),
                pruned=_pruned(content.get('pruned')),
                parent=content['parent'],
                training=dict(content['training']),
                licence=str(content['licence']),
                figures=dict(content['figures']),
                codes=CodeMetadata.from_json(content['codes']) if content.get('codes') else None,
                embeddings=EmbeddingMetadata.from_json(content['embeddings'])
                if content.get('embeddings')
                else None,
            )
        except DatasetError as err:
            raise ModelFileError(str(err)) from err
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as err:
            if isinstance(err, ModelFileError):
                raise
            raise ModelFileError(f'metadata lacks or garbles a key: {err!r}') from err
        if not len(metadata.classes) and metadata.codes is None:
            raise ModelFileError('the model has neither classes nor codes')
        look_up(QUANTIZATIONS, metadata.quantization, 'quantization level')
        return metadata


def with_figures(metadata: ModelMetadata, **figures: Any) -> ModelMetadata:
    """The description with further measured figures."""
    return replace(metadata, figures={**metadata.figures, **figures})


def _calibration(content: Any) -> dict[str, Any] | None:
    """A calibration record, checked; raises KeyError, TypeError or ValueError."""
    if content is None:
        return None
    ranges = {str(k): [float(low), float(high)] for k, (low, high) in content['ranges'].items()}
    if not all(math.isfinite(low) and math.isfinite(high) and low <= high for low, high in ranges.values()):
        raise ValueError('calibration: a range is not finite, or upside down')
    return {**content, 'ranges': ranges}


def _pruned(content: Any) -> dict[str, Any] | None:
    """What was pruned, checked; raises KeyError, TypeError or ValueError."""
    return None if content is None else {**content, 'removed': [str(name) for name in content['removed']]}

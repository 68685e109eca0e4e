"""Metadata of a model file: one JSON object, checked before anything is built from it."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from msgspec import Meta

from seg_ros import schema
from seg_ros.classes import ClassSet
from seg_ros.errors import (
    DatasetError,
    ModelFileError,
    ParameterError,
    UnavailableError,
    UnknownNameError,
    look_up,
)
from seg_ros.modelfile import strict_json
from seg_ros.modelfile.arguments import check_argument_types, check_arguments
from seg_ros.networks.filter_rules import Averaged
from seg_ros.networks.graph_names import ONNX
from seg_ros.networks.normalisation import Normalisation
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.schema import Fraction
from seg_ros.segments.registry import SUPERPIXELS

if TYPE_CHECKING:
    from torch import nn

    from seg_ros.networks.binary_layer import BinaryLayer
    from seg_ros.networks.embedding_head import EmbeddingHead

FORMAT = 1
SIZE_LIMIT = 8192
"""Largest input height or width in a file, in pixels."""
AREA_LIMIT = 2**23
"""Largest input in a file, in pixels; 3840 x 2160 fits."""

TEMPERATURES = 0.01, 100.0
"""Smallest and largest temperature of a file."""

_MAY_LACK = ('pruned', 'codes', 'embeddings', 'averages', 'temperature')
"""Keys that the first files of format 1 do not have. A new key goes here too, with a default in its class."""

_N_TAPS_LIMIT, _N_REMOVED_LIMIT, _LICENCE_LIMIT = 64, 256, 1000
_LARGEST = 1e30  # of a number that becomes float32 and is divided by
_SMALLEST = 1e-30

_InputSide = Annotated[int, Meta(ge=8, le=SIZE_LIMIT)]
_Channels = Annotated[int, Meta(ge=1, le=65536)]
_Taps = Annotated[dict[str, _Channels], Meta(min_length=1, max_length=_N_TAPS_LIMIT)]
_Bound = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
_Range = Annotated[list[_Bound], Meta(min_length=2, max_length=2)]


@dataclass(frozen=True)
class CodeMetadata:
    """Settings of segments and their codes.

    Attributes:
        taps: Name of each sub-module that the binary layer reads -> number of its channels.
        n_bits: Number of bits of a code, a multiple of 8.
        has_colour: Whether the layer reads the colour of pixels too.
        superpixels: Name in seg_ros.segments.registry.SUPERPIXELS.
        region_size: Size of a superpixel, in pixels of the network's input.
        merge_limit: Maximum fraction of differing bits for merging adjacent segments, 0..1.
        size_power: Preference for merging small segments, 0..10, 0 = none.
        border_share: Weight of the codes along a border against those of whole segments, 0..1.
    """

    taps: _Taps
    n_bits: Annotated[int, Meta(ge=8, le=256, multiple_of=8)]
    has_colour: bool = True
    superpixels: str = 'slic'
    region_size: Annotated[int, Meta(ge=2, le=SIZE_LIMIT)] = 16
    merge_limit: Fraction = 0.1
    size_power: Annotated[float, Meta(ge=0, le=10)] = 0.0
    border_share: Fraction = 0.0

    def build(self) -> 'BinaryLayer':
        """The binary layer with untrained weights."""
        from seg_ros.networks.binary_layer import BinaryLayer

        return BinaryLayer(list(self.taps.values()), self.n_bits, has_colour=self.has_colour)


@dataclass(frozen=True)
class EmbeddingMetadata:
    """Settings of embeddings, and defaults of the filter that uses them.

    Attributes:
        taps: Name of each sub-module that the head reads -> number of its channels.
        dimensions: Number of dimensions of an embedding.
        stride: Distance between embeddings, in pixels of the network's input.
        window: Width and height of the filter's window, in embeddings, odd.
        iterations: Number of times that the filter is applied.
        averages: Values that the filter averages: 'probabilities', or 'scores' as in the paper.
    """

    taps: _Taps
    dimensions: Annotated[int, Meta(ge=1, le=256)] = 8
    stride: Literal[1, 2, 4, 8] = 4
    window: Annotated[int, Meta(ge=1, le=99)] = 5
    iterations: Annotated[int, Meta(ge=0, le=100)] = 2
    averages: Averaged = 'probabilities'

    def __post_init__(self) -> None:
        _require(self.window % 2 == 1, 'window', self.window, 'an odd number')

    def build(self) -> 'EmbeddingHead':
        """The head with untrained weights."""
        from seg_ros.networks.embedding_head import EmbeddingHead

        return EmbeddingHead(list(self.taps.values()), self.dimensions, self.stride)


class _Ranges(TypedDict):
    ranges: dict[str, _Range]


class CalibrationRecord(_Ranges, total=False):
    """Record of an int8 calibration.

    ``ranges`` maps the name of a layer to the smallest and largest value of its input. ``method`` names the
    method and ``data`` the images; both are for people to read.
    """

    method: str
    data: str


class PruningRecord(TypedDict):
    """Record of pruning: ``removed`` lists names of blocks. Shapes of tensors tell pruned channels."""

    removed: list[str]


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of a model file.

    Attributes:
        architecture: Name in seg_ros.networks.registry.MODELS, or ENCODERS for a model without classes, or
            'onnx' for an imported graph.
        classes: Classes of the scores.
        input_size: (height, width) of the images that the network was trained for, in pixels.
        normalisation: Normalisation of the network's input.
        arguments: Keyword arguments of the architecture.
        quantization: Level of the weights in the file, a name in seg_ros.quantization.levels.QUANTIZATIONS.
        calibration: A CalibrationRecord, which int8 needs; None without calibration.
        pruned: A PruningRecord; None for a complete architecture.
        parent: Digest and figures of the model that this one was made from; None for an original.
        training: Data, recipe, seed and commit.
        licence: Licence of the weights, an SPDX identifier and a note.
        figures: Measured results, fractions 0..1.
        temperature: Divisor of the scores, with which the confidence is the share of right pixels; above 0.
        codes: Settings of segments and their codes; None for a model without codes.
        embeddings: Settings of embeddings and of their filter; None for a model without embeddings.

    Raises:
        ModelFileError: The record of calibration or of pruning is wrong, a text has control characters or
            is too long, a number is out of range, or a measured fraction lies outside 0..1.
    """

    architecture: str
    classes: ClassSet
    input_size: tuple[_InputSide, _InputSide]
    normalisation: Normalisation = field(default_factory=Normalisation)
    arguments: dict[str, Any] = field(default_factory=dict)
    quantization: str = 'fp32'
    calibration: dict[str, Any] | None = None
    pruned: dict[str, Any] | None = None
    parent: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ''
    figures: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    codes: CodeMetadata | None = None
    embeddings: EmbeddingMetadata | None = None

    def __post_init__(self) -> None:
        for name, kind in (('calibration', CalibrationRecord), ('pruned', PruningRecord)):
            record = schema.check_value(kind | None, getattr(self, name), name, ModelFileError)
            object.__setattr__(self, name, record)
        for name, (low, high) in (self.calibration or {'ranges': {}})['ranges'].items():
            _require(low <= high, f'calibration.ranges.{name}', [low, high], 'the smaller value first')
        removed = (self.pruned or {'removed': []})['removed']
        _require(
            len(set(removed)) == len(removed) <= _N_REMOVED_LIMIT,
            'pruned.removed',
            removed,
            f'each block once, {_N_REMOVED_LIMIT} at most',
        )
        area = math.prod(self.input_size)
        _require(area <= AREA_LIMIT, 'input_size', self.input_size, f'{AREA_LIMIT} pixels at most')
        _check_normalisation(self.normalisation)
        check_arguments(self.arguments)
        coldest, hottest = TEMPERATURES
        _require(
            coldest <= self.temperature <= hottest, 'temperature', self.temperature, f'{coldest} .. {hottest}'
        )
        self._check_texts()
        for name in ('training', 'parent', 'figures'):
            strict_json.check_record(getattr(self, name), name)
        _check_fractions(self.figures, 'figures')
        self._check_graph()

    @property
    def is_graph(self) -> bool:
        """Whether the model is an imported ONNX graph instead of a network of PyTorch."""
        return self.architecture == ONNX

    def _check_graph(self) -> None:
        """Refuse what an imported graph cannot have."""
        if not self.is_graph:
            return
        for name in ('arguments', 'calibration', 'pruned'):
            _require(not getattr(self, name), name, getattr(self, name), 'none for an imported ONNX graph')
        _require(
            self.quantization == 'fp32',
            'quantization',
            self.quantization,
            'fp32, which an imported ONNX graph counts as',
        )
        _require(len(self.classes) > 0, 'classes', [], 'those of the imported ONNX graph')

    def _check_texts(self) -> None:
        strict_json.check_name(self.architecture, 'architecture')
        strict_json.check_name(self.quantization, 'quantization')
        if self.codes is not None:
            strict_json.check_name(self.codes.superpixels, 'codes.superpixels')
        for name in self.classes.names:
            strict_json.check_name(name, 'a class name')
        object.__setattr__(self, 'licence', self.licence.strip())  # recipes end it with a line break
        strict_json.check_name(self.licence, 'licence', _LICENCE_LIMIT)
        data = self.training.get('data')
        if isinstance(data, str):
            strict_json.check_name(data, 'training.data', strict_json.TEXT_LIMIT)

    def build(self) -> 'nn.Module':
        """A network of this architecture with untrained weights, without removed blocks, with all channels.

        Raises:
            ModelFileError: The architecture refuses the arguments, or it does not have a removed block.
            UnknownNameError: The architecture is unknown.
        """
        from seg_ros.networks.graph.blocks import remove_block
        from seg_ros.networks.onnx_graph import OnnxGraph
        from seg_ros.networks.registry import ENCODERS, MODELS

        if self.is_graph:
            return OnnxGraph()
        try:
            if not len(self.classes):
                encoder = look_up(ENCODERS, self.architecture, 'encoder')
                check_argument_types(encoder, self.arguments)
                network = encoder(**self.arguments)
            else:
                table_entry = look_up(MODELS, self.architecture, 'architecture')
                check_argument_types(table_entry, self.arguments)
                network = table_entry(len(self.classes), **self.arguments)
        except (ParameterError, TypeError, ValueError, ArithmeticError, RuntimeError) as err:
            if isinstance(err, UnavailableError):
                raise
            arguments = schema.shown(self.arguments)
            raise ModelFileError(f'{self.architecture} refuses arguments {arguments}: {err}') from err
        removed = (self.pruned or {}).get('removed', [])
        try:
            for name in removed:
                remove_block(network, str(name))
        except (ParameterError, TypeError, ValueError, RuntimeError) as err:
            raise ModelFileError(f'{self.architecture} without {schema.shown(removed)}: {err}') from err
        return network

    def as_json(self) -> dict[str, Any]:
        """The JSON object in a model file."""
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
            'temperature': self.temperature,
            'codes': asdict(self.codes) if self.codes else None,
            'embeddings': asdict(self.embeddings) if self.embeddings else None,
        }

    @classmethod
    def from_json(cls, content: Any) -> 'ModelMetadata':
        """Inverse of :meth:`as_json`.

        Raises:
            ModelFileError: A key is missing or unknown, or a value has the wrong type or is out of range.
            UnknownNameError: The quantization level or the superpixel algorithm is unknown.
        """
        found = content.get('format') if isinstance(content, dict) else content
        if not isinstance(content, dict) or found != FORMAT:
            raise ModelFileError(
                f'format is {schema.shown(found)}; this version of seg_ros reads format {FORMAT}'
            )
        content = {key: value for key, value in content.items() if key != 'format'}
        if 'classes' in content:
            try:
                content['classes'] = ClassSet.from_json(content['classes'])
            except DatasetError as err:
                raise ModelFileError(str(err)) from err
        metadata = schema.build(cls, content, 'metadata', ModelFileError, may_lack=_MAY_LACK)
        if not len(metadata.classes) and metadata.codes is None:
            raise ModelFileError('the model has neither classes nor codes')
        if metadata.quantization not in QUANTIZATIONS:
            raise UnknownNameError('quantization level', metadata.quantization, sorted(QUANTIZATIONS))
        if metadata.codes is not None and metadata.codes.superpixels not in SUPERPIXELS:
            raise UnknownNameError('superpixel algorithm', metadata.codes.superpixels, sorted(SUPERPIXELS))
        return metadata


def with_figures(metadata: ModelMetadata, **figures: Any) -> ModelMetadata:
    """The metadata with further measured figures."""
    return replace(metadata, figures={**metadata.figures, **figures})


def _check_normalisation(normalisation: Normalisation) -> None:
    """Refuse values that float32 cannot divide by."""
    for name in ('mean', 'std'):
        for value in getattr(normalisation, name):
            fits = abs(value) <= _LARGEST and (name == 'mean' or value >= _SMALLEST)
            _require(fits, f'normalisation.{name}', value, f'magnitudes {_SMALLEST:g} .. {_LARGEST:g}')


def _check_fractions(figures: Any, where: str) -> None:
    """Refuse measured figures outside 0..1; NaN and None stand for figures that could not be measured."""
    for name, value in figures.items():
        if isinstance(value, dict):
            _check_fractions(value, f'{where}.{name}')
        elif isinstance(value, (int, float)) and not math.isnan(value):
            _require(0 <= value <= 1, f'{where}.{name}', value, 'a fraction, 0 .. 1')


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    schema.require(holds, name, value, expected, ModelFileError)

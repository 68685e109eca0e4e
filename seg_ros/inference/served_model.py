"""The part of a model file that running it needs, read without torch where an engine runs a kept graph.

torch reads the weights, builds the network and proves that both belong together; that takes seconds and
hundreds of megabytes. The few facts that remain of it are kept on disk under the digest of the whole file, so
that the next start reads the metadata, the golden record and those facts alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_ros.errors import BackendError, ModelFileError, ParameterError, SegRosError, UnavailableError
from seg_ros.inference.backends.graph_cache import graph_key, recall_graph, remember_graph
from seg_ros.inference.backends.measured import measured_backend
from seg_ros.modelfile.description import golden_of, graph_facts, open_model
from seg_ros.modelfile.shipped import EXPORTED, SHIPPED
from seg_ros.networks.graph_names import (
    CODES_CODEBOOK,
    CODES_COLOUR,
    EMBEDDINGS_HARDNESS,
    GRAPH_TENSOR,
)
from seg_ros.resources import resource
from seg_ros.schema import Count, build
from seg_ros.segments.code_pooling import CodePooling

if TYPE_CHECKING:
    from pathlib import Path

    from seg_ros.inference.settings import Settings
    from seg_ros.modelfile.description import ModelFile
    from seg_ros.modelfile.file import Model
    from seg_ros.modelfile.golden import Golden
    from seg_ros.modelfile.metadata import ModelMetadata

log = logging.getLogger(__name__)

SMALLEST_INPUT = 32
"""Smallest height and width of the network's input, in pixels."""


@dataclass(frozen=True)
class _Facts:
    """Facts that only the weights tell.

    Attributes:
        n_parameters: Number of parameters of the network.
        codebook: Digest under which codes are comparable; '' for a model without codes.
        colour: (9, n_bits) weights of the colour in the codes; None if there are none.
        hardness: Hardness of the embedding filter; None for a model without embeddings.
        has_upsampling: Whether the network has transposed convolutions.
    """

    n_parameters: Count
    codebook: str
    colour: list[list[float]] | None
    hardness: float | None
    has_upsampling: bool


@dataclass(frozen=True)
class ServedModel:
    """A model file in memory, as far as running it needs it.

    Attributes:
        metadata: Metadata of the file.
        golden: Golden record, which a working copy reproduces.
        path: Path of the file.
        digest: SHA-256 of the file, hexadecimal.
        n_bytes: Size of the file in bytes.
        n_parameters: Number of parameters of the network.
        input_size: (height, width) of the network's input in pixels.
        codebook: Digest under which codes are comparable at this size; '' for a model without codes.
        code_pooling: Pools codes over segments; None for a model without codes.
        hardness: Hardness of the embedding filter; None for a model without embeddings.
        has_upsampling: Whether the network has transposed convolutions, which stay in float at int8.
        ready_level: Level of the ONNX graph that comes with the model for this size; '' if there is none.
    """

    metadata: ModelMetadata
    golden: Golden
    path: Path
    digest: str
    n_bytes: int
    n_parameters: int
    input_size: tuple[int, int]
    codebook: str = ''
    code_pooling: CodePooling | None = None
    hardness: float | None = None
    has_upsampling: bool = False
    ready_level: str = ''


class ModelSource:
    """A model file that is described at once, and loaded by torch only where that is needed.

    Args:
        settings: Name or path of the model, and the size of its input.

    Attributes:
        served: What running the model needs.

    Raises:
        ModelFileError: The file cannot be used.
        ParameterError: The input size does not fit.
        UnknownNameError: No shipped model has that name, or the file names something unknown.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = open_model(settings.model)
        self.served = self._described(settings)

    @cached_property
    def model(self) -> Model:
        """The model file, loaded by torch.

        Raises:
            ModelFileError: The file cannot be used, or is another one by now.
            UnavailableError: torch is not installed.
        """
        if importlib.util.find_spec('torch') is None:
            raise UnavailableError(
                f'{self._file.path} holds a network of PyTorch, which is missing here: pip install '
                "'seg_ros[torch]', or let seg_ros export make a file elsewhere that runs without it"
            )
        from seg_ros.modelfile.file import load_model

        model = load_model(self._file.path)
        if model.digest != self._file.identity.digest:
            raise ModelFileError(f'model file {model.path} was replaced while it was loaded: load it again')
        return model

    @property
    def graph(self) -> bytes | None:
        """Bytes of the imported ONNX graph; None for a network of PyTorch."""
        return self._file.container.bytes_of(GRAPH_TENSOR) if self._file.metadata.is_graph else None

    def _described(self, settings: Settings) -> ServedModel:
        file, identity, metadata = self._file, self._file.identity, self._file.metadata
        graph = graph_facts(file.container, metadata) if metadata.is_graph else None
        size = _input_size(file, settings, graph.input_size if graph else None)
        facts = self._facts_beside_graph(file, graph.n_weights) if graph else self._facts(size)
        export = self._exported
        has_export = export is not None and size == export.metadata.input_size
        pooling = None
        if metadata.codes is not None:
            colour = None if facts.colour is None else np.array(facts.colour, np.float32)
            pooling = CodePooling(metadata.codes.n_bits, colour)
        return ServedModel(
            metadata,
            golden_of(file.container, metadata),
            identity.path,
            identity.digest,
            identity.n_bytes,
            facts.n_parameters,
            size,
            facts.codebook,
            pooling,
            facts.hardness,
            facts.has_upsampling,
            str(_parent_of(export)['level']) if export and has_export else '',
        )

    @cached_property
    def _exported(self) -> ModelFile | None:
        """The export that comes with a shipped model, for starts without torch; None if there is none."""
        return _export_of(self._file)

    def ready_graph(self, level: str) -> bytes | None:
        """ONNX graph with all outputs that comes with the model, for its own size; None if there is none."""
        export = self._exported
        is_ready = export is not None and self.served.ready_level == level
        return export.container.bytes_of(GRAPH_TENSOR) if export and is_ready else None

    @staticmethod
    def _facts_beside_graph(file: ModelFile, n_parameters: int) -> _Facts:
        """Facts that an imported or exported graph has beside it."""
        container = file.container
        has = container.entries.keys()
        return _Facts(
            n_parameters,
            container.bytes_of(CODES_CODEBOOK).hex() if CODES_CODEBOOK in has else '',
            container.floats_as_array(CODES_COLOUR).tolist() if CODES_COLOUR in has else None,
            float(container.floats_as_array(EMBEDDINGS_HARDNESS)[0]) if EMBEDDINGS_HARDNESS in has else None,
            bool(_parent_of(file).get('has_upsampling')),
        )

    def _facts(self, size: tuple[int, int]) -> _Facts:
        """Facts about the weights: kept on disk, or told by the loaded model."""
        export = self._exported
        if export is not None and size == export.metadata.input_size:
            return self._facts_beside_graph(export, int(_parent_of(export)['n_parameters']))
        key = graph_key('facts', self._file.identity.digest, size)
        kept = recall_graph(key)
        if kept is not None:
            with contextlib.suppress(ValueError, BackendError):  # of a version with other facts
                return build(_Facts, json.loads(kept), 'facts', BackendError)
        facts = _facts_of(self.model, size)
        remember_graph(key, json.dumps(asdict(facts)).encode())
        return facts


def likely_needs_torch(settings: Settings) -> bool:
    """Whether loading a model will import torch, as far as that can be told quickly.

    The import takes seconds in which no other thread runs.
    """
    if importlib.util.find_spec('torch') is None:
        return False
    if settings.backend in ('torch', 'torch_compile') or settings.device.startswith('cuda'):
        return True
    try:
        file = open_model(settings.model)
        if file.metadata.is_graph:
            return False
        size, export = _input_size(file, settings, None), _export_of(file)
        if settings.backend in ('auto', 'openvino') and settings.quantization == 'auto' and export:
            return size != export.metadata.input_size or importlib.util.find_spec('openvino') is None
        if recall_graph(graph_key('facts', file.identity.digest, size)) is None:
            return True
    except SegRosError:  # loading will say what is wrong
        return True
    if settings.backend != 'auto':
        return False
    return measured_backend(file.identity.digest) not in ('onnxruntime', 'openvino')


def _export_of(model: ModelFile) -> ModelFile | None:
    """The export that comes with a shipped model; None if there is none."""
    name = model.path.stem
    path = resource('models') / 'exported' / model.path.name
    if SHIPPED.get(name) != model.identity.digest or name not in EXPORTED or not path.exists():
        return None
    try:
        file = open_model(path)
        graph_facts(file.container, file.metadata)
    except ModelFileError as err:
        log.warning('%s is not used, and the model is exported anew: %s', path, err)
        return None
    is_of_model = _parent_of(file).get('digest') == model.identity.digest
    if file.identity.digest != EXPORTED[name] or not is_of_model:
        log.warning('%s is not the export that was shipped, and is not used', path)
        return None
    return file


def _parent_of(export: ModelFile) -> dict[str, Any]:
    """Record of the model that an export was made from."""
    return export.metadata.parent or {}


def _facts_of(model: Model, size: tuple[int, int]) -> _Facts:
    from torch import nn

    pooling = None if model.codes is None else CodePooling.of(model.codes)
    return _Facts(
        model.n_parameters,
        model.codebook(size),
        None if pooling is None or pooling.colour is None else pooling.colour.tolist(),
        None if model.embeddings is None else float(model.embeddings.hardness.detach()),
        any(isinstance(module, nn.ConvTranspose2d) for module in model.network.modules()),
    )


def _input_size(file: ModelFile, settings: Settings, fixed: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of the network's input: the settings', else the model's own."""
    height, width = file.metadata.input_size
    size = (settings.input_height or height, settings.input_width or width)
    if fixed not in (None, size):
        raise ParameterError(
            f'network input is {size[0]}x{size[1]} pixels; the imported graph of {file.path} takes '
            f'{height}x{width} alone: leave input_height and input_width at 0'
        )
    if min(size) < SMALLEST_INPUT:
        raise ParameterError(
            f'network input is {size[0]}x{size[1]} pixels; expected {SMALLEST_INPUT} or more each way: '
            'set input_height and input_width so'
        )
    return size

"""Content of a model file: metadata, network, binary layer, embedding head and golden record.

Nothing is allocated before names, shapes and types agree with the architecture. A pruned network may lack
channels, and the blocks named in its metadata. Values that are not finite are refused wherever they are.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.modelfile.bounds import bounded_building
from seg_ros.modelfile.container import Container, dtype_of
from seg_ros.modelfile.description import (
    PACKED,
    check_entries,
    golden_of,
    graph_facts,
)
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.onnx_scan import GraphFacts
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.graph.channels import shrink
from seg_ros.networks.graph_names import GRAPH_TENSOR
from seg_ros.networks.onnx_graph import OnnxGraph
from seg_ros.quantization.levels import QUANTIZATIONS

LARGEST_WEIGHT = 1e15
"""Maximum magnitude of a value; far above any trained one, far below most floats with a flipped high bit."""

_OF_CODES, _OF_EMBEDDINGS = 'codes.', 'embeddings.'
_PROBE_SIDE = 64


@dataclass(frozen=True)
class Parts:
    """Content of a model file.

    Attributes:
        metadata: Metadata of the file.
        network: Network in evaluation mode, on the CPU.
        golden: Golden record.
        codes: Binary layer, or None.
        embeddings: Embedding head, or None.
        graph: Facts about an imported ONNX graph, or None.
    """

    metadata: ModelMetadata
    network: nn.Module
    golden: Golden
    codes: BinaryLayer | None
    embeddings: EmbeddingHead | None
    graph: GraphFacts | None = None


def read_parts(container: Container, metadata: ModelMetadata) -> Parts:
    """Build the network and its heads from a container.

    Raises:
        ModelFileError: The tensors are not those of the architecture.
        UnknownNameError: The metadata name an unknown architecture.
    """
    with bounded_building():
        network = metadata.build()
        codes = metadata.codes.build() if metadata.codes else None
        embeddings = metadata.embeddings.build() if metadata.embeddings else None
    if isinstance(network, OnnxGraph):
        return _graph_parts(container, metadata, network)
    is_packed = QUANTIZATIONS[metadata.quantization].packed_as is not None
    if not is_packed and metadata.pruned is not None:
        shrink(network, _shapes(container, network))
    plain = named_state(None if is_packed else network, codes, embeddings)
    _check_tensors(container, plain, metadata, is_packed=is_packed)
    state = {name: container.tensor(name) for name in plain}
    if is_packed:
        from seg_ros.modelfile.packed import unpack_network  # packed levels only

        is_pruned = metadata.pruned is not None
        state |= unpack_network(container.bytes_of(PACKED), network, is_pruned=is_pruned)
    for name, value in state.items():
        check_values(name, value)
    _load_heads(state, codes, embeddings)
    network.load_state_dict(state, assign=True)
    network.eval()
    _check_runs(network, metadata)
    return Parts(metadata, network, golden_of(container, metadata), codes, embeddings)


def _graph_parts(container: Container, metadata: ModelMetadata, network: OnnxGraph) -> Parts:
    """Parts of a file with an imported ONNX graph."""
    facts = graph_facts(container, metadata)
    network.graph = container.tensor(GRAPH_TENSOR)
    network.eval()
    return Parts(metadata, network, golden_of(container, metadata), None, None, facts)


def named_state(
    network: nn.Module | None, codes: BinaryLayer | None, embeddings: EmbeddingHead | None
) -> dict[str, Tensor]:
    """Tensors of a model file by name, without golden record and packed tensor."""
    parts = (('', network), (_OF_CODES, codes), (_OF_EMBEDDINGS, embeddings))
    states = {prefix: part.state_dict() for prefix, part in parts if part is not None}
    return {f'{prefix}{name}': v for prefix, state in states.items() for name, v in state.items()}


def check_values(name: str, value: Tensor) -> None:
    """Refuse floats that are not finite or of a magnitude that no training gives, and negative variances.

    Raises:
        ModelFileError: A value is refused.
    """
    if not value.is_floating_point() or not value.numel():
        return
    low, high = (float(bound) for bound in value.detach().aminmax())
    if not (low - low == 0 and high - high == 0):  # false for NaN and infinity
        raise ModelFileError(f'{name} holds values that are not finite')
    if max(-low, high) > LARGEST_WEIGHT:
        raise ModelFileError(
            f'{name} holds values from {low:g} to {high:g}; expected magnitudes of {LARGEST_WEIGHT:g} at '
            'most: the file is damaged'
        )
    if low < 0 and name.endswith('.running_var'):
        raise ModelFileError(f'{name} holds a variance of {low:g}; expected 0 or more')


def _shapes(container: Container, network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes in the file of those tensors of a network that it holds."""
    return {k: container.entries[k].shape for k in network.state_dict() if k in container.entries}


def _check_tensors(
    container: Container, state: Mapping[str, Tensor], metadata: ModelMetadata, *, is_packed: bool
) -> None:
    """Refuse a file whose tensors differ from ``state`` and the golden record in name, shape or type."""
    check_entries(container, state, metadata, is_packed=is_packed)
    for name, value in state.items():
        entry = container.entries[name]
        if entry.shape != tuple(value.shape):
            raise ModelFileError(f'{name} has shape {entry.shape}; its architecture has {tuple(value.shape)}')
        found = dtype_of(entry.dtype)
        if found != value.dtype and not (found.is_floating_point and value.is_floating_point()):
            raise ModelFileError(f'{name} has type {entry.dtype}; expected {value.dtype}')


def _check_runs(network: nn.Module, metadata: ModelMetadata) -> None:
    """Refuse a network that does not run after blocks were removed, or whose taps are not its modules."""
    removed = (metadata.pruned or {'removed': []})['removed']
    taps: dict[str, int] = {}
    for part in (metadata.codes, metadata.embeddings):
        for name, n_channels in part.taps.items() if part else ():
            if taps.setdefault(name, n_channels) != n_channels:
                raise ModelFileError(f'tap {name} has {taps[name]} and {n_channels} channels')
    if not removed and not taps:
        return
    if next(iter(network.parameters())).dtype != torch.float32:
        network = copy.deepcopy(network).float()  # not every processor computes in 16 bits
    maps: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    unknown = [name for name in taps if name not in modules or not name]
    if unknown:
        raise ModelFileError(f'tap {unknown[0]} is not a module of {metadata.architecture}')
    scores = _run(network, {name: modules[name] for name in taps}, maps)
    for name, n_channels in taps.items():
        if name not in maps or maps[name].ndim != 4 or maps[name].shape[1] != n_channels:
            found = tuple(maps[name].shape) if name in maps else 'nothing'
            raise ModelFileError(f'tap {name} gives {found}; expected {n_channels} channels')
    if len(metadata.classes) and (scores.ndim != 4 or scores.shape[1] != len(metadata.classes)):
        raise ModelFileError(
            f'the network gives {tuple(scores.shape)}; expected scores of {len(metadata.classes)} classes'
        )


def _run(network: nn.Module, taps: Mapping[str, nn.Module], maps: dict[str, Tensor]) -> Tensor:
    """Run a network on a small empty image; the results of the taps are put into ``maps``."""

    def keep(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            first = output if isinstance(output, Tensor) else next(iter(output))  # type: ignore[call-overload]
            maps[name] = first

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in taps.items()]  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            answer = network(torch.zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE))
    except Exception as err:  # the file decides which one
        raise ModelFileError(f'the network of the file does not run: {err}') from err
    finally:
        for handle in hooks:
            handle.remove()
    return answer if isinstance(answer, Tensor) else answer[-1]


def _load_heads(
    state: dict[str, Tensor], codes: BinaryLayer | None, embeddings: EmbeddingHead | None
) -> None:
    """Take the tensors of the heads out of ``state`` and load them."""
    for part, prefix in ((codes, _OF_CODES), (embeddings, _OF_EMBEDDINGS)):
        if part is not None:
            own = {k.removeprefix(prefix): state.pop(k) for k in list(state) if k.startswith(prefix)}
            part.load_state_dict(own, assign=True)
            part.eval()

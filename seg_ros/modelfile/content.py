"""Content of a model file: metadata, network, binary layer, embedding head and golden record.

Nothing is allocated before names, shapes and types agree with the architecture. A pruned network may lack
channels, and the blocks named in its metadata. Values that are not finite are refused wherever they are.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import ModelFileError
from seg_ros.modelfile import strict_json
from seg_ros.modelfile.bounds import bounded_building
from seg_ros.modelfile.container import DTYPES, Container
from seg_ros.modelfile.digest import DIGEST_KEY
from seg_ros.modelfile.golden import GOLDEN_LIMIT_BYTES, Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.onnx_scan import GraphFacts, scan_graph
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.graph.channels import shrink
from seg_ros.networks.onnx_graph import GRAPH_TENSOR, OnnxGraph
from seg_ros.quantization.levels import QUANTIZATIONS

METADATA_KEY = 'seg_ros'
GOLDEN_IMAGES, GOLDEN_LABELS = 'golden.images', 'golden.labels'
GOLDEN_CODES, GOLDEN_SHARPENED = 'golden.codes', 'golden.sharpened'
PACKED = 'packed'

LARGEST_WEIGHT = 1e15
"""Maximum magnitude of a value; far above any trained one, far below most floats with a flipped high bit."""

_OF_CODES, _OF_EMBEDDINGS = 'codes.', 'embeddings.'
_TEXT_KEYS = {METADATA_KEY, DIGEST_KEY, 'format'}  # other programs write a format
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


def read_parts(container: Container) -> Parts:
    """Build the network and its heads from a container.

    Raises:
        ModelFileError: The metadata are wrong, or the tensors are not those of the architecture.
        UnknownNameError: The metadata name an unknown architecture, level or superpixel algorithm.
    """
    metadata = _metadata_of(container)
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
    return Parts(metadata, network, _golden_of(container, metadata), codes, embeddings)


def _graph_parts(container: Container, metadata: ModelMetadata, network: OnnxGraph) -> Parts:
    """Parts of a file with an imported ONNX graph."""
    entry = container.entries.get(GRAPH_TENSOR)
    network.graph = torch.empty(entry.shape if entry else (0,), dtype=torch.uint8, device='meta')
    state = network.state_dict()
    _check_tensors(container, state, metadata, is_packed=False)
    facts = scan_graph(
        memoryview(container.content)[container.entries[GRAPH_TENSOR].begin :][: len(network.graph)]
    )
    if facts.input_size not in (None, metadata.input_size):
        raise ModelFileError(
            f'its graph takes images of {facts.input_size}; its metadata state {metadata.input_size}'
        )
    network.load_state_dict({GRAPH_TENSOR: container.tensor(GRAPH_TENSOR)}, assign=True)
    network.eval()
    return Parts(metadata, network, _golden_of(container, metadata), None, None, facts)


def read_metadata(text: str) -> ModelMetadata:
    """Metadata from the JSON text in a file.

    Raises:
        ModelFileError: The text is not JSON, or not that of metadata.
        UnknownNameError: It names an unknown level or superpixel algorithm.
    """
    return ModelMetadata.from_json(strict_json.parse(text, f"metadata '{METADATA_KEY}'"))


def named_state(
    network: nn.Module | None, codes: BinaryLayer | None, embeddings: EmbeddingHead | None
) -> dict[str, Tensor]:
    """Tensors of a model file by name, without golden record and packed tensor."""
    parts = (('', network), (_OF_CODES, codes), (_OF_EMBEDDINGS, embeddings))
    states = {prefix: part.state_dict() for prefix, part in parts if part is not None}
    return {f'{prefix}{name}': v for prefix, state in states.items() for name, v in state.items()}


def golden_arrays(golden: Golden) -> dict[str, UInt8Array]:
    """Arrays of a golden record by the names of their tensors."""
    arrays = {
        GOLDEN_IMAGES: golden.images,
        GOLDEN_LABELS: golden.labels,
        GOLDEN_CODES: golden.codes,
        GOLDEN_SHARPENED: golden.filtered,
    }
    return {name: value for name, value in arrays.items() if value is not None}


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


def _metadata_of(container: Container) -> ModelMetadata:
    texts = container.texts
    if METADATA_KEY not in texts:
        raise ModelFileError(f"no metadata '{METADATA_KEY}'; it was not written by seg_ros")
    unknown = sorted(texts.keys() - _TEXT_KEYS)
    if unknown:
        raise ModelFileError(
            f'unknown text {unknown[0]!r} beside the metadata; expected {sorted(_TEXT_KEYS)}'
        )
    return read_metadata(texts[METADATA_KEY])


def _shapes(container: Container, network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes in the file of those tensors of a network that it holds."""
    return {k: container.entries[k].shape for k in network.state_dict() if k in container.entries}


def _check_tensors(
    container: Container, state: Mapping[str, Tensor], metadata: ModelMetadata, *, is_packed: bool
) -> None:
    """Refuse a file whose tensors differ from ``state`` and the golden record in name, shape or type."""
    golden = [GOLDEN_IMAGES, GOLDEN_LABELS]
    golden += [GOLDEN_CODES] if metadata.codes else []
    golden += [GOLDEN_SHARPENED] if metadata.embeddings else []
    present, wanted = set(container.entries), {*state, *golden, *([PACKED] if is_packed else [])}
    if present != wanted:
        missing, extra = sorted(wanted - present), sorted(present - wanted)
        raise ModelFileError(
            f'tensors are not those of its architecture: missing {missing[:3]}, unknown {extra[:3]}'
        )
    for name, value in state.items():
        entry = container.entries[name]
        if entry.shape != tuple(value.shape):
            raise ModelFileError(f'{name} has shape {entry.shape}; its architecture has {tuple(value.shape)}')
        found = DTYPES[entry.dtype]
        if found != value.dtype and not (found.is_floating_point and value.is_floating_point()):
            raise ModelFileError(f'{name} has type {entry.dtype}; expected {value.dtype}')
    for name in [*golden, *([PACKED] if is_packed else [])]:
        entry = container.entries[name]
        if entry.dtype != 'U8' or len(entry.shape) != (1 if name == PACKED else 3 + name.endswith('images')):
            raise ModelFileError(f'{name} is {entry.dtype} {list(entry.shape)}; expected 8-bit values')
    n_bytes = sum(container.entries[name].end - container.entries[name].begin for name in golden)
    if n_bytes > GOLDEN_LIMIT_BYTES:
        raise ModelFileError(f'golden record of {n_bytes} bytes; expected 32 KB at most')


def _golden_of(container: Container, metadata: ModelMetadata) -> Golden:
    arrays = {k: container.tensor(k).numpy() for k in container.entries if k.startswith('golden.')}
    golden = Golden(
        arrays[GOLDEN_IMAGES],
        arrays[GOLDEN_LABELS],
        arrays.get(GOLDEN_CODES),
        arrays.get(GOLDEN_SHARPENED),
    )
    for labels in (golden.labels, golden.filtered):
        if labels is not None and ((labels >= len(metadata.classes)) & (labels != UNLABELLED)).any():
            raise ModelFileError(
                f'golden labels reach {labels.max()}; expected those of {len(metadata.classes)} classes'
            )
    if golden.codes is not None and metadata.codes and golden.codes.shape[2] * 8 != metadata.codes.n_bits:
        raise ModelFileError(
            f'golden codes have {golden.codes.shape[2] * 8} bits; the codes have {metadata.codes.n_bits}'
        )
    return golden


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

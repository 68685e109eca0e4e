"""Model files: architecture, weights, classes, normalisation, licence and golden record in one file.

The format is safetensors; docs/model_file.md describes it byte by byte. Metadata key ``seg_ros`` holds one
JSON object (:class:`ModelMetadata`). The tensors are the network's state and the golden record: images, and
the labels that a working copy gives for them. Packed levels keep the state in one tensor ``packed``
(seg_ros.modelfile.packing). Nothing is pickled, and nothing is allocated before names and shapes agree with
the architecture; a pruned network may lack channels, and the blocks named in its metadata.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from seg_ros.errors import ModelFileError, look_up
from seg_ros.modelfile.find import find_model
from seg_ros.modelfile.golden import GOLDEN_LIMIT_BYTES, Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.graph.channels import shrink
from seg_ros.quantization.levels import QUANTIZATIONS

METADATA_KEY = 'seg_ros'
GOLDEN_IMAGES, GOLDEN_LABELS = 'golden.images', 'golden.labels'
GOLDEN_CODES, GOLDEN_SHARPENED = 'golden.codes', 'golden.sharpened'
PACKED = 'packed'
POOLING_RULE = 'mean over the segment of the bits before the threshold, above 0'
_OF_CODES, _OF_EMBEDDINGS = 'codes.', 'embeddings.'


@dataclass(frozen=True)
class Model:
    """A model file in memory.

    Attributes:
        metadata: Metadata of the file.
        network: (B, 3, H, W) normalised float -> (B, K, H, W) scores, in evaluation mode, on the CPU; an
            encoder, which returns its feature maps, for a model without classes.
        golden: Golden record, which a working copy reproduces.
        path: Path of the file.
        digest: SHA-256 of the file, hexadecimal.
        n_bytes: Size of the file in bytes.
        codes: Binary layer; None for a model without codes.
        embeddings: Embedding head; None for a model without embeddings.
    """

    metadata: ModelMetadata
    network: nn.Module
    golden: Golden
    path: Path
    digest: str
    n_bytes: int
    codes: BinaryLayer | None = None
    embeddings: EmbeddingHead | None = None

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the network, without binary layer and embedding head."""
        return sum(p.numel() for p in self.network.parameters())

    def codebook(self, input_size: tuple[int, int]) -> str:
        """SHA-256 of everything that decides the meaning of a code; '' for a model without codes.

        It covers encoder and weights, binary layer, input size, normalisation, and the rule by which bits are
        pooled over a segment. It does not cover the way segments are found.

        Args:
            input_size: (height, width) of the network's input in pixels.
        """
        metadata = self.metadata
        if self.codes is None or metadata.codes is None:
            return ''
        facts = {
            'architecture': metadata.architecture,
            'arguments': metadata.arguments,
            'normalisation': metadata.normalisation.as_json(),
            'input_size': list(input_size),
            'taps': metadata.codes.taps,
            'n_bits': metadata.codes.n_bits,
            'pooling': POOLING_RULE,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for part in (self.network, self.codes):
            for name, value in sorted(part.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def save_model(
    path: Path,
    network: nn.Module,
    metadata: ModelMetadata,
    golden: Golden,
    codes: BinaryLayer | None = None,
    embeddings: EmbeddingHead | None = None,
) -> None:
    """Write a model file; an existing file is replaced only when everything is on disk.

    Args:
        path: Path of the file.
        network: Network; at a packed level already rounded (seg_ros.modelfile.packed.rounded_to_file).
        metadata: Metadata of the file.
        golden: Golden record.
        codes: Binary layer, or None.
        embeddings: Embedding head, or None.

    Raises:
        ModelFileError: A weight is not finite, or the level cannot hold it, or the file cannot be written.
    """
    from seg_ros.modelfile.packed import pack_network  # packed levels only

    kind = look_up(QUANTIZATIONS, metadata.quantization, 'quantization level').packed_as
    state = _named_state(None if kind else network, codes, embeddings)
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    if kind:
        tensors[PACKED] = torch.from_numpy(np.frombuffer(pack_network(network, kind), np.uint8).copy())
    broken = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise ModelFileError(f'not saved: {broken[0]} holds values that are not finite')
    tensors[GOLDEN_IMAGES] = torch.from_numpy(golden.images.copy())
    tensors[GOLDEN_LABELS] = torch.from_numpy(golden.labels.copy())
    if golden.codes is not None:
        tensors[GOLDEN_CODES] = torch.from_numpy(golden.codes.copy())
    if golden.filtered is not None:
        tensors[GOLDEN_SHARPENED] = torch.from_numpy(golden.filtered.copy())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    try:
        # Not save_file, whose files their owner alone may read.
        partial.write_bytes(save(tensors, {METADATA_KEY: json.dumps(metadata.as_json())}))
        partial.replace(path)
    except (OSError, SafetensorError) as err:
        partial.unlink(missing_ok=True)
        raise ModelFileError(f'{path} cannot be written; an existing file is unchanged: {err}') from err


def load_model(name: str | Path) -> Model:
    """Read a model file.

    Args:
        name: Path of the file, or the name of a shipped model such as ``'lite_camvid'``.

    Raises:
        ModelFileError: The file is missing, truncated, of another version, or its tensors are not those of
            its architecture.
        UnknownNameError: No shipped model has that name, or the file names an unknown architecture or level.
    """
    path = find_model(name)
    try:
        return _load(path)
    except (OSError, SafetensorError) as err:
        raise ModelFileError(f'model file {path} cannot be read: {err}') from err
    except ModelFileError as err:
        raise type(err)(f'model file {path}: {err}') from err


def _load(path: Path) -> Model:
    if not path.is_file():
        raise ModelFileError('the file does not exist; give a path, or the name of a shipped model')
    with safe_open(path, framework='pt') as file:
        metadata = ModelMetadata.from_json(_metadata(file.metadata()))
        with torch.device('meta'):
            network = metadata.build()
            codes = metadata.codes.build() if metadata.codes else None
            embeddings = metadata.embeddings.build() if metadata.embeddings else None
        is_packed = QUANTIZATIONS[metadata.quantization].packed_as is not None
        if not is_packed and metadata.pruned is not None:
            shrink(network, _shapes(file, network))
        plain = _named_state(None if is_packed else network, codes, embeddings)
        records = [GOLDEN_IMAGES, GOLDEN_LABELS]
        records += [GOLDEN_CODES] if codes is not None else []
        records += [GOLDEN_SHARPENED] if embeddings is not None else []
        _compare(file, plain, records, is_packed=is_packed)
        state = {k: file.get_tensor(k) for k in plain}
        if is_packed:
            from seg_ros.modelfile.packed import unpack_network  # packed levels only

            packed = file.get_tensor(PACKED).numpy().tobytes()
            state.update(unpack_network(packed, network, is_pruned=metadata.pruned is not None))
        golden = Golden(
            file.get_tensor(GOLDEN_IMAGES).numpy(),
            file.get_tensor(GOLDEN_LABELS).numpy(),
            file.get_tensor(GOLDEN_CODES).numpy() if codes is not None else None,
            file.get_tensor(GOLDEN_SHARPENED).numpy() if embeddings is not None else None,
        )
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelFileError(f'{name} holds values that are not finite')
    for part, prefix in ((codes, _OF_CODES), (embeddings, _OF_EMBEDDINGS)):
        if part is not None:
            own = {k.removeprefix(prefix): state.pop(k) for k in list(state) if k.startswith(prefix)}
            part.load_state_dict(own, assign=True)
            part.eval()
    network.load_state_dict(state, assign=True)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Model(metadata, network.eval(), golden, path, digest, len(content), codes, embeddings)


def _named_state(
    network: nn.Module | None, codes: BinaryLayer | None, embeddings: EmbeddingHead | None
) -> dict[str, torch.Tensor]:
    """Tensors of a model file, without golden record and packed tensor."""
    parts = (('', network), (_OF_CODES, codes), (_OF_EMBEDDINGS, embeddings))
    states = {prefix: part.state_dict() for prefix, part in parts if part is not None}
    return {f'{prefix}{name}': v for prefix, state in states.items() for name, v in state.items()}


def _shapes(file: Any, network: nn.Module) -> dict[str, list[int]]:
    """Shapes in the file of those tensors of a network that it holds."""
    present = set(file.keys())
    return {k: file.get_slice(k).get_shape() for k in network.state_dict() if k in present}


def _metadata(metadata: dict[str, str] | None) -> Any:
    if not metadata or METADATA_KEY not in metadata:
        raise ModelFileError(f"no metadata '{METADATA_KEY}'; it was not written by seg_ros")
    try:
        return json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as err:  # ValueError also for an int of thousands of digits
        raise ModelFileError(f"metadata '{METADATA_KEY}' is not JSON: {err}") from err


def _compare(file: Any, state: dict[str, torch.Tensor], golden: list[str], *, is_packed: bool) -> None:
    """Refuse a file whose tensors differ from ``state`` and the golden record in name, shape or type."""
    expected = {k: (tuple(v.shape), v.dtype) for k, v in state.items()}
    present = set(file.keys())
    wanted = {*expected, *golden, *([PACKED] if is_packed else [])}
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
    if is_packed and file.get_slice(PACKED).get_dtype() != 'U8':
        raise ModelFileError(f'{PACKED} has type {file.get_slice(PACKED).get_dtype()}; expected bytes')
    for name in golden:
        part = file.get_slice(name)
        if part.get_dtype() != 'U8' or math.prod(part.get_shape()) > GOLDEN_LIMIT_BYTES:
            raise ModelFileError(
                f'{name} is {part.get_dtype()} {part.get_shape()}; expected 8-bit, 32 KB at most'
            )

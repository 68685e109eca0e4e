"""Model files: architecture, weights, classes, normalisation, licence and golden record in one file.

The format is safetensors; docs/model_file.md describes it byte by byte. Metadata key ``seg_ros`` holds one
JSON object (:class:`ModelMetadata`), key ``seg_ros_digest`` the digest of the whole file. The tensors are the
network's state and the golden record: images, and the labels that a working copy gives for them. Packed
levels keep the state in one tensor ``packed`` (seg_ros.modelfile.packing). Nothing is pickled.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError, UnavailableError, look_up
from seg_ros.modelfile.container import write_container
from seg_ros.modelfile.content import check_values, named_state, read_parts
from seg_ros.modelfile.description import (
    METADATA_KEY,
    PACKED,
    golden_arrays,
    naming,
    open_model,
    read_metadata,
)
from seg_ros.modelfile.digest import BLANK, DIGEST_KEY, seal
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.onnx_scan import GraphFacts
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.graph_names import no_pytorch
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.userfiles.writing import replace_file

POOLING_RULE = 'mean over the segment of the bits before the threshold, above 0'


@dataclass(frozen=True)
class Model:
    """A model file in memory.

    Attributes:
        metadata: Metadata of the file.
        network: (B, 3, H, W) normalised float -> (B, K, H, W) scores, in evaluation mode, on the CPU; an
            encoder, which returns its feature maps, for a model without classes; an OnnxGraph, which
            PyTorch cannot run, for an imported ONNX graph.
        golden: Golden record, which a working copy reproduces.
        path: Path of the file.
        digest: SHA-256 of the file, hexadecimal.
        n_bytes: Size of the file in bytes.
        codes: Binary layer; None for a model without codes.
        embeddings: Embedding head; None for a model without embeddings.
        graph: Facts about an imported ONNX graph; None for a network of PyTorch.
    """

    metadata: ModelMetadata
    network: nn.Module
    golden: Golden
    path: Path
    digest: str
    n_bytes: int
    codes: BinaryLayer | None = None
    embeddings: EmbeddingHead | None = None
    graph: GraphFacts | None = None

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the network, without binary layer and embedding head."""
        if self.graph is not None:
            return self.graph.n_weights
        return sum(p.numel() for p in self.network.parameters())

    def pytorch_network(self, purpose: str) -> nn.Module:
        """The network, for a purpose that an imported ONNX graph cannot serve.

        Args:
            purpose: The purpose, the subject of the error message, such as 'pruning'.

        Raises:
            UnavailableError: The model is an imported ONNX graph.
        """
        if self.graph is not None:
            raise UnavailableError(f'{self.path}: {no_pytorch(purpose)}')
        return self.network

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
    replace_file(path, model_bytes(network, metadata, golden, codes, embeddings), ModelFileError)


def model_bytes(
    network: nn.Module,
    metadata: ModelMetadata,
    golden: Golden,
    codes: BinaryLayer | None = None,
    embeddings: EmbeddingHead | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> bytes:
    """Bytes of a model file, with its digest; arguments and errors as in :func:`save_model`.

    Args:
        beside: Tensors beside an exported graph, see seg_ros.modelfile.description.graph_tensors.
    """
    from seg_ros.modelfile.packed import pack_network  # packed levels only

    kind = look_up(QUANTIZATIONS, metadata.quantization, 'quantization level').packed_as
    state = named_state(None if kind else network, codes, embeddings) | dict(beside or {})
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    for name, value in tensors.items():
        try:
            check_values(name, value)
        except ModelFileError as err:
            raise ModelFileError(f'not saved: {err}') from err
    if kind:
        tensors[PACKED] = torch.from_numpy(np.frombuffer(pack_network(network, kind), np.uint8).copy())
    tensors |= {name: torch.from_numpy(value.copy()) for name, value in golden_arrays(golden).items()}
    text = json.dumps(metadata.as_json())
    read_metadata(text)  # so that whatever is written can be read
    return seal(write_container(tensors, {DIGEST_KEY: BLANK, METADATA_KEY: text}))


def load_model(name: str | Path) -> Model:
    """Read a model file.

    Its bytes are read once, so the file may be replaced or overwritten while it is loaded and afterwards. A
    file without a digest is loaded, with a line in the log: older versions of seg_ros wrote such files.

    Args:
        name: Path of the file, or the name of a shipped model such as ``'lite_camvid'``.

    Raises:
        ModelFileError: The file is missing, truncated, altered, of another version, or its tensors are not
            those of its architecture; or it is not the shipped model of its name.
        UnknownNameError: No shipped model has that name, or the file names an unknown architecture or level.
    """
    file = open_model(name)
    with naming(file.path):
        parts = read_parts(file.container, file.metadata)
    return Model(
        parts.metadata,
        parts.network,
        parts.golden,
        file.path,
        file.identity.digest,
        file.identity.n_bytes,
        parts.codes,
        parts.embeddings,
        parts.graph,
    )

"""Metadata and golden record of a model file. Nothing here needs torch."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import ModelFileError, UnknownNameError
from seg_ros.modelfile import strict_json
from seg_ros.modelfile.container import Container, read_container
from seg_ros.modelfile.digest import DIGEST_KEY, check_digest
from seg_ros.modelfile.golden import GOLDEN_LIMIT_BYTES, Golden
from seg_ros.modelfile.identity import ModelIdentity, read_model_file
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.onnx_scan import GraphFacts, scan_graph
from seg_ros.networks.graph_names import (
    CODES_CODEBOOK,
    CODES_COLOUR,
    EMBEDDINGS_HARDNESS,
    GRAPH_OUTPUT,
    GRAPH_TENSOR,
)

log = logging.getLogger(__name__)

METADATA_KEY = 'seg_ros'
GOLDEN_IMAGES, GOLDEN_LABELS = 'golden.images', 'golden.labels'
GOLDEN_CODES, GOLDEN_SHARPENED = 'golden.codes', 'golden.sharpened'
PACKED = 'packed'

_TEXT_KEYS = {METADATA_KEY, DIGEST_KEY, 'format'}  # other programs write a format

_told: set[str] = set()


@dataclass(frozen=True)
class ModelFile:
    """A model file in memory, whose digest is right; its tensors have not been looked at.

    Attributes:
        identity: Path, digest and size.
        container: Its texts and tensors.
        metadata: Metadata of the file.
    """

    identity: ModelIdentity
    container: Container
    metadata: ModelMetadata

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.identity.path


def open_model(name: str | Path) -> ModelFile:
    """Read a model file, once, and its metadata.

    A file without a digest is opened, with a line in the log: older versions of seg_ros wrote such files.

    Args:
        name: Path of the file, or the name of a shipped model such as ``'lite_camvid'``.

    Raises:
        ModelFileError: The file is missing, truncated, altered or of another version, or it is not the
            shipped model of its name.
        UnknownNameError: No shipped model has that name, or the metadata name an unknown level.
    """
    identity, content = read_model_file(name)
    with naming(identity.path):
        try:
            container = read_container(content)
        except ModelFileError as err:
            raise ModelFileError(f'cannot be read: {err}') from err
        if not check_digest(container):
            _tell_once(identity)
        return ModelFile(identity, container, metadata_of(container))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors about the content of a model file name the file."""
    try:
        yield
    except UnknownNameError:
        raise
    except ModelFileError as err:
        raise type(err)(f'model file {path}: {strict_json.one_line(str(err))}') from err
    except MemoryError as err:
        raise ModelFileError(f'model file {path}: not enough memory: {err}') from err


def _tell_once(identity: ModelIdentity) -> None:
    """Tell that a file has no digest, once for each file in this process."""
    if identity.digest not in _told:
        _told.add(identity.digest)
        log.info(
            'model file %s has no digest, so damage would not be noticed; older versions of seg_ros wrote it',
            identity.path,
        )


def metadata_of(container: Container) -> ModelMetadata:
    """Metadata of a file.

    Raises:
        ModelFileError: The metadata are missing or wrong, or there are other texts.
        UnknownNameError: They name an unknown level or superpixel algorithm.
    """
    texts = container.texts
    if METADATA_KEY not in texts:
        raise ModelFileError(f"no metadata '{METADATA_KEY}'; it was not written by seg_ros")
    unknown = sorted(texts.keys() - _TEXT_KEYS)
    if unknown:
        raise ModelFileError(
            f'unknown text {unknown[0]!r} beside the metadata; expected {sorted(_TEXT_KEYS)}'
        )
    return read_metadata(texts[METADATA_KEY])


def read_metadata(text: str) -> ModelMetadata:
    """Metadata from the JSON text in a file.

    Raises:
        ModelFileError: The text is not JSON, or not that of metadata.
        UnknownNameError: It names an unknown level or superpixel algorithm.
    """
    return ModelMetadata.from_json(strict_json.parse(text, f"metadata '{METADATA_KEY}'"))


def check_entries(
    container: Container, tensors: Iterable[str], metadata: ModelMetadata, *, is_packed: bool
) -> None:
    """Refuse a file whose tensors are not those named and those of the golden record.

    Args:
        container: The file.
        tensors: Names of the tensors of the network and its heads.
        metadata: Metadata of the file.
        is_packed: Whether the file holds packed weights.

    Raises:
        ModelFileError: A name is missing or unknown, or the golden record has another type or is too large.
    """
    golden = [GOLDEN_IMAGES, GOLDEN_LABELS]
    golden += [GOLDEN_CODES] if metadata.codes else []
    golden += [GOLDEN_SHARPENED] if metadata.embeddings else []
    present, wanted = set(container.entries), {*tensors, *golden, *([PACKED] if is_packed else [])}
    if present != wanted:
        missing, extra = sorted(wanted - present), sorted(present - wanted)
        raise ModelFileError(
            f'tensors are not those of its architecture: missing {missing[:3]}, unknown {extra[:3]}'
        )
    for name in [*golden, *([PACKED] if is_packed else [])]:
        entry = container.entries[name]
        if entry.dtype != 'U8' or len(entry.shape) != (1 if name == PACKED else 3 + name.endswith('images')):
            raise ModelFileError(f'{name} is {entry.dtype} {list(entry.shape)}; expected 8-bit values')
    n_bytes = sum(container.entries[name].end - container.entries[name].begin for name in golden)
    if n_bytes > GOLDEN_LIMIT_BYTES:
        raise ModelFileError(f'golden record of {n_bytes} bytes; expected 32 KB at most')


def graph_outputs(metadata: ModelMetadata) -> list[str]:
    """Names of the outputs of a model's network, in order."""
    has = {
        GRAPH_OUTPUT: len(metadata.classes) > 0,
        'embeddings': metadata.embeddings is not None,
        'codes': metadata.codes is not None,
    }
    return [name for name, present in has.items() if present]


def graph_tensors(metadata: ModelMetadata) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtypes and shapes of the tensors beside the graph of a model file, by name."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    if metadata.codes is not None:
        tensors[CODES_CODEBOOK] = 'U8', (32,)
        if metadata.codes.has_colour:
            tensors[CODES_COLOUR] = 'F32', (9, metadata.codes.n_bits)
    if metadata.embeddings is not None:
        tensors[EMBEDDINGS_HARDNESS] = 'F32', (1,)
    return tensors


def graph_facts(container: Container, metadata: ModelMetadata) -> GraphFacts:
    """Check the imported ONNX graph of a file, and read the facts about it.

    Raises:
        ModelFileError: The tensors are not those of such a file, or the graph cannot be used.
    """
    shapes = graph_tensors(metadata)
    check_entries(container, [GRAPH_TENSOR, *shapes], metadata, is_packed=False)
    entry = container.entries[GRAPH_TENSOR]
    if entry.dtype != 'U8' or len(entry.shape) != 1:
        raise ModelFileError(f'{GRAPH_TENSOR} is {entry.dtype} {list(entry.shape)}; expected a row of bytes')
    for name, (dtype, shape) in shapes.items():
        other = container.entries[name]
        if (other.dtype, other.shape) != (dtype, shape):
            raise ModelFileError(
                f'{name} is {other.dtype} {list(other.shape)}; expected {dtype} {list(shape)}'
            )
    facts = scan_graph(memoryview(container.content)[entry.begin : entry.end], graph_outputs(metadata))
    if facts.input_size not in (None, metadata.input_size):
        raise ModelFileError(
            f'its graph takes images of {facts.input_size}; its metadata state {metadata.input_size}'
        )
    return facts


def golden_of(container: Container, metadata: ModelMetadata) -> Golden:
    """Golden record of a file whose tensors have been checked.

    Raises:
        ModelFileError: The record does not fit the metadata.
    """
    arrays = {k: container.bytes_as_array(k) for k in container.entries if k.startswith('golden.')}
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


def golden_arrays(golden: Golden) -> dict[str, UInt8Array]:
    """Arrays of a golden record by the names of their tensors."""
    arrays = {
        GOLDEN_IMAGES: golden.images,
        GOLDEN_LABELS: golden.labels,
        GOLDEN_CODES: golden.codes,
        GOLDEN_SHARPENED: golden.filtered,
    }
    return {name: value for name, value in arrays.items() if value is not None}

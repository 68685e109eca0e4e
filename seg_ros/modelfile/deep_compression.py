"""Reader and writer of the public file layout of Deep Compression.

S. Han, H. Mao, W. J. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016. The layout is that of the decoder that the authors published at
https://github.com/songhan/SqueezeNet-Deep-Compression. All numbers are little-endian::

    uint32 number of entries, for each layer in the order of the network
    for each layer:
        float32 codebook, 256 values for convolutions, 16 for fully connected layers; the first is 0
        float32 bias
        codebook index of each entry: 8 bits, or 4 bits with the first entry in the lower half of a byte
        relative index of each entry (see seg_ros.modelfile.relative_index): 4 bits, packed likewise

An entry is a weight other than 0, or a filler, whose codebook index is 0. There is no Huffman coding.

Model files of this package use another layout (``packing``). This one reads published weights: a test reads
the authors' compressed SqueezeNet 1.0 (``weights/squeezenet1_0_deep_compression.net`` in the folder
SEG_ROS_DATA), compares each weight with an independent conversion, and writes the same file again byte by
byte.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Size, Tensor

from seg_ros.arrays import Float32Array, UInt8Array
from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.modelfile import relative_index
from seg_ros.modelfile.byte_reader import ByteReader
from seg_ros.networks.squeezenet import SqueezeNetEncoder
from seg_ros.userfiles.writing import replace_file


def squeezenet_shapes() -> dict[str, Size]:
    """Shapes of the weights and biases of SqueezeNet 1.0, under torchvision's names and in its order."""
    with torch.device('meta'):
        shapes = {name: value.shape for name, value in SqueezeNetEncoder('1.0').state_dict().items()}
    return {**shapes, 'classifier.1.weight': Size([1000, 512, 1, 1]), 'classifier.1.bias': Size([1000])}


def read_deep_compression(path: Path, shapes: Mapping[str, Size] | None = None) -> dict[str, Tensor]:
    """Read the weights and biases of a file.

    Args:
        path: Path of the file.
        shapes: Shapes of ``NAME.weight`` and ``NAME.bias`` for each layer in the order of the file; None =
            those of SqueezeNet 1.0.

    Returns:
        float32 tensors under these names.

    Raises:
        ModelFileError: The file does not exist or does not hold exactly this network.
    """
    return _read(path, shapes)[0]


def read_codebooks(path: Path, shapes: Mapping[str, Size] | None = None) -> dict[str, Tensor]:
    """Read the codebook of each ``NAME.weight``, (256,) or (16,) float32.

    Arguments and errors are those of :func:`read_deep_compression`.
    """
    return _read(path, shapes)[1]


def write_deep_compression(
    state: Mapping[str, Tensor], path: Path, codebooks: Mapping[str, Tensor] | None = None
) -> None:
    """Write a file. An existing file is replaced only after all data are on disk.

    Args:
        state: ``NAME.weight`` and ``NAME.bias`` of each layer, in the order of the network. Weights have few
            different values, see :func:`seg_ros.quantization.weight_sharing.share`.
        path: Path of the file.
        codebooks: Codebook of each weight, first value 0; None = the values in ascending order. With the
            codebooks of a file, exactly that file is written again.

    Raises:
        ModelFileError: The file cannot be written.
        ParameterError: A weight has too many different values, or a value that its codebook lacks.
    """
    names = [name for name in state if name.endswith('.weight')]
    counts, parts = [], []
    for name in names:
        weight = state[name].detach().cpu().float().numpy()
        bias = state[_bias(name)].detach().cpu().float().numpy()
        positions = np.flatnonzero(weight)
        indices, is_real = relative_index.encode(positions)
        entries = np.zeros(indices.size, np.uint8)
        try:
            codebook = _rising_codebook(weight) if codebooks is None else codebooks[name].numpy()
            entries[is_real] = _look_up(weight.ravel()[positions], codebook)
        except ParameterError as err:
            raise ParameterError(f'{name} {err}') from err
        counts.append(indices.size)
        parts += [codebook.astype('<f4').tobytes(), bias.astype('<f4').tobytes()]
        parts.append(entries.tobytes() if codebook.size == 256 else _put_halves(entries))
        parts.append(_put_halves(indices))
    replace_file(path, np.array(counts, '<u4').tobytes() + b''.join(parts), ModelFileError)


def _read(path: Path, shapes: Mapping[str, Size] | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    try:
        return _parse(ByteReader(path.read_bytes()), squeezenet_shapes() if shapes is None else shapes)
    except OSError as err:
        raise ModelFileError(f'{path} cannot be read: {err}') from err
    except ModelFileError as err:
        raise ModelFileError(f'{path} is not this network in the layout of Deep Compression: {err}') from err


def _parse(reader: ByteReader, shapes: Mapping[str, Size]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    names = [name for name in shapes if name.endswith('.weight')]
    state, codebooks = {}, {}
    counts = np.frombuffer(reader.take(4 * len(names)), '<u4').tolist()
    for name, n_entries in zip(names, counts, strict=True):
        codebook = _take_floats(reader, _codebook_size(len(shapes[name])))
        bias = _take_floats(reader, shapes[_bias(name)].numel())
        weight = codebook[_take_indices(reader, codebook.size, shapes[name].numel(), n_entries)]
        if codebook[0] or not (np.isfinite(codebook).all() and np.isfinite(bias).all()):
            raise ModelFileError(
                f'the codebook or bias of {name} is not finite, or the codebook does not begin with 0'
            )
        codebooks[name] = torch.from_numpy(codebook)
        state[name] = torch.from_numpy(weight).reshape(shapes[name])
        state[_bias(name)] = torch.from_numpy(bias)
    if reader.n_left:
        raise ModelFileError(f'{reader.n_left} bytes follow the last layer; expected none')
    return {name: state[name] for name in shapes}, codebooks


def _bias(weight: str) -> str:
    return weight.removesuffix('weight') + 'bias'


def _codebook_size(n_axes: int) -> int:
    """Size of the codebook of a weight: 16 for fully connected layers (2 axes), 256 for convolutions."""
    return 16 if n_axes == 2 else 256


def _take_floats(reader: ByteReader, n: int) -> Float32Array:
    return np.frombuffer(reader.take(4 * n), '<f4').astype(np.float32)


def _take_indices(reader: ByteReader, n_values: int, size: int, n_entries: int) -> UInt8Array:
    """(size,) codebook index of each value of a weight."""
    if n_entries > size:
        raise ModelFileError(f'{n_entries} entries for {size} values; expected at most one for each')
    if n_values == 256:
        entries = np.frombuffer(reader.take(n_entries), np.uint8)
    else:
        entries = _take_halves(reader, n_entries)
    indices = np.zeros(size, np.uint8)
    indices[relative_index.decode(_take_halves(reader, n_entries), size)] = entries
    return indices


def _take_halves(reader: ByteReader, n: int) -> UInt8Array:
    """Take (n,) numbers of 4 bits."""
    pairs = np.frombuffer(reader.take(-(-n // 2)), np.uint8)
    halves: UInt8Array = np.stack([pairs & 15, pairs >> 4], axis=1).ravel()[:n]
    return halves


def _put_halves(values: UInt8Array) -> bytes:
    """Inverse of :func:`_take_halves`."""
    pairs = np.pad(values, (0, values.size % 2)).reshape(-1, 2)
    return (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()


def _rising_codebook(weight: Float32Array) -> Float32Array:
    """Codebook: 0, the other values of a weight in ascending order, then zeros up to its size."""
    values = np.unique(weight[weight != 0])
    size = _codebook_size(weight.ndim)
    if values.size >= size:
        raise ParameterError(
            f'has {values.size} different values besides 0; expected at most {size - 1}: share it first'
        )
    return np.pad(values, (1, size - 1 - values.size))


def _look_up(values: Float32Array, codebook: Float32Array) -> UInt8Array:
    """(n,) values to their (n,) codebook indices."""
    order = np.argsort(codebook, kind='stable')
    places = np.searchsorted(codebook[order], values).clip(max=codebook.size - 1)
    indices: UInt8Array = order[places].astype(np.uint8)
    if codebook[0] or not np.array_equal(codebook[indices], values):
        raise ParameterError('has values that its codebook lacks, or the codebook does not begin with 0')
    return indices

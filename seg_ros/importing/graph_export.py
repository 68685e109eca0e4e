"""Export of a model into a file that holds its ONNX graph, which runs without torch.

The file is a model file like any other: classes, golden record, digest. Its graph has the outputs of the
model: scores, codes and embeddings. What codes and filter need outside the graph lies beside it.
"""

from dataclasses import replace
from pathlib import Path

import torch

from seg_ros.errors import ModelFileError, UnavailableError
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.onnx_export import onnx_of
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.served_model import ModelSource, ServedModel
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import model_bytes
from seg_ros.modelfile.levels import choose_quantization
from seg_ros.networks.graph_names import CODES_CODEBOOK, CODES_COLOUR, EMBEDDINGS_HARDNESS, ONNX
from seg_ros.networks.onnx_graph import OnnxGraph
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.userfiles.writing import replace_file

_COMPUTED = ('float32', 'int8')


def export_graph(name: str, level: str, target: Path) -> Segmenter:
    """Write a model file with the graph of a model, and load it again.

    Args:
        name: Name or path of the model.
        level: Name of a level, or 'auto' for that of the file.
        target: Path of the file to write.

    Returns:
        The written model, which has reproduced its golden record.

    Raises:
        ModelFileError: The model cannot be read, or the file cannot be written.
        SelfCheckError: The graph does not reproduce the golden record.
        UnavailableError: The model is a graph already, or the level cannot be exported or derived.
    """
    source = ModelSource(Settings(model=name))
    served = source.served
    if served.metadata.is_graph:
        raise UnavailableError(f'{served.path} holds an ONNX graph already')
    level = choose_quantization(served, level)
    if QUANTIZATIONS[level].computes_in not in _COMPUTED:
        raise UnavailableError(
            f'quantization {level} is a matter of the engine that runs a graph; export fp32 or int8'
        )
    has_embeddings = served.metadata.embeddings is not None
    network = NetworkSource.of_model(source, level, with_embeddings=has_embeddings)
    content = onnx_of(network, served.input_size)
    metadata = replace(
        served.metadata,
        architecture=ONNX,
        arguments={},
        quantization='fp32',
        calibration=None,
        pruned=None,
        parent={
            'digest': served.digest,
            'level': level,
            'architecture': served.metadata.architecture,
            'n_parameters': served.n_parameters,
            'has_upsampling': served.has_upsampling,
        },
    )
    content = model_bytes(OnnxGraph(content), metadata, served.golden, beside=_beside(served))
    replace_file(target, content, ModelFileError)
    return Segmenter.load(Settings(model=str(target.absolute()), embedding_filter_enabled=has_embeddings))


def _beside(served: ServedModel) -> dict[str, torch.Tensor]:
    """Tensors that codes and embeddings of a graph need outside of it."""
    tensors: dict[str, torch.Tensor] = {}
    if served.code_pooling is not None:
        tensors[CODES_CODEBOOK] = torch.frombuffer(bytearray.fromhex(served.codebook), dtype=torch.uint8)
        if served.code_pooling.colour is not None:
            tensors[CODES_COLOUR] = torch.from_numpy(served.code_pooling.colour)
    if served.hardness is not None:
        tensors[EMBEDDINGS_HARDNESS] = torch.tensor([served.hardness])
    return tensors

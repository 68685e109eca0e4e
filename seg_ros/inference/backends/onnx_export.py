"""ONNX graphs of networks, for the engines that run them. An export is kept on disk."""

import logging
import warnings

import torch

from seg_ros.inference.backends.compiler_memory import without_records
from seg_ros.inference.backends.graph_cache import graph_key, recall_graph, remember_graph
from seg_ros.inference.backends.machine import version_of
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.onnx_forms import exporting
from seg_ros.networks.onnx_graph import OnnxGraph

EXPORT_PACKAGES = ('onnx', 'onnxscript')
"""Packages that an export needs besides torch."""


def answer_names(network: FrameNetwork) -> list[str]:
    """Names of the network's outputs, in order."""
    return [
        *(['scores'] if network.has_scores else []),
        *(['embeddings'] if network.embeddings is not None else []),
        *(['codes'] if network.codes is not None else []),
    ]


def onnx_of(network: FrameNetwork, input_size: tuple[int, int]) -> bytes:
    """ONNX model of a network: its own bytes if it is an imported graph, else an export, made or kept.

    Returns:
        Model from ``images`` (1, H, W, 3) uint8 to the outputs of ``FrameNetwork.forward`` by name. H and W
        may have the names in FREE_SIDES instead of numbers.
    """
    inner = network.network.network
    if isinstance(inner, OnnxGraph):
        return inner.content
    versions = [version_of(name) for name in ('torch', *EXPORT_PACKAGES)]
    key = graph_key('onnx', network.identity, network.network.dtype, input_size, versions)
    content = recall_graph(key) if network.identity else None
    if content is None:
        content = export_onnx(network, input_size)
        if network.identity:
            remember_graph(key, content)
    return content


def export_onnx(network: FrameNetwork, input_size: tuple[int, int]) -> bytes:
    """ONNX model of fixed size: ``images`` (1, H, W, 3) uint8 -> outputs of ``FrameNetwork.forward``."""
    network = network.cpu()
    images = torch.zeros(1, *input_size, 3, dtype=torch.uint8)
    for name in ('onnx_ir', 'onnxscript', 'torch.onnx'):  # hundreds of lines about their own internals
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), exporting(), without_records():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            network,
            (images,),
            input_names=['images'],
            output_names=answer_names(network),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())

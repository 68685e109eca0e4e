"""ONNX graphs of networks, for the engines that run them. An export is kept on disk, and needs torch once."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from seg_ros.inference.backends.backend import missing_packages
from seg_ros.inference.backends.graph_cache import graph_key, recall_graph, remember_graph
from seg_ros.inference.backends.machine import version_of
from seg_ros.inference.backends.onnx_bytes import pass_bytes

if TYPE_CHECKING:
    from seg_ros.inference.backends.network_source import NetworkSource
    from seg_ros.networks.frame_network import FrameNetwork

EXPORT_PACKAGES = ('torch', 'onnx', 'onnxscript')
"""Packages that an export needs besides torch."""


def can_export() -> bool:
    """Whether the packages are installed that make graphs of networks."""
    return missing_packages(EXPORT_PACKAGES, 'onnx') is None


def answer_names(network: FrameNetwork) -> list[str]:
    """Names of the network's outputs, in order."""
    return [
        *(['scores'] if network.has_scores else []),
        *(['embeddings'] if network.embeddings is not None else []),
        *(['codes'] if network.codes is not None else []),
    ]


def onnx_of(
    source: NetworkSource,
    input_size: tuple[int, int],
    *,
    in_float32: bool = False,
    may_have_more: bool = False,
) -> bytes:
    """ONNX model of a network: its own bytes if it is an imported graph, else an export, made or kept.

    Args:
        source: The network.
        input_size: (height, width) of its input in pixels.
        in_float32: Whether the graph has the network's rounded weights in float32.
        may_have_more: Whether it may have outputs that are not asked for.

    Returns:
        Model from ``images`` (1, H, W, 3) uint8 to the outputs of ``FrameNetwork.forward`` by name. H and W
        may have the names in FREE_SIDES instead of numbers.
    """
    if source.graph is not None:
        return source.graph
    in_float32 = in_float32 and source.computes_in in ('bfloat16', 'float16')
    versions = [version_of(name) for name in EXPORT_PACKAGES]
    key = graph_key('onnx', source.identity, source.computes_in, in_float32, input_size, versions)
    content = recall_graph(key) if source.identity else None
    if content is None and (may_have_more or not can_export()):
        content = source.ready()
    if content is None:
        network = source.build()
        content = export_onnx(_in_float32(network) if in_float32 else network, input_size)
        if source.identity:
            remember_graph(key, content)
    return content


def _in_float32(network: FrameNetwork) -> FrameNetwork:
    """The network with its weights as they are rounded, but in float32."""
    import torch

    network = network.float()
    network.network.dtype = torch.float32
    return network


def export_onnx(network: FrameNetwork, input_size: tuple[int, int]) -> bytes:
    """ONNX model of fixed size: ``images`` (1, H, W, 3) uint8 -> outputs of ``FrameNetwork.forward``."""
    import torch

    from seg_ros.inference.backends.compiler_memory import without_records
    from seg_ros.networks.onnx_forms import exporting

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
    model = program.model_proto
    _forget_origin(model)
    pass_bytes(model)
    return bytes(model.SerializeToString())


def _forget_origin(model: Any) -> None:
    """Remove what torch notes on each operation: stack traces with folders of this computer."""
    graph = model.graph
    for part in (model, graph, *model.functions):
        part.ClearField('metadata_props')
    for holder in (graph, *model.functions):
        for part in (*holder.node, *holder.value_info):
            part.ClearField('metadata_props')
            part.ClearField('doc_string')
    for part in (*graph.initializer, *graph.input, *graph.output):
        part.ClearField('metadata_props')

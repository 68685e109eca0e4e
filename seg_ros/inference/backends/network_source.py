"""A network that a backend runs: its facts, and the network itself, built when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seg_ros.modelfile.description import graph_outputs
from seg_ros.quantization.levels import QUANTIZATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg_ros.inference.served_model import ModelSource
    from seg_ros.networks.frame_network import FrameNetwork


@dataclass(frozen=True)
class NetworkSource:
    """A network to run.

    Attributes:
        build: Makes the network, in evaluation mode, on the CPU. It loads torch, so a backend that has kept
            what it made of the network does not call it.
        outputs: Names of the network's outputs, in order.
        computes_in: Name of the dtype that the network computes in, e.g. 'float32' or 'int8'.
        has_float_work: Whether a network of 8-bit integers has float operations that take time.
        identity: Text that no other network has, under which graphs made of this one may be kept; '' = none.
        graph: Bytes of an imported ONNX graph, which torch cannot run; None for a network of PyTorch.
        ready: Returns the bytes of a graph that comes with the model and may have more outputs, or None.
    """

    build: Callable[[], FrameNetwork]
    outputs: tuple[str, ...]
    computes_in: str = 'float32'
    has_float_work: bool = False
    identity: str = ''
    graph: bytes | None = None
    ready: Callable[[], bytes | None] = lambda: None

    @classmethod
    def of_model(cls, source: ModelSource, level: str, *, with_embeddings: bool) -> NetworkSource:
        """The network of a model file at a level, with everything that reads its maps."""
        served = source.served

        def build_network() -> FrameNetwork:
            from seg_ros.modelfile.precision import frame_network

            return frame_network(source.model, level, with_embeddings=with_embeddings)

        outputs = graph_outputs(served.metadata)
        if not with_embeddings and 'embeddings' in outputs:
            outputs.remove('embeddings')
        computes_in = QUANTIZATIONS[level].computes_in
        return cls(
            build_network,
            tuple(outputs),
            computes_in,
            computes_in == 'int8' and served.has_upsampling,
            '' if served.metadata.is_graph else f'{served.digest} {level} {with_embeddings}',
            source.graph,
            lambda: source.ready_graph(level),
        )

    @classmethod
    def of(cls, network: FrameNetwork) -> NetworkSource:
        """A network that is there already."""
        from seg_ros.inference.backends.onnx_export import answer_names
        from seg_ros.networks.onnx_graph import OnnxGraph
        from seg_ros.quantization.int8_layers import QuantizedConv2d, has_float_work

        inner = network.network.network
        is_int8 = any(isinstance(module, QuantizedConv2d) for module in network.modules())
        return cls(
            lambda: network,
            tuple(answer_names(network)),
            'int8' if is_int8 else str(network.network.dtype).removeprefix('torch.'),
            has_float_work(network),
            network.identity,
            inner.content if isinstance(inner, OnnxGraph) else None,
        )

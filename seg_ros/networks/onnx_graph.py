"""An imported ONNX graph in the place of a network: bytes that ONNX Runtime runs, and PyTorch does not."""

import torch
from torch import Tensor, nn

from seg_ros.errors import UnavailableError
from seg_ros.networks.graph_names import GRAPH_TENSOR, no_pytorch


class OnnxGraph(nn.Module):
    """Bytes of an ONNX graph, in a network's place.

    Args:
        content: The graph, a serialised ``ModelProto``.

    Attributes:
        graph: (n_bytes,) uint8, the same bytes.
    """

    def __init__(self, content: bytes = b'') -> None:
        super().__init__()
        self.graph: Tensor
        values = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.zeros(0)
        self.register_buffer(GRAPH_TENSOR, values.to(torch.uint8))

    @property
    def content(self) -> bytes:
        """Bytes of the graph."""
        return self.graph.cpu().numpy().tobytes()

    def forward(self, x: Tensor) -> Tensor:
        """Refuse to run in PyTorch.

        Raises:
            UnavailableError: Always.
        """
        raise UnavailableError(no_pytorch('this'))

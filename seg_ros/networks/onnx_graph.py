"""An imported ONNX graph in the place of a network: bytes that ONNX Runtime runs, and PyTorch does not.

The graph has one input and one output, whatever it had before it was imported:

- ``images``: (1, H, W, 3) uint8 RGB. Normalisation and order of axes are nodes of the graph.
- ``scores``: (1, K, h, w) float32, K classes.

H and W are numbers, or names if the graph takes images of any size.
"""

import torch
from torch import Tensor, nn

from seg_ros.errors import UnavailableError

ONNX = 'onnx'
"""Architecture of such a model in the metadata of its file."""

GRAPH_INPUT, GRAPH_OUTPUT = 'images', 'scores'

GRAPH_TENSOR = 'graph'
"""Name of the tensor that has the bytes of the graph."""

FREE_SIDES = ('height', 'width')
"""Names of the height and width of the input if they are free."""


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


def no_pytorch(purpose: str) -> str:
    """Message: a purpose needs a network of PyTorch, and the model is an imported graph."""
    return (
        f'{purpose} needs a network of PyTorch, and the model is an imported ONNX graph, which node, '
        'segment, replay, evaluate, evaluate-bag and compare can run; take a model of seg_ros, or import its '
        'weights with seg_ros import --network'
    )

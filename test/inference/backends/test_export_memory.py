"""Exports of networks leave no graph in the rules of onnxscript, and no cache of fake tensors."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from seg_ros.inference.backends.compiler_memory import without_records


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


def kept_graphs() -> int:
    """Number of rules of onnxscript that hold a node, and with it a graph with its weights."""
    rewriter = pytest.importorskip('onnxscript.rewriter')
    matchers = [rule._matcher for rule in rewriter._DEFAULT_REWRITE_RULES]
    return sum(getattr(matcher, '_current_node', None) is not None for matcher in matchers)


@pytest.mark.filterwarnings('ignore')  # of torch about itself
def test_tables_are_empty_after_an_export() -> None:
    pytest.importorskip('onnxscript')
    network = Small().eval()
    with without_records():
        torch.onnx.export(network, (torch.zeros(1, 3, 8, 8),), dynamo=True, verbose=False)
        assert kept_graphs()
    assert not kept_graphs()
    assert not FakeTensorMode.cache

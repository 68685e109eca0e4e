"""Names in ONNX graphs, imported or exported.

The graph has one input and one output, whatever it had before it was imported:

- ``images``: (1, H, W, 3) uint8 RGB. Normalisation and order of axes are nodes of the graph.
- ``scores``: (1, K, h, w) float32, K classes.

H and W are numbers, or names if the graph takes images of any size.
"""

ONNX = 'onnx'
"""Architecture of such a model in the metadata of its file."""

GRAPH_INPUT, GRAPH_OUTPUT = 'images', 'scores'

CODES, EMBEDDINGS = 'codes', 'embeddings'
"""Outputs of the logits of codes, which not every frame needs, and of embeddings."""

GRAPH_TENSOR = 'graph'
"""Name of the tensor that has the bytes of the graph."""

CODES_COLOUR, CODES_CODEBOOK, EMBEDDINGS_HARDNESS = 'codes.colour', 'codes.codebook', 'embeddings.hardness'
"""Names of the tensors beside an exported graph: what its codes and its embeddings need outside of it."""

FREE_SIDES = ('height', 'width')
"""Names of the height and width of the input if they are free."""


def no_pytorch(purpose: str) -> str:
    """Message: a purpose needs a network of PyTorch, and the model is an imported graph."""
    return (
        f'{purpose} needs a network of PyTorch, and the model is an imported ONNX graph, which node, '
        'segment, replay, evaluate, evaluate-bag and compare can run; take a model of seg_ros, or import its '
        'weights with seg_ros import --network'
    )

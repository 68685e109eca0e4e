"""Union-find: connected components of a graph.

The functions are compiled if Numba is installed. Otherwise the same loops run in Python.
"""

import numpy as np

from seg_ros._numba import compiled_where_possible, inlined_where_possible
from seg_ros.arrays import Int32Array


@inlined_where_possible
def root_of(parent: Int32Array, node: int) -> int:
    """Root of the tree of a node; halves the path to it (path halving).

    Args:
        parent: (n,) int32, parent of each node, changed. A root is its own parent.
        node: Index of the node.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled_where_possible
def tree_numbers(parent: Int32Array) -> tuple[Int32Array, int]:
    """Number the trees of a forest in the order of their first nodes.

    Args:
        parent: (n,) int32, see :func:`root_of`.

    Returns:
        (n,) int32, number of the tree of each node; number of trees.
    """
    numbers = np.full(parent.size, -1, np.int32)
    of_node = np.empty(parent.size, np.int32)
    count = 0
    for node in range(parent.size):
        root = root_of(parent, node)
        if numbers[root] < 0:
            numbers[root] = count
            count += 1
        of_node[node] = numbers[root]
    return of_node, count


@compiled_where_possible
def connected_components(n_nodes: int, pairs: Int32Array) -> tuple[Int32Array, int]:
    """Connected components of a graph.

    Args:
        n_nodes: Number of nodes, n.
        pairs: (E, 2) int32, the nodes of each edge.

    Returns:
        (n,) int32, component of each node, numbered in the order of their first nodes; number of components.
    """
    parent = np.arange(n_nodes).astype(np.int32)
    for k in range(pairs.shape[0]):
        one, other = root_of(parent, pairs[k, 0]), root_of(parent, pairs[k, 1])
        parent[max(one, other)] = min(one, other)
    return tree_numbers(parent)

"""Published layouts of weights, by the network of this package that they fit: add one here.

A layout is a function that turns weights under the names of their publisher into those of a network of this
package. It raises a :class:`ModelFileError` if the weights are of another layout. All layouts of a network
are tried in the order of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from seg_ros.errors import LazyTable

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Converted:
    """Weights in the layout of this package.

    Attributes:
        arguments: Keyword arguments of the network.
        state: Tensors under the names of the network; counts of batches may be missing.
        used: Names of the publisher's tensors that are in them.
        normalisation: Name of the normalisation that the publisher used, for a user who gives none.
        notes: Differences between the networks, in words.
    """

    arguments: dict[str, Any]
    state: dict[str, Tensor]
    used: set[str]
    normalisation: str = 'imagenet'
    notes: list[str] = field(default_factory=list)


Convert = Callable[[Weights, int], Converted]
"""From weights and the number of classes."""

LAYOUTS: dict[str, LazyTable[Convert]] = {
    'enet': LazyTable({'davidtvs/PyTorch-ENet': 'seg_ros.importing.layout_enet:from_davidtvs'}),
    'espnetv2': LazyTable({'EdgeNets': 'seg_ros.importing.layout_espnetv2:from_edgenets'}),
    'segnet': LazyTable(
        {'SegNet of VGG16 in order of its layers': 'seg_ros.importing.layout_segnet:in_order'}
    ),
}
"""Network -> source of a layout -> its function."""

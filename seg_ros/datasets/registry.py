"""Data sets by name: add one here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seg_ros.errors import LazyTable

if TYPE_CHECKING:
    from pathlib import Path

    from seg_ros.datasets.dataset import Dataset
    from seg_ros.datasets.segmented import SegmentedImages

DATASETS: LazyTable[Callable[..., Dataset]] = LazyTable(
    {
        'camvid': 'seg_ros.datasets.camvid:CamVid',
        'cityscapes': 'seg_ros.datasets.cityscapes:Cityscapes',
        'folder': 'seg_ros.datasets.folder:FolderDataset',
        'idd_lite': 'seg_ros.datasets.idd:IDDLite',
        'msrc_v2': 'seg_ros.datasets.msrc:MSRC',
        'rendered': 'seg_ros.datasets.rendered:RenderedDataset',
        'soccer': 'seg_ros.datasets.soccer:SoccerDataset',
        'squares': 'seg_ros.datasets.squares:SquaresDataset',
        'voc': 'seg_ros.datasets.voc:PascalVOC',
    }
)
"""Data sets with classes; each is called with its root folder, the split, and its own keyword arguments."""

SEGMENTED: LazyTable[Callable[[Path | None, str], SegmentedImages]] = LazyTable(
    {
        'bsds500': 'seg_ros.datasets.segmented:BSDS500',
        'camvid': 'seg_ros.datasets.segmented:CamVidSegments',
        'folder': 'seg_ros.datasets.segmented:SegmentFolder',
        'msrc_v2': 'seg_ros.datasets.segmented:MSRCv2',
        'rendered': 'seg_ros.datasets.segmented:RenderedSegments',
        'voc': 'seg_ros.datasets.segmented:VOCObjects',
    }
)
"""Data sets with segments; each is called with its root folder and the split."""

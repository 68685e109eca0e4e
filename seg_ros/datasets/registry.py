"""The data sets, by name: add one here."""

from collections.abc import Callable
from pathlib import Path

from seg_ros.datasets.camvid import CamVid
from seg_ros.datasets.cityscapes import Cityscapes
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.folder import FolderDataset
from seg_ros.datasets.msrc import MSRC
from seg_ros.datasets.rendered import RenderedDataset
from seg_ros.datasets.segmented import BSDS500, LabelledAsSegments, MSRCv2, SegmentedImages, SegmentFolder
from seg_ros.datasets.soccer import SoccerDataset
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.datasets.voc import PascalVOC

DATASETS: dict[str, Callable[..., Dataset]] = {
    'camvid': CamVid,
    'cityscapes': Cityscapes,
    'folder': FolderDataset,
    'msrc_v2': MSRC,
    'rendered': RenderedDataset,
    'soccer': SoccerDataset,
    'squares': SquaresDataset,
    'voc': PascalVOC,
}
"""Data sets by name; each is called with its root folder, the split, and its own keyword arguments."""


SEGMENTED: dict[str, Callable[[Path | None, str], SegmentedImages]] = {
    'bsds500': BSDS500,
    'camvid': lambda root, split: LabelledAsSegments(CamVid(root, split)),
    'folder': SegmentFolder,
    'msrc_v2': MSRCv2,
}
"""Images cut into segments, by name; each is called with its root folder and the split."""

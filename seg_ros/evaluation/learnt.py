"""Whether a model has learnt the images that it is measured on, by the record of training in its file."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from seg_ros.modelfile.metadata import ModelMetadata

LEARNT = 'has learnt this split: no measure of quality'
LEARNT_PARTS = 'has learnt images of this split: no measure of quality, unless they are left out here'
LEARNT_A_FOLDER = 'has learnt a folder with a split of this name: no measure of quality if it is this folder'

_ENTRY = re.compile(r'(?:\d+ x )?(\S+) (\S+) \(\d+ images\)')
"""An entry of ``training.data``, see seg_ros.training.sources.describe_sources."""


@dataclass(frozen=True)
class MeasuredSplit:
    """The images that models are measured on.

    Attributes:
        dataset: Name in seg_ros.datasets.registry.DATASETS.
        split: Split of the data set.
        options: Further arguments of the data set, such as ``exclude``.
    """

    dataset: str
    split: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def learnt_by(self, metadata: ModelMetadata) -> str:
        """Remark on figures on these images: LEARNT or its kin; '' if the record does not name them.

        The record is that of the last run. It does not tell what the weights learnt before it.
        """
        found = [
            options
            for dataset, split, options in _entries(metadata.training)
            if (dataset, split) == (self.dataset, self.split)
        ]
        if not found:
            return ''
        if self.dataset == 'folder':
            return LEARNT_A_FOLDER
        return LEARNT if dict(self.options) in found else LEARNT_PARTS


def _entries(training: Mapping[str, Any]) -> Iterator[tuple[object, object, object]]:
    """Data set, split and options of each part that a network learnt; the file may hold anything."""
    recipe = training.get('recipe')
    sources = recipe.get('train') if isinstance(recipe, dict) else None
    if isinstance(sources, list):
        for source in sources:
            if isinstance(source, dict):
                yield source.get('dataset'), source.get('split'), source.get('options') or {}
        return
    data = training.get('data')
    for entry in data.split(' + ') if isinstance(data, str) else ():
        if match := _ENTRY.fullmatch(entry):
            yield match[1], match[2], {}

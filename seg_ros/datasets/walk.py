"""Walking through a data set: files that cannot be read are reported, left out and counted."""

import logging
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from tqdm import tqdm

from seg_ros.errors import DatasetError, ImageError

log = logging.getLogger(__name__)

Item_co = TypeVar('Item_co', covariant=True)
Item = TypeVar('Item')

BAD_FILE = (DatasetError, ImageError)
"""Errors of a single file, which do not stop a walk."""


class Readable(Protocol[Item_co]):
    """A data set of any kind."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item_co: ...


def walk(
    dataset: Readable[Item],
    label: str = '',
    *,
    indices: Iterable[int] | None = None,
    is_quiet: bool = False,
) -> Iterator[tuple[int, Item]]:
    """Read the items of a data set; an item that cannot be read is logged, left out, and counted at the end.

    Args:
        dataset: Data set to read.
        label: Text of the progress bar; '' shows no bar.
        indices: Items to read, in this order; None = all.
        is_quiet: Log nothing, because another process does.

    Yields:
        Position of an item, and the item.

    Raises:
        DatasetError: Not one item can be read.
    """
    chosen = list(range(len(dataset)) if indices is None else indices)
    first: Exception | None = None
    n_bad = 0
    for index in tqdm(chosen, desc=label, unit='image', leave=False, disable=None if label else True):
        try:
            item = dataset[index]
        except BAD_FILE as err:
            first, n_bad = first or err, n_bad + 1
            if not is_quiet:
                log.warning('left out: %s', err)
            continue
        yield index, item
    if first is not None and n_bad == len(chosen):
        raise DatasetError(f'not one of {n_bad} images can be read; the first: {first}') from first
    if n_bad and not is_quiet:
        log.warning('%d of %d images cannot be read and are left out', n_bad, len(chosen))

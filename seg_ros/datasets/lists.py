"""Lists of image names: a name a line, with blanks, in any encoding, with or without folder and suffix."""

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from seg_ros.errors import DatasetError
from seg_ros.images.files import IMAGE_SUFFIXES
from seg_ros.userfiles.reading import read_text, shown_path

T = TypeVar('T')

LIST_LIMIT = 64 * 1024 * 1024
"""Maximum size of a list in bytes."""

_LINE_END = re.compile(r'\r\n|\n|\r')


def read_list(path: Path) -> list[str]:
    """Lines of a list, without surrounding blanks and empty lines.

    Raises:
        DatasetError: The list is missing, is not text, or has no line.
    """
    lines = [line.strip() for line in _LINE_END.split(read_text(path, DatasetError, LIST_LIMIT))]
    lines = [line for line in lines if line]
    if not lines:
        raise DatasetError(f'{shown_path(path)} is empty; expected the names of the images of the split')
    return lines


def find_listed(by_stem: Mapping[str, T], listed: str) -> T | None:
    """Entry of a listed name, which may have a folder and the suffix of an image; None = there is none.

    A name is also found if the file system has it in Latin-1, or with its accents as separate characters.

    Args:
        by_stem: File name without suffix -> entry.
        listed: Name as listed.
    """
    last = PurePosixPath(listed.replace('\\', '/')).name
    names = [listed, last]
    if last.lower().endswith(IMAGE_SUFFIXES):
        names.append(PurePosixPath(last).stem)
    found = (find_spelled(by_stem, name) for name in names)
    return next((entry for entry in found if entry is not None), None)


def find_spelled(by_stem: Mapping[str, T], name: str) -> T | None:
    """Entry of a name in any spelling of its accents; None = there is none."""
    return next((by_stem[spelled] for spelled in _spellings(name) if spelled in by_stem), None)


def _spellings(name: str) -> list[str]:
    """Ways in which a file system may have a name."""
    if name.isascii():
        return [name]
    composed = unicodedata.normalize('NFC', name)
    spelled = [name, composed, unicodedata.normalize('NFD', name)]
    try:
        return [*spelled, os.fsdecode(composed.encode('latin-1'))]
    except UnicodeEncodeError:
        return spelled

"""metadata.yaml of a bag folder: the files of the bag, and the number of messages that it tells."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from seg_ros.errors import BagError

_MAX_BYTES = 2**24
_MAX_DEPTH = 20
_Loader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _TopicMetadata(msgspec.Struct):
    name: str
    type: str


class _TopicWithCount(msgspec.Struct):
    topic_metadata: _TopicMetadata
    message_count: _Count


class BagMetadata(msgspec.Struct):
    """The part of metadata.yaml that reading needs.

    Attributes:
        relative_file_paths: Files of the bag.
        topics_with_message_count: Topics, each with its number of messages.
        storage_identifier: Storage plugin that wrote the files.
    """

    relative_file_paths: list[str]
    topics_with_message_count: list[_TopicWithCount]
    storage_identifier: str = ''

    @property
    def files(self) -> list[str]:
        """Names of the files, without their folders: a bag cannot name files elsewhere."""
        return [PurePosixPath(path).name for path in self.relative_file_paths]

    @property
    def counts(self) -> dict[str, int]:
        """Topic -> number of messages."""
        counts: dict[str, int] = {}
        for entry in self.topics_with_message_count:
            name = entry.topic_metadata.name
            counts[name] = counts.get(name, 0) + entry.message_count
        return counts


class _Document(msgspec.Struct):
    rosbag2_bagfile_information: BagMetadata


def read_metadata(path: Path) -> BagMetadata:
    """Read metadata.yaml.

    Args:
        path: Path of the file.

    Raises:
        BagError: The file cannot be read, is too large or too deep, lacks a key, or has an odd value.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BagError(f'{path} has {path.stat().st_size} bytes; expected at most {_MAX_BYTES}')
        content = path.read_bytes()
        _check_structure(path, content)
        return msgspec.convert(yaml.load(content, _Loader), _Document).rosbag2_bagfile_information
    except BagError:
        raise
    except msgspec.ValidationError as err:
        raise BagError(f'{path} is not the metadata of a bag: {err}') from err
    except Exception as err:  # yaml raises many types for odd numbers, dates and bytes
        raise BagError(f'{path} cannot be read: {err or repr(err)}') from err


def _check_structure(path: Path, content: bytes) -> None:
    """Raise if a document repeats parts by name or is deep, before anything is built from it."""
    depth = 0
    for event in yaml.parse(content, _Loader):
        if isinstance(event, yaml.AliasEvent):
            raise BagError(f'{path} repeats a part by its name (*{event.anchor}); expected plain YAML')
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise BagError(f'{path} is nested more than {_MAX_DEPTH} deep')

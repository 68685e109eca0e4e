"""Common form of the files of bags: MCAP and SQLite."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class StoredTopic(NamedTuple):
    """A topic of one file.

    Attributes:
        name: Name of the topic.
        type: Message type, as the file has it.
        other_encoding: Encoding of its messages if they are not those of ROS 2 (CDR), else ''.
        n_messages: Number of messages, by the index of the file.
    """

    name: str
    type: str
    other_encoding: str
    n_messages: int


Stored = tuple[int, int, bytes]
"""A message of one file: time of recording in ns, key of its topic in `Storage.topics`, its bytes (CDR)."""


class Storage(ABC):
    """One file of a bag.

    Attributes:
        path: Path of the file.
        topics: Topics by a number that is unique in the file.
        start_ns: Time of its earliest message in ns.
        end_ns: Time of its latest message in ns.
    """

    path: Path
    topics: dict[int, StoredTopic]
    start_ns: int
    end_ns: int

    @abstractmethod
    def messages(self, wanted: frozenset[int]) -> Iterator[Stored]:
        """Messages of the wanted topics in the order of recording; unreadable ones are recorded as losses."""

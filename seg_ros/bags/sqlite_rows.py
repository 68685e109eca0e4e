"""Reads a damaged SQLite file of rosbag2 message by message, so that each damaged one costs only itself."""

import contextlib
import sqlite3
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from seg_ros.arrays import Int64Array
from seg_ros.bags.losses import LossRecord
from seg_ros.bags.storage import Stored

FIRST_ROW = -(2**63)

_N_TRIES = 10_000
_N_AT_ONCE = 10_000
_SELECT = (
    'SELECT rowid, topic_id, timestamp FROM messages WHERE rowid > ? '
    "AND typeof(topic_id) = 'integer' AND typeof(timestamp) = 'integer' ORDER BY rowid LIMIT ?"
)
_SELECT_ODD = (
    "SELECT rowid FROM messages WHERE typeof(topic_id) != 'integer' OR typeof(timestamp) != 'integer'"
)
_SELECT_DATA = "SELECT CASE typeof(data) WHEN 'blob' THEN data END FROM messages WHERE rowid = ?"


class SqliteRows:
    """Numbers, topics and times of all readable messages: 24 bytes for each.

    Args:
        database: The file.
        path: Path of the file, for messages.
        losses: Takes what is damaged.

    Attributes:
        rows: (N,) int64, number of each message.
        topics: (N,) int64, topic of each message.
        times: (N,) int64, time of each message in ns.
    """

    def __init__(self, database: sqlite3.Connection, path: Path, losses: LossRecord) -> None:
        self._path, self._losses = path, losses
        numbers = array('q')
        for rows in self._read(database):
            numbers.extend(chain.from_iterable(rows))
        table = np.frombuffer(numbers, np.int64).reshape(-1, 3) if numbers else np.empty((0, 3), np.int64)
        self.rows: Int64Array = table[:, 0]
        self.topics: Int64Array = table[:, 1]
        self.times: Int64Array = table[:, 2]
        with contextlib.suppress(sqlite3.Error):  # damaged pages have been recorded
            for (row,) in database.execute(_SELECT_ODD):
                self._lose(row, 'its topic or time is not a number')

    def messages(
        self, database: sqlite3.Connection, wanted: frozenset[int], after: tuple[int, int]
    ) -> Iterator[Stored]:
        """Messages of the wanted topics after a time and number, in the order of their times."""
        chosen = np.flatnonzero(np.isin(self.topics, list(wanted)))
        chosen = chosen[np.lexsort((self.rows[chosen], self.times[chosen]))]
        for index in chosen:
            received_ns, row, topic = int(self.times[index]), int(self.rows[index]), int(self.topics[index])
            if (received_ns, row) <= after:
                continue
            try:
                found = database.execute(_SELECT_DATA, (row,)).fetchone()
            except sqlite3.Error as err:
                self._lose(row, str(err))
                continue
            if found and isinstance(found[0], bytes):
                yield received_ns, topic, found[0]
            else:
                self._lose(row, 'its data are missing or of another type')

    def _read(self, database: sqlite3.Connection) -> Iterator[list[tuple[int, int, int]]]:
        """Number, topic and time of each message, many at a time; damaged pages are jumped over."""
        last, n_rows, n_tries = FIRST_ROW, _N_AT_ONCE, 0
        while n_tries <= _N_TRIES:
            try:
                rows = database.execute(_SELECT, (last, n_rows)).fetchall()
            except sqlite3.Error as err:
                if n_rows > 1:  # fewer rows may end before the damage
                    n_rows //= 10
                    continue
                if not n_tries:
                    problem = f'messages after message {max(last, 0)}: {err}'
                    self._losses.add(self._path, problem, None)
                last, n_tries = max(last, 0) + 1, n_tries + 1
                continue
            if not rows:
                return
            yield rows
            last, n_tries, n_rows = rows[-1][0], 0, min(2 * n_rows, _N_AT_ONCE)

    def _lose(self, row: int, problem: str) -> None:
        self._losses.add(self._path, f'message {row}: {problem}', 1)

"""Reads a damaged SQLite file of rosbag2 message by message, so that each damaged one costs only itself."""

import contextlib
import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from seg_ros.arrays import Int64Array
from seg_ros.bags.losses import LossRecord
from seg_ros.bags.storage import Stored

FIRST_ROW = -(2**63)
_LAST_ROW = 2**63 - 1

_N_TRIES = 10_000
_N_AT_ONCE = 10_000
_SELECT = (
    'SELECT rowid, topic_id, timestamp FROM messages WHERE rowid >= ? '
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
        _, first = np.unique(table[:, 0], return_index=True)
        if n_repeated := len(table) - len(first):
            self._losses.add(path, 'messages that repeat the number of another one', n_repeated)
        table = table[first]
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
        last, n_rows = FIRST_ROW, _N_AT_ONCE
        while True:
            try:
                rows = _rows_after(database, last, n_rows)
            except sqlite3.Error as err:
                if n_rows > 1:  # fewer rows may end before the damage
                    n_rows = max(n_rows // 10, 1)
                    continue
                self._losses.add(self._path, f'messages after message {max(last, 0)}: {err}', None)
                last = _end_of_damage(database, max(last, -1))
                continue
            yield rows
            if len(rows) < n_rows:
                return
            last, n_rows = rows[-1][0], min(2 * n_rows, _N_AT_ONCE)

    def _lose(self, row: int, problem: str) -> None:
        self._losses.add(self._path, f'message {row}: {problem}', 1)


def _rows_after(database: sqlite3.Connection, number: int, n_rows: int) -> list[tuple[int, int, int]]:
    """Number, topic and time of at most ``n_rows`` messages with higher numbers; fewer = these are all.

    Raises:
        sqlite3.Error: They lie on a damaged page, or the numbers go back.
    """
    if number >= _LAST_ROW:
        return []
    rows: list[tuple[int, int, int]] = database.execute(_SELECT, (number + 1, n_rows)).fetchall()
    if rows and rows[-1][0] <= number:
        raise sqlite3.DatabaseError(f'message {rows[-1][0]} follows')
    return rows


def _end_of_damage(database: sqlite3.Connection, number: int) -> int:
    """Lowest number, as a rule, behind which messages can be read again.

    Args:
        database: The file.
        number: Number behind which they cannot.
    """

    def is_readable(after: int) -> bool:
        try:
            _rows_after(database, after, 1)
        except sqlite3.Error:
            return False
        return True

    first, last = number + 1, number + _N_TRIES
    for after in range(first, last):  # every number behind a page
        if is_readable(after):
            return after
    while not is_readable(min(last, _LAST_ROW)):  # a page that leads to many pages
        first, last = last + 1, last + 2 * (last - number)
    return bisect_left(range(_LAST_ROW), True, first, min(last, _LAST_ROW), key=is_readable)

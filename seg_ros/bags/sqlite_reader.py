"""Reads one SQLite file of rosbag2.

A file without damage is read in the order of its index of times. If a row, a page or the index is damaged, or
if there is no index, `SqliteRows` reads message by message.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from seg_ros.bags.losses import LossRecord, one_line
from seg_ros.bags.sqlite_rows import FIRST_ROW, SqliteRows
from seg_ros.bags.storage import Storage, Stored, StoredTopic
from seg_ros.errors import BagError

_MAX_TOPICS = 100_000
_SELECT_COUNTS = (
    'SELECT topic_id, count(*), min(timestamp), max(timestamp), total(rowid & 4294967295), '
    "total(timestamp & 4294967295), total(typeof(topic_id) != 'integer' OR typeof(timestamp) != 'integer') "
    'FROM messages GROUP BY topic_id'
)
_SELECT_INDEX = (
    'SELECT count(*), total(rowid & 4294967295), total(timestamp & 4294967295) '
    'FROM messages INDEXED BY timestamp_idx'
)
_SELECT_MESSAGES = (
    "SELECT timestamp, topic_id, CASE typeof(data) WHEN 'blob' THEN data END, rowid "
    'FROM messages INDEXED BY timestamp_idx '
    'WHERE +topic_id IN ({}) ORDER BY timestamp, rowid'
)


class _Summary(NamedTuple):
    """Number of messages of each topic, and the span of their times in ns."""

    counts: dict[int, int]
    start_ns: int
    end_ns: int


class SqliteFile(Storage):
    """A SQLite file of rosbag2; it is open only while it is read.

    Args:
        path: Path of the file.
        losses: Takes what is damaged.

    Raises:
        BagError: The file is not a SQLite file of rosbag2.
    """

    def __init__(self, path: Path, losses: LossRecord) -> None:
        self.path, self._losses = path, losses
        self._rows: SqliteRows | None = None
        try:
            with closing(_connect(path)) as database:
                _check_tables(database)
                topics = self._read_topics(database)
                summary = _summary(database) or self._summary_of_rows(database)
        except sqlite3.Error as err:
            raise BagError(f'{path} is not a readable SQLite file: {err}') from err
        counts = Counter(summary.counts)
        self.topics = {key: topic._replace(n_messages=counts.pop(key, 0)) for key, topic in topics.items()}
        self.start_ns, self.end_ns = summary.start_ns, summary.end_ns
        for key, n_messages in sorted(counts.items()):
            self._losses.add(path, f'messages of topic {key}, which is not in its list of topics', n_messages)

    def messages(self, wanted: frozenset[int]) -> Iterator[Stored]:
        """Messages of the wanted topics in the order of their times; unreadable messages are left out."""
        last = (FIRST_ROW, FIRST_ROW)
        with closing(_connect(self.path)) as database:
            if self._rows is None:
                try:
                    query = _SELECT_MESSAGES.format(', '.join(map(str, sorted(wanted))))
                    for received_ns, topic, data, row in database.execute(query):
                        if type(data) is not bytes:
                            break
                        yield received_ns, topic, data
                        last = (received_ns, row)
                    else:
                        return
                except sqlite3.Error:
                    pass
                self._rows = SqliteRows(database, self.path, self._losses)
            yield from self._rows.messages(database, wanted, last)

    def _read_topics(self, database: sqlite3.Connection) -> dict[int, StoredTopic]:
        """Topics by their id; odd rows are recorded as losses."""
        topics: dict[int, StoredTopic] = {}
        rows = database.execute('SELECT id, name, type, serialization_format FROM topics')
        for key, *columns in rows.fetchmany(_MAX_TOPICS):
            try:
                if not isinstance(key, int):
                    raise BagError(f'the id is {key!r:.100}')
                name, kind, encoding = (_text(column) for column in columns)
                topics[key] = StoredTopic(
                    name, kind, '' if encoding == 'cdr' else encoding or 'no encoding', 0
                )
            except BagError as err:
                self._losses.add(self.path, f'a topic cannot be read: {err}', None)
        return topics

    def _summary_of_rows(self, database: sqlite3.Connection) -> _Summary:
        """Read the number of messages row by row."""
        self._rows = rows = SqliteRows(database, self.path, self._losses)
        times, counts = rows.times, Counter(rows.topics.tolist())
        self._compare_with_index(database, sum(counts.values()))
        return _Summary(counts, int(times.min()), int(times.max())) if len(times) else _Summary({}, 0, 0)

    def _compare_with_index(self, database: sqlite3.Connection, n_messages: int) -> None:
        """Record a loss if the index over the times has more messages than the table."""
        try:
            ((told, _, _),) = database.execute(_SELECT_INDEX).fetchall()
        except sqlite3.Error:
            return  # absent or damaged
        if told != n_messages:
            problem = f'{n_messages} messages; its index has {told}'
            self._losses.add(self.path, problem, max(told - n_messages, 0))


def _summary(database: sqlite3.Connection) -> _Summary | None:
    """Number and times of messages if all rows are sound and agree with the index of times, else None."""
    try:
        groups = database.execute(_SELECT_COUNTS).fetchall()
        told = database.execute(_SELECT_INDEX).fetchone()
    except sqlite3.Error:
        return None
    found = tuple(sum(group[column] for group in groups) for column in (1, 4, 5))
    if found != told or any(group[6] for group in groups):
        return None
    if not groups:
        return _Summary({}, 0, 0)
    counts = {group[0]: group[1] for group in groups}
    return _Summary(counts, min(group[2] for group in groups), max(group[3] for group in groups))


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file for reading. A file that was cut is opened as far as it goes.

    Raises:
        sqlite3.Error: The file cannot be opened.
    """
    has_log = path.with_name(path.name + '-wal').exists()  # of a recorder that was killed
    options = 'mode=ro' if has_log else 'immutable=1'
    database = sqlite3.connect(f'file:{quote(str(path.absolute()))}?{options}', uri=True)
    database.text_factory = bytes
    for pragma in ('trusted_schema = OFF', 'cell_size_check = ON', 'writable_schema = ON', 'mmap_size = 0'):
        database.execute(f'PRAGMA {pragma}')
    return database


def _check_tables(database: sqlite3.Connection) -> None:
    """Raise if messages and topics are not plain tables: views and computed columns can take any time.

    Raises:
        BagError: A table is missing or is not plain.
    """
    for name in ('topics', 'messages'):
        found = database.execute('SELECT type, sql FROM sqlite_master WHERE name = ?', (name,)).fetchone()
        if found is None:
            raise BagError(f"it has no table '{name}', so it is not a bag of ROS 2")
        kind, sql = (part if isinstance(part, bytes) else b'' for part in found)
        columns = database.execute(f'PRAGMA table_xinfo({name})').fetchall()
        if kind != b'table' or sql[:13].upper() != b'CREATE TABLE ' or any(column[-1] for column in columns):
            raise BagError(f"its table '{name}' is a view or has computed columns; expected plain columns")


def _text(value: object) -> str:
    """A text column.

    Raises:
        BagError: The value has another type, or is not UTF-8.
    """
    if not isinstance(value, bytes):
        raise BagError(f'{type(value).__name__} where a text was expected')
    try:
        return one_line(value.decode())
    except UnicodeDecodeError as err:
        raise BagError(f'a text is not UTF-8: {err.reason}') from err

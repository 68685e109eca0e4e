"""Targets of bags: MCAP files, sqlite3 files, and metadata.yaml of a bag folder."""

import contextlib
import functools
import sqlite3
import struct
import tempfile
import zlib
from pathlib import Path
from random import Random

import numpy as np
from mutation import INTEGERS, YAML_TOKENS, change_bytes, change_yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from target import Target, require

from seg_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, image_cdr, message_types
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import SegRosError

_RECORD = struct.Struct('<BQ')
_CHUNK, _DATA_END, _FOOTER = 6, 15, 2
_N = 3
_STRING = b'\0\1\0\0\2\0\0\0a\0'


def _images() -> list[bytes]:
    random = np.random.default_rng(0)
    return [image_cdr(random.integers(0, 256, (4, 6, 3), np.uint8), 10**9 + k, 'camera') for k in range(_N)]


def _folder(path: Path, plugin: StoragePlugin, mode: CompressionMode | None = None) -> None:
    """Write a bag folder by rosbags."""
    writer, types = Writer(path, version=9, storage_plugin=plugin), message_types()
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        camera = writer.add_connection('/camera', IMAGE, typestore=types)
        text = writer.add_connection('/text', 'std_msgs/msg/String', typestore=types)
        for k, cdr in enumerate(_images()):
            writer.write(camera, 2 * 10**9 + k, cdr)
            writer.write(text, 2 * 10**9 + k, _STRING)


@functools.cache
def _bags() -> dict[str, bytes]:
    """Small bags of every kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with BagWriter(folder / 'ours.mcap') as writer:
            for k, cdr in enumerate(_images()):
                writer.write('/camera', IMAGE, cdr, 2 * 10**9 + k)
                writer.write('/text', 'std_msgs/msg/String', _STRING, 2 * 10**9 + k)
        _folder(folder / 'mcap', StoragePlugin.MCAP)
        _folder(folder / 'storage', StoragePlugin.MCAP, CompressionMode.STORAGE)
        _folder(folder / 'sqlite', StoragePlugin.SQLITE3)
        _folder(folder / 'message', StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
        files = sorted(path for path in folder.rglob('*') if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _of(suffix: str) -> list[bytes]:
    return [content for name, content in _bags().items() if name.endswith(suffix)]


def _read(path: Path) -> None:
    """Read everything in a bag; what was read and what was lost agree with what it told."""
    with BagReader(path) as bag:
        n_told, n_read = sum(topic.n_messages for topic in bag.topics), 0
        for message in bag.messages():
            n_read += 1
            if message.type in (IMAGE, COMPRESSED_IMAGE):
                bag.image(message)
            with contextlib.suppress(SegRosError):
                _ = message.stamp_ns
        require(
            n_read >= n_told or bool(bag.losses),
            f'{n_read} of {n_told} messages are read, and no loss is told',
        )
        require(str(bag.losses).isprintable(), 'losses are told in one line')
        with contextlib.suppress(SegRosError):
            bag.image_topic()


def _read_file(data: bytes, folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(data)
    _read(path)


def _read_metadata(data: bytes, folder: Path) -> None:
    """Read a bag folder with other metadata; its data file is that of each seed in turn."""
    bag = folder / 'bag'
    bag.mkdir(exist_ok=True)
    for name, content in _bags().items():
        if not name.endswith('.yaml') and '/' in name and not (bag / Path(name).name).exists():
            (bag / Path(name).name).write_bytes(content)
    (bag / 'metadata.yaml').write_bytes(data)
    _read(bag)


def _change_records(data: bytes, random: Random) -> bytes:
    """Change, remove, copy or move a record of an MCAP file; checksums fit, offsets may not."""
    records = _records(data)
    if not records:
        return change_bytes(data, random)
    place, other = random.randrange(len(records)), random.randrange(len(records))
    kind, body = records[place]
    way = random.randrange(5)
    if way < 2:
        records[place] = kind, _changed_chunk(body, random) if kind == _CHUNK else change_bytes(body, random)
    elif way == 2:
        del records[place]
    elif way == 3:
        records.insert(other, records[place])
    else:
        records[place] = random.choice((0, *range(1, 17), 255)), body
    return _with_checksums(data[:8], records) + data[-8:]


def _records(data: bytes) -> list[tuple[int, bytes]]:
    records, place = [], 8
    while place + _RECORD.size <= len(data) - 8:
        kind, length = _RECORD.unpack_from(data, place)
        place += _RECORD.size
        records.append((kind, data[place : place + length]))
        place += min(length, len(data))
    return records


def _changed_chunk(body: bytes, random: Random) -> bytes:
    """A chunk with other content, whose checksum fits if it is not compressed."""
    if len(body) < 40:
        return change_bytes(body, random)
    (n_name,) = struct.unpack_from('<I', body, 28)
    start = 32 + min(n_name, 8) + 8
    content = change_bytes(body[start:], random)
    size = random.choice((len(content), len(content), *INTEGERS)) & (2**64 - 1)
    head = body[:16] + struct.pack('<QI', size, zlib.crc32(content))
    return head + body[28 : start - 8] + struct.pack('<Q', len(content)) + content


def _with_checksums(magic: bytes, records: list[tuple[int, bytes]]) -> bytes:
    result, summary = bytearray(magic), 0
    for kind, body in records:
        if kind == _DATA_END and len(body) == 4:
            body = struct.pack('<I', zlib.crc32(result))
        if kind == _FOOTER and len(body) == 20 and summary:
            head = _RECORD.pack(_FOOTER, 20) + struct.pack('<QQ', summary, 0)
            body = head[_RECORD.size :] + struct.pack('<I', zlib.crc32(bytes(result[summary:]) + head))
        result += _RECORD.pack(kind, len(body)) + body
        if kind == _DATA_END:
            summary = len(result)
    return bytes(result)


_COLUMNS = (
    'topics.id', 'topics.name', 'topics.type', 'topics.serialization_format', 'messages.id',
    'messages.topic_id',
    'messages.timestamp', 'messages.data', 'schema.schema_version', 'metadata.metadata',
)  # fmt: skip
_VALUES = (
    'NULL', "'x'", "x'00ff'", '1.5', '-1', '9223372036854775807', "x''", "CAST(x'ff' AS TEXT)",
    'zeroblob(9999)',
    "'/a' || char(10) || 'b'", '9e999',
)  # fmt: skip


def _change_rows(data: bytes, random: Random) -> bytes:
    """Change a table of an sqlite3 file by SQL."""
    table, column = random.choice(_COLUMNS).split('.')
    value, row = random.choice(_VALUES), random.randrange(1, 2 * _N + 1)
    statements = (
        f'UPDATE {table} SET {column}={value} WHERE rowid={row}',
        f'UPDATE {table} SET {column}={value}',
        f'DELETE FROM {table} WHERE rowid={row}',
        f'DROP TABLE {table}',
        f'ALTER TABLE {table} RENAME COLUMN {column} TO z',
        f'CREATE TABLE z AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE z RENAME TO {table};'
        f'UPDATE {table} SET {column}={value} WHERE rowid={row}',
        f'ALTER TABLE {table} RENAME TO z; CREATE VIEW {table} AS WITH RECURSIVE q(n) AS (SELECT 1 UNION ALL '
        'SELECT n+1 FROM q) SELECT n id, 1 topic_id, n timestamp, zeroblob(100000) data FROM q',
        'PRAGMA page_size=512; VACUUM',
    )
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
        path = Path(folder) / 'bag.db3'
        path.write_bytes(data)
        base = sqlite3.connect(path)
        try:
            base.executescript(random.choice(statements))
            base.commit()
        except sqlite3.Error:
            return change_bytes(data, random)
        finally:
            base.close()
        return path.read_bytes()


def _memory_folder() -> str | None:
    return '/dev/shm' if Path('/dev/shm').is_dir() else None


_MCAP_TOKENS = (
    b'zstd',
    b'lz4',
    b'ros2',
    b'ros1',
    b'protobuf',
    b'cdr',
    b'ros2msg',
    b'\x28\xb5\x2f\xfd',
    b'\xff' * 8,
)

TARGETS = {
    'bag_mcap': Target(
        lambda: _of('.mcap'),
        functools.partial(_read_file, name='bag.mcap'),
        [_change_records, _change_records],
        _MCAP_TOKENS,
    ),
    'bag_sqlite': Target(lambda: _of('.db3'), functools.partial(_read_file, name='bag.db3'), [_change_rows]),
    'bag_metadata': Target(lambda: _of('.yaml'), _read_metadata, [change_yaml], YAML_TOKENS, largest=1 << 13),
}

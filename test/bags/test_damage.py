"""Cut, altered and hostile bags: everything readable is read, the rest is told, nothing foreign gets out."""

import contextlib
import logging
import random
import shutil
import sqlite3
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from seg_ros.bags.losses import LossRecord
from seg_ros.bags.messages import IMAGE, image_cdr, message_types
from seg_ros.bags.metadata import read_metadata
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import BagError, SegRosError

N = 12
SECOND = 1_000_000_000
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 12, 17, 3), np.uint8)
CDR = [image_cdr(image, SECOND + index, 'front') for index, image in enumerate(IMAGES)]
Read = tuple[list[int], LossRecord]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, 'seg_ros.bags')


def write_ours(path: Path) -> Path:
    with BagWriter(path) as bag:
        for index, cdr in enumerate(CDR):
            bag.write('/camera', IMAGE, cdr, SECOND + index)
    return path


def write_with_mcap(path: Path, **options: object) -> Path:
    """A bag as the library of MCAP writes it, with about three messages in a chunk."""
    writer_module = pytest.importorskip('mcap.writer')
    with path.open('wb') as file:
        writer = writer_module.Writer(file, **{'chunk_size': 2000, **options})
        writer.start('ros2', 'test')
        schema = writer.register_schema(IMAGE, 'ros2msg', b'')
        channel = writer.register_channel('/camera', 'cdr', schema)
        for index, cdr in enumerate(CDR):
            writer.add_message(channel, SECOND + index, cdr, SECOND + index, index)
        writer.finish()
    return path


def compressed_by(name: str) -> dict[str, object]:
    return {'compression': pytest.importorskip('mcap.writer').CompressionType[name]}


def write_folder(path: Path, plugin: StoragePlugin, *compression: object) -> Path:
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(*compression)
    with writer:
        connection = writer.add_connection('/camera', IMAGE, typestore=message_types())
        for index, cdr in enumerate(CDR):
            writer.write(connection, SECOND + index, cdr)
    return path


def read(path: Path) -> Read:
    """Positions of the messages that are read, which must be as they were written, and the losses."""
    with BagReader(path) as bag:
        messages = list(bag.messages('/camera'))
        found = [message.received_ns - SECOND for message in messages]
        assert [message.cdr for message in messages] == [CDR[index] for index in found]
        return found, bag.losses


def records(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of each record, by the specification of MCAP."""
    position = 8
    while position < len(content) - 8:
        opcode, length = struct.unpack_from('<BQ', content, position)
        yield opcode, position, position + 9 + length
        position += 9 + length


def without_checksums(content: bytes) -> bytes:
    """The bag as the writer of rosbags leaves it: all checksums 0."""
    changed = bytearray(content)
    for opcode, start, end in records(content):
        if opcode == 6:
            changed[start + 33 : start + 37] = bytes(4)
        elif opcode in (2, 15):
            changed[end - 4 : end] = bytes(4)
    return bytes(changed)


# A cut


@pytest.mark.parametrize('kind', ['ours', 'ZSTD', 'LZ4', 'NONE', 'without chunks'])
def test_everything_before_a_cut_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / 'bag.mcap'
    if kind == 'ours':
        write_ours(path)
    elif kind == 'without chunks':
        write_with_mcap(path, use_chunking=False)
    else:
        write_with_mcap(path, **compressed_by(kind))
    content = path.read_bytes()
    ends = {content.find(cdr) + len(cdr): index for index, cdr in enumerate(CDR) if cdr in content}
    chunk_ends = [(end, start) for opcode, start, end in records(content) if opcode == 6]
    for kept in sorted({*range(60, len(content), 97), *(e for e, _ in chunk_ends), *ends}):
        path.write_bytes(content[:kept])
        n_whole = sum(end <= kept for end in ends)
        if not ends:
            n_whole = sum(3 for end, _ in chunk_ends if end <= kept)
        if not n_whole:
            with contextlib.suppress(BagError):  # some messages of a compressed chunk may be left
                read(path)
            continue
        found, losses = read(path)
        assert found == list(range(len(found)))
        assert len(found) >= min(n_whole, N)
        assert losses
        assert 'cut' in str(losses) or 'end' in str(losses)


@pytest.mark.parametrize('tail', [bytes(500), b'\x05', b'\xff' * 40])
def test_a_tail_that_is_not_a_record_is_told(tmp_path: Path, tail: bytes) -> None:
    path = write_ours(tmp_path / 'bag.mcap')
    content = path.read_bytes()
    (end,) = [end for opcode, _, end in records(content) if opcode == 6]
    path.write_bytes(content[:end] + tail)  # as after a power failure
    found, losses = read(path)
    assert found == list(range(N))
    assert losses


def test_a_cut_sqlite_file_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = write_folder(tmp_path / 'bag', StoragePlugin.SQLITE3) / 'bag.db3'
    with sqlite3.connect(path) as database:
        database.executescript('PRAGMA page_size = 512; VACUUM')
    database.close()
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 4])
    found, losses = read(path.parent)
    assert 0 < len(found) < N
    assert losses.n_messages >= N - len(found)


def test_a_split_bag_is_read_without_a_file_that_is_missing_or_cut(tmp_path: Path) -> None:
    folder = tmp_path / 'bag'
    folder.mkdir()
    names = [f'bag_{part}.mcap' for part in range(3)]
    for part, name in enumerate(names):
        with BagWriter(folder / name) as bag:
            for index in range(4 * part, 4 * part + 4):
                bag.write('/camera', IMAGE, CDR[index], SECOND + index)
    write_metadata(folder, names, N)
    assert read(folder)[0] == list(range(N))
    assert not read(folder)[1]
    content = (folder / names[1]).read_bytes()
    (folder / names[1]).write_bytes(content[: content.find(CDR[6]) + 10])
    found, losses = read(folder)
    assert found == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]
    assert 'tells 12 messages on /camera; the files have 10' in str(losses.losses[-1])
    (folder / names[1]).unlink()
    found, losses = read(folder)
    assert found == [0, 1, 2, 3, 8, 9, 10, 11]
    assert 'bag_1.mcap does not exist' in str(losses)
    for name in (names[0], names[2]):
        (folder / name).unlink()
    with pytest.raises(BagError, match=r'bag_0\.mcap does not exist'):
        read(folder)


def write_metadata(folder: Path, files: list[str], n_messages: object) -> None:
    lines = [f'    - {name}' for name in files]
    (folder / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n  relative_file_paths:\n'
        + '\n'.join(lines)
        + '\n  topics_with_message_count:\n'
        '    - topic_metadata: {name: /camera, type: sensor_msgs/msg/Image}\n'
        f'      message_count: {n_messages}\n'
    )


# Altered bytes


def test_the_checksums_are_those_of_the_specification(tmp_path: Path) -> None:
    content = write_ours(tmp_path / 'bag.mcap').read_bytes()
    reader = pytest.importorskip('mcap.stream_reader')
    with (tmp_path / 'bag.mcap').open('rb') as file:
        found = list(reader.StreamReader(file, validate_crcs=True).records)
    assert sum(type(record).__name__ == 'Message' for record in found) == N
    for opcode, start, end in records(content):
        body = content[start + 9 : end]
        if opcode == 6:
            (size, crc) = struct.unpack_from('<QI', body, 16)
            assert crc == zlib.crc32(body[-size:]) != 0
        elif opcode == 15:
            assert int.from_bytes(body, 'little') == zlib.crc32(content[:start]) != 0
        elif opcode == 2:
            summary = int.from_bytes(body[:8], 'little')
            assert int.from_bytes(body[-4:], 'little') == zlib.crc32(content[summary : end - 4]) != 0


@pytest.mark.parametrize('kind', ['ours', 'ZSTD', 'LZ4', 'NONE'])
def test_a_flipped_bit_changes_no_message_and_no_loss_is_silent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / 'bag.mcap'
    content = (
        write_ours(path) if kind == 'ours' else write_with_mcap(path, **compressed_by(kind))
    ).read_bytes()
    rng = random.Random(1)
    for _ in range(150):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            found, losses = read(path)  # compares the bytes
        except BagError:
            continue
        assert found == list(range(N)) or losses


def test_other_chunks_are_read_beside_a_damaged_one(tmp_path: Path) -> None:
    path = write_with_mcap(tmp_path / 'bag.mcap', **compressed_by('NONE'))
    content = bytearray(path.read_bytes())
    content[content.find(CDR[5]) + 100] ^= 1
    path.write_bytes(content)
    found, losses = read(path)
    assert found == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert losses.n_messages == 3
    assert losses.n_losses == 1
    assert 'checksum' in losses.losses[0].problem
    with BagReader(path) as bag:
        for _ in range(3):
            list(bag.messages())
        assert bag.losses.n_losses == 1  # found again, told once


def test_fewer_messages_than_told_are_a_loss_even_without_checksums(tmp_path: Path) -> None:
    path = write_ours(tmp_path / 'bag.mcap')
    content = bytearray(without_checksums(path.read_bytes()))
    position = content.find(CDR[4]) - 31
    assert content[position] == 5
    content[position] = 7  # no longer a message
    path.write_bytes(content)
    found, losses = read(path)
    assert found == [0, 1, 2, 3, *range(5, N)]
    assert '11 messages on /camera; the index tells 12' in str(losses)


def test_data_without_chunks_are_checked_by_the_checksum_of_all_data(tmp_path: Path) -> None:
    path = write_with_mcap(tmp_path / 'bag.mcap', use_chunking=False, enable_data_crcs=True)
    assert read(path)[0] == list(range(N))
    assert not read(path)[1]
    content = bytearray(path.read_bytes())
    content[content.find(CDR[5]) + 100] ^= 1
    path.write_bytes(content)
    with BagReader(path) as bag:
        assert len(list(bag.messages())) == N
        assert 'checksum' in str(bag.losses)


def test_times_that_overlap_and_go_back_are_put_in_order(tmp_path: Path) -> None:
    order = np.random.default_rng(2).permutation(40)
    writer_module = pytest.importorskip('mcap.writer')
    for name, options in (('chunks', {'chunk_size': 2000}), ('none', {'use_chunking': False})):
        path = tmp_path / f'{name}.mcap'
        with path.open('wb') as file:
            writer = writer_module.Writer(file, **options)
            writer.start('ros2', 'test')
            schema = writer.register_schema(IMAGE, 'ros2msg', b'')
            channel = writer.register_channel('/camera', 'cdr', schema)
            for time in map(int, order):
                writer.add_message(channel, time, CDR[time % N], time, 0)
            writer.finish()
        with BagReader(path) as bag:
            assert [message.received_ns for message in bag.messages()] == list(range(40))


@pytest.mark.parametrize(
    'options',
    [
        {'index_types': 'CHUNK'},
        {'index_types': 'MESSAGE'},
        {'index_types': 'NONE'},
        {'index_types': 'CHUNK', 'repeat_channels': False},
        {'repeat_schemas': False},
        {'repeat_channels': False},
        {'use_statistics': False},
        {'use_chunking': False, 'repeat_schemas': False},
    ],
    ids=str,
)
def test_a_summary_that_does_not_tell_all_loses_nothing(tmp_path: Path, options: dict[str, object]) -> None:
    options = dict(options)
    if 'index_types' in options:
        options['index_types'] = pytest.importorskip('mcap.writer').IndexType[str(options['index_types'])]
    path = write_with_mcap(tmp_path / 'bag.mcap', **options)
    found, losses = read(path)
    assert found == list(range(N))
    assert not losses


def test_statistics_without_counts_of_channels_lose_nothing(tmp_path: Path) -> None:
    path = write_with_mcap(tmp_path / 'bag.mcap')
    content = without_checksums(path.read_bytes())
    ((start, end),) = [(start, end) for opcode, start, end in records(content) if opcode == 11]
    assert content[end - 8 : end] == N.to_bytes(8, 'little')  # of the only channel
    statistics = struct.pack('<BQ', 11, 46) + content[start + 9 : start + 51] + bytes(4)
    path.write_bytes(content[:start] + statistics + content[end:])
    found, losses = read(path)
    assert found == list(range(N))
    assert not losses


def test_a_damaged_chunk_without_message_indexes_is_told(tmp_path: Path) -> None:
    kinds = pytest.importorskip('mcap.writer').IndexType
    path = write_with_mcap(tmp_path / 'bag.mcap', index_types=kinds.CHUNK, **compressed_by('NONE'))
    content = bytearray(path.read_bytes())
    content[content.find(CDR[5]) + 100] ^= 1
    path.write_bytes(content)
    found, losses = read(path)
    assert found == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert losses


WRONG_OPCODES = [1, 2, 7, 8, 10, 11, 13, 14, 15, 0x15, 0x45]


@pytest.mark.parametrize('opcode', WRONG_OPCODES)
@pytest.mark.parametrize('has_chunks', [False, True])
@pytest.mark.parametrize('has_statistics', [False, True])
def test_a_message_that_looks_like_another_record_is_told(
    tmp_path: Path, opcode: int, has_chunks: bool, has_statistics: bool
) -> None:
    path = write_with_mcap(
        tmp_path / 'bag.mcap',
        use_chunking=has_chunks,
        use_statistics=has_statistics,
        enable_crcs=False,
        **compressed_by('NONE'),
    )
    content = bytearray(path.read_bytes())
    position = content.find(CDR[5]) - 31
    assert content[position] == 5
    content[position] = opcode
    path.write_bytes(content)
    found, losses = read(path)
    assert found == [0, 1, 2, 3, 4, *range(6, N)]
    assert [loss.n_messages for loss in losses.losses] == [1 if has_statistics else None]


@pytest.mark.parametrize('has_statistics', [False, True])
def test_stray_bytes_between_messages_are_told(tmp_path: Path, has_statistics: bool) -> None:
    path = write_with_mcap(tmp_path / 'bag.mcap', use_chunking=False, use_statistics=has_statistics)
    content = path.read_bytes()
    for opcode in (1, 2, 5, 15):
        position = content.find(CDR[3]) - 31
        for stray in (bytes([opcode]), bytes([opcode, *struct.pack('<Q', 0)])):
            path.write_bytes(content[:position] + stray + content[position:])
            found, losses = read(path)
            assert found[:3] == [0, 1, 2]
            n_lost = N - len(found)
            assert not n_lost or any(loss.n_messages in (None, n_lost) for loss in losses.losses)


def test_a_file_behind_another_one_is_told(tmp_path: Path) -> None:
    path = write_ours(tmp_path / 'bag.mcap')
    path.write_bytes(2 * path.read_bytes())
    found, losses = read(path)
    assert found == list(range(N))
    assert 'another MCAP file' in str(losses)
    assert None in [loss.n_messages for loss in losses.losses]


# Odd SQLite files and metadata


def write_small_rows(path: Path, n_rows: int) -> Path:
    """A SQLite file with small pages, and one or two messages on each."""
    path = write_folder(path, StoragePlugin.SQLITE3) / f'{path.name}.db3'
    with sqlite3.connect(path) as database:
        database.execute('DELETE FROM messages')
        for index in range(n_rows):
            row = (index + 1, SECOND + index, bytes([index % 256]) * 250)
            database.execute('INSERT INTO messages (id, topic_id, timestamp, data) VALUES (?, 1, ?, ?)', row)
        database.commit()
        database.executescript('PRAGMA page_size = 512; VACUUM')
    database.close()
    return path


def rows_of_sqlite(path: Path, n_rows: int) -> list[int]:
    """Messages that SQLite itself reads one by one."""
    found = []
    with contextlib.closing(sqlite3.connect(path)) as database:
        for index in range(n_rows):
            with contextlib.suppress(sqlite3.Error):
                (data,) = database.execute('SELECT data FROM messages WHERE id = ?', (index + 1,)).fetchone()
                assert data == bytes([index % 256]) * 250
                found.append(index)
    return found


@pytest.mark.parametrize('n_tries', [10_000, 2])
def test_a_damaged_page_costs_only_its_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_tries: int
) -> None:
    monkeypatch.setattr('seg_ros.bags.sqlite_rows._N_TRIES', n_tries)
    path, n_rows = write_small_rows(tmp_path / 'bag', 300), 300
    content = path.read_bytes()
    copy, kinds = tmp_path / 'copy.db3', Counter[int]()
    for start in range(512, len(content), 512):
        if content[start] not in (5, 13):  # pages that lead to messages, and pages with messages
            continue
        copy.write_bytes(content[:start] + bytes(512) + content[start + 512 :])
        try:
            expected = rows_of_sqlite(copy, n_rows)
        except sqlite3.Error:
            continue
        if len(expected) in (0, n_rows):
            continue
        kinds[content[start]] += 1
        with BagReader(copy) as bag:
            assert [message.received_ns - SECOND for message in bag.messages('/camera')] == expected
            assert bag.losses.n_messages == n_rows - len(expected)  # its index of times tells it
    assert kinds[13] > 100
    assert kinds[5] > 1


@pytest.mark.parametrize('n_at_once', [2, 10_000])
def test_numbers_that_go_back_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_at_once: int) -> None:
    monkeypatch.setattr('seg_ros.bags.sqlite_rows._N_AT_ONCE', n_at_once)
    path = write_small_rows(tmp_path / 'bag', 100)
    content = bytearray(path.read_bytes())
    position = content.find(bytes([49]) * 250) - 20
    position = content.index(50, position)  # number of the message
    content[position] = 1
    path.write_bytes(content)
    with BagReader(path) as bag:
        found = [message.received_ns - SECOND for message in bag.messages()]
        assert bag.losses
    assert len(found) == len(set(found))
    assert {*range(45), *range(55, 100)} <= set(found)


@pytest.mark.parametrize(
    ('change', 'n_read', 'problem'),
    [
        ('UPDATE messages SET data = NULL WHERE id = 3', N - 1, 'message 3'),
        ("UPDATE messages SET data = 'text' WHERE id = 3", N - 1, 'message 3'),
        ('UPDATE messages SET timestamp = NULL WHERE id = 3', N - 1, 'message 3'),
        ("UPDATE messages SET timestamp = 'x' WHERE id = 3", N - 1, 'message 3'),
        ('UPDATE messages SET timestamp = 1.5 WHERE id = 3', N - 1, 'message 3'),
        ('UPDATE messages SET topic_id = 77 WHERE id < 4', N - 3, 'topic 77'),
        ("INSERT INTO topics VALUES (9, NULL, 'a/msg/B', 'cdr', '', '')", N, 'NoneType'),
        ("INSERT INTO topics VALUES (9, CAST(x'ff' AS TEXT), 'a/msg/B', 'cdr', '', '')", N, 'not UTF-8'),
        ("INSERT INTO topics VALUES (9, 'x', x'00', 'cdr', '', '')", N, ''),
        ('DELETE FROM messages WHERE id = 5', N - 1, 'metadata.yaml tells 12'),
        ('DROP INDEX timestamp_idx', N, ''),
        ('DROP TABLE schema; DROP TABLE message_definitions; DROP TABLE metadata', N, ''),
    ],
)
def test_odd_rows_cost_only_themselves(tmp_path: Path, change: str, n_read: int, problem: str) -> None:
    path = write_folder(tmp_path / 'bag', StoragePlugin.SQLITE3)
    with sqlite3.connect(path / 'bag.db3') as database:
        tables = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        for name, sql in tables:  # tables that allow what the change needs
            loose = sql.replace('NOT NULL', '').replace(f'TABLE {name}', f'TABLE new_{name}')
            database.executescript(
                f'{loose}; INSERT INTO new_{name} SELECT * FROM {name}; '
                f'DROP TABLE {name}; ALTER TABLE new_{name} RENAME TO {name}'
            )
        database.executescript('CREATE INDEX timestamp_idx ON messages (timestamp ASC)')
        database.executescript(change)
    database.close()
    found, losses = read(path)
    assert len(found) == n_read
    assert problem in str(losses)
    assert bool(losses) == bool(problem)


@pytest.mark.parametrize(
    'change',
    [
        'DROP TABLE messages',
        'DROP TABLE topics',
        'ALTER TABLE messages RENAME TO m; CREATE VIEW messages AS WITH RECURSIVE q(id) AS '
        '(SELECT 1 UNION ALL SELECT id + 1 FROM q) '
        'SELECT id, 1 topic_id, id timestamp, zeroblob(9) data FROM q',
        'DROP TABLE messages; CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, '
        'timestamp INTEGER, data BLOB AS (zeroblob(1000000000)))',
    ],
)
def test_tables_of_another_kind_are_refused(tmp_path: Path, change: str) -> None:
    path = write_folder(tmp_path / 'bag', StoragePlugin.SQLITE3) / 'bag.db3'
    with sqlite3.connect(path) as database:
        database.executescript(change)
    database.close()
    with pytest.raises(BagError, match='table'):
        BagReader(path)


def test_an_index_that_lacks_messages_hides_none(tmp_path: Path) -> None:
    path = write_folder(tmp_path / 'bag', StoragePlugin.SQLITE3) / 'bag.db3'
    with sqlite3.connect(path) as database:
        database.execute('DROP INDEX timestamp_idx')
        database.execute('CREATE INDEX timestamp_idx ON messages (timestamp) WHERE id > 3')
    database.close()
    assert read(path)[0] == list(range(N))


@pytest.mark.parametrize(
    'count',
    [
        '2E',
        'null',
        'true',
        '-1',
        '1.5',
        '[]',
        '!!timestamp 2001-12-14',
        '2001-99-99',
        '9' * 5000,
        '[' * 5000,
        '&a [*a, *a]',
        '!!python/object/apply:os.system [x]',
        '"\\ud800"',
    ],
)
def test_metadata_of_odd_types_are_told_and_not_needed(tmp_path: Path, count: str) -> None:
    folder = tmp_path / 'bag'
    folder.mkdir()
    write_ours(folder / 'bag.mcap')
    write_metadata(folder, ['bag.mcap'], count)
    with pytest.raises(BagError, match=r'metadata\.yaml'):
        read_metadata(folder / 'metadata.yaml')
    found, losses = read(folder)
    assert found == list(range(N))
    assert 'metadata.yaml' in str(losses)


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]']
    lines += [f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 12)]
    (tmp_path / 'metadata.yaml').write_text('\n'.join(lines))
    with pytest.raises(BagError, match='repeats'):
        read_metadata(tmp_path / 'metadata.yaml')


def test_metadata_name_no_files_elsewhere(tmp_path: Path) -> None:
    write_ours(tmp_path / 'elsewhere.mcap')
    (tmp_path / 'bag').mkdir()
    write_metadata(tmp_path / 'bag', ['../elsewhere.mcap'], N)
    with pytest.raises(BagError, match=r'bag.elsewhere\.mcap does not exist'):
        BagReader(tmp_path / 'bag')


# Sizes


def test_a_declared_size_is_bounded_before_it_is_taken(tmp_path: Path) -> None:
    path = write_with_mcap(tmp_path / 'bag.mcap', **compressed_by('ZSTD'))
    content = bytearray(path.read_bytes())
    for opcode, start, _ in records(bytes(content)):
        if opcode == 6:
            content[start + 25 : start + 33] = (2**40).to_bytes(8, 'little')
    path.write_bytes(content)
    with pytest.raises(BagError, match=str(2**40)):
        read(path)


@pytest.mark.parametrize('name', ['zstd', 'lz4'])
def test_a_chunk_that_grows_beyond_its_size_is_left_out(tmp_path: Path, name: str) -> None:
    path = write_with_mcap(tmp_path / 'bag.mcap', **compressed_by(name.upper()))
    content = path.read_bytes()
    _, start, end = next(record for record in records(content) if record[0] == 6)
    bomb = zstd_compress(bytes(10**8)) if name == 'zstd' else lz4.frame.compress(bytes(10**7))
    size = 40 + len(name) + len(bomb)
    head = content[start + 9 : start + 37] + struct.pack('<I', len(name)) + name.encode()
    chunk = struct.pack('<BQ', 6, size) + head + struct.pack('<Q', len(bomb)) + bomb
    path.write_bytes(content[:start] + chunk + content[end:])
    found, losses = read(path)
    assert found == list(range(3, N))
    assert losses


def zstd_compress(data: bytes) -> bytes:
    from seg_ros.bags.decompress import zstd

    return bytes(zstd.compress(data))


def test_a_message_bomb_is_skipped(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag.mcap') as bag:
        bag.write('/camera', IMAGE, zstd_compress(bytes(2 * 10**8)), SECOND)
        bag.write('/camera', IMAGE, zstd_compress(CDR[1]), SECOND + 1)
    found, losses = read(tmp_path / 'bag.mcap')
    assert found == [1]
    assert losses.n_messages == 1


# Other encodings


@pytest.mark.parametrize(
    ('encoding', 'schema'),
    [('protobuf', 'protobuf'), ('json', 'jsonschema'), ('json', ''), ('ros1', 'ros1msg'), ('cdr', '')],
)
def test_channels_of_other_encodings_stand_beside(tmp_path: Path, encoding: str, schema: str) -> None:
    writer_module = pytest.importorskip('mcap.writer')
    for n_ours in (3, 0):
        path = tmp_path / f'{n_ours}.mcap'
        with path.open('wb') as file:
            writer = writer_module.Writer(file)
            writer.start('', 'test')
            other = writer.register_schema('x.Y', schema, b'\xff\0') if schema else 0
            other = writer.register_channel('/other', encoding, other)
            ours = writer.register_channel('/camera', 'cdr', writer.register_schema(IMAGE, 'ros2msg', b''))
            for index in range(3):
                writer.add_message(other, SECOND + index, b'{}', SECOND + index, 0)
            for index in range(n_ours):
                writer.add_message(ours, SECOND + index, CDR[index], SECOND + index, 0)
            writer.finish()
        if n_ours:
            assert read(path)[0] == [0, 1, 2]
            with BagReader(path) as bag:
                assert bag.image_topic().name == '/camera'
                assert bag.other_encodings['/other'].startswith(encoding)
                assert bool(bag.losses) == (encoding == 'cdr')
        else:
            with (
                pytest.raises(BagError, match='ROS 1' if encoding == 'ros1' else f'/other .{encoding}'),
                BagReader(path) as bag,
            ):
                bag.image_topic()


def test_bags_of_ros_1_are_named(tmp_path: Path) -> None:
    for name in ('drive.bag', 'drive.mcap', 'drive.db3', 'drive'):
        (tmp_path / name).write_bytes(b'#ROSBAG V2.0\n' + bytes(100))
        with pytest.raises(BagError, match='rosbags-convert'):
            BagReader(tmp_path / name)


def test_compressed_images_are_found_by_the_name_of_the_raw_ones(tmp_path: Path) -> None:
    kind = 'sensor_msgs/msg/CompressedImage'
    with BagWriter(tmp_path / 'bag.mcap') as bag:
        bag.write('/camera/image_raw/compressed', kind, CDR[0], 1)
        bag.write_image('/other', IMAGES[0], 2)
    with BagReader(tmp_path / 'bag.mcap') as bag:
        assert bag.image_topic('/camera/image_raw').name == '/camera/image_raw/compressed'


# Everything at once


def byte_changes() -> list[Callable[[bytes, random.Random], bytes]]:
    def flip(content: bytes, rng: random.Random) -> bytes:
        changed = bytearray(content)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    def overwrite(content: bytes, rng: random.Random) -> bytes:
        changed, size = bytearray(content), rng.choice([1, 2, 4, 8])
        start = rng.randrange(len(changed) - size)
        changed[start : start + size] = rng.choice([bytes(size), b'\xff' * size, rng.randbytes(size)])
        return bytes(changed)

    def cut(content: bytes, rng: random.Random) -> bytes:
        return content[: rng.randrange(len(content))]

    def splice(content: bytes, rng: random.Random) -> bytes:
        start, other = rng.randrange(len(content)), rng.randrange(len(content))
        return content[:start] + content[other : other + rng.randrange(200)] + content[start:]

    return [flip, overwrite, cut, splice]


@pytest.mark.parametrize('kind', ['ours', 'lz4', 'sqlite', 'sqlite messages', 'file'])
def test_nothing_foreign_gets_out(tmp_path: Path, kind: str) -> None:
    original = tmp_path / 'original'
    zstd = CompressionFormat.ZSTD
    if kind == 'ours':
        original.mkdir()
        write_ours(original / 'bag.mcap')
    elif kind == 'lz4':
        original.mkdir()
        write_with_mcap(original / 'bag.mcap', **compressed_by('LZ4'))
    elif kind == 'file':
        write_folder(original, StoragePlugin.MCAP, CompressionMode.FILE, zstd)
    else:
        write_folder(
            original, StoragePlugin.SQLITE3, *([CompressionMode.MESSAGE, zstd] if ' ' in kind else [])
        )
    results: Counter[str] = Counter()
    for seed in range(120):
        rng = random.Random(seed)
        shutil.rmtree(tmp_path / 'bag', ignore_errors=True)
        shutil.copytree(original, tmp_path / 'bag')
        path = rng.choice(sorted((tmp_path / 'bag').iterdir()))
        path.write_bytes(rng.choice(byte_changes())(path.read_bytes(), rng))
        try:
            with BagReader(tmp_path / 'bag') as bag:
                found = [bag.image(message) is not None for message in bag.messages()]
                assert len(found) == N or bag.losses
            results['read'] += 1
        except SegRosError:
            results['refused'] += 1
    assert results['read'] > 20

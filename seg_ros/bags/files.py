"""The files of a bag: finding them, decompressing them, and comparing them with metadata.yaml."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from seg_ros.bags.decompress import decompress_file
from seg_ros.bags.losses import LossRecord
from seg_ros.bags.mcap_reader import McapFile
from seg_ros.bags.metadata import BagMetadata, read_metadata
from seg_ros.bags.sqlite_reader import SqliteFile
from seg_ros.bags.storage import Storage
from seg_ros.errors import BagError

_SUFFIXES = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')
_UNFINISHED = '.mcap.part'  # of a recording of ours that was killed
_EXPECTED = 'expected a bag folder, or a file that ends in .mcap or .db3'
_ROS1 = (
    '{path} is a bag of ROS 1; expected one of ROS 2. "rosbags-convert --src {path} --dst FOLDER" makes one'
)


def open_bag(path: Path, losses: LossRecord, stack: ExitStack) -> list[Storage]:
    """Open all readable files of a bag.

    Args:
        path: Path of a bag folder or of a file.
        losses: Takes missing and unreadable files, and messages that only metadata.yaml has.
        stack: Takes what must be closed.

    Returns:
        The files, one or more.

    Raises:
        BagError: The path is not a bag, or none of its files can be read.
    """
    if not path.exists():
        raise BagError(f'bag {path} does not exist; {_EXPECTED}')
    metadata = _metadata(path, losses)
    opened: list[Storage] = []
    problems: list[str] = []
    for file in _files(path, metadata):
        try:
            opened.append(_open(file, losses, stack))
        except (BagError, OSError) as err:
            problems.append(str(err))
            if path.is_dir():
                losses.add(file, _reason(err), None)
    if not opened:
        raise BagError(f'bag {path} cannot be read: {"; ".join(problems[:3])}')
    if metadata is not None:
        _compare(path, metadata, opened, losses)
    if losses and not any(topic.n_messages for file in opened for topic in file.topics.values()):
        raise BagError(f'bag {path} has nothing readable: {losses}')
    return opened


def _metadata(path: Path, losses: LossRecord) -> BagMetadata | None:
    """Metadata of a bag folder; None if it has none, or if it is damaged, which is recorded."""
    file = path / 'metadata.yaml'
    if not path.is_dir() or not file.is_file():
        return None
    try:
        return read_metadata(file)
    except BagError as err:
        losses.add(file, f'{err}; the files of the folder are read without it', 0)
        return None


def _files(path: Path, metadata: BagMetadata | None) -> list[Path]:
    """Paths of the files of a bag."""
    if path.is_file():
        if path.name.endswith((*_SUFFIXES, _UNFINISHED)):
            return [path]
        with path.open('rb') as file:
            if path.suffix == '.bag' or file.read(13) == b'#ROSBAG V2.0\n':
                raise BagError(_ROS1.format(path=path))
        raise BagError(f'{path} is not a bag; {_EXPECTED}')
    if metadata is not None and metadata.files:
        return [path / name for name in metadata.files]
    files = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
    if not files and any(path.glob('*.bag')):
        raise BagError(_ROS1.format(path=next(path.glob('*.bag'))))
    if not files:
        raise BagError(f'folder {path} is not a bag; expected metadata.yaml, or .mcap or .db3 files in it')
    return files


def _open(path: Path, losses: LossRecord, stack: ExitStack) -> Storage:
    """Open one file.

    Raises:
        BagError: The file is not a bag file.
        OSError: The file cannot be read.
    """
    if not path.is_file():
        raise BagError(f'{path} does not exist')
    if path.suffix in ('.zstd', '.zst'):
        path = _decompressed(path, losses, stack)
    with path.open('rb') as file:
        start = file.read(16)
    if not start:
        raise BagError(f'{path} is empty')
    if start.startswith(b'#ROSBAG'):
        raise BagError(_ROS1.format(path=path))
    is_sqlite = start.startswith(b'SQLite format 3') or path.suffix == '.db3'
    return SqliteFile(path, losses) if is_sqlite else McapFile(path, losses)


def _decompressed(path: Path, losses: LossRecord, stack: ExitStack) -> Path:
    """Decompress a file into a temporary folder."""
    folder = stack.enter_context(TemporaryDirectory(prefix='seg_ros_bag_'))
    target = Path(folder) / path.stem
    if problem := decompress_file(path, target):
        losses.add(path, problem, None)
    return target


def _compare(path: Path, metadata: BagMetadata, files: list[Storage], losses: LossRecord) -> None:
    """Record a loss for each topic on which the files have fewer messages than metadata.yaml tells."""
    found: Counter[str] = Counter()
    for file in files:
        for topic in file.topics.values():
            found[topic.name] += topic.n_messages
    for name, told in metadata.counts.items():
        if found[name] < told:
            problem = f'metadata.yaml tells {told} messages on {name}; the files have {found[name]}'
            losses.add(path, problem, told - found[name])


def _reason(err: Exception) -> str:
    return (err.strerror or str(err)) if isinstance(err, OSError) else str(err)

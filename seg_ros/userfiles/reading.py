"""Bounded reading of the files of users: regular files only, and text in the encodings that editors write."""

import codecs
import errno
import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

TEXT_LIMIT = 256 * 1024
"""Maximum size of a file with settings, in bytes; the largest possible class file has less than half."""

_MARKS = (
    (codecs.BOM_UTF8, 'utf-8'),
    (codecs.BOM_UTF32_LE, 'utf-32-le'),  # begins like the mark of UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, 'utf-32-be'),
    (codecs.BOM_UTF16_LE, 'utf-16-le'),
    (codecs.BOM_UTF16_BE, 'utf-16-be'),
)
"""Byte-order marks and their encodings."""

_SHOWN = 400
_UNDECODED = 0xDC00
"""Python reads a byte of a file name that is not UTF-8 as this character plus the byte."""

_REASONS = {
    errno.ENOENT: 'does not exist',
    errno.ENOTDIR: 'does not exist',
    errno.EACCES: 'may not be read by this user',
    errno.ELOOP: 'is a symbolic link to itself',
    errno.ENAMETOOLONG: 'is too long for the name of a file',
}

_KINDS = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a named pipe'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)


def read_bytes(path: Path, error: type[Exception], limit: int) -> bytes:
    """Read a regular file that has a content.

    Args:
        path: Path of the file.
        error: Exception to raise.
        limit: Maximum size in bytes.

    Raises:
        error: The file is missing, empty, too large, or not a regular file.
    """
    try:
        _check_kind(path, path.stat(), error)
        with os.fdopen(_open_without_waiting(path), 'rb') as file:
            _check_kind(path, os.fstat(file.fileno()), error)
            content = file.read(limit + 1)
    except (OSError, ValueError) as err:
        if isinstance(err, error):
            raise
        raise error(f'{shown_path(path)} {_reason(err)}') from err
    if not content:
        raise error(f'{shown_path(path)} is empty')
    if len(content) > limit:
        raise error(f'{shown_path(path)} is larger than {limit // 1024:,} KB')
    return content


def read_text(path: Path, error: type[Exception], limit: int = TEXT_LIMIT) -> str:
    """Read a text file; see :func:`decode`.

    Args:
        path: Path of the file.
        error: Exception to raise.
        limit: Maximum size in bytes.

    Raises:
        error: As for :func:`read_bytes`, or the file is not text.
    """
    try:
        content = read_bytes(path, error, limit)
        text, encoding = decode(content)
    except UnicodeError as err:
        raise error(f'{shown_path(path)} is not text in UTF-8, UTF-16 or Latin-1') from err
    if encoding == 'cp1252':
        log.warning('%s is not UTF-8; it is read as Latin-1', shown_path(path))
    return text


def decode(content: bytes) -> tuple[str, str]:
    """Decode text: by its byte-order mark, else as UTF-8, else as Windows-1252, which extends Latin-1.

    Args:
        content: Content of a text file.

    Returns:
        Text without mark, and name of its encoding.

    Raises:
        UnicodeError: The content is not text.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            text = content[len(mark) :].decode(encoding)
            break
    else:
        text, encoding = _without_mark(content)
    if '\0' in text:
        raise UnicodeError('text has no NUL characters')
    return text, encoding


def shown_path(path: object) -> str:
    """A path for a message, in one line of valid Unicode; other bytes are written as numbers.

    The middle of a path of more than 400 characters is left out.
    """
    text = str(path)
    if len(text) > _SHOWN:
        text = f'{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}'
    return ''.join(c if c.isprintable() else _as_number(c) for c in text)


def _as_number(character: str) -> str:
    byte = ord(character) - _UNDECODED
    return f'\\x{byte:02x}' if 0x80 <= byte <= 0xFF else character.encode('unicode_escape').decode()


def is_folder(path: Path) -> bool:
    """Whether a folder lies at a path; paths that no file can have are False instead of an error."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether a regular file lies at a path; paths that no file can have are False instead of an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _without_mark(content: bytes) -> tuple[str, str]:
    if len(content) >= 2 and 0 in content[:2] and len(content) % 2 == 0:  # the first letter is ASCII
        encoding = 'utf-16-le' if content[1] == 0 else 'utf-16-be'
        return content.decode(encoding), encoding
    try:
        return content.decode('utf-8'), 'utf-8'
    except UnicodeDecodeError:
        return content.decode('cp1252'), 'cp1252'


def _open_without_waiting(path: Path) -> int:
    """Open a file; a pipe that has come into its place since the check does not block."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def kind_of(status: os.stat_result) -> str:
    """What a path leads to, in words; empty for a regular file."""
    return next((words for is_kind, words in _KINDS if is_kind(status.st_mode)), '')


def _check_kind(path: Path, status: os.stat_result, error: type[Exception]) -> None:
    if words := kind_of(status):
        raise error(f'{shown_path(path)} is {words}; expected a file')


def _reason(err: OSError | ValueError) -> str:
    """Words for an error of the operating system."""
    if isinstance(err, OSError) and err.errno is not None:
        return _REASONS.get(err.errno, f'cannot be read: {os.strerror(err.errno)}')
    return 'is not the name of a file'

import os
import socket
from pathlib import Path

import pytest

from seg_ros.errors import DatasetError
from seg_ros.userfiles.reading import decode, read_bytes, read_text, shown_path

TEXT = 'straße 1\r\nägide\r\n'


@pytest.mark.parametrize(
    'encoding',
    ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'latin-1', 'cp1252'],
)
def test_text_of_every_editor_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / 'a.txt').write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / 'a.txt', DatasetError) == TEXT


def test_latin_1_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / 'a.txt').write_bytes(b'caf\xe9')
    assert read_text(tmp_path / 'a.txt', DatasetError) == 'café'
    assert 'a.txt is not UTF-8' in caplog.text


@pytest.mark.parametrize('content', [b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', b'a\0b', b'\xff\xfe\0\xd8', b'\x81'])
def test_what_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'a.txt').write_bytes(content)
    with pytest.raises(DatasetError, match=r'a\.txt is not text'):
        read_text(tmp_path / 'a.txt', DatasetError)
    with pytest.raises(UnicodeError):
        decode(content)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'loop').symlink_to('loop')
    (tmp_path / 'empty').touch()
    (tmp_path / 'large').write_bytes(bytes(2000))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 's'))
    expected = {
        'pipe': 'named pipe',
        'loop': 'link to itself',
        'empty': 'is empty',
        'large': 'larger',
        's': 'socket',
        '.': 'a folder',
        '/dev/zero': 'a device',
        'absent': 'does not exist',
        'empty/below': 'does not exist',
        'a\0b': 'not the name',
        'x' * 300: 'too long',
    }
    for name, words in expected.items():
        with pytest.raises(DatasetError, match=words):
            read_bytes(tmp_path / name, DatasetError, 1024)


def test_paths_are_shown_in_one_line_of_valid_unicode() -> None:
    assert shown_path(os.fsdecode(b'caf\xe9\n.png')) == 'caf\\xe9\\n.png'
    assert shown_path(Path('ä b.png')) == 'ä b.png'
    assert shown_path('\ud800') == '\\ud800'
    assert len(shown_path('x' * 5000)) < 410

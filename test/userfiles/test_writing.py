import os
import socket
from pathlib import Path

import pytest

from seg_ros.errors import ModelFileError
from seg_ros.userfiles.writing import check_target, replace_file


def test_a_file_is_replaced_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'file'
    for content in (b'first', b'second'):
        replace_file(path, content, ModelFileError)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    link, target = tmp_path / 'link', tmp_path / 'target'
    target.write_bytes(b'old')
    link.symlink_to(target)
    replace_file(link, b'new', ModelFileError)
    assert link.is_symlink()
    assert target.read_bytes() == b'new'


def something(kind: str, path: Path) -> Path:
    if kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'socket':
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == 'link to a device':
        path.symlink_to(os.devnull)
    elif kind == 'link to itself':
        path.symlink_to(path)
    elif kind == 'in a file':
        path.write_bytes(b'')
        return path / 'name'
    return path


@pytest.mark.filterwarnings('ignore::ResourceWarning')
@pytest.mark.parametrize(
    'kind', ['folder', 'pipe', 'socket', 'link to a device', 'link to itself', 'in a file']
)
def test_what_is_no_file_is_never_replaced(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    path = something(kind, Path('x'))
    before = [(entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir()]
    for write in (
        lambda: check_target(path, ModelFileError),
        lambda: replace_file(path, b'', ModelFileError),
    ):
        with pytest.raises(ModelFileError, match='x'):
            write()
    assert [(entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir()] == before


@pytest.mark.parametrize('name', ['', '.', '/', '..', 'a\0b', 'n' * 300])
def test_names_of_no_file_are_refused(name: str) -> None:
    with pytest.raises(ModelFileError):
        replace_file(Path(name), b'', ModelFileError)

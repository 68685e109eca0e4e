"""Private folders: others cannot write to them, and nothing breaks where nothing can be written."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from seg_ros import _caches
from seg_ros._caches import cache_folder, library_folder, why_not_private

SOMEBODY = 12345
is_root = os.geteuid() == 0
as_root = pytest.mark.skipif(not is_root, reason='only root can give files to others')


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder for this test, and no folder chosen yet."""
    monkeypatch.setattr(_caches, '_chosen', {})
    for name in ('XDG_CACHE_HOME', 'NUMBA_CACHE_DIR'):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / 'home').mkdir(mode=0o700)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))


def is_temporary(folder: Path | None) -> bool:
    return folder is not None and folder.parent.name.startswith('seg_ros-')


def test_folders_lie_in_the_users_cache_and_are_private(tmp_path: Path) -> None:
    folder = cache_folder('numba')
    assert folder == tmp_path / 'home/.cache/seg_ros/numba'
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)] == [0o700, 0o700]


def test_xdg_cache_home_is_followed_where_it_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')
    assert cache_folder('x') == tmp_path / 'home/.cache/seg_ros/x'
    monkeypatch.setattr(_caches, '_chosen', {})
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'other'))
    assert cache_folder('x') == tmp_path / 'other/seg_ros/x'


def test_a_readable_folder_becomes_private(tmp_path: Path) -> None:
    (tmp_path / 'home/.cache/seg_ros').mkdir(parents=True, mode=0o755)
    folder = cache_folder('numba')
    assert folder
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize('writable', ['home', 'home/.cache', 'home/.cache/seg_ros'])
def test_a_folder_that_others_can_write_to_is_not_used(
    tmp_path: Path, writable: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'home/.cache/seg_ros').mkdir(parents=True)
    (tmp_path / writable).chmod(0o777)
    folder = cache_folder('numba')
    assert is_temporary(folder)
    assert f'{tmp_path / writable} is writable for other users' in caplog.text
    assert not list((tmp_path / 'home/.cache/seg_ros').iterdir())


def test_a_sticky_folder_on_the_way_is_right_but_not_as_the_last_one(tmp_path: Path) -> None:
    (tmp_path / 'shared').mkdir()
    (tmp_path / 'shared').chmod(0o1777)
    (tmp_path / 'shared/mine').mkdir(mode=0o700)
    assert why_not_private(tmp_path / 'shared/mine') is None
    assert 'writable' in str(why_not_private(tmp_path / 'shared'))


def test_links_are_followed_and_their_folders_checked(tmp_path: Path) -> None:
    (tmp_path / 'open').mkdir()
    (tmp_path / 'open').chmod(0o777)
    (tmp_path / 'private').mkdir(mode=0o700)
    (tmp_path / 'open/link').symlink_to('../private')
    (tmp_path / 'first').symlink_to(tmp_path / 'open/link')
    assert f'{tmp_path / "open"} is writable' in str(why_not_private(tmp_path / 'first'))
    assert why_not_private(tmp_path / 'private') is None
    (tmp_path / 'round').symlink_to('round')
    with pytest.raises(OSError, match='links'):
        why_not_private(tmp_path / 'round')


@as_root
@pytest.mark.parametrize('owned', ['home', 'home/.cache', 'home/.cache/seg_ros'])
def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, owned: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'home/.cache/seg_ros').mkdir(parents=True)
    os.chown(tmp_path / owned, SOMEBODY, SOMEBODY)
    assert is_temporary(cache_folder('numba'))
    assert f'{tmp_path / owned} belongs to another user' in caplog.text


@as_root
def test_a_link_of_somebody_else_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / 'private').mkdir(mode=0o700)
    (tmp_path / 'link').symlink_to('private')
    os.chown(tmp_path / 'link', SOMEBODY, SOMEBODY, follow_symlinks=False)
    assert 'another user' in str(why_not_private(tmp_path / 'link'))


@pytest.mark.parametrize('home', ['/proc/no', '', 'relative'])
def test_without_a_home_folder_a_temporary_one_serves(
    home: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('HOME', home)
    assert is_temporary(cache_folder('numba'))
    assert 'XDG_CACHE_HOME' in caplog.text


def test_an_unknown_user_without_home_gets_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('HOME')
    monkeypatch.setattr('pwd.getpwuid', lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    assert is_temporary(cache_folder('numba'))


def test_a_full_disk_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usage = _caches.shutil.disk_usage

    def full_at_home(path: Path) -> object:
        return usage(path)._replace(free=1000) if 'home' in Path(path).parts else usage(path)

    monkeypatch.setattr(_caches.shutil, 'disk_usage', full_at_home)
    assert is_temporary(cache_folder('numba'))
    assert '0 MiB left' in caplog.text
    monkeypatch.setattr(_caches, '_chosen', {})
    monkeypatch.setattr(_caches.shutil, 'disk_usage', lambda path: usage(path)._replace(free=1000))
    caplog.clear()
    assert cache_folder('numba') is None
    assert not _caches.is_kept()
    assert caplog.text.count('WARNING') == 1


def test_where_nothing_can_be_written_there_is_no_folder(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr(Path, 'mkdir', refuse)
    monkeypatch.setattr(_caches.tempfile, 'mkdtemp', refuse)
    assert cache_folder('numba') is None
    assert cache_folder('inductor') is None
    assert caplog.text.count('WARNING') == 1


def test_a_temporary_folder_is_removed_at_the_end_of_the_process(tmp_path: Path) -> None:
    code = 'from seg_ros._caches import cache_folder; print(cache_folder("numba"))'
    plain = {**os.environ, 'HOME': '/proc/no', 'TMPDIR': str(tmp_path)}
    plain.pop('XDG_CACHE_HOME', None)
    folder = Path(subprocess.check_output([sys.executable, '-c', code], env=plain, text=True).strip())
    assert is_temporary(folder)
    assert folder.is_relative_to(tmp_path)
    assert not folder.exists()


def test_a_folder_named_for_a_library_is_used_if_it_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('NUMBA_CACHE_DIR', str(tmp_path / 'mine'))
    assert library_folder('NUMBA_CACHE_DIR', 'numba') == tmp_path / 'mine'
    monkeypatch.setenv('NUMBA_CACHE_DIR', str(tmp_path / 'open'))
    (tmp_path / 'open').mkdir()
    (tmp_path / 'open').chmod(0o777)
    caplog.set_level(logging.WARNING)
    assert library_folder('NUMBA_CACHE_DIR', 'numba') == tmp_path / 'home/.cache/seg_ros/numba'
    assert 'NUMBA_CACHE_DIR is not used' in caplog.text


def test_torch_gets_private_folders_before_it_makes_its_own(tmp_path: Path) -> None:
    """Even without torch.compile, torch made a folder of a name to guess in the shared temporary folder."""
    code = (
        'from seg_ros._caches import provide_folders; provide_folders(); import torch._dynamo, os; '
        'import torch._inductor.codecache; print(os.environ["TORCHINDUCTOR_CACHE_DIR"])'
    )
    (tmp_path / 'shared').mkdir()
    plain = {**os.environ, 'TMPDIR': str(tmp_path / 'shared'), 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    plain.pop('TORCHINDUCTOR_CACHE_DIR', None)
    output = subprocess.check_output([sys.executable, '-c', code], env=plain, text=True)
    assert output.strip() == str(tmp_path / 'cache/seg_ros/inductor')
    assert not list((tmp_path / 'shared').iterdir())
    assert 'torchinductor' not in str(list(tmp_path.rglob('*')))


def test_where_nothing_can_be_written_torch_can_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        'import tempfile; tempfile._candidate_tempdir_list = lambda: []; '
        'from seg_ros._caches import provide_folders; provide_folders(); import torch._dynamo, '
        'torch._inductor.config'
    )
    plain = {**os.environ, 'XDG_CACHE_HOME': '/proc/no', 'TORCHINDUCTOR_CACHE_DIR': '/proc/no'}
    subprocess.run([sys.executable, '-c', code], env=plain, check=True)

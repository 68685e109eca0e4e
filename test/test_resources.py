from pathlib import Path

import pytest

from seg_ros.errors import UnavailableError, UnknownNameError
from seg_ros.modelfile.find import find_model, shipped_models
from seg_ros.resources import find_file, resource


def test_names_stand_for_shipped_files() -> None:
    assert find_model('lite_camvid') == resource('models/lite_camvid.safetensors')
    assert find_model('lite_camvid') in shipped_models()
    with pytest.raises(UnknownNameError, match=r"model 'lite'.*lite_camvid"):
        find_model('lite')


@pytest.mark.parametrize('name', ['mine.safetensors', './mine', 'folder/mine.safetensors', Path('mine')])
def test_paths_stay_paths(name: str | Path) -> None:
    assert find_model(name) == Path(name)


def test_a_file_of_the_user_comes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model('lite_camvid.safetensors') == resource('models/lite_camvid.safetensors')
    Path('lite_camvid.safetensors').touch()
    assert find_model('lite_camvid.safetensors') == Path('lite_camvid.safetensors')
    assert find_model('./other/lite_camvid.safetensors') == Path('other/lite_camvid.safetensors')


def test_relative_paths_start_from_the_root(tmp_path: Path) -> None:
    how = ('config/labels', ('.yaml', '.yml'), 'class file')
    assert find_file('classes.yml', *how, root=tmp_path) == tmp_path / 'classes.yml'
    assert find_file(str(tmp_path / 'a.yaml'), *how, root=Path('elsewhere')) == tmp_path / 'a.yaml'
    assert find_file('camvid11', *how, root=tmp_path) == resource('config/labels/camvid11.yaml')


def test_missing_resources_name_the_folders_searched() -> None:
    with pytest.raises(UnavailableError, match=r'config/nothing.*seg_ros'):
        resource('config/nothing')

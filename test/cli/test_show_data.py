import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.cli.main import main
from seg_ros.datasets.folder import FolderDataset
from seg_ros.datasets.soccer import SoccerDataset


def write_pair(root: Path, stem: str, labels: list[list[int]]) -> None:
    for kind, picture in (
        ('images', np.zeros((len(labels), len(labels[0]), 3), np.uint8)),
        ('labels', np.array(labels, np.uint8)),
    ):
        (root / kind).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / kind / f'{stem}.png'), picture)


def test_pixels_and_images_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path / 'data', 'a', [[0, 0, 0, 0], [0, 1, 1, 255]])
    write_pair(tmp_path / 'data', 'b', [[0, 0, 0, 0]])
    words = ['show-data', 'folder', '--data', str(tmp_path / 'data'), '--classes', 'squares']
    assert main([*words, '--json', str(tmp_path / 'out.json')]) == 0
    figures = json.loads((tmp_path / 'out.json').read_text())
    assert figures['class_shares'] == pytest.approx({'background': 9 / 12, 'square': 2 / 12})
    assert figures['class_images'] == {'background': 2, 'square': 1}
    assert figures['unlabelled'] == pytest.approx(1 / 12)
    assert sorted(figures['sizes']) == [[1, 4, 1], [2, 4, 1]]
    assert '1 of 4 x 2' in capsys.readouterr().out


def test_what_cannot_be_read_is_named_and_the_rest_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stem, value in (('a', 0), ('b', 7), ('c', 1)):
        write_pair(tmp_path, stem, [[value] * 4] * 4)
    (tmp_path / 'images/c.png').write_bytes(b'no image')
    assert main(['show-data', 'folder', '--data', str(tmp_path), '--classes', 'squares']) == 1
    output = capsys.readouterr()
    assert 'b.png holds values [7]' in output.err
    assert 'c.png is not an image' in output.err
    assert 'bad images: 2 of 3' in output.out
    assert '1 of 4 x 4' in output.out


def test_a_copy_is_the_same_data_set(tmp_path: Path) -> None:
    words = ['show-data', 'soccer', '--split', 'val', '--options', '{n_images: 3, height: 48, width: 64}']
    copy = ['--copy', str(tmp_path / 'copy'), '--sheet', str(tmp_path / 'sheets/val.png')]
    assert main([*words, *copy]) == 0
    original = SoccerDataset(None, 'val', n_images=3, height=48, width=64)
    copied = FolderDataset(tmp_path / 'copy', 'val', classes='classes.yaml')
    assert copied.classes == original.classes
    assert copied.names == original.names
    for index in range(3):
        for part, other in zip(original[index], copied[index], strict=True):
            np.testing.assert_array_equal(part, other)
    sheet = cv2.imread(str(tmp_path / 'sheets/val.png'))
    assert sheet is not None
    assert sheet.shape[1] == 1500
    assert main([*words, *copy]) == 1  # never over files that are there


def test_missing_options_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['show-data', 'folder', '--data', str(tmp_path)]) == 1
    assert "'classes'" in capsys.readouterr().err
    assert main(['show-data', 'soccer', '--options', '{n_drives: 3}']) == 1
    assert 'n_drives' in capsys.readouterr().err


def test_masks_of_0_and_255_are_told_and_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stem in 'ab':
        write_pair(tmp_path, stem, [[0, 255], [255, 0]])
    words = ['show-data', 'folder', '--data', str(tmp_path), '--classes', 'squares']
    assert main(words) == 1
    output = capsys.readouterr().out
    assert 'only class background has pixels' in output
    assert 'values: {0: background, 255: NAME}' in output
    assert 'classes without pixels: square' in output
    assert main([*words, '--options', '{values: {0: background, 255: square}}']) == 0
    output = capsys.readouterr().out
    assert 'of no use' not in output
    assert 'square        50.000       2' in output


@pytest.mark.parametrize('value', [0, 255])
def test_one_class_and_no_class_are_of_no_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: int
) -> None:
    write_pair(tmp_path, 'a', [[value] * 4] * 4)
    words = ['show-data', 'folder', '--data', str(tmp_path), '--classes', 'squares']
    assert main([*words, '--json', str(tmp_path / 'a.json')]) == 1
    assert 'of no use' in capsys.readouterr().out
    assert json.loads((tmp_path / 'a.json').read_text())['problem']


@pytest.mark.parametrize('place', ['file/new', '/proc/x/y', 'file'])
@pytest.mark.parametrize('option', ['--copy', '--sheet', '--json'])
def test_results_that_have_no_place_are_refused_before_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, place: str
) -> None:
    write_pair(tmp_path / 'data', 'a', [[0, 1]])
    (tmp_path / 'file').write_text('')
    target = tmp_path / place if option == '--copy' else tmp_path / place / 'out.png'
    words = ['show-data', 'folder', '--data', str(tmp_path / 'data'), '--classes', 'squares']
    assert main([*words, option, str(target)]) == 1
    output = capsys.readouterr()
    assert output.out == ''
    assert 'cannot be made' in output.err.splitlines()[-1]
    assert 'reading' not in output.err


def test_a_folder_is_no_place_for_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path / 'data', 'a', [[0, 1]])
    words = ['show-data', 'folder', '--data', str(tmp_path / 'data'), '--classes', 'squares']
    for option in ('--json', '--sheet'):
        assert main([*words, option, str(tmp_path / 'data')]) == 1
        assert 'is a folder' in capsys.readouterr().err


def test_a_copy_keeps_the_classes_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path / 'data', 'a', [[0, 1]])
    words = ['show-data', 'folder', '--data', str(tmp_path / 'data'), '--classes', 'squares']
    listing = tmp_path / 'copy/classes.yaml'
    listing.parent.mkdir()
    listing.write_text('classes: [{id: 0, name: thing, colour: [1, 2, 3]}]\n')
    before = listing.read_bytes()
    assert main([*words, '--copy', str(listing.parent)]) == 1
    assert 'has other classes already' in capsys.readouterr().err
    assert [*listing.parent.iterdir()] == [listing]
    assert listing.read_bytes() == before
    listing.unlink()
    for split in ('train', 'val'):  # the second one finds its own classes
        assert main([*words, '--copy', str(listing.parent), '--split', split]) == 0
    assert FolderDataset(listing.parent, 'val', classes='classes.yaml').names == ['a']

"""Choice of frames to label, on hand-made candidates and on rendered streets."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.bag_evaluation.descriptors import describe_frame, n_values
from seg_ros.bag_evaluation.selection import Candidates, informativeness, reasons_of, select_frames
from seg_ros.bag_evaluation.selection_folder import SelectedFrame, write_selection
from seg_ros.classes import ClassSet
from seg_ros.cli.main import main
from seg_ros.errors import DatasetError, ImageError, ParameterError
from seg_ros.resources import resource
from seg_ros.synthetic import RenderedDrive

SECOND = 1_000_000_000
CLASSES = ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))


def candidates(
    descriptors: object,
    uncertainty: object = None,
    bags: object = None,
    seconds: object = None,
    **more: object,
) -> Candidates:
    table = np.asarray(descriptors, np.float32)
    n = len(table)
    values = {'uncertainty': np.full(n, 0.5) if uncertainty is None else np.asarray(uncertainty, float)}
    values |= {name: np.asarray(column, float) for name, column in more.items()}
    return Candidates(
        np.zeros(n, np.int64) if bags is None else np.asarray(bags, np.int64),
        (SECOND * (10 * np.arange(n) if seconds is None else np.asarray(seconds))).astype(np.int64),
        values,
        table,
    )


def test_near_duplicates_are_not_both_chosen() -> None:
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    found = select_frames(candidates(np.concatenate([corners, corners + 0.001])), 4)
    assert sorted(index % 4 for index in found) == [0, 1, 2, 3]


def test_it_is_weighted_k_center_by_brute_force() -> None:
    random = np.random.default_rng(2)
    given = candidates(random.normal(size=(40, 5)), random.random(40), seconds=np.zeros(40))
    found, weights = select_frames(given, 9), informativeness(given)
    for step, index in enumerate(found[1:], 1):
        scores = {
            other: weights[other]
            * min(
                np.sqrt(((given.descriptors[other] - given.descriptors[k]) ** 2).sum()) for k in found[:step]
            )
            for other in range(40)
            if other not in found[:step]
        }
        assert index == max(scores, key=lambda other: scores[other])


def test_uncertain_frames_come_first() -> None:
    assert select_frames(candidates(np.eye(5), [0.1, 0.2, 0.9, 0.3, 0.2]), 1) == [2]
    equal_distances = candidates(np.eye(5), [0.1, 0.2, 0.9, 0.3, 0.2])
    assert select_frames(equal_distances, 2) == [2, 3]
    assert select_frames(candidates(np.zeros((3, 2)), [0.1, 0.3, 0.2]), 3, diversity=0) == [1, 2, 0]


def test_informativeness_is_the_mean_rank() -> None:
    given = candidates(np.eye(4), [5.0, 1.0, 1.0, np.nan], novelty=[np.nan, 100.0, 3.0, np.nan])
    # of 3 known uncertainties: ranks 3/3, 1.5/3 twice; of 2 known novelties: 2/2 and 1/2
    np.testing.assert_allclose(informativeness(given), [1, 0.75, 0.5, 0.5])
    assert reasons_of(given, [0, 1, 2]) == [
        'uncertain',
        'unlike the training images',
        'unlike the frames chosen before',
    ]


def test_all_bags_get_a_share() -> None:
    random = np.random.default_rng(0)
    bags = np.repeat([0, 1, 2], [200, 50, 2])
    uncertainty = np.where(bags == 0, 0.9, 0.1) + 0.01 * random.random(252)
    found = select_frames(candidates(random.normal(size=(252, 8)), uncertainty, bags), 20)
    counts = np.bincount(bags[found], minlength=3)
    assert counts.sum() == 20
    assert counts[1] >= 3
    assert counts[2] == 2
    assert counts[0] > counts[1]


def test_frames_are_spread_over_time() -> None:
    random = np.random.default_rng(1)
    seconds = np.arange(100) / 10
    uncertainty = np.where(seconds < 2, 1.0, 0.5)
    found = select_frames(candidates(random.normal(size=(100, 3)), uncertainty, seconds=seconds), 5)
    gaps = np.diff(np.sort(seconds[found]))
    assert gaps.min() >= 0.98  # half of the even step of 9.9 / 5 s
    packed = select_frames(candidates(random.normal(size=(100, 3)), seconds=np.zeros(100)), 100)
    assert sorted(packed) == list(range(100))


def test_it_is_deterministic_and_bounded() -> None:
    random = np.random.default_rng(5)
    table, uncertainty = random.normal(size=(60, 4)), random.random(60)
    assert select_frames(candidates(table, uncertainty), 10) == select_frames(
        candidates(table.copy(), uncertainty.copy()), 10
    )
    assert len(select_frames(candidates(table), 1000)) == 60
    assert select_frames(candidates(np.zeros((0, 4))), 5) == []
    with pytest.raises(ParameterError, match='-1'):
        select_frames(candidates(table), -1)
    with pytest.raises(ParameterError, match='speed'):
        candidates(table, speed=uncertainty)
    with pytest.raises(ParameterError, match='finite'):
        candidates(np.full((3, 2), np.nan))
    with pytest.raises(ParameterError, match='equally many'):
        candidates(table, [0.5])


def test_descriptors_are_close_for_neighbours_and_far_for_other_streets() -> None:
    def described(drive: RenderedDrive, index: int) -> np.ndarray:
        return describe_frame(*drive[index], len(CLASSES))

    first, other = RenderedDrive(4, 40, 96, 128), RenderedDrive(9, 40, 96, 128)
    start, neighbour, street = described(first, 0), described(first, 1), described(other, 0)
    assert start.shape == (n_values(len(CLASSES)),)
    assert start.dtype == np.float32
    assert np.linalg.norm(start - neighbour) < 0.5 * np.linalg.norm(start - street)
    grey, void = np.full((30, 40, 3), 128, np.uint8), np.full((30, 40), 255, np.uint8)
    assert np.isfinite(describe_frame(grey, void, 3)).all()
    parts = describe_frame(grey, void, 3)[: 6 * 4].reshape(6, 4)
    np.testing.assert_allclose(parts**2, [[0, 0, 0, 1 / 6]] * 6, atol=1e-3)
    with pytest.raises(ImageError, match='one size'):
        describe_frame(grey, void[1:], 3)


def test_a_selection_is_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive, folder = RenderedDrive(4, 3, 60, 80), tmp_path / 'to_label'
    stamps = [5 * SECOND, 5 * SECOND + 400_000, 17 * SECOND]  # two of one millisecond
    frames = [
        SelectedFrame(
            Path('/bags/monday.mcap'),
            3 * i,
            stamp,
            *drive[i],
            values={'uncertainty': 0.25, 'novelty': float('nan')},
            reason='uncertain',
        )
        for i, stamp in enumerate(stamps)
    ]
    assert write_selection(folder, iter(frames), CLASSES) == 3
    names = ['monday_0000000005000', 'monday_0000000005000_2', 'monday_0000000017000']
    assert sorted(path.stem for path in (folder / 'images').iterdir()) == names
    for index, name in enumerate(names):
        image = cv2.imread(str(folder / 'images' / f'{name}.png'))[..., ::-1]
        labels = cv2.imread(str(folder / 'labels' / f'{name}.png'), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(image, drive[index][0])
        np.testing.assert_array_equal(labels, drive[index][1])
        assert labels.dtype == np.uint8
    listing = (folder / 'selection.csv').read_text(encoding='utf-8')
    rows = list(csv.DictReader(listing.splitlines()))
    assert [row['name'] for row in rows] == names
    assert [int(row['index']) for row in rows] == [0, 3, 6]
    assert {(row['uncertainty'], row['novelty'], row['reason']) for row in rows} == {
        ('0.25', '', 'uncertain')
    }
    assert main(['show-data', 'folder', '--data', str(folder), '--classes', 'classes.yaml']) == 0
    assert '3' in capsys.readouterr().out
    with pytest.raises(DatasetError, match='has files already'):
        write_selection(folder, frames, CLASSES)

import numpy as np
import pytest

from seg_ros.datasets.rendered import RenderedDataset
from seg_ros.errors import DatasetError
from seg_ros.synthetic import RenderedDrive


def test_frames_of_many_streets() -> None:
    dataset = RenderedDataset(None, 'val', n_drives=2, n_frames=2, height=40, width=56)
    assert len(dataset) == len(set(dataset.names)) == 4
    seed, frame = (int(part) for part in dataset.names[3].split('_'))
    image, labels = dataset[3]
    expected, expected_labels = RenderedDrive(seed, 60, 40, 56)[frame]
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(labels, expected_labels)


def test_splits_share_no_street() -> None:
    streets = [{n.split('_')[0] for n in RenderedDataset(None, s).names} for s in ('train', 'val', 'test')]
    assert not streets[0] & streets[1]
    assert not streets[1] & streets[2]
    with pytest.raises(DatasetError, match='train, val, test'):
        RenderedDataset(None, 'validation')
    with pytest.raises(DatasetError, match='frames'):
        RenderedDataset(None, 'val', n_frames=61)

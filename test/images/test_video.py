from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_ros.errors import ImageError
from seg_ros.images.video import VideoReader, VideoWriter, storable_rate

NAN, INFINITY = float('nan'), float('inf')
RATES = (
    66.667,
    23.976,
    29.97,
    59.94,
    119.88,
    240.0,
    333.333,
    999.999,
    1e6,
    0.5,
    1e-9,
    0.0,
    -5.0,
    NAN,
    INFINITY,
)


@pytest.mark.parametrize('n_frames', [1, 3])
@pytest.mark.parametrize('rate_hz', RATES)
def test_videos_of_any_rate_are_written(tmp_path: Path, rate_hz: float, n_frames: int) -> None:
    frames = [np.full((48, 64, 3), 60 * index, np.uint8) for index in range(n_frames)]
    with VideoWriter(tmp_path / 'out.mp4', rate_hz) as writer:
        for frame in frames:
            writer.write(frame)
    with VideoReader(tmp_path / 'out.mp4') as video:
        found = list(video)
        assert video.n_frames == len(found) == n_frames
        assert video.rate_hz == pytest.approx(storable_rate(rate_hz), rel=1e-3)
    assert [round(float(frame.mean()), -1) for frame in found] == [60 * index for index in range(n_frames)]


@given(st.floats(0.02, 1000))
def test_a_rate_changes_little(rate_hz: float) -> None:
    assert storable_rate(rate_hz) == pytest.approx(rate_hz, abs=0.0101 if rate_hz > 65 else 0.001, rel=1e-3)


@pytest.mark.parametrize('rate_hz', RATES)
def test_the_rate_of_a_file_is_a_number_above_zero(
    tmp_path: Path, rate_hz: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Video:
        def get(self, key: int) -> float:
            return rate_hz

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, 'VideoCapture', lambda name: Video())
    with VideoReader(tmp_path / 'in.mp4') as video:
        assert 0 < video.rate_hz < INFINITY
        assert video.n_frames >= 0


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / 'out.mp4', 25) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        with pytest.raises(ImageError, match='64x48'):
            writer.write(np.zeros((48, 66, 3), np.uint8))

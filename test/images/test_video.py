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


def write_noise(path: Path, n_frames: int) -> None:
    code = cv2.VideoWriter.fourcc(*('MJPG' if path.suffix == '.avi' else 'mp4v'))
    video = cv2.VideoWriter(str(path), code, 25, (64, 48))
    for frame in np.random.default_rng(0).integers(0, 256, (n_frames, 48, 64, 3), np.uint8):
        video.write(frame)
    video.release()


def frames_of(path: Path) -> tuple[int, str]:
    """Number of frames that are read, and the complaint after them."""
    with VideoReader(path) as video:
        n_frames = sum(1 for _ in video)
        try:
            video.check_complete()
        except ImageError as err:
            return n_frames, str(err)
    return n_frames, ''


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv', '.mov', '.mpg'])
def test_whole_videos_are_complete(tmp_path: Path, suffix: str) -> None:
    write_noise(tmp_path / f'a{suffix}', 30)
    assert frames_of(tmp_path / f'a{suffix}') == (30, '')


def test_frames_behind_a_damaged_one_are_read_and_the_missing_ones_counted(tmp_path: Path) -> None:
    path = tmp_path / 'a.avi'
    write_noise(path, 30)
    content = bytearray(path.read_bytes())
    start = content.index(b'movi')
    frames = [k for k in range(start, len(content)) if content.startswith(b'00dc', k)][:30]
    for frame in frames[9:12]:
        length = int.from_bytes(content[frame + 4 : frame + 8], 'little')
        content[frame + 8 : frame + 8 + length] = bytes(length)
    path.write_bytes(content)
    n_read, complaint = frames_of(path)
    assert n_read == 27
    assert complaint.startswith(f'{path}: 3 of 30 frames')


def test_the_lost_end_of_a_video_is_counted(tmp_path: Path) -> None:
    path = tmp_path / 'a.avi'
    write_noise(path, 30)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b'idx1') // 2])
    n_read, complaint = frames_of(path)
    assert 5 < n_read < 25
    assert complaint.startswith(f'{path}: {30 - n_read} of 30 frames')


def test_a_false_number_of_frames_does_not_read_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_noise(tmp_path / 'a.mkv', 3)
    with VideoReader(tmp_path / 'a.mkv') as video:
        monkeypatch.setattr(video, 'n_frames', 1 << 60)
        assert sum(1 for _ in video) == 3

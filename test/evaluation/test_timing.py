import os
from pathlib import Path

import numpy as np
import pytest

from seg_ros.errors import UnavailableError
from seg_ros.evaluation import timing
from seg_ros.evaluation.timing import Timing, time_in_turns
from seg_ros.inference.settings import Settings


def test_models_take_turns_and_failures_stay_alone(model_file: Path, tmp_path: Path) -> None:
    good = Settings(model=str(model_file), backend='torch', device='cpu', n_threads=1)
    missing = Settings(model=str(tmp_path / 'none.safetensors'), backend='torch')
    first, failed, second = time_in_turns([good, missing, good], n_rounds=2, n_frames=3)
    assert isinstance(failed, UnavailableError)
    assert 'none.safetensors' in str(failed)
    for each in (first, second):
        assert isinstance(each, Timing)
        assert each.latency_ms.shape == (2, 3)
        assert (each.latency_ms > 0).all()
        assert each.peak_memory_bytes > 50e6


def test_a_process_that_ends_is_told(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, '_serve', os._exit)  # gets a connection instead of a code, and fails at once
    (answer,) = time_in_turns([Settings(model=str(model_file))], n_rounds=1)
    assert isinstance(answer, UnavailableError)
    assert 'ended with exit code 1' in str(answer)


def test_speed_is_compared_within_rounds() -> None:
    slow = Timing(np.array([[10.0, 10, 99], [30, 30, 30], [20, 20, 20]]), 0)
    fast = Timing(np.array([[5.0, 5, 5], [10, 10, 10], [20, 20, 20]]), 0)
    assert fast.times_faster_than(slow) == 2  # of 2, 3 and 1
    assert slow.times_faster_than(slow) == 1

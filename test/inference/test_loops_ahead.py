"""Loops that another process compiles: what this one does meanwhile, and afterwards."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('numba')

SERVES = """
import time
import numpy as np
from seg_ros.inference.argmax import KERNELS, argmax_labels
from seg_ros.inference.loops_ahead import serve_meanwhile, waits_for
from seg_ros._numba import import_kernels

scores = np.random.default_rng(0).random((5, 30, 40), np.float32)
serve_meanwhile(['labels'])
print(waits_for('labels'), waits_for('segments'), import_kernels(*KERNELS))
before = argmax_labels(scores, 60, 80, with_confidence=True)
while waits_for('labels'):
    time.sleep(0.05)
from seg_ros.inference.label_kernels import label_rows
n_compiled = len(label_rows.stats.cache_misses)
after = argmax_labels(scores, 60, 80, with_confidence=True)
print(n_compiled, np.array_equal(before.labels, after.labels), np.ptp(before.confidence - after.confidence))
"""
LEAVES = """
from seg_ros.inference.loops_ahead import LoopsAhead
print(LoopsAhead(['segments'])._process.pid)
"""


def run(program: str, folder: Path) -> list[str]:
    """Output of a Python program whose caches are in a folder, line by line."""
    environment = {name: value for name, value in os.environ.items() if name != 'NUMBA_CACHE_DIR'}
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={**environment, 'XDG_CACHE_HOME': str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_labels_come_from_numpy_until_their_loops_are_there(tmp_path: Path) -> None:
    assert run(SERVES, tmp_path) == ['True False None', '0 True 0']
    first, *others = run(SERVES, tmp_path)
    assert first.startswith('False False <module'), 'the second start finds them'
    assert others == ['0 True 0']


def test_without_numba_nothing_is_awaited(tmp_path: Path) -> None:
    told = run("import sys; sys.modules['numba'] = None\n" + SERVES.split('\nwhile')[0], tmp_path)
    assert told == ['False False None']
    assert not list(tmp_path.rglob('labels-*'))


@pytest.mark.skipif(not Path('/proc/self').exists(), reason='this system has no /proc')
def test_the_other_process_ends_with_this_one(tmp_path: Path) -> None:
    (pid,) = run(LEAVES, tmp_path)
    end = time.monotonic() + 30
    while Path('/proc', pid).exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not list(tmp_path.rglob('segments-*')), 'it has not compiled everything before'

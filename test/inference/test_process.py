import os
import subprocess
import sys

import pytest

from seg_ros.inference import process as memory

FRAMES = """
import resource, sys, threading
import torch
from seg_ros.inference.process import keep_freed_memory
if sys.argv[1] == 'keep':
    keep_freed_memory()
def frames():
    for number in range(40):
        if number == 20:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1, 64, 360, 480)  # what SegNet's first layer gives
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
if sys.argv[2] == 'worker':
    thread = threading.Thread(target=frames)
    thread.start()
    thread.join()
else:
    frames()
"""


def faults_a_frame(*how: str, **settings: str) -> float:
    """Pages that the system hands out for a frame that needs 10,800 of them."""
    plain = {k: v for k, v in os.environ.items() if k not in (*memory._SETTINGS, 'GLIBC_TUNABLES')}
    command = [sys.executable, '-c', FRAMES, *how]
    return float(subprocess.check_output(command, text=True, env={**plain, **settings}))


@pytest.mark.skipif(sys.platform != 'linux', reason="mallopt is the GNU C library's")
@pytest.mark.parametrize('thread', ['main', 'worker'])
def test_a_frame_finds_the_memory_of_the_one_before(thread: str) -> None:
    assert faults_a_frame('keep', thread) < 100


def test_what_the_environment_says_holds() -> None:
    assert faults_a_frame('keep', 'main', MALLOC_MMAP_THRESHOLD_='131072') > 1000

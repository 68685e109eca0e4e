import os
import subprocess
import sys
import time
from pathlib import Path

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


CHILDREN = """
import subprocess, sys, threading, time
from seg_ros.inference.process import end_now
# A compiler in a process group of its own, with a child; signals of a terminal do not reach it.
code = "import subprocess; p = subprocess.Popen(['sleep', '300']); print(p.pid, flush=True); p.wait()"
command = [sys.executable, '-c', code]
child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
print(child.pid, child.stdout.readline().strip())
sys.stdout.write('last words')
threading.Timer(0.1, end_now, [7]).start() if sys.argv[1] == 'thread' else end_now(7)
time.sleep(300)
"""


def is_gone(process: int) -> bool:
    """Whether a process has ended, or waits as a zombie for a parent that does not ask."""
    try:
        return ') Z ' in Path(f'/proc/{process}/stat').read_text()
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != 'linux', reason='needs procfs')
@pytest.mark.parametrize('situation', ['main', 'thread'])
def test_the_end_takes_child_processes_along(situation: str) -> None:
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, '-c', CHILDREN, situation], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 7
    assert done.stdout.endswith('last words')
    processes = [int(word) for word in done.stdout.split()[:2]]
    while not all(map(is_gone, processes)):
        assert time.monotonic() - begin < 60
        time.sleep(0.01)


COLLECTIONS = """
import gc, sys
from seg_ros.inference.process import exempt_from_collection, short_pauses
before = gc.get_threshold(), sys.getswitchinterval()
for number in range(2):
    with short_pauses():
        exempt_from_collection()
        assert gc.get_threshold() == before[0]
    assert (gc.get_threshold(), sys.getswitchinterval()) == before
    if number == 0:
        frozen = gc.get_freeze_count()
        class Kept: pass
        kept = [Kept() for _ in range(1000)]
assert frozen > 1000
assert gc.get_freeze_count() <= frozen, 'objects of models must be collected'
"""


def test_only_the_first_exemption_counts_and_settings_come_back() -> None:
    subprocess.run([sys.executable, '-c', COLLECTIONS], check=True, timeout=60)


SIZES = """
import numpy as np
from seg_ros.inference.process import ImageSizes, keep_freed_memory
keep_freed_memory()

def resident_mb():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096 / 1e6

def images(height, width):
    kept = []
    for _ in range(4):
        image = np.ones((height, width, 3), np.float32)
        kept.append(np.ones(1000))  # lies behind it, so the top of the heap stays where it is
        sizes.add(image.shape)
        del image
    return sizes.tidy(), resident_mb(), kept

sizes = ImageSizes(period_s=0)
large = images(3000, 4000)
again = images(3000, 4000)
small = images(30, 40)
later = images(30, 40)
print(large[0], again[0], small[0], later[0], round(again[1] - small[1]))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason="malloc_trim is the GNU C library's")
def test_the_memory_of_a_size_that_comes_no_longer_is_returned() -> None:
    *returned, freed_mb = subprocess.check_output([sys.executable, '-c', SIZES], text=True).split()
    assert returned == ['False', 'False', 'True', 'False']
    assert int(freed_mb) > 100  # of 144

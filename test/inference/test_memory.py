import os
import subprocess
import sys

import pytest

from seg_ros.inference import memory

FRAMES = """
import resource, sys, threading
import torch
from seg_ros.inference.memory import keep_freed_memory
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


SIZES = """
import numpy as np
from seg_ros.inference.memory import ImageSizes, keep_freed_memory
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


CODE = """
import sys
import numpy as np
import cv2
from seg_ros.inference.memory import _code, return_unused_code

def code_mb():
    with open('/proc/self/smaps') as file:
        lines = file.read().splitlines()
    headers = [i for i, line in enumerate(lines) if '.so' in line and ' r-xp ' in line]
    return sum(int(lines[i + 4].split()[1]) for i in headers if lines[i + 4].startswith('Rss')) / 1e3

image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
def work():
    return cv2.GaussianBlur(image, (5, 5), 1.5), np.linalg.inv(np.eye(200) + np.ones((200, 200)))
before, full_mb = work(), code_mb()
return_unused_code()
empty_mb = code_mb()
for old, new in zip(before, work()):
    assert np.array_equal(old, new)
print(round(full_mb), round(empty_mb), round(code_mb()))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='needs procfs')
def test_code_leaves_the_memory_and_what_is_used_comes_back() -> None:
    full, empty, later = map(int, subprocess.check_output([sys.executable, '-c', CODE], text=True).split())
    assert empty < full / 2
    assert empty <= later < full


@pytest.mark.skipif(sys.platform != 'linux', reason='needs procfs')
def test_libraries_that_are_closed_keep_their_code() -> None:
    assert not memory._keep_loaded('/nowhere/libnothing.so')
    assert not memory._keep_loaded(sys.executable)  # no library

import subprocess
import sys
import time
from pathlib import Path

import pytest

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

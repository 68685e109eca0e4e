"""Errors of backends are ours, threads are bounded, and ONNX Runtime reports to nobody."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seg_ros.arrays import Maps, UInt8Array
from seg_ros.errors import BackendError, ImageError
from seg_ros.inference.backends import backend as backends
from seg_ros.inference.backends.backend import GuardedBackend, bounded_threads, reason_of

IMAGES = np.zeros((1, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (MemoryError(), 'backend x failed: not enough memory'),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"), 'DefaultCPUAllocator'),
        (torch.OutOfMemoryError('CUDA out of memory'), 'CUDA out of memory'),
        (KeyError('scores'), 'KeyError'),
        (ValueError('\n\n  one line\nmany more'), 'ValueError: one line'),
        (RuntimeError('long ' * 1000), 'RuntimeError: long'),
    ],
)
def test_any_error_becomes_ours_and_the_next_call_works(error: Exception, expected: str) -> None:
    errors, answer = [error], np.zeros((1, 2, 4, 4), np.float32)

    def run(images: UInt8Array, wanted: object = None) -> dict[str, Maps]:
        if errors:
            raise errors.pop()
        return {'scores': answer}

    guarded = GuardedBackend('x', run)
    with pytest.raises(BackendError) as caught:
        guarded(IMAGES)
    assert expected in str(caught.value)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert guarded(IMAGES)['scores'] is answer


def test_errors_of_ours_stay_as_they_are() -> None:
    def run(images: UInt8Array, wanted: object = None) -> dict[str, Maps]:
        raise ImageError('4x4')

    with pytest.raises(ImageError, match='4x4'):
        GuardedBackend('x', run)(IMAGES)


def test_the_line_of_a_compiler_that_names_the_error_is_the_reason() -> None:
    text = 'CppCompileError: C++ compile error\n\nOutput:\nx.cpp:1: fatal error: disk full'
    assert reason_of(RuntimeError(text)) == 'RuntimeError: x.cpp:1: fatal error: disk full'


def test_real_lack_of_memory_is_named() -> None:
    def run(images: UInt8Array, wanted: object = None) -> dict[str, Maps]:
        return {'scores': torch.empty(1 << 50)}

    with pytest.raises(BackendError, match='allocate'):
        GuardedBackend('torch', run)(IMAGES)


@pytest.mark.parametrize(('asked', 'expected'), [(256, 3), (3, 3), (2, 2), (1, 1), (0, 0)])
def test_threads_are_bounded_by_cores(monkeypatch: pytest.MonkeyPatch, asked: int, expected: int) -> None:
    monkeypatch.setattr(backends, 'n_cores', lambda: 3)
    assert bounded_threads(asked) == expected


THREADS = """
import sys, threading, torch
from seg_ros.inference.backends.torch_eager import use_threads
from seg_ros._numba import n_cores
first = torch.get_num_threads()
seen = []
def use(n):
    use_threads(n)
    seen.append(torch.get_num_threads())
for n in (1, 0, 256, 0):
    thread = threading.Thread(target=use, args=[n])
    thread.start()
    thread.join()
assert seen == [1, min(first, n_cores()), n_cores(), min(first, n_cores())], seen
torch.set_num_threads(1)  # somebody else's wish
use_threads(0)
assert torch.get_num_threads() == 1
"""


def test_zero_threads_means_the_first_number_again() -> None:
    subprocess.run([sys.executable, '-c', THREADS], check=True)


TELEMETRY = """
import numpy as np, onnx, time
from seg_ros.inference.backends.onnx_runtime import import_onnxruntime
onnxruntime = import_onnxruntime()
value = lambda name: onnx.helper.make_tensor_value_info(name, 1, [1])
node = onnx.helper.make_node('Identity', ['x'], ['y'])
graph = onnx.helper.make_graph([node], 'g', [value('x')], [value('y')])
model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
session.run(None, {'x': np.ones(1, np.float32)})
"""


def test_onnx_runtime_stores_nothing_at_home(tmp_path: Path) -> None:
    """Without the variables it stores an identifier of the computer and a queue of reports there."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    names = ('ORT_DISABLE_TELEMETRY', 'ORT_TELEMETRY_DISABLED', 'CI', 'XDG_CACHE_HOME')
    plain = {name: value for name, value in os.environ.items() if name not in names}
    subprocess.run([sys.executable, '-c', TELEMETRY], check=True, env={**plain, 'HOME': str(tmp_path)})
    assert not list(tmp_path.rglob('*'))

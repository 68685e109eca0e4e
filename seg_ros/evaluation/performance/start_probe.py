"""A fresh process that loads a model, segments 10 frames, and prints its times as JSON."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PLAIN = 'plain'
"""Key of a job that starts the plain ENet instead of a model."""

_N_FRAMES = 10


def _measure(job: dict[str, Any]) -> dict[str, Any]:
    """Times and memory of this process, by the names of seg_ros.evaluation.performance.rows.StartRow."""
    began = time.perf_counter()
    import numpy as np

    from seg_ros._numba import leave_out_extras
    from seg_ros.evaluation.performance.contestants import IMAGE_SIZE, EagerENet
    from seg_ros.inference.memory import keep_freed_memory
    from seg_ros.inference.process import limit_thread_spinning

    if PLAIN in job:
        import torch  # noqa: F401
    else:
        limit_thread_spinning()
        keep_freed_memory()
        leave_out_extras()  # this and what follows as in the node
        from seg_ros.inference.loops_ahead import serve_meanwhile
        from seg_ros.inference.segmenter import Segmenter
        from seg_ros.inference.settings import Settings

        serve_meanwhile()
    imported = time.perf_counter()
    image = np.random.default_rng(0).integers(0, 256, (*IMAGE_SIZE, 3), np.uint8)
    run: Callable[[], Any]
    if PLAIN in job:
        backend, run = 'torch', EagerENet(**job[PLAIN]).build(image)
    else:
        segmenter = Segmenter.load(Settings.from_values(job['parameters']))
        backend, run = segmenter.backend_name, partial(segmenter, image)
    loaded = time.perf_counter()
    run()
    labelled_s = time.time()
    for _ in range(_N_FRAMES - 1):
        run()
    return {
        'backend': backend,
        'import_s': imported - began,
        'load_s': loaded - imported,
        'first_labels_s': labelled_s - job['started_s'],
        'memory_mb': _resident_mb(),
        'has_torch': 'torch' in sys.modules,
    }


def _resident_mb() -> float:
    """Resident memory of this process in 10⁶ bytes; 0 where the system does not tell."""
    path = Path('/proc/self/status')
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith('VmRSS:')), 0.0)


if __name__ == '__main__':
    print(json.dumps(_measure(json.loads(sys.argv[1]))))

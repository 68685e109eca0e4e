"""The whole measurement: networks, steps of a frame, scaling and starts of one model."""

import datetime
import logging
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seg_ros._numba import n_cores
from seg_ros.arrays import UInt8Array
from seg_ros.errors import UnavailableError
from seg_ros.evaluation.performance.contestants import (
    DefaultOnnxRuntime,
    EagerENet,
    ServedCamera,
)
from seg_ros.evaluation.performance.counting import enet_macs, macs_of
from seg_ros.evaluation.performance.machine_rates import (
    BYTES_OF_COPY,
    FLOP_OF_PRODUCT,
    MatrixProduct,
    MemoryCopy,
)
from seg_ros.evaluation.performance.rows import (
    MachineRates,
    NetworkRow,
    PerformanceReport,
    ScalingRow,
    StepsRow,
)
from seg_ros.evaluation.performance.startup import measure_starts
from seg_ros.evaluation.performance.turns import Contestant, Laps, take_turns
from seg_ros.inference.backends.machine import describe_machine, version_of
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.served_model import ModelSource, ServedModel
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.description import open_model
from seg_ros.modelfile.levels import is_derivable

log = logging.getLogger(__name__)

ENET, DEFAULT_ONNXRUNTIME = 'ENet, eager PyTorch', 'ONNX Runtime defaults'
_MATRIX, _COPY = 'matrix product', 'copy'
_INT8 = '_int8'


@dataclass(frozen=True)
class BenchPlan:
    """Plan of a measurement: its parts, and how often they run.

    Attributes:
        settings: Settings that name the model and the device; backend and threads are varied.
        sizes: Factors of the size of the model's input.
        threads: Numbers of CPU threads, rising.
        cameras: Numbers of cameras.
        n_rounds: Number of rounds of turns.
        n_frames: Number of frames in a turn.
        is_quick: Whether to leave out what compiles for long: torch_compile, and the start with empty caches.
    """

    settings: Settings
    sizes: tuple[float, ...]
    threads: tuple[int, ...]
    cameras: tuple[int, ...]
    n_rounds: int
    n_frames: int
    is_quick: bool


class Bench:
    """Measures a model.

    Args:
        plan: What to measure, and how often.

    Raises:
        ModelFileError: The file cannot be used.
        UnknownNameError: No shipped model has that name.
    """

    def __init__(self, plan: BenchPlan) -> None:
        self._plan = plan
        self._model: ServedModel = ModelSource(plan.settings).served
        self._left_out: dict[str, str] = {}
        self._base = plan.settings
        self._load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0.0  # not on Windows

    def measure(self) -> PerformanceReport:
        """Measure everything, which takes minutes.

        Raises:
            UnavailableError: No backend here runs the model.
        """
        steps = self._measure_steps()
        # All other parts take the same backend.
        self._base = replace(self._base, backend=str(steps[0].laps.facts['backend']))
        networks, rates = list[NetworkRow](), list[MachineRates]()
        for n_threads in sorted({self._plan.threads[0], self._plan.threads[-1]}, reverse=True):
            rows, rate = self._measure_networks(n_threads)
            networks += rows
            rates.append(rate)
        sizes, threads, cameras = self._measure_scaling()
        starts, failed = measure_starts(
            self._with_threads(self._plan.threads[-1]),
            self._plan.threads[-1],
            with_empty_cache=not self._plan.is_quick,
        )
        self._left_out |= failed
        conditions = self._conditions(steps[0].laps.facts)
        return PerformanceReport(
            conditions, networks, rates, steps, sizes, threads, cameras, starts, self._left_out
        )

    def _with_threads(self, n_threads: int, **changes: Any) -> Settings:
        """Settings with a number of threads; that of all cores is 0, as for a node without settings."""
        return replace(self._base, n_threads=0 if n_threads >= n_cores() else n_threads, **changes)

    def _turns(self, part: str, contestants: dict[str, Contestant]) -> dict[str, Laps]:
        log.info('%s: %d contestants', part, len(contestants))
        laps, left_out = take_turns(contestants, n_rounds=self._plan.n_rounds, n_frames=self._plan.n_frames)
        self._left_out |= {f'{part}, {name}': reason for name, reason in left_out.items()}
        return laps

    def _measure_steps(self) -> list[StepsRow]:
        settings = self._with_threads(self._plan.threads[-1])
        with_filter = replace(settings, embedding_filter_enabled=True)
        contestants: dict[str, Contestant] = {
            'labels': ServedCamera(settings),
            'labels, confidence': ServedCamera(settings, {'confidence': True}),
        }
        if self._model.code_pooling is not None:
            contestants['labels, segments'] = ServedCamera(settings, {'segments': True})
        if self._model.hardness is not None:
            contestants['labels, filter'] = ServedCamera(with_filter)
        laps = self._turns('steps', contestants)
        if not laps:
            raise UnavailableError(next(iter(self._left_out.values())))
        return [StepsRow(name, each) for name, each in laps.items()]

    def _measure_networks(self, n_threads: int) -> tuple[list[NetworkRow], MachineRates]:
        """Networks from image to labels, and the rates of the machine in the same turns."""
        device, part = self._base.device, f'networks, threads={n_threads}'
        contestants: dict[str, Contestant] = {
            _MATRIX: MatrixProduct(n_threads, device),
            _COPY: MemoryCopy(n_threads, device),
            ENET: EagerENet(n_threads, device),
        }
        float_model = self._float_model()
        if float_model is None:
            self._left_out[f'{part}, {DEFAULT_ONNXRUNTIME}'] = 'fp32 cannot be derived from this model'
        else:
            contestants[DEFAULT_ONNXRUNTIME] = DefaultOnnxRuntime(float_model, n_threads)
        settings = self._with_threads(n_threads)
        for name in BACKENDS:
            if name == 'torch_compile' and self._plan.is_quick and self._base.backend != name:
                self._left_out[f'{part}, {name}'] = '--quick leaves out what compiles for long'
            else:
                contestants[name] = ServedCamera(replace(settings, backend=name))
        laps = self._turns(part, contestants)
        matrix, copy = laps.pop(_MATRIX, None), laps.pop(_COPY, None)
        rates = MachineRates(
            n_threads,
            MachineRates.of(FLOP_OF_PRODUCT, matrix),
            MachineRates.of(BYTES_OF_COPY, copy),
            matrix.facts['by'] if matrix else '',
        )
        enet, default = (laps[name].total if name in laps else None for name in (ENET, DEFAULT_ONNXRUNTIME))
        reference = next((each.labels for name, each in laps.items() if name in BACKENDS), None)
        rows = []
        for name, each in laps.items():
            kind = {ENET: 'enet', DEFAULT_ONNXRUNTIME: 'onnxruntime_defaults'}.get(name, 'model')
            shown, n_macs = name, enet_macs()
            if kind != 'enet':
                used = self._base if kind == 'model' or float_model is None else float_model
                shown = f'{open_model(used.model).path.stem}, {name}'
                n_macs = macs_of(used, self._model.input_size)
            agreement = None if kind == 'enet' else _agreement(each.labels, reference)
            rows.append(NetworkRow(shown, kind, n_threads, each, agreement, n_macs, enet, default, rates))
        return rows, rates

    def _float_model(self) -> Settings | None:
        """Settings of the same network in float32; None if there is none.

        It is the file beside the model with the same name but without ``_int8``, or else the model at fp32.
        """
        path = self._model.path
        beside = path.with_name(path.name.replace(_INT8, ''))
        height, width = self._model.input_size
        same = replace(self._base, input_height=height, input_width=width)
        if beside != path and beside.is_file():
            other = open_model(beside).metadata
            if (other.architecture, other.quantization) == (self._model.metadata.architecture, 'fp32'):
                return replace(same, model=str(beside))
        return same if is_derivable(self._model, 'fp32') else None

    def _measure_scaling(self) -> tuple[list[ScalingRow], list[ScalingRow], list[ScalingRow]]:
        """Times over size, threads and cameras."""
        most = self._with_threads(self._plan.threads[-1])
        height, width = self._model.input_size
        names = {factor: (round(factor * height), round(factor * width)) for factor in self._plan.sizes}
        sizes: dict[float, tuple[str, Contestant]] = {
            factor: (f'{w}x{h}', ServedCamera(replace(most, input_height=h, input_width=w)))
            for factor, (h, w) in names.items()
        }
        threads: dict[float, tuple[str, Contestant]] = {
            n: (f'{n}', ServedCamera(self._with_threads(n))) for n in self._plan.threads
        }
        cameras: dict[float, tuple[str, Contestant]] = {
            n: (f'{n}', ServedCamera(most, n_cameras=n)) for n in self._plan.cameras
        }
        return (
            self._scaled('sizes', sizes),
            self._scaled('threads', threads),
            self._scaled('cameras', cameras, has_cameras=True),
        )

    def _scaled(
        self, part: str, contestants: dict[float, tuple[str, Contestant]], *, has_cameras: bool = False
    ) -> list[ScalingRow]:
        laps = self._turns(part, dict(contestants.values()))
        found = [(value, name) for value, (name, _) in contestants.items() if name in laps]
        return [
            ScalingRow(name, value, laps[name], laps[found[0][1]].total, int(value) if has_cameras else 1)
            for value, name in found
        ]

    def _conditions(self, facts: dict[str, Any]) -> dict[str, Any]:
        plan = self._plan
        return {
            'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            'load_average': self._load,
            'machine': {
                **describe_machine(self._base.device),
                'numpy': version_of('numpy'),
                'numba': version_of('numba'),
            },
            'model': facts,
            'options': {
                'sizes': list(plan.sizes),
                'threads': list(plan.threads),
                'cameras': list(plan.cameras),
                'n_rounds': plan.n_rounds,
                'n_frames': plan.n_frames,
                'quick': plan.is_quick,
            },
        }


def _agreement(labels: UInt8Array | None, reference: UInt8Array | None) -> float | None:
    """Fraction of pixels with the same label, 0..1; None if there are no labels."""
    return None if labels is None or reference is None else float(np.mean(labels == reference))

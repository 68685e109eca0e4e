"""Choice of the backend: the one asked for, or the fastest of those available, by measuring."""

import contextlib
import logging
from collections.abc import Callable
from functools import partial

from seg_ros._caches import provide_folders
from seg_ros._numba import import_kernels
from seg_ros.errors import BackendError, SegRosError, UnavailableError, UnknownNameError
from seg_ros.inference.argmax import KERNELS
from seg_ros.inference.backends.backend import (
    GuardedBackend,
    NetworkRunner,
    bounded_threads,
    choose_device,
    free_memory,
    reason_of,
)
from seg_ros.inference.backends.machine import describe_machine, is_x86
from seg_ros.inference.backends.measured import FORGET, MeasuredModel, MeasuredTimes, forget, recall, remember
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.onnx_export import can_export
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.backends.timing import time_in_turns
from seg_ros.inference.served_model import ModelSource, ServedModel
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.levels import Described, choose_quantization, is_derivable
from seg_ros.quantization.levels import QUANTIZATIONS

log = logging.getLogger(__name__)

Report = Callable[[str], None]

BACKEND_STAGE = 'backend'
"""Stage at which a backend is built; its name follows. All libraries are imported before the first one."""

_FALLBACKS = ('fp16', 'fp32')
"""Levels to run at where a file's own does not run: half precision on GPUs, and one that always runs."""

_BESIDE = {
    'openvino': ('torch', 'torch_compile', *(('onnxruntime',) if is_x86() else ())),
    'cuda_graph': ('torch',),
}
"""Backends that 'auto' does not try where another one runs: those beside OpenVINO were not faster on any
processor that was measured, and compiling takes 20 to 50 seconds
(docs/decisions/0015-openvino-as-a-backend.md)."""


def choose_device_and_level(model: Described, settings: Settings) -> tuple[str, str]:
    """Choose where and at which level a model runs; 'auto' is the CPU if no backend runs it on the GPU.

    Args:
        model: Model file in memory.
        settings: Device, level and backend that are asked for.

    Raises:
        UnavailableError: The device does not exist, or the level cannot be derived from the file.
        UnknownNameError: The level does not exist.
    """
    device = choose_device(settings.device)
    level = choose_level(model, settings.quantization, settings.backend, device)
    if settings.device != 'auto' or device == 'cpu' or _runs(model, level, settings.backend, device):
        return device, level
    log.warning(
        "backend '%s' does not run %s on %s; it runs on the CPU", settings.backend, model.path, device
    )
    return 'cpu', choose_level(model, settings.quantization, settings.backend, 'cpu')


def choose_level(model: Described, level: str, backend: str, device: str) -> str:
    """Choose the level that a model runs at on this computer.

    Args:
        model: Model file in memory.
        level: Name of a level, or 'auto' for the level of the file. If nothing here runs that, such as 8-bit
            integers, it is fp16 on a GPU and fp32 on a CPU, and the log says so.
        backend: Name of a backend, or 'auto'.
        device: Device to run on.

    Raises:
        UnavailableError: The level cannot be derived from the file; the message lists those that can.
        UnknownNameError: The level does not exist.
    """
    chosen = choose_quantization(model, level)
    if level != 'auto' or _runs(model, chosen, backend, device):
        return chosen
    for other in _FALLBACKS[device == 'cpu' :]:
        if is_derivable(model, other) and _runs(model, other, backend, device):
            log.warning(
                "%s holds %s, which backend '%s' does not run on %s; it runs at %s instead",
                model.path,
                chosen,
                backend,
                device,
                other,
            )
            return other
    return chosen  # choose_backend gives the reason


def choose_backend(
    source: ModelSource,
    name: str,
    level: str,
    device: str,
    n_threads: int,
    *,
    with_embeddings: bool = False,
    report: Report = lambda stage: None,
) -> tuple[str, NetworkRunner]:
    """Build the backend of a name, or for 'auto' the fastest one available on this computer.

    Backends in _BESIDE are left out where a faster one runs. Timing builds each of the others, so the result
    is remembered on disk, see ``measured.py``. They are measured again when model, settings, processor or
    versions change, and when other programs disturbed the times.

    Args:
        source: Model file; its input has the size that the network gets.
        name: Name in seg_ros.inference.backends.registry.BACKENDS, or 'auto'.
        level: Level that the network computes at.
        device: Device to run on.
        n_threads: Number of CPU threads; 0 = one per core.
        with_embeddings: Whether the network returns embeddings.
        report: Called with the name of each stage when it begins; an exception that it raises stops the work.

    Returns:
        Name of the backend, and the backend.

    Raises:
        BackendError: The backend cannot be built; the message gives the reason.
        UnavailableError: The backend is not available; the message gives the reason and lists those that are.
        UnknownNameError: The backend does not exist.
    """
    provide_folders()
    model, n_threads = source.served, bounded_threads(n_threads)

    def build(key: str) -> NetworkRunner:
        return _build(source, key, level, device, n_threads, with_embeddings=with_embeddings)

    if name == 'auto':
        subject = MeasuredModel(
            model.path.stem, model.digest, level, *model.input_size, device, n_threads, with_embeddings
        )
        return _fastest(model, subject, build, report)
    if name not in BACKENDS:
        raise UnknownNameError('backend', name, sorted(BACKENDS))
    if obstacle := _obstacle(name, device, level, model):
        others = [key for key in BACKENDS if key != name and not _obstacle(key, device, level, model)]
        possible = ', '.join(['auto', *others])
        raise UnavailableError(
            f"backend '{name}' with {level} on {device}: {obstacle}; available: {possible}"
        )
    _import_libraries([name], report)
    report(f'{BACKEND_STAGE} {name}')
    return name, build(name)


def _fastest(
    model: ServedModel, subject: MeasuredModel, build: Callable[[str], NetworkRunner], report: Report
) -> tuple[str, NetworkRunner]:
    """Name of the fastest available backend, and the backend, which ``build`` makes of its name."""
    obstacles = {key: _obstacle(key, subject.device, subject.level, model) for key in BACKENDS}
    available = [key for key, obstacle in obstacles.items() if obstacle is None]
    if not available:
        raise UnavailableError(_no_backend(model, subject.level, subject.device, obstacles))
    needless = {other for key in available for other in _BESIDE.get(key, ())}
    builders: dict[str, Callable[[], NetworkRunner]] = {key: partial(build, key) for key in available}
    tried = {key: build_it for key, build_it in builders.items() if key not in needless}
    spare = {key: build_it for key, build_it in builders.items() if key in needless}
    try:
        return _Candidates(tried, subject, report).choose()
    except UnavailableError as err:
        if not spare:
            raise
        log.warning('%s; %s are tried', err, ', '.join(spare))
        return _Candidates(spare, subject, report).choose()


def _runs(model: Described, level: str, backend: str, device: str) -> bool:
    """Whether a backend, or for 'auto' any of them, runs a level of a model."""
    names = BACKENDS if backend == 'auto' else {backend} & BACKENDS.keys()
    return any(_obstacle(name, device, level, model) is None for name in names)


def _import_libraries(names: list[str], report: Report) -> None:
    """Import the libraries of backends; one that cannot be imported fails again, and is named, when built."""
    for name in names:
        report(f'libraries of {name}')
        with contextlib.suppress(Exception):
            BACKENDS[name].import_libraries()
    import_kernels(*KERNELS)


def _obstacle(name: str, device: str, level: str, model: Described) -> str | None:
    """Reason why this computer cannot run a model on a backend, in words; None if it can."""
    try:
        backend = BACKENDS[name]
        if model.metadata.is_graph:
            return backend.why_not_graph(device)
        reason = backend.why_not(device, QUANTIZATIONS[level].computes_in)
        if reason and _comes_with_graph(model, level) and backend.why_not_graph(device) is None:
            return None
        return reason
    except Exception as err:  # noqa: BLE001 - a broken package must not stop the other backends
        return f'cannot be loaded: {reason_of(err)}'


def _comes_with_graph(model: Described, level: str) -> bool:
    """Whether a model comes with the graph that this computer could not export."""
    has_graph = isinstance(model, ServedModel) and model.ready_level == level
    return has_graph and not can_export()


def _build(
    source: ModelSource,
    name: str,
    level: str,
    device: str,
    n_threads: int,
    *,
    with_embeddings: bool,
) -> NetworkRunner:
    """Build a backend.

    Raises:
        BackendError: It cannot be built; the message gives the reason.
    """
    try:
        network = NetworkSource.of_model(source, level, with_embeddings=with_embeddings)
        return GuardedBackend(name, BACKENDS[name](network, source.served.input_size, device, n_threads))
    except SegRosError:
        raise
    except Exception as err:
        free_memory()
        raise BackendError(f'backend {name} cannot be built: {reason_of(err)}') from err


def _no_backend(model: Described, level: str, device: str, obstacles: dict[str, str | None]) -> str:
    """Message: the reasons why no backend runs a level on a device, and the levels that one runs."""
    others = [
        other
        for other in QUANTIZATIONS
        if other != level
        and is_derivable(model, other)
        and any(_obstacle(key, device, other, model) is None for key in BACKENDS)
    ]
    reasons = '; '.join(f'{key} {obstacle}' for key, obstacle in obstacles.items())
    possible = f'. Possible here: {", ".join(others)}' if others else ''
    return f'no backend runs {level} on {device}: {reasons}{possible}'


class _Candidates:
    """Backends of one model that this computer can run, and how to build them.

    Args:
        builders: Function that builds a backend, by name.
        subject: Model and settings, for the memory of measurements.
        report: Called with the name of each stage; may raise to stop.
    """

    def __init__(
        self, builders: dict[str, Callable[[], NetworkRunner]], subject: MeasuredModel, report: Report
    ) -> None:
        self._builders, self._subject, self._report = dict(builders), subject, report
        self._n_all = len(builders)
        self._machine = describe_machine(subject.device)

    def choose(self) -> tuple[str, NetworkRunner]:
        """The fastest backend: remembered, or measured now."""
        known = self._recalled()
        if known and known.is_certain:
            log.info(
                'backend %s: %s, measured %s; %s measures again',
                known.backend,
                known.text(),
                known.measured,
                FORGET,
            )
            _import_libraries([known.backend], self._report)
            try:
                return known.backend, self._build(known.backend)
            except BackendError as err:
                log.warning('%s; the other backends are measured', err)
                forget(self._subject)
                del self._builders[known.backend]
                known = None
        return self._measure(known)

    def _recalled(self) -> MeasuredTimes | None:
        """The stored measurement; None, with the reason in the log, if it is of another computer."""
        known = recall(self._subject)
        if known is None:
            return None
        changes = known.changed_since(self._machine)
        before, now = ', '.join(sorted(known.times)), ', '.join(sorted(self._builders))
        if before != now:
            changes.append(f'available were {before}, are {now}')
        if changes:
            log.info('the backends are measured again: %s', '; '.join(changes))
            return None
        if not known.is_certain:
            log.info('the backends are measured again: the times of %s were disturbed', known.measured)
        return known

    def _build(self, name: str) -> NetworkRunner:
        self._report(f'{BACKEND_STAGE} {name}')
        return self._builders[name]()

    def _measure(self, before: MeasuredTimes | None) -> tuple[str, NetworkRunner]:
        """Measure all backends, and remember the result."""
        _import_libraries(list(self._builders), self._report)
        built: dict[str, NetworkRunner] = {}
        for name in self._builders:
            try:
                built[name] = self._build(name)
            except BackendError as err:
                log.warning('%s; it is left out', err)
        self._report('times of backends')
        size = self._subject.height, self._subject.width
        times, failures = time_in_turns(built, size)
        for failure in failures.values():
            log.warning('%s; it is left out', failure)
        if not times:
            raise UnavailableError('no backend could run the model; the warnings before this say why')
        result = MeasuredTimes(self._subject, self._machine, times)
        if before and set(before.times) == set(times):
            result = before.merged_with(result)
        if len(times) == self._n_all:
            remember(result)
        for name in built.keys() - {result.backend}:
            del built[name]
        free_memory()
        log.info('backend %s: %s; %s measures again', result.backend, result.text(), FORGET)
        return result.backend, built[result.backend]

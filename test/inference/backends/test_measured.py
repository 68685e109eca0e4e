"""The memory of measured backends: what is kept, when it counts, and when it is measured again."""

import importlib.metadata
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_ros.arrays import Maps, UInt8Array
from seg_ros.errors import BackendError, UnavailableError
from seg_ros.inference.backends import machine, measured, select, timing
from seg_ros.inference.backends.machine import is_x86
from seg_ros.inference.backends.measured import MeasuredModel, MeasuredTimes, recall, remember
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.backends.timing import BackendTimes, fastest, is_in_doubt, time_in_turns
from seg_ros.inference.served_model import ModelSource
from seg_ros.inference.settings import Settings

TRIED_ALONE = select._BESIDE
SUBJECT = MeasuredModel('lite', 'abc', 'fp32', 4, 4, 'cpu', 0, False)


def times(**lowest_and_typical_ms: tuple[float, float]) -> dict[str, BackendTimes]:
    return {name: BackendTimes(*pair, 7) for name, pair in lowest_and_typical_ms.items()}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'seg_ros' / 'backends'


@pytest.mark.parametrize(
    ('given_times', 'expected'),
    [
        (times(a=(10, 10), b=(9.6, 9.6)), 'a'),  # a gain of 4 % is none
        (times(a=(10, 10), b=(9.4, 9.4)), 'b'),
        (times(a=(10, 10), b=(9.4, 9.4), c=(9.2, 9.2)), 'b'),
        (times(a=(10, 10)), 'a'),
    ],
)
def test_a_later_backend_must_win_by_a_margin(given_times: dict[str, BackendTimes], expected: str) -> None:
    assert fastest(given_times) == expected


@pytest.mark.parametrize(
    ('given_times', 'expected'),
    [
        (times(a=(10, 10.2), b=(10, 10.2)), False),  # equal, on a quiet computer
        (times(a=(10, 15), b=(9, 9.2)), True),
        (times(a=(10, 15), b=(40, 60)), False),  # noisy, but far apart
        (times(a=(10, 15)), False),
    ],
)
def test_doubt_comes_of_noise(given_times: dict[str, BackendTimes], expected: bool) -> None:
    assert is_in_doubt(given_times) is expected


class Clock:
    """A clock that backends of given durations advance."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(timing.time, 'perf_counter', lambda: self.now)
        self.order: list[str] = []

    def backend(self, name: str, durations_ms: Callable[[int], float]) -> Callable[[UInt8Array], dict]:
        n_calls = 0

        def run(images: UInt8Array) -> dict[str, Maps]:
            nonlocal n_calls
            self.now += durations_ms(n_calls) / 1e3
            n_calls += 1
            self.order.append(name)
            return {}

        return run


def test_backends_are_timed_in_turns_until_there_is_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backends = {'a': clock.backend('a', lambda n: 10), 'b': clock.backend('b', lambda n: 8)}
    found, failures = time_in_turns(backends, (4, 4))
    assert clock.order == ['a', 'b'] * 8  # one turn is not counted
    assert not failures
    assert fastest(found) == 'b'
    assert found['a'].lowest_ms == pytest.approx(10)
    clock.order.clear()
    noisy = {'a': clock.backend('a', lambda n: 10 + 9 * (n % 2)), 'b': clock.backend('b', lambda n: 9.8)}
    assert time_in_turns(noisy, (4, 4))[0]['a'].n == 21


def test_load_that_comes_and_goes_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one was kept for good once, since the faster one was measured while something else ran."""
    clock = Clock(monkeypatch)

    def loaded(ms: float) -> Callable[[int], float]:
        return lambda n: ms * (2 if n < 5 else 1)

    backends = {'a': clock.backend('a', loaded(40)), 'b': clock.backend('b', loaded(36))}
    assert fastest(time_in_turns(backends, (4, 4))[0]) == 'b'


def test_one_that_fails_while_timed_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def fail(n: int) -> float:
        raise BackendError('no memory')

    found, failures = time_in_turns(
        {'a': clock.backend('a', fail), 'b': clock.backend('b', lambda n: 1)}, (4, 4)
    )
    assert list(found) == ['b']
    assert str(failures['a']) == 'no memory'


def test_a_measurement_comes_back_as_it_was() -> None:
    measurement = MeasuredTimes(SUBJECT, {'torch': '2'}, times(a=(1.5, 2), b=(3, 3)))
    remember(measurement)
    assert recall(SUBJECT) == measurement
    assert recall(replace(SUBJECT, n_threads=2)) is None
    assert recall(replace(SUBJECT, model='another name')) == measurement


@given(st.binary(max_size=300))
def test_any_file_is_read_or_ignored(content: bytes) -> None:
    remember(MeasuredTimes(SUBJECT, {}, times(a=(1, 2))))
    (path,) = measured._files()
    path.write_bytes(content)
    assert recall(SUBJECT) is None


@pytest.mark.parametrize(
    'change',
    [
        lambda d: d.pop('times'),
        lambda d: d.update(times={}),
        lambda d: d['times']['a'].update(lowest_ms=0),
        lambda d: d['times']['a'].update(lowest_ms='1'),
        lambda d: d['times']['a'].update(lowest_ms=float('nan')),
        lambda d: d.update(n_measurements=-1),
        lambda d: d['subject'].update(digest='another'),
        lambda d: d.update(unknown=1),
    ],
)
def test_a_changed_file_is_ignored(change: Callable[[dict], None]) -> None:
    remember(MeasuredTimes(SUBJECT, {}, times(a=(1, 2))))
    (path,) = measured._files()
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert recall(SUBJECT) is None


def test_a_full_disk_costs_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(measured.os, 'fdopen', refuse)
    remember(MeasuredTimes(SUBJECT, {}, times(a=(1, 2))))
    assert 'No space left' in caplog.text
    assert not list(folder.iterdir())


def test_the_processor_is_named() -> None:
    described = machine.describe_machine('cpu')
    assert described['processor']
    assert described['torch'] == importlib.metadata.version('torch')
    assert int(described['cores']) >= 1


ON_CPUS = {'torch', 'torch_compile', 'onnxruntime', 'openvino'}
"""Backends for CPUs. The others refuse a CPU by themselves."""


class FakeBackend:
    """A backend of a name, which fails as often as told."""

    built: list[str] = []
    fails: set[str] = set()

    @classmethod
    def named(cls, name: str, error: Exception | None = None) -> type:
        class Named:
            def __init__(self, *args: object) -> None:
                cls.built.append(name)
                if name in cls.fails:
                    raise error or RuntimeError('g++: fatal error: cannot execute cc1plus')

            why_not = staticmethod(lambda device, computes_in: None)
            import_libraries = staticmethod(lambda: None)

            def __call__(self, images: UInt8Array, wanted: object = None) -> dict[str, Maps]:
                return {}

        return Named


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch, model_file: Path) -> Callable[..., str]:
    """Chooses between fake backends, of which torch_compile is the fastest; all of them are tried."""
    monkeypatch.setattr(select, '_BESIDE', {})
    source = ModelSource(Settings(model=str(model_file)))
    FakeBackend.built, FakeBackend.fails = [], set()
    for name in ON_CPUS:
        monkeypatch.setitem(BACKENDS, name, FakeBackend.named(name))
    speeds = {'torch': (40, 41), 'torch_compile': (20, 21), 'onnxruntime': (30, 31), 'openvino': (90, 91)}
    measurable = times(**speeds)

    def measure(backends: dict[str, object], size: object) -> object:
        return {name: measurable[name] for name in backends}, {}

    monkeypatch.setattr(select, 'time_in_turns', measure)

    def run(name: str = 'auto', **changes: tuple[float, float]) -> str:
        measurable.update(times(**changes))
        FakeBackend.built.clear()
        return select.choose_backend(source, name, 'fp32', 'cpu', 0)[0]

    return run


def test_the_result_is_remembered_and_told(
    choose: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert choose() == 'torch_compile'
    assert set(FakeBackend.built) == ON_CPUS
    caplog.clear()
    assert choose() == 'torch_compile'
    assert FakeBackend.built == ['torch_compile']
    (line,) = caplog.messages
    for part in ('torch_compile 20.0 ms', 'onnxruntime 30.0 ms', 'seg_ros backends --forget'):
        assert part in line


def test_compilers_are_not_tried_beside_openvino(
    choose: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, '_BESIDE', TRIED_ALONE)
    expected = {'openvino'} if is_x86() else {'onnxruntime', 'openvino'}
    assert choose() == ('openvino' if is_x86() else 'onnxruntime')
    assert set(FakeBackend.built) == expected
    assert choose('torch_compile') == 'torch_compile'
    monkeypatch.setitem(BACKENDS, 'openvino', 'no_such_package:Backend')
    assert choose() == 'torch_compile'
    assert set(FakeBackend.built) == {'torch', 'torch_compile', 'onnxruntime'}


def test_what_was_left_out_is_tried_when_the_others_fail(
    choose: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(select, '_BESIDE', {'openvino': ('torch', 'torch_compile', 'onnxruntime')})
    FakeBackend.fails = {'openvino'}
    assert choose() == 'torch_compile'
    assert {'openvino', 'torch_compile'} <= set(FakeBackend.built)
    assert any('are tried' in message for message in caplog.messages)


@pytest.mark.parametrize('property_', ['processor', 'torch', 'cores', 'compiler', 'onnxruntime', 'seg_ros'])
def test_another_computer_measures_again(
    choose: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    property_: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    choose()
    described = machine.describe_machine('cpu')
    monkeypatch.setattr(select, 'describe_machine', lambda device: {**described, property_: 'new'})
    caplog.set_level(logging.INFO)
    assert choose(torch=(5, 5)) == 'torch'
    assert f'{property_} was {described[property_]}, is new' in caplog.text


def test_a_disturbed_measurement_is_made_again_and_merged(choose: Callable[..., str]) -> None:
    assert choose(torch_compile=(36, 60), onnxruntime=(35, 50), torch=(80, 90)) == 'torch_compile'
    assert choose(torch_compile=(34, 35), onnxruntime=(30, 31), torch=(70, 71)) == 'onnxruntime'
    assert set(FakeBackend.built) == ON_CPUS
    choose(torch_compile=(34, 60), onnxruntime=(33, 60))
    assert set(FakeBackend.built) in ({'onnxruntime'}, ON_CPUS)
    choose()
    choose()
    assert FakeBackend.built == ['onnxruntime']  # enough is enough


def test_a_compiler_that_broke_does_not_stop_the_node(
    choose: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    choose()
    FakeBackend.fails.add('torch_compile')
    assert choose() == 'onnxruntime'
    assert 'cannot execute cc1plus; the other backends are measured' in caplog.text
    assert 'Traceback' not in caplog.text
    FakeBackend.fails.clear()
    assert choose() == 'torch_compile'


def test_a_broken_backend_is_left_out_and_nothing_is_remembered(
    choose: Callable[..., str], folder: Path
) -> None:
    FakeBackend.fails.add('torch_compile')
    assert choose() == 'onnxruntime'
    assert not list(folder.glob('*.json'))
    FakeBackend.fails.update(BACKENDS)
    with pytest.raises(UnavailableError, match='no backend could run'):
        choose()


def test_a_named_backend_that_cannot_be_built_says_why(choose: Callable[..., str]) -> None:
    FakeBackend.fails.add('torch_compile')
    with pytest.raises(BackendError, match=r'torch_compile cannot be built: .*cc1plus'):
        choose('torch_compile')


def test_a_package_that_cannot_be_imported_concerns_its_backend_alone(
    choose: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, 'onnxruntime', 'no_such_package:Backend')
    assert choose('torch') == 'torch'
    assert choose() == 'torch_compile'
    with pytest.raises(UnavailableError, match=r'onnxruntime.*no_such_package.*available: auto, torch'):
        choose('onnxruntime')


def test_a_stop_between_stages_is_not_taken_for_a_failure(
    choose: Callable[..., str], monkeypatch: pytest.MonkeyPatch, model_file: Path
) -> None:
    class StoppedError(Exception):
        pass

    source, stages = ModelSource(Settings(model=str(model_file))), list[str]()

    def report(stage: str) -> None:
        stages.append(stage)
        if len(stages) == stop_at:
            raise StoppedError

    for stop_at in (1, 4, 6):  # noqa: B007 - read by report
        stages.clear()
        with pytest.raises(StoppedError):
            select.choose_backend(source, 'auto', 'fp32', 'cpu', 0, report=report)
    assert len(stages) == 6

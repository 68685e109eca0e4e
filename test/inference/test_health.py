from dataclasses import replace

import pytest

from seg_ros.inference.drops import WINDOW_S, Drop, Statistics, Summary
from seg_ros.inference.health import STALLED_S, Severity, Situation, judge

ACTIVE = Situation('active', topic='/image', n_publishers=1, n_subscribers=1)
RUNNING = Summary(recently_in=10, recently_out=10, rate_out_hz=9.96, last_in_s=0.1, age_ms=(20.0, 40.0, 30.0))


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_figures_are_those_of_the_last_seconds() -> None:
    time = Time()
    statistics = Statistics(time)
    for number in range(100):  # 10 s at 10 Hz, of which every fourth frame is dropped
        time.now += 0.1
        statistics.receive()
        if number % 4 == 3:
            statistics.drop(Drop.REPLACED)
        else:
            statistics.publish(float(number), {'network_ms': float(number % 3), 'publish_ms': 1.0})
    summary = statistics.summary()
    assert (summary.n_in, summary.n_out, summary.dropped) == (100, 75, {Drop.REPLACED: 25})
    assert summary.recently_in == pytest.approx(10 * WINDOW_S, abs=1)
    assert summary.rate_in_hz == pytest.approx(10, rel=0.05)
    assert summary.rate_out_hz == pytest.approx(7.5, rel=0.05)
    assert min(summary.age_ms) >= 48
    assert summary.stages_ms == {'network_ms': 1.0, 'publish_ms': 1.0}
    assert summary.last_in_s == 0


def test_rates_are_right_from_the_first_second() -> None:
    time = Time()
    statistics = Statistics(time)
    for _ in range(10):
        time.now += 0.1
        statistics.receive()
    assert statistics.summary().rate_in_hz == pytest.approx(10)


def test_what_lies_outside_the_window_is_forgotten_but_counted() -> None:
    time = Time()
    statistics = Statistics(time)
    statistics.receive()
    statistics.drop(Drop.BAD, 'it smells')
    assert statistics.summary().bad == 'it smells'
    time.now += WINDOW_S + 1
    summary = statistics.summary()
    assert (summary.recently_in, summary.recently_dropped, summary.bad) == (0, {}, '')
    assert (summary.n_in, summary.dropped) == (1, {Drop.BAD: 1})
    assert summary.last_in_s == WINDOW_S + 1


def test_forget() -> None:
    statistics = Statistics(Time())
    statistics.receive()
    statistics.publish(None, {})
    statistics.forget()
    summary = statistics.summary()
    assert (summary.n_in, summary.n_out, summary.recently_in, summary.recently_out) == (1, 1, 0, 0)
    assert summary.last_in_s is None


def test_all_is_well() -> None:
    verdict = judge(ACTIVE, RUNNING)
    assert (verdict.level, verdict.message) == (Severity.OK, '10.0 Hz, age 30 ms')
    assert verdict.values['age_p50_ms'] == '30.00'
    assert verdict.values['dropped_too_old'] == '0'


SILENT = replace(RUNNING, recently_out=0, age_ms=())


@pytest.mark.parametrize(
    ('situation', 'summary', 'level', 'message'),
    [
        (Situation('unconfigured'), Summary(), Severity.OK, 'unconfigured'),
        (Situation('inactive'), Summary(), Severity.OK, 'inactive'),
        (
            Situation('unconfigured', failure='configure failed: no'),
            Summary(),
            Severity.ERROR,
            'configure failed: no',
        ),
        (replace(ACTIVE, n_publishers=0), Summary(), Severity.STALE, 'no publisher on /image'),
        (replace(ACTIVE, qos_mismatch='deaf'), Summary(), Severity.ERROR, 'deaf (/image)'),
        (replace(ACTIVE, qos_mismatch='deaf'), RUNNING, Severity.WARN, 'deaf (/image)'),
        (ACTIVE, Summary(), Severity.WARN, 'no image yet on /image'),
        (
            ACTIVE,
            replace(RUNNING, last_in_s=STALLED_S + 1.2),
            Severity.STALE,
            'image stalled: last frame 3.2 s ago',
        ),
        (replace(ACTIVE, n_subscribers=0), SILENT, Severity.OK, 'nobody subscribes to any output'),
        (
            replace(ACTIVE, n_subscribers=0, n_publishers=0),
            Summary(),
            Severity.STALE,
            'no publisher on /image; nobody subscribes to any output',
        ),
        (
            ACTIVE,
            replace(SILENT, recently_dropped={Drop.BAD: 9}, bad="encoding 'x'"),
            Severity.ERROR,
            "bad images: encoding 'x'",
        ),
        (
            ACTIVE,
            replace(RUNNING, recently_dropped={Drop.BAD: 2}, bad='torn'),
            Severity.WARN,
            '2 of 10 images bad: torn',
        ),
        (
            ACTIVE,
            replace(SILENT, recently_dropped={Drop.FAILED: 9}, failed='out of memory'),
            Severity.ERROR,
            '9 of 10 images failed: out of memory',
        ),
        (
            ACTIVE,
            replace(RUNNING, recently_dropped={Drop.FAILED: 1, Drop.BAD: 2}, bad='torn', failed='overflow'),
            Severity.WARN,
            '2 of 10 images bad: torn; 1 of 10 images failed: overflow',
        ),
        (
            replace(ACTIVE, max_age_ms=50.0),
            replace(SILENT, recently_dropped={Drop.TOO_OLD: 10}),
            Severity.WARN,
            'all frames older than max_age_ms = 50',
        ),
        (ACTIVE, SILENT, Severity.WARN, 'no result yet'),
    ],
)
def test_why_there_is_no_output(
    situation: Situation, summary: Summary, level: Severity, message: str
) -> None:
    verdict = judge(situation, summary)
    assert (verdict.level, verdict.message) == (level, message)


def test_times_of_stages_are_in_their_order() -> None:
    summary = replace(RUNNING, stages_ms={'publish_ms': 1.0, 'convert_ms': 2.0})
    keys = list(judge(ACTIVE, summary).values)
    assert keys.index('convert_ms') < keys.index('publish_ms')


LOST = replace(SILENT, recently_in=2, recently_lost=48)


@pytest.mark.parametrize(
    ('summary', 'level', 'words'),
    [
        (LOST, Severity.WARN, ['48 of 50 frames lost', 'docs/transport.md', '/image']),
        (replace(LOST, recently_in=0, last_in_s=9.0), Severity.WARN, ['48 of 48 frames lost']),
        (replace(LOST, recently_in=0, last_in_s=None), Severity.WARN, ['48 of 48 frames lost']),
        (replace(RUNNING, recently_lost=2), Severity.OK, ['10.0 Hz']),
        (replace(RUNNING, notes=((Severity.WARN, 'odd stamp'),)), Severity.WARN, ['10.0 Hz', 'odd stamp']),
    ],
)
def test_frames_lost_on_the_way_and_notes(summary: Summary, level: Severity, words: list[str]) -> None:
    verdict = judge(ACTIVE, summary)
    assert verdict.level == level
    for word in words:
        assert word in verdict.message


def test_a_low_rate_limit_is_told() -> None:
    skipped = replace(SILENT, recently_dropped={Drop.OVER_RATE: SILENT.recently_in})
    verdict = judge(replace(ACTIVE, max_rate_hz=0.01), skipped)
    assert 'max_rate_hz = 0.01' in verdict.message
    assert '100 s' in verdict.message


def test_losses_are_counted() -> None:
    time = Time()
    statistics = Statistics(time)
    statistics.lose(3)
    time.now += WINDOW_S / 2
    statistics.lose(2)
    assert (statistics.summary().n_lost, statistics.summary().recently_lost) == (5, 5)
    time.now += 0.6 * WINDOW_S
    assert (statistics.summary().n_lost, statistics.summary().recently_lost) == (5, 2)
    assert judge(ACTIVE, statistics.summary()).values['frames_lost'] == '5'

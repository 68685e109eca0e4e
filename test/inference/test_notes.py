import logging

import pytest

from seg_ros.inference.notes import LASTS_S, Notes, Severity


class Time:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_note_lasts_while_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, 'seg_ros')
    time = Time()
    notes = Notes(time)
    for second in range(20):
        time.now += 1
        notes.tell('stamp', Severity.WARN, f'stamp {second}')
        notes.tell('count', Severity.OK, 'many')
        assert notes.current() == ((Severity.WARN, f'stamp {second}'), (Severity.OK, 'many'))
    assert [record.getMessage() for record in caplog.records] == ['stamp 0']
    notes.tell('count', Severity.OK, '')
    assert notes.current() == ((Severity.WARN, 'stamp 19'),)
    time.now += LASTS_S + 1
    assert notes.current() == ()


def test_a_warning_that_comes_and_goes_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, 'seg_ros')
    time = Time()
    notes = Notes(time)
    for number in range(120):
        time.now += 1
        notes.tell('stamp', Severity.WARN, '' if number % 2 else 'odd')
    assert len(caplog.records) == 2


def test_facts_and_forgetting() -> None:
    notes = Notes()
    notes.tell_fact('bit_depth', '10')
    notes.tell('stamp', Severity.WARN, 'odd')
    assert notes.facts() == {'bit_depth': '10'}
    notes.forget()
    assert (notes.current(), notes.facts()) == ((), {})

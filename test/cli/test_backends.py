import json
from pathlib import Path

import pytest

from seg_ros.cli.main import main
from seg_ros.inference.backends.machine import describe_machine
from seg_ros.inference.backends.measured import MeasuredModel, MeasuredTimes, recall, remember
from seg_ros.inference.backends.timing import BackendTimes

SUBJECT = MeasuredModel('lite_camvid', 'abc', 'fp32', 360, 480, 'cpu', 0, False)
TIMES = {'torch': BackendTimes(40.0, 41.0, 7), 'onnxruntime': BackendTimes(30.0, 33.0, 7)}


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def test_measurements_are_listed_and_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['backends']) == 0
    assert 'nothing is measured' in capsys.readouterr().out
    remember(MeasuredTimes(SUBJECT, describe_machine('cpu'), TIMES))
    assert main(['backends']) == 0
    text = capsys.readouterr().out
    for part in (
        'lite_camvid',
        '480 x 360',
        'onnxruntime: torch 40.0 ms (spread 2%)',
        '30.0 ms (spread 10%)',
    ):
        assert part in text
    assert 'measured again' not in text
    assert main(['backends', '--forget']) == 0
    assert 'forgot 1 ' in capsys.readouterr().out
    assert recall(SUBJECT) is None


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    remember(MeasuredTimes(SUBJECT, describe_machine('cpu'), TIMES))
    assert main(['backends', '--json']) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found['backend'] == 'onnxruntime'
    assert found['subject']['digest'] == 'abc'
    assert found['times']['torch'] == {'lowest_ms': 40.0, 'typical_ms': 41.0, 'n': 7}


def test_it_says_why_something_will_be_measured_again(capsys: pytest.CaptureFixture[str]) -> None:
    remember(MeasuredTimes(SUBJECT, {**describe_machine('cpu'), 'torch': '1.0'}, TIMES))
    main(['backends'])
    assert 'torch was 1.0' in capsys.readouterr().out


def test_the_files_of_older_versions_are_forgotten_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(MeasuredTimes(SUBJECT, describe_machine('cpu'), TIMES))
    (tmp_path / 'cache/seg_ros/backend-0123.json').write_text('{"fastest": "torch"}')
    main(['backends', '--forget'])
    assert 'forgot 2 ' in capsys.readouterr().out

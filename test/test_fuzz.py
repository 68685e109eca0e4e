"""Every fuzz target reads its seeds, and finds a fault when there is one."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / 'benchmarks' / 'fuzz'


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FUZZ), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_seeds_of_all_targets_are_read() -> None:
    ended = run('--seeds')
    assert ended.returncode == 0, ended.stderr
    names = {line.split()[0] for line in ended.stdout.splitlines()}
    assert {'image_message', 'model_file', 'bag_mcap', 'recipe', 'parameter_file', 'split_list'} <= names


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(FUZZ))
    import check

    return check


def test_faults_are_found(check: object, tmp_path: Path) -> None:
    from target import ContractError, Target  # beside check

    from seg_ros.errors import BagError

    def problem(error: BaseException | None) -> str:
        def read(data: bytes, folder: Path) -> None:
            if error is not None:
                raise error

        return str(check.problem_of(Target(lambda: [b''], read), b'', tmp_path))  # type: ignore[attr-defined]

    assert problem(None) == problem(BagError('x is damaged')) == ''
    assert 'KeyError' in problem(KeyError('x'))
    assert 'MemoryError' in problem(MemoryError())
    assert 'promise' in problem(ContractError('promise'))
    assert 'control characters' in problem(BagError('x\nERROR forged'))

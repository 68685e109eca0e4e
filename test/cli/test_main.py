import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from seg_ros import __version__
from seg_ros.cli.main import COMMANDS, main


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, '--help'])
    assert stop.value.code == 0
    assert COMMANDS[name][1] in ' '.join(capsys.readouterr().out.split())
    assert callable(importlib.import_module(COMMANDS[name][0]).run)


@pytest.mark.parametrize('command', [None, 'evaluate', 'segment', 'show-data', 'match', 'info', 'params'])
def test_help_imports_neither_torch_nor_ros(command: str | None) -> None:
    words = [command, '--help'] if command else ['--help']
    code = f'import sys; from seg_ros.cli.main import main\ntry: main({words})\nexcept SystemExit: pass\n'
    code += (
        'assert not {"torch", "rclpy", "cv2", "seg_ros.synthetic"} & set(sys.modules), sorted(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out.strip() == f'seg_ros {__version__}'


def test_errors_are_one_line_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', str(tmp_path / 'missing.safetensors')]) == 1
    message = capsys.readouterr().err
    assert message.startswith('seg_ros: model file')
    assert message.count('\n') == 1


def test_unknown_command_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(['fly'])
    assert stop.value.code == 2
    assert 'segment' in capsys.readouterr().err


def test_info_says_what_is_in_a_file(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', str(model_file)]) == 0
    text = capsys.readouterr().out
    for words in ('enet', '128 x 96 pixels', 'bicyclist', 'CC0-1.0', 'fp32', '2 images of 72 x 54'):
        assert words in text


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    program = 'import sys; from seg_ros.cli.main import main; sys.exit(main(["params"]))'
    with subprocess.Popen(
        [sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ''
        assert process.wait() == 0


@pytest.mark.skipif(not Path('/dev/full').is_char_device(), reason='needs a device that is always full')
@pytest.mark.parametrize(
    'words', [['params'], ['params', '--format', 'markdown'], ['info', 'lite_camvid_int8']]
)
def test_output_that_cannot_be_written_is_told(words: list[str]) -> None:
    program = f'import sys; from seg_ros.cli.main import main; sys.exit(main({words!r}))'
    with Path('/dev/full').open('w') as full:
        done = subprocess.run(
            [sys.executable, '-c', program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ['seg_ros: [Errno 28] No space left on device']


def test_without_torch_each_command_helps_or_says_what_it_needs(without_torch: dict[str, str]) -> None:
    for words in (*([name, '--help'] for name in COMMANDS), ['info', 'lite_camvid'], ['train', 'camvid']):
        done = subprocess.run(
            [sys.executable, '-m', 'seg_ros.cli', *words], capture_output=True, text=True, env=without_torch
        )
        assert 'Traceback' not in done.stderr, words
        if done.returncode:
            assert done.stderr == (
                "seg_ros: this needs torch, which is missing: pip install 'seg_ros[torch]'\n"
            )

import argparse
import os
from pathlib import Path

import pytest

from seg_ros.cli.main import main
from seg_ros.cli.options import add_model_arguments, settings_from
from seg_ros.errors import ParameterError
from seg_ros.inference.settings import BY_NAME, MODEL_PARAMETERS, Settings, parameters_from


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    return parser.parse_args(words)


def test_defaults_are_those_of_the_parameters() -> None:
    assert settings_from(parse()) == Settings()


def test_every_argument_reaches_the_settings_with_its_type() -> None:
    of_model = ('a.safetensors', 'fp32', 'torch', 'cpu', 2, 96, 128, 0.5)
    given = (*of_model, True, 5, 3, 1.5, 'scores', 0.5, 'blocks', 12, 'components', 0.25)
    values = dict(zip(MODEL_PARAMETERS, given, strict=True))
    words = []
    for name, value in values.items():
        words.append(f'--{name.replace("_", "-").replace(".", "-")}')
        words += [] if value is True else [str(value)]
    assert parameters_from(settings_from(parse(*words))) == values
    assert {name: type(value) for name, value in values.items()} == {
        name: type(BY_NAME[name].default) for name in MODEL_PARAMETERS
    }


@pytest.mark.parametrize('words', [['--confidence-threshold', '1.5'], ['--n-threads', '-1']])
def test_values_out_of_range_are_refused(words: list[str]) -> None:
    with pytest.raises(ParameterError, match=words[0].strip('-').replace('-', '_')):
        settings_from(parse(*words))


def test_help_quotes_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        parse('--help')
    text = ' '.join(capsys.readouterr().out.split())
    for name in MODEL_PARAMETERS:
        assert BY_NAME[name].doc in text


@pytest.mark.parametrize(
    'words',
    [
        ['export', 'lite_camvid'],
        ['quantize', 'lite_camvid', '--level', 'fp16'],
        ['prune', 'lite_camvid'],
        ['calibrate', 'camvid', '--data', '.'],
        ['fit-codes', 'camvid', '--model', 'lite_camvid'],
        ['import', 'net.onnx'],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize('name', ['net.onnx', 'net', '', '.', 'folder.safetensors', 'pipe.safetensors'])
def test_what_no_model_can_be_written_to_is_refused_before_any_work(
    words: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('folder.safetensors').mkdir()
    os.mkfifo('pipe.safetensors')
    with pytest.raises(SystemExit) as ended:
        main([*words, '-o', name])
    assert ended.value.code == 2
    assert 'argument -o/--output' in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2

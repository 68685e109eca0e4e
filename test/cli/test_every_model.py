"""Every command that takes a model, with every shipped model."""

from pathlib import Path

import pytest

from seg_ros.cli.main import main
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.find import shipped_models

NAMES = [path.stem for path in shipped_models()]
PARENTS = {
    'enet_camvid_int8': 'enet_camvid',
    'lite_camvid_int8': 'lite_camvid',
    'segnet_camvid_int8': 'segnet_camvid_int8',
}
LAYERS = {
    'efficientnet_lite_pyramid': 'top',
    'enet': 'stage4',
    'segnet': 'encoder.scales.0',
    'squeezenet': 'features.4',
}
NO_CLASSES = 'segments'


def layer_of(name: str) -> str:
    return LAYERS[load_model(name).metadata.architecture]


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('words', [[], ['--json']])
def test_info(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', name, *words]) == 0
    assert load_model(name).metadata.architecture in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(('name', 'parent'), PARENTS.items())
def test_units_are_compared_with_8_bit_models(name: str, parent: str, tmp_path: Path) -> None:
    """A model of 8 bits is the one compared, or the first one."""
    data = ['--dataset', 'rendered', '--limit', '1', '--units', '1', '--peaks', '1']
    for first, second in ((parent, name), (name, parent)):
        output = tmp_path / f'{first}-{second}'
        words = ['visualize', first, '--layer', layer_of(first), *data]
        assert main([*words, '--compare', second, '-o', str(output)]) == 0
        assert (output / 'index.html').is_file()


RENDERED = ['--dataset', 'rendered', '--limit', '1']
STREETS = ['--options', '{{n_drives: 1, n_frames: 1}}']
COMMANDS = {
    'segment': ['segment', '{scenes}', '--model', '{name}', '-o', '{out}'],
    'evaluate': ['evaluate', 'rendered', '--model', '{name}'],
    'compare': ['compare', '{name}', 'enet_camvid', *RENDERED, '--rounds', '1', '--json', '{out}.json'],
    'visualize': ['visualize', '{name}', '--layer', '{layer}', *RENDERED, '--units', '1', '-o', '{out}'],
    'quantize': ['quantize', '{name}', *RENDERED[:2], *STREETS, '--images', '1', '-o', '{out}.safetensors'],
    'share': ['share', '{name}', *RENDERED[:2], *STREETS, '--images', '1', '-o', '{out}.safetensors'],
    'match': ['match', '{scenes}', '{scenes}', '--model', '{name}', '-o', '{out}'],
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('command', COMMANDS)
def test_commands_work_or_say_in_one_line_why_not(
    name: str, command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from seg_ros.resources import resource

    values = {
        'name': name,
        'layer': layer_of(name),
        'scenes': str(resource('config/golden_scenes.png')),
        'out': str(tmp_path / 'out'),
    }
    code = main([word.format(**values) for word in COMMANDS[command]])
    errors = capfd.readouterr().err
    has_codes = load_model(name).metadata.codes is not None
    is_possible = (
        has_codes if command == 'match' else name != NO_CLASSES or command in ('segment', 'visualize')
    )
    assert 'Traceback' not in errors
    assert (code == 0) == is_possible, errors
    assert is_possible or [line for line in errors.splitlines() if line.startswith('seg_ros: ')]

"""What the pages say can be typed: commands with their options, recipes, parameters, links."""

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from seg_ros.classes import ClassSet
from seg_ros.cli.main import COMMANDS
from seg_ros.cli.train import find_recipe
from seg_ros.compression.chain import CompressionRecipe
from seg_ros.inference.settings import BY_NAME
from seg_ros.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md'), *(ROOT / 'models').glob('*.md')])
WHOLE = [ROOT / 'README.md', ROOT / 'docs/own_robot.md']
"""Pages in whose blocks each command is one to type."""

pytestmark = pytest.mark.skipif(not WHOLE[0].exists(), reason='an installed package has no pages')


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf'^```{language}\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)
    assert all(isinstance(block, str) for block in found)
    return found


def typed(page: Path) -> Iterator[list[str]]:
    """Words of every command line of a page's shell blocks."""
    for block in blocks(page, 'sh'):
        for line in block.replace('\\\n', ' ').splitlines():
            yield from split_at_and(shlex.split(line, comments=True))


def split_at_and(words: list[str]) -> Iterator[list[str]]:
    while '&&' in words:
        yield words[: words.index('&&')]
        words = words[words.index('&&') + 1 :]
    yield words


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f'seg_ros {command}', exit_on_error=False, allow_abbrev=False)
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    return parser


@pytest.mark.parametrize('page', WHOLE, ids=lambda page: page.name)
def test_commands_in_blocks_are_complete(page: Path) -> None:
    n_checked = 0
    for words in typed(page):
        if words[:1] != ['seg_ros']:
            continue
        n_checked += 1
        arguments = parser_of(words[1]).parse_args(words[2:])
        recipe = getattr(arguments, 'recipe', None)
        if recipe and not recipe.endswith('.yaml'):
            assert find_recipe(recipe, words[1]).is_file()
    assert n_checked >= 8


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_and_their_options_exist(page: Path) -> None:
    for text in re.findall(r'`seg_ros ([^`]+)`', page.read_text()):
        command, *words = text.split()
        assert command in COMMANDS, text
        known = {option for action in parser_of(command)._actions for option in action.option_strings}
        assert {word for word in words if re.match(r'-[-a-zA-Z]', word)} <= known, text


@pytest.mark.parametrize('page', WHOLE, ids=lambda page: page.name)
def test_launch_arguments_exist(page: Path) -> None:
    tree = ast.parse((ROOT / 'launch/segmentation.launch.py').read_text())
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ARGUMENTS'
    )
    assert isinstance(table, ast.Dict)
    known = {ast.literal_eval(key) for key in table.keys if key}
    launches = [words for words in typed(page) if words[:2] == ['ros2', 'launch']]
    assert launches
    for words in launches:
        assert words[2:4] == ['seg_ros', 'segmentation.launch.py']
        assert {word.partition(':=')[0] for word in words[4:]} <= known


def test_files_on_the_page_about_robots_are_accepted(tmp_path: Path) -> None:
    kinds = []
    for block in blocks(WHOLE[1], 'yaml'):
        path = tmp_path / 'file.yaml'
        path.write_text(block)
        content = yaml.safe_load(block)
        if '/**' in content:
            kinds.append('parameters')
            for name, value in content['/**']['ros__parameters'].items():
                assert type(value) is type(BY_NAME[name].default), name
        elif 'steps' in content:
            kinds.append('compression')
            CompressionRecipe.from_yaml(path)
        elif 'epochs' in content:
            kinds.append('training')
            recipe = Recipe.from_yaml(path).as_json()
            shipped = Recipe.from_yaml(find_recipe('soccer')).as_json()
            assert {key for key in recipe if recipe[key] != shipped[key]} == {'train', 'validation', 'test'}
        else:
            kinds.append('classes')
            ClassSet.from_yaml(path)
    assert sorted(kinds) == ['classes', 'compression', 'parameters', 'training']


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if target.startswith(('http', 'mailto')):
            continue
        name, _, anchor = target.partition('#')
        aim = (page.parent / name) if name else page
        assert aim.exists(), target
        if anchor:
            titles = re.findall(r'^#+ (.*)$', aim.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles}

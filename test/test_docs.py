"""Checks that everything in the documents works: commands, options, recipes, parameters, Python, links.

Every command of a shell block is run at small size, in the order of its page, or is named in NOT_RUN with the
reason. Every Python block is executed. Both happen in a folder with a little data (fixture ``sandbox``).
"""

import argparse
import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from seg_ros.bags.writer import BagWriter
from seg_ros.classes import ClassSet
from seg_ros.cli.main import COMMANDS, main
from seg_ros.cli.options import find_recipe
from seg_ros.compression.chain import CompressionRecipe
from seg_ros.inference.settings import BY_NAME
from seg_ros.networks.enet import ENet
from seg_ros.resources import resource
from seg_ros.synthetic import RenderedDrive
from seg_ros.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ('*.md', 'docs/**/*.md', 'models/*.md', 'benchmarks/weights/README.md')
    for page in ROOT.glob(pattern)
    if '_build' not in page.parts and '{include}' not in page.read_text()
)
README, OWN_ROBOT = ROOT / 'README.md', ROOT / 'docs/own_robot.md'

NOT_RUN = {
    './scripts/test': 'it runs this test',
    'SEG_ROS_DATA=DIR ./scripts/test': 'it runs this test',
    'SEG_ROS_SLOW=1 ./scripts/test': 'it runs this test',
    './scripts/demo': 'test/cli/test_demo.py runs the command behind it; the script sets up an environment',
    './scripts/fuzz': 'test/test_fuzz.py runs the program behind it',
    './scripts/bench': 'the page runs the command behind it; the stream of frames takes minutes',
    './scripts/docs': 'test_the_documents_build runs the command behind it',
    'mkdir': 'part of a ROS workspace; test/test_package.py builds with colcon',
    'git clone': 'needs the address of the repository',
    'cd ..': 'part of a ROS workspace',
    'cd ~/ws/src': 'part of a ROS workspace',
    'rosdep install': 'needs a ROS distribution',
    'pip install': 'changes the environment; test/test_package.py installs with pip',
    'colcon build': 'test/test_package.py builds with colcon',
    'source install/setup.bash': 'part of a ROS workspace',
    'python3 -m venv': 'test/test_package.py makes a virtual environment and installs into it',
    'source ~/seg_ros_venv/bin/activate': 'part of a ROS workspace',
    'seg_node': 'needs a camera; test/ros/test_main.py runs the program',
    'ros2 launch': 'needs the command line of ROS; test/test_launch.py tests the launch file',
    'ros2 topic': 'needs the command line of ROS',
    'ros2 service': 'needs the command line of ROS; test/ros/test_segments.py calls the service',
    'ros2 param': 'needs the command line of ROS; test/ros/test_parameters.py sets parameters',
    'ros2 bag': 'needs the command line of ROS and a camera',
    'ros2 run': 'needs a camera driver',
    'ros2 security': 'needs the tools of SROS 2; test/ros/test_security_policy.py tests the policy',
    'export': 'sets a variable from the command line of ROS; test/test_launch.py tests the variables',
    'seg_ros evaluate idd_lite': 'needs IDD lite, which is not in the repository',
    'seg_ros calibrate idd_lite': 'needs IDD lite, which is not in the repository',
    'seg_ros fit-codes voc': 'needs PASCAL VOC, which is not in the repository',
    'seg_ros fit-codes bsds500': 'needs BSDS500 and ImageNet weights, which are not in the repository',
}
"""Beginning of a command -> why it is not run here."""

PLACEHOLDERS = {
    'DIR': 'camvid',
    'CAMVID': '{sandbox}/camvid',
    'IMAGES': 'photos',
    'MODEL': 'small.safetensors',
    'A.png': 'photos/a.png',
    'B.png': 'photos/b.png',
    'mine.safetensors': 'lite_camvid',
    'monday': 'drive.mcap',
    'encoder_weights=FILE': 'encoder_weights=null',
}
"""Words of the documents that stand for something of the reader -> that thing in the sandbox."""

FAST = ['--backend', 'torch']
FEW = ['--images', '4']
SHORT = [
    *('--set', 'epochs=1', '--set', 'batch_size=2', '--set', 'workers=0', '--set', 'compile=false'),
    *('--set', 'augment.crop=[96, 128]', '--set', 'precision=fp32'),
]
LEARN_LITTLE = '{batch_size: 2, workers: 0, compile: false, augment: {crop: [96, 128]}}'
BLOCKS = '{remove_blocks: {to: {share: 0.3}, most: 8, images: 4}}'
REBUILD = '{rebuild: {arguments: {slopes: fine, dropout: 0.0}}}'
SPARSIFY = '{sparsify: {share: 0.5, images: 4, rounds: 2, learn: {epochs: 1}}}'
QUANTIZE = '{quantize: {level: int8, images: 4}}'
SMALL: dict[str, list[str]] = {
    'seg_ros segment': FAST,
    'seg_ros segment to_label': [*FAST, '--model', 'lite_camvid'],
    'seg_ros evaluate': FAST,
    'seg_ros evaluate folder --data my_data --classes classes.yaml --model mine.safetensors': [],
    'seg_ros segment my_images/ --model mine.safetensors': [],
    'seg_ros import': ['--input-size', '64x64'],
    'seg_ros calibrate': FAST,
    'seg_ros evaluate-bag': FAST,
    'seg_ros evaluate-bag labelled.mcap --labels-topic /camera/labels --models': ['--backend', 'onnxruntime'],
    'seg_ros evaluate-segments': ['--limit', '1', '--methods', 'slic', 'codes'],
    'seg_ros bench': [
        *('--quick', '--threads', '1', '--sizes', '1', '--backend', 'onnxruntime'),
        'small.safetensors',
    ],
    'seg_ros match': FAST,
    'seg_ros replay': [*FAST, '--every-frame', '--timeout', '60', '--limit', '2'],
    'seg_ros replay soccer.mcap': ['--backend', 'onnxruntime', '--timeout', '60', '--limit', '2'],
    'seg_ros compare': ['--backend', 'onnxruntime', '--rounds', '1', '--limit', '1'],
    'seg_ros compare lite_camvid_train.safetensors': [
        *FAST,
        *('--rounds', '1', '--limit', '1', '--markdown', '{sandbox}/table.md'),
    ],
    'seg_ros quantize': FEW,
    'seg_ros prune': [*FEW, '--epochs', '1', '--learn', LEARN_LITTLE],
    'seg_ros share': [*FEW, '--learn', LEARN_LITTLE],
    'seg_ros fit-codes': ['--epochs', '1', '--bits', '16'],
    'seg_ros fit-codes folder --data IMAGES': ['--input-size', '96', '128'],
    'seg_ros fit-embeddings': ['--epochs', '1'],
    'seg_ros evaluate-filter': [
        *FAST,
        *('--limit', '1', '--tune-limit', '1', '--plot-windows', '3', '--plot-iterations', '1'),
    ],
    'seg_ros visualize': ['--limit', '2', '--units', '2'],
    'seg_ros train': SHORT,
    'seg_ros train squares': [
        *SHORT,
        *('--set', 'train=[{dataset: squares, split: train, options: {n_images: 4}}]'),
        *('--set', 'validation={dataset: squares, split: validation, options: {n_images: 2}}'),
        *('--set', 'test={dataset: squares, split: test, options: {n_images: 2}}'),
    ],
    'seg_ros train lite_camvid_8_pasted': [*SHORT, '--set', 'augment.crop=[360, 480]'],
    'seg_ros compress enet_camvid_small': [
        *('--set', 'learning.batch_size=2', '--set', 'learning.compile=false'),
        *('--set', 'learning.augment={crop: [96, 128]}', '--set', 'train=[{dataset: camvid, split: train}]'),
        *('--set', 'bytes=400000', '--set', 'model={sandbox}/small.safetensors'),
        *('--set', f'steps=[{BLOCKS}, {REBUILD}, {{learn: {{recipe: {{epochs: 1}}}}}}, {QUANTIZE}]'),
    ],
    'seg_ros compress enet_camvid_deep': [
        *('--set', 'learning.batch_size=2', '--set', 'learning.compile=false'),
        *('--set', 'learning.augment={crop: [96, 128]}', '--set', 'model={sandbox}/small.safetensors'),
        *('--set', f'steps=[{SPARSIFY}, {{share: {{bits: 5}}}}]'),
    ],
    'seg_ros compress small.yaml': [
        *('--set', 'learning.batch_size=2', '--set', 'learning.compile=false'),
        *('--set', f'steps=[{{prune: {{to: {{kind: macs, share: 0.9}}, images: 4}}}}, {QUANTIZE}]'),
    ],
    'seg_ros show-data soccer': ['--options', '{n_images: 4}'],
}
"""Beginning of a command -> words added at its end, where they win. The longest beginning counts."""

SLOW_PAGES = {
    'another_drive.md',
    'evaluate_bag.md',
    'networks.md',
    'own_robot.md',
    'performance.md',
    'smaller_models.md',
}
SLOW_COMMANDS = ['seg_ros train squares', 'seg_ros evaluate-filter']
"""Run under the mark ``slow`` alone: they learn, or measure many models."""

pytestmark = pytest.mark.skipif(not README.exists(), reason='an installed package has no pages')


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf'^```{language}\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)
    assert all(isinstance(block, str) for block in found)
    return found


def typed(page: Path) -> Iterator[list[str]]:
    """Words of every command of a page's shell blocks."""
    for block in blocks(page, 'sh'):
        yield from commands_of(block)


def commands_of(block: str) -> Iterator[list[str]]:
    for line in block.replace('\\\n', ' ').splitlines():
        yield from (words for words in split_at_and(shlex.split(line, comments=True)) if words)


def split_at_and(words: list[str]) -> Iterator[list[str]]:
    while '&&' in words:
        yield words[: words.index('&&')]
        words = words[words.index('&&') + 1 :]
    yield words


def longest_beginning(words: Sequence[str], table: Iterable[str]) -> str | None:
    text = ' '.join(words)
    return max((key for key in table if f'{text} '.startswith(f'{key} ')), key=len, default=None)


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f'seg_ros {command}', exit_on_error=False, allow_abbrev=False)
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    return parser


PAGES_WITH_COMMANDS = [page for page in PAGES if any(words[0] == 'seg_ros' for words in typed(page))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize('page', PAGES_WITH_COMMANDS, ids=name_of)
def test_commands_in_blocks_are_complete(page: Path) -> None:
    for words in typed(page):
        if words[0] != 'seg_ros':
            continue
        arguments = parser_of(words[1]).parse_args(words[2:])
        recipe = getattr(arguments, 'recipe', None)
        if recipe and not recipe.endswith('.yaml'):
            assert find_recipe(recipe, words[1]).is_file()


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_commands_in_the_text_and_their_options_exist(page: Path) -> None:
    for text in re.findall(r'`seg_ros ([a-z][^`]*)`', page.read_text()):
        command, *words = text.split()
        assert command in COMMANDS, text
        known = {option for action in parser_of(command)._actions for option in action.option_strings}
        assert {word for word in words if re.match(r'-[-a-zA-Z]', word)} <= known, text


def test_launch_arguments_exist() -> None:
    tree = ast.parse((ROOT / 'launch/segmentation.launch.py').read_text())
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ARGUMENTS'
    )
    assert isinstance(table, ast.Dict)
    known = {ast.literal_eval(key) for key in table.keys if key}
    launches = [words for page in PAGES for words in typed(page) if words[:2] == ['ros2', 'launch']]
    assert len(launches) >= 3
    for words in launches:
        assert words[2:4] == ['seg_ros', 'segmentation.launch.py']
        assert {word.partition(':=')[0] for word in words[4:]} <= known


def test_files_on_the_page_about_robots_are_accepted(tmp_path: Path) -> None:
    kinds = []
    for block in blocks(OWN_ROBOT, 'yaml'):
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


@pytest.mark.parametrize('page', PAGES, ids=name_of)
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


# --------------------------------------------------------------------------------------------- small runs


def test_every_command_is_run_or_has_a_reason_why_not() -> None:
    found = {longest_beginning(words, NOT_RUN) for page in PAGES for words in typed(page)}
    unused = set(NOT_RUN) - found
    assert not unused, 'these reasons are for commands that no page has'
    for page in PAGES:
        for words in typed(page):
            is_run = words[0] == 'seg_ros' or words[:2] == ['cd', 'benchmarks/weights']
            assert is_run or longest_beginning(words, NOT_RUN), ' '.join(words)


def pages_to_run() -> list[Any]:
    """Pages, and whether their slow commands run as well."""
    cases = []
    for page in PAGES:
        to_run = [words for words in typed(page) if longest_beginning(words, NOT_RUN) is None]
        is_slow = page.name in SLOW_PAGES or any(longest_beginning(words, SLOW_COMMANDS) for words in to_run)
        if page.name not in SLOW_PAGES and (to_run or blocks(page, 'python')):
            cases.append(pytest.param(page, SLOW_COMMANDS, id=name_of(page)))
        if is_slow:
            cases.append(pytest.param(page, [], id=f'{name_of(page)}-slow', marks=pytest.mark.slow))
    return cases


@pytest.fixture
def sandbox(tmp_path: Path, model_file: Path) -> Path:
    """A folder with a little of everything that the documents speak of."""
    write_camvid(tmp_path / 'camvid')
    drive = RenderedDrive(5, 2, 120, 160)
    (tmp_path / 'photos').mkdir()
    video = cv2.VideoWriter(str(tmp_path / 'drive.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 10, (160, 120))
    for name, (image, _) in zip('ab', (drive[0], drive[1]), strict=True):
        cv2.imwrite(str(tmp_path / f'photos/{name}.png'), image[..., ::-1])
        video.write(np.ascontiguousarray(image[..., ::-1]))
    video.release()
    assert main(['make-bag', str(tmp_path / 'photos'), '-o', str(tmp_path / 'drive.mcap')]) == 0
    with BagWriter(tmp_path / 'labelled.mcap') as bag:
        for index in range(2):
            image, labels = drive[index]
            bag.write_image('/camera/image_raw', image, (10 + index) * 10**8)
            bag.write_image('/camera/labels', labels, (10 + index) * 10**8)
    shutil.copy(model_file, tmp_path / 'small.safetensors')
    write_networks_of_others(tmp_path)
    (tmp_path / 'table.md').write_text('<!-- compression -->\n<!-- /compression -->\n')
    (tmp_path / 'benchmarks').symlink_to(ROOT / 'benchmarks')
    for name, key in (('mine.yaml', 'epochs'), ('small.yaml', 'steps')):
        found = [block for block in blocks(OWN_ROBOT, 'yaml') if key in yaml.safe_load(block)]
        (tmp_path / name).write_text(found[0])
    return tmp_path


def write_networks_of_others(root: Path) -> None:
    """An ONNX file and weights for 11 classes, with data under the names of the page about them."""
    onnx = pytest.importorskip('onnx')
    helper, kinds = onnx.helper, onnx.TensorProto
    kernel = onnx.numpy_helper.from_array(np.eye(11, 3, dtype=np.float32)[..., None, None], 'w')
    ends = [
        helper.make_tensor_value_info(name, kinds.FLOAT, [1, n, 64, 64]) for name, n in (('x', 3), ('y', 11))
    ]
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w'], ['y'])], 'g', ends[:1], ends[1:], [kernel]
    )
    opsets = [helper.make_opsetid('', 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(root / 'NET.onnx'))
    torch.save(ENet(11).state_dict(), root / 'ENet.pth')
    shutil.copy(resource('config/labels/camvid11.yaml'), root / 'classes.yaml')
    (root / 'my_images').symlink_to(root / 'photos')
    (root / 'my_data').symlink_to(root / 'camvid')


def write_camvid(root: Path) -> None:
    """Four images for each split, in the layout of CamVid and in that of a folder data set."""
    for split, seed in (('train', 1), ('val', 2)):
        drive = RenderedDrive(seed, 4, 120, 160)
        for kind in (split, f'{split}annot', f'images/{split}', f'labels/{split}'):
            (root / kind).mkdir(parents=True)
        for index, name in enumerate(('0006R0_1', '0006R0_2', '0001TP_1', '0001TP_2')):
            image, labels = drive[index]
            void = np.where(labels == 255, 11, labels)
            for kind, value in ((split, image[..., ::-1]), (f'{split}annot', void)):
                cv2.imwrite(str(root / kind / f'{name}.png'), value)
            for kind, value in (('images', image[..., ::-1]), ('labels', labels)):
                cv2.imwrite(str(root / kind / split / f'{name}.png'), value)
    shutil.copy(resource('config/labels/camvid11.yaml'), root / 'classes.yaml')


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(('page', 'left_out'), pages_to_run())
def test_commands_and_python_of_a_page_run(
    page: Path,
    left_out: Sequence[str],
    sandbox: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = RenderedDrive(5, 1, 120, 160)[0][0]
    nothing_compiled(monkeypatch, sandbox)
    for language, block in re.findall(
        r'^```(sh|python)\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE
    ):
        monkeypatch.chdir(sandbox)
        if language == 'python':
            prepare_masks(sandbox)
            exec(compile(block, name_of(page), 'exec'), {'image': image})  # noqa: S102
            continue
        for words in commands_of(block):
            if longest_beginning(words, [*NOT_RUN, *left_out]):
                continue
            if words[0] == 'cd':
                monkeypatch.chdir(words[1])
                continue
            if words[1] == 'replay':
                pytest.importorskip('rclpy')
            small = made_small(words, sandbox)
            assert main(small[1:]) == 0, f'{shlex.join(small)}\n{capsys.readouterr().err}'


def nothing_compiled(monkeypatch: pytest.MonkeyPatch, sandbox: Path) -> None:
    """Let 'auto' take a backend that needs no compilation."""

    def uncompiled(candidates: Any) -> tuple[str, Any]:
        name = 'torch' if 'torch' in candidates._builders else next(iter(candidates._builders))
        return name, candidates._build(name)

    monkeypatch.setattr('seg_ros.inference.backends.select._Candidates.choose', uncompiled)
    monkeypatch.setenv('XDG_CACHE_HOME', str(sandbox / 'cache'))


def made_small(words: Sequence[str], sandbox: Path) -> list[str]:
    """A command with things of the sandbox in it, and with the options that make it small."""
    added = SMALL.get(longest_beginning(words, SMALL) or '', [])
    outputs = {k + 1 for k, word in enumerate(words) if word == '-o'}  # a file to write keeps its name
    replaced = [word if k in outputs else PLACEHOLDERS.get(word, word) for k, word in enumerate(words)]
    return [word.replace('{sandbox}', str(sandbox)) for word in [*replaced, *added]]


def prepare_masks(sandbox: Path) -> None:
    """A mask in colours, for the page about labels."""
    (sandbox / 'masks').mkdir(exist_ok=True)
    cv2.imwrite(str(sandbox / 'masks/train_1.png'), np.zeros((4, 4, 3), np.uint8))


@pytest.mark.slow
def test_the_documents_build(tmp_path: Path) -> None:
    pytest.importorskip('furo')
    command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-n', '-q']
    subprocess.run(
        [*command, '-d', str(tmp_path / 'trees'), str(ROOT / 'docs'), str(tmp_path / 'html')], check=True
    )


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_modules_and_files_that_the_text_names_exist(page: Path) -> None:
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    roots = ('seg_ros', 'config', 'benchmarks', 'scripts', 'test', 'docs', 'msg', 'launch', 'models')
    for name in re.findall(rf'`((?:{"|".join(roots)})/(?![A-Z])[\w/.-]+)`', text):
        assert (ROOT / name).exists() or list(ROOT.glob(f'{name}*')), name
    for name in re.findall(r'`([\w/]+\.py)`', text):
        assert list((ROOT / 'seg_ros').rglob(name)) or (ROOT / name).exists(), name


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 120

"""Chains of compression steps, on the smallest network and data that there are."""

import dataclasses
import json
import os
import resource as limits
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from seg_ros.cli import main as cli
from seg_ros.compression.chain import CompressionRecipe, compress
from seg_ros.compression.context import CompressionContext, CompressionStep
from seg_ros.compression.cost_target import CostTarget
from seg_ros.compression.learning import take
from seg_ros.compression.steps import Learn, Prune, Quantize, Sparsify
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.errors import BudgetError, CalibrationError, ModelFileError, RecipeError, UnknownNameError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.graph.cost import count_macs
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.distributed import Processes
from seg_ros.training.export import export_model
from seg_ros.training.recipe import Source
from seg_ros.training.sources import open_source

ALONE = Processes(0, 1, torch.device('cpu'))
TRAIN = {'dataset': 'squares', 'split': 'train', 'options': {'n_images': 8}}


@pytest.fixture(scope='module')
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with statistics of its own, not trained."""
    path = tmp_path_factory.mktemp('parent') / 'parent.safetensors'
    metadata = ModelMetadata(
        'segnet_small', SquaresDataset(None, 'train', n_images=1).classes, (48, 64), arguments={'width': 16}
    )
    torch.manual_seed(0)
    network = metadata.build()
    for _ in range(5):
        network(torch.rand(2, 3, 48, 64))
    export_model(path, network.eval(), metadata)
    return path


def recipe(tmp_path: Path, parent: Path, *steps: dict[str, Any], **more: Any) -> CompressionRecipe:
    path = tmp_path / 'recipe.yaml'
    learning = {'precision': 'fp32', 'batch_size': 4, 'workers': 0, 'loss': {'balance': 'none'}}
    content = {'model': str(parent), 'train': [TRAIN], 'steps': list(steps), 'learning': learning, **more}
    path.write_text(yaml.safe_dump(content))
    return CompressionRecipe.from_yaml(path)


def test_a_chain_prunes_learns_and_quantises(tmp_path: Path, parent: Path) -> None:
    chain = recipe(
        tmp_path,
        parent,
        {'prune': {'to': {'share': 0.5}, 'images': 4, 'learn': {'epochs': 1}}},
        {'quantize': {'level': 'int8', 'images': 4}},
    )
    made = compress(chain, None, tmp_path / 'run', ALONE)
    before, after = load_model(parent), load_model(made)
    assert made.name == '2-quantize.safetensors'
    assert after.n_parameters < 0.7 * before.n_parameters
    assert after.n_bytes < before.n_bytes / 3
    assert after.metadata.quantization == 'int8'
    assert after.metadata.pruned == {'removed': []}
    assert after.metadata.parent is not None
    assert after.metadata.parent['digest'] == before.digest
    record = after.metadata.calibration
    assert record is not None
    assert record['data'] == '4 images of squares train'
    segmenter = Segmenter.load(Settings.from_values({'model': str(made), 'backend': 'torch_compile'}))
    assert segmenter.quantization == 'int8'
    assert segmenter.agreement > 0.97


def test_rebuilding_keeps_what_has_a_place(tmp_path: Path, parent: Path) -> None:
    step = {'rebuild': {'arguments': {'kernel': 5}}}
    before = load_model(parent)
    after = load_model(compress(recipe(tmp_path, parent, step), None, tmp_path / 'run', ALONE))
    assert after.metadata.arguments == {'width': 16, 'kernel': 5}
    assert after.metadata.parent is not None
    assert after.metadata.parent['digest'] == before.digest
    own, learned = after.network.state_dict(), before.network.state_dict()
    assert own['encoder.0.0.weight'].shape == (16, 3, 5, 5)
    same = [name for name in own if own[name].shape == learned[name].shape]
    assert 'encoder.0.1.running_var' in same
    assert all(torch.equal(own[name], learned[name]) for name in same)


def test_what_is_pruned_is_not_rebuilt(tmp_path: Path, parent: Path) -> None:
    steps = [{'prune': {'to': {'share': 0.8}, 'images': 4}}, {'rebuild': {'arguments': {'kernel': 5}}}]
    with pytest.raises(RecipeError, match='put this step before those that prune'):
        compress(recipe(tmp_path, parent, *steps), None, tmp_path / 'run', ALONE)


def test_a_chain_goes_on_where_it_was(tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{'sparsify': {'share': 0.5}}, {'share': {'bits': 4}}]
    first = compress(recipe(tmp_path, parent, *steps), None, tmp_path / 'run', ALONE)
    content, written = first.read_bytes(), first.stat().st_mtime_ns
    assert compress(recipe(tmp_path, parent, *steps), None, tmp_path / 'run', ALONE) == first
    assert first.stat().st_mtime_ns == written

    first.unlink()  # as if it had been stopped in the last step
    sparse = tmp_path / 'run' / '1-sparsify.safetensors'
    sparse_written = sparse.stat().st_mtime_ns
    compress(recipe(tmp_path, parent, *steps), None, tmp_path / 'run', ALONE)
    assert first.read_bytes() == content
    assert sparse.stat().st_mtime_ns == sparse_written

    steps[0] = {'sparsify': {'share': 0.6}}  # another first step: both are done again
    compress(recipe(tmp_path, parent, *steps), None, tmp_path / 'run', ALONE)
    assert sparse.stat().st_mtime_ns != sparse_written
    assert first.read_bytes() != content


@pytest.mark.parametrize('level', ['int4', 'shared-4'])
def test_learning_at_a_level_ends_at_that_level(tmp_path: Path, parent: Path, level: str) -> None:
    step = {'quantize': {'level': level, 'learn': {'epochs': 1, 'learning_rate': 1e-3}}}
    made = load_model(compress(recipe(tmp_path, parent, step), None, tmp_path / 'run', ALONE))
    assert made.metadata.quantization == level
    for name, weight in made.network.named_parameters():
        if weight.ndim == 4:
            assert len(torch.unique(weight if level != 'int4' else weight[0])) <= 16, name


def test_int8_learns_with_rounding(tmp_path: Path, parent: Path) -> None:
    step = {'quantize': {'level': 'int8', 'images': 4, 'learn': {'epochs': 1, 'learning_rate': 1e-3}}}
    made = load_model(compress(recipe(tmp_path, parent, step), None, tmp_path / 'run', ALONE))
    assert made.metadata.calibration is not None
    assert not torch.equal(
        made.network.state_dict()['classify.weight'],
        load_model(parent).network.state_dict()['classify.weight'],
    )


@pytest.mark.parametrize(
    ('steps', 'message'),
    [
        ([{'shrink': {}}], r"steps\[1\]: unknown step 'shrink'; known: prune, rebuild, remove_blocks"),
        ([{'prune': {'to': {'share': 2}}}], 'share is 2'),
        ([{'prune': {'to': {}}}], 'expected one of the two'),
        ([{'prune': {'to': {'share': 0.5}, 'speed': 3}}], 'speed is not a known key'),
        ([{'prune': {}, 'share': {}}], 'expected one of prune'),
        (
            [{'prune': {'to': {'share': 0.5}, 'learn': {'epochs': 1, 'speed': 2}}}],
            r'prune\.learn\.speed is not',
        ),
        ([{'learn': {'recipe': {'epochs': 'many'}}}], "epochs is 'many'"),
        ([], 'steps is empty'),
    ],
)
def test_wrong_steps_are_told_before_anything_runs(
    tmp_path: Path, parent: Path, steps: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, parent, *steps)


def test_unknown_levels_are_told(tmp_path: Path, parent: Path) -> None:
    with pytest.raises((RecipeError, UnknownNameError), match='shared-2'):
        recipe(tmp_path, parent, {'quantize': {'level': 'int3'}})


def test_two_processes_make_one_model(tmp_path: Path, parent: Path) -> None:
    """Under torchrun: one prunes and calibrates, both learn."""
    recipe(
        tmp_path,
        parent,
        {'prune': {'to': {'share': 0.6}, 'images': 4, 'learn': {'epochs': 1}}},
        {'quantize': {'level': 'int8', 'images': 4}},
    )
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    command = [*torchrun, '-m', 'seg_ros.cli', 'compress']
    done = subprocess.run(
        [*command, str(tmp_path / 'recipe.yaml'), '-o', str(tmp_path / 'run'), '--device', 'cpu'],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"digest"') == 1
    made = load_model(tmp_path / 'run' / '2-quantize.safetensors')
    assert made.metadata.quantization == 'int8'
    assert made.n_parameters < 0.8 * load_model(parent).n_parameters
    assert (tmp_path / 'run' / '1-prune' / 'state.safetensors').is_file()


def test_a_budget_out_of_reach_names_the_smallest(tmp_path: Path, parent: Path) -> None:
    chain = recipe(tmp_path, parent, {'prune': {'to': {'limit': 1000}, 'images': 4}})
    with pytest.raises(BudgetError, match='smallest reachable is'):
        compress(chain, None, tmp_path / 'run', ALONE)
    assert not list((tmp_path / 'run').glob('*.safetensors'))


def test_a_file_above_the_limit_is_told(tmp_path: Path, parent: Path) -> None:
    chain = recipe(tmp_path, parent, {'share': {'bits': 2}}, bytes=1000)
    with pytest.raises(BudgetError, match='expected at most 1,000'):
        compress(chain, None, tmp_path / 'run', ALONE)


@pytest.mark.parametrize(
    'step', [Quantize('fp16'), Sparsify(0.5), Learn({'epochs': 1, 'workers': 0})], ids=repr
)
def test_a_step_does_not_change_the_loaded_model(tmp_path: Path, parent: Path, step: CompressionStep) -> None:
    context = CompressionContext((Source(**TRAIN),), None, None, ALONE, {'batch_size': 4}, parent)
    half = tmp_path / 'half.safetensors'
    take(Quantize('fp16'), load_model(parent), half, context)
    model = load_model(half)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    take(step, model, tmp_path / 'made.safetensors', context)
    after = model.network.state_dict()
    assert all(value.dtype == after[name].dtype for name, value in before.items())
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_too_few_images_are_told(tmp_path: Path, parent: Path) -> None:
    place = CompressionContext((Source(**TRAIN),), None, None, ALONE, {}, parent)
    with pytest.raises(CalibrationError, match='3 images to measure on; expected 4 or more'):
        take(Quantize(images=3), load_model(parent), tmp_path / 'out.safetensors', place)


def test_few_images_are_all_different(tmp_path: Path, parent: Path) -> None:
    place = CompressionContext((Source(**TRAIN),), None, None, ALONE, {}, parent)
    n = len(open_source(place.train[0], None))
    for n_images in (4, n, 4 * n):
        images = place.images(n_images, load_model(parent).metadata)
        assert len({image.numpy().tobytes() for image in images}) == len(images) == min(n, n_images)


def test_data_of_other_classes_are_told(tmp_path: Path, parent: Path) -> None:
    place = CompressionContext(
        (Source('rendered', options={'n_drives': 4, 'n_frames': 1}),), None, None, ALONE, {}, parent
    )
    model, out = load_model(parent), tmp_path / 'out.safetensors'
    with pytest.raises(RecipeError, match='expected those of the model'):
        take(Prune(CostTarget(share=0.9), 'taylor', images=4), model, out, place)
    take(Quantize(images=4), model, out, place)
    assert load_model(out).metadata.calibration is not None, 'it needs images alone'


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, parent: Path) -> None:
    target = tmp_path / 'kept.safetensors'
    target.write_bytes(b'as it was')
    model = load_model(parent)
    before = limits.getrlimit(limits.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        limits.setrlimit(limits.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(ModelFileError, match='cannot be written'):
            export_model(target, model.network, dataclasses.replace(model.metadata))
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == b'as it was'
    assert [path.name for path in tmp_path.iterdir()] == ['kept.safetensors']


def test_commands_say_what_was_gained(
    tmp_path: Path, parent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'small.safetensors'
    data = ['--dataset', 'squares', '--images', '4', '--options', '{n_images: 8}']
    assert cli.main(['prune', str(parent), '-o', str(out), '--share', '0.6', *data]) == 0
    assert cli.main(['quantize', str(out), '-o', str(out.with_stem('int8')), *data]) == 0
    for level in ('bf16', 'fp16'):
        coarse = out.with_stem(level)
        assert cli.main(['quantize', str(out), '--level', level, '-o', str(coarse), *data]) == 0
        assert load_model(coarse).metadata.quantization == level
    assert cli.main(['share', str(out), '-o', str(out.with_stem('shared')), '--bits', '4', *data]) == 0
    printed = capsys.readouterr().out
    assert 'fp32 ->           int8' in printed
    assert 'fp32 ->       shared-4' in printed
    digest = json.loads(printed.splitlines()[-1])['digest']
    assert digest == load_model(out.with_stem('shared')).digest
    assert cli.main(['quantize', str(out), '-o', str(out), '--options', '[1]', *data[:4]]) == 1


def test_rounding_keeps_embeddings_and_pruning_says_that_it_does_not(
    embedded_model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    street = Source('rendered', options={'n_drives': 4, 'n_frames': 1, 'height': 96, 'width': 128})
    pytest.importorskip('onnxruntime')
    context = CompressionContext((street,), None, None, ALONE, {}, embedded_model_file)
    model = load_model(embedded_model_file)
    take(Quantize('int8', images=4), model, tmp_path / 'int8.safetensors', context)
    assert caplog.messages == []
    on = Settings(model=str(tmp_path / 'int8.safetensors'), backend='onnxruntime', device='cpu')
    segmenter = Segmenter.load(dataclasses.replace(on, embedding_filter_enabled=True))
    assert segmenter.agreement > 0.97
    assert segmenter.quantization == 'int8'
    take(Prune(CostTarget(share=0.9), 'l1', images=4), model, tmp_path / 'pruned.safetensors', context)
    assert 'the embeddings are left out' in caplog.text
    assert load_model(tmp_path / 'pruned.safetensors').embeddings is None


@pytest.mark.parametrize('level', ['int8', 'shared-5'])
def test_rounding_keeps_codes(coded_model_file: Path, tmp_path: Path, level: str) -> None:
    pytest.importorskip('onnxruntime')
    street = Source('rendered', options={'n_drives': 4, 'n_frames': 1, 'height': 96, 'width': 128})
    context = CompressionContext((street,), None, None, ALONE, {}, coded_model_file)
    model, out = load_model(coded_model_file), tmp_path / 'rounded.safetensors'
    take(Quantize(level, images=4), model, out, context)
    image = SquaresDataset(None, 'train', n_images=1)[0][0]
    before, after = (
        Segmenter.load(Settings(model=str(path), backend=backend, device='cpu'))
        for path, backend in ((coded_model_file, 'torch'), (out, 'onnxruntime'))
    )
    assert after.agreement > 0.95
    assert after.codebook != before.codebook
    maps = [np.asarray(each.backend(each.resize(image)[None])['codes'][0]) > 0 for each in (before, after)]
    assert (maps[0] == maps[1]).mean() > 0.9


@pytest.mark.parametrize('level', ['fp32', 'int4', 'shared-4'])
def test_zeros_survive_learning(tmp_path: Path, parent: Path, level: str) -> None:
    chain = recipe(
        tmp_path,
        parent,
        {'sparsify': {'share': 0.8}},
        {'learn': {'recipe': {'epochs': 2, 'learning_rate': 0.01, 'ema': 0.5}}},
        {'quantize': {'level': level, 'learn': {'epochs': 1, 'learning_rate': 0.01}}},
    )
    compress(chain, None, tmp_path / 'run', ALONE)
    files = [tmp_path / f'run/{name}.safetensors' for name in ('1-sparsify', '2-learn', '3-quantize')]
    sparse, learned, rounded = (
        {name: p.detach() for name, p in load_model(path).network.named_parameters() if p.ndim > 1}
        for path in files
    )
    for name, before in sparse.items():
        assert float((before == 0).float().mean()) == pytest.approx(0.8, abs=0.05)
        assert torch.equal(before == 0, learned[name] == 0)
        assert not torch.equal(before, learned[name])
        assert not rounded[name][before == 0].any()
    for path in files:
        assert load_model(path).metadata.training['sparsity'] == {'share': 0.8, 'scope': 'layer'}


def test_pruning_and_learning_alternate(tmp_path: Path, parent: Path) -> None:
    learn = {'epochs': 1, 'learning_rate': 1e-3}
    chain = recipe(
        tmp_path, parent, {'prune': {'to': {'share': 0.49}, 'images': 4, 'rounds': 2, 'learn': learn}}
    )
    made = compress(chain, None, tmp_path / 'run', ALONE)
    files = [parent, *(tmp_path / f'run/1-prune-{k}.safetensors' for k in (1, 2))]
    assert made == files[-1]
    first, half, last = (count_macs(load_model(path).network, torch.zeros(1, 3, 48, 64)) for path in files)
    assert 0.6 < half / first <= 0.7  # the square root of 0.49
    assert 0.6 < last / half <= 0.7
    before, after = (
        load_model(p).network.state_dict() for p in (files[1], files[1].with_stem('1-prune-1-start'))
    )
    assert not torch.equal(before['classify.weight'], after['classify.weight'])
    assert [link.name for link in chain.links()] == ['1-prune-1', '1-prune-2']


def test_a_limit_is_reached_in_equal_rounds() -> None:
    """Each round starts from the network that the round before has left."""
    reached, now = [], 1000.0
    for target in CostTarget('parameters', limit=125).in_rounds(3):
        assert target.limit is not None
        now = now * (target.limit / now) ** (1 / target.rounds)
        reached.append(now)
    assert reached == pytest.approx([500, 250, 125])


def test_weights_become_zero_in_rounds(tmp_path: Path, parent: Path) -> None:
    learn = {'epochs': 1, 'learning_rate': 0.01}
    chain = recipe(tmp_path, parent, {'sparsify': {'share': 0.75, 'images': 4, 'rounds': 2, 'learn': learn}})
    compress(chain, None, tmp_path / 'run', ALONE)
    kernels = []
    for number, share in ((1, 0.5), (2, 0.75)):
        network = load_model(tmp_path / f'run/1-sparsify-{number}.safetensors').network
        kernels.append(network.get_parameter('encoder.1.0.weight').detach())
        assert float((kernels[-1] == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert not kernels[1][kernels[0] == 0].any()


@pytest.mark.parametrize(
    'step', [Prune(CostTarget(share=0.6), 'l1', images=8), Sparsify(0.7, images=8)], ids=repr
)
def test_statistics_are_those_of_the_smaller_network(
    tmp_path: Path, parent: Path, step: Prune | Sparsify
) -> None:
    """Maps of the first convolution on the images, against the statistics in the file."""
    context = CompressionContext((Source(**TRAIN),), None, None, ALONE, {}, parent)
    errors = []
    for number, one in enumerate((step, dataclasses.replace(step, statistics=False))):
        path = tmp_path / f'{number}.safetensors'
        take(one, load_model(parent), path, context)
        model = load_model(path)
        images = torch.cat([image for image, _ in context.samples(8, model.metadata)])
        seen: list[torch.Tensor] = []
        network = model.network.eval()
        network.encoder[0][0].register_forward_hook(lambda _m, _x, y, seen=seen: seen.append(y))  # type: ignore[index,misc]
        ImageNetwork(network, model.metadata.normalisation).eval()(images)
        want = seen[0].movedim(1, 0).flatten(1).mean(1).detach()
        errors.append(float((network.encoder[0][1].running_mean - want).abs().max()))  # type: ignore[index]
    assert errors[0] < 1e-4 < errors[1]


def test_rounds_that_do_nothing_are_told(
    tmp_path: Path, parent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['prune', str(parent), '-o', str(tmp_path / 'x.safetensors'), '--share', '0.5', '--rounds', '3']
    assert cli.main([*words, '--dataset', 'squares']) == 1
    assert '--rounds is 3, but nothing is learnt' in capsys.readouterr().err

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from seg_ros.errors import RecipeError
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.precision import frame_network
from seg_ros.synthetic import RenderedDrive
from seg_ros.training.distributed import Processes
from seg_ros.training.losses import pair_loss
from seg_ros.training.recipe import Recipe
from seg_ros.training.setup import set_up
from seg_ros.training.trainer import Trainer

ALONE = Processes(0, 1, torch.device('cpu'))
SQUARES = {
    'model': 'segnet_small',
    'input_size': [120, 160],
    'train': [{'dataset': 'squares', 'options': {'n_images': 8}}],
    'augment': {'crop': [64, 64]},
    'embeddings': {
        'taps': ['encoder.0'],
        'stride': 4,
        'window': 5,
        'dimensions': 4,
        'hardness': 2.0,
        'iterations': 2,
    },
    'epochs': 2,
    'batch_size': 2,
    'learning_rate': 0.01,
    'precision': 'fp32',
    'workers': 0,
}


def make_trainer(folder: Path, **changes: Any) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'recipe.yaml').write_text(yaml.safe_dump({**SQUARES, **changes}))
    return Trainer(set_up(Recipe.from_yaml(folder / 'recipe.yaml'), None, folder, ALONE))


def test_the_loss_on_pairs_is_the_paper_s() -> None:
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(2, 3, 6, 7)), rng.integers(0, 2, (2, 6, 7)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    errors = []
    for one in range(2):
        for y, x, v, u in np.ndindex(6, 7, 6, 7):
            a, b = labels[one, y, x], labels[one, v, u]
            if (y, x) >= (v, u) or abs(y - v) > 2 or abs(x - u) > 2 or 255 in (a, b):
                continue
            distance = np.abs(embeddings[one, :, y, x] - embeddings[one, :, v, u]).sum()
            errors.append(max(distance - 0.5, 0) if a == b else max(2 - distance, 0))
    got = pair_loss(torch.from_numpy(embeddings), torch.from_numpy(labels), 5, 0.5, 2.0)
    assert float(got) == pytest.approx(np.mean(errors), rel=1e-10)


def test_of_a_cell_the_label_in_the_middle_counts() -> None:
    embeddings = torch.zeros(1, 1, 2, 2)
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[:, :, :4] = 1
    labels[:, 2::4, 2::4] = 0  # only the pixels that are looked at
    assert float(pair_loss(embeddings, labels, 3, 0.5, 2.0)) == 0
    labels[:, 2, 2] = 1
    assert float(pair_loss(embeddings, labels, 3, 0.5, 2.0)) == pytest.approx(2 * 3 / 6)


def test_nothing_but_void_costs_nothing() -> None:
    labels = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    assert float(pair_loss(torch.rand(1, 2, 4, 4), labels, 3, 0.5, 2.0)) == 0


def test_network_head_and_filter_learn_together(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    before = {name: p.detach().clone() for name, p in trainer.setup.network.named_parameters()}
    trainer.run()
    still = [name for name, p in trainer.setup.network.named_parameters() if torch.equal(p, before[name])]
    assert still == []
    model = load_model(tmp_path / 'last.safetensors')
    embeddings = model.metadata.embeddings
    assert embeddings is not None
    assert embeddings.taps == {'encoder.0': 16}
    assert (embeddings.dimensions, embeddings.stride, embeddings.window, embeddings.iterations) == (
        4,
        4,
        5,
        2,
    )
    assert model.golden.filtered is not None
    assert model.golden.filtered.shape == model.golden.labels.shape == (1, 54, 72)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / 'whole', epochs=3)
    whole.run()
    stopped = make_trainer(tmp_path / 'stopped', epochs=3)
    stopped._run_epoch(0)
    make_trainer(tmp_path / 'stopped', epochs=3).run()
    one, other = (load_model(tmp_path / name / 'last.safetensors') for name in ('whole', 'stopped'))
    assert one.embeddings is not None
    assert other.embeddings is not None
    for key, value in one.embeddings.state_dict().items():
        assert torch.equal(value, other.embeddings.state_dict()[key]), key


def test_alone_the_network_stays_as_it_is(model_file: Path, embedded_model_file: Path) -> None:
    network, other = load_model(model_file), load_model(embedded_model_file)
    for name, value in network.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name
    assert other.embeddings is not None
    assert float(other.embeddings.hardness.detach()) != 2.0


def test_embeddings_come_to_tell_classes_apart(embedded_model_file: Path) -> None:
    """On a street that was not learned from."""
    model = load_model(embedded_model_file)
    frames = frame_network(model, 'fp32', with_embeddings=True)
    image, truth = RenderedDrive(40, 1, 96, 128)[0]
    with torch.no_grad():
        embeddings = frames(torch.from_numpy(image)[None])['embeddings'][0].permute(1, 2, 0).reshape(-1, 8)
    labels = torch.from_numpy(truth[2::4, 2::4].astype(np.int64).ravel())
    seen = labels != 255
    distance = torch.cdist(embeddings[seen], embeddings[seen], p=1)
    same = labels[seen][:, None] == labels[seen]
    assert distance[~same].mean() > 1.5 * distance[same].mean()


def test_learning_goes_on_from_a_file_with_embeddings(embedded_model_file: Path, tmp_path: Path) -> None:
    street = {'n_drives': 2, 'n_frames': 1, 'height': 96, 'width': 128}
    trainer = make_trainer(
        tmp_path,
        model='enet',
        input_size=[96, 128],
        train=[{'dataset': 'rendered', 'options': street}],
        augment={'crop': [96, 128]},
        embeddings={'taps': ['initial', 'stage4'], 'alone': True, 'dimensions': 8, 'stride': 4},
        init=str(embedded_model_file),
    )
    parent = load_model(embedded_model_file)
    assert parent.embeddings is not None
    own = {k.removeprefix('frames.embeddings.'): v for k, v in trainer.setup.network.state_dict().items()}
    for name, value in parent.embeddings.state_dict().items():
        assert torch.equal(own[name], value), name


def test_unknown_sub_modules_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r'taps: .*stage9.*the network has encoder, decoder, classify'):
        make_trainer(tmp_path, embeddings={'taps': ['stage9'], 'stride': 4, 'window': 5})


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'taps': []}, r'embeddings\.taps is \[\]'),
        ({'taps': ['encoder.0'], 'window': 4}, 'odd'),
        ({'taps': ['encoder.0'], 'near': 3.0}, r'near is 3\.0; .* far'),
        ({'taps': ['encoder.0'], 'stride': 3}, '1, 2, 4 or 8'),
        ({'taps': ['encoder.0'], 'alone': True}, 'init'),
        (
            {'taps': ['encoder.0'], 'window': 99, 'stride': 4},
            r'input_size is \(.*; expected 396 .*embeddings.window \(99\)',
        ),
    ],
)
def test_recipes_that_cannot_be(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        make_trainer(tmp_path, embeddings=wrong)


@pytest.mark.parametrize(('key', 'size'), [('input_size', [90, 128]), ('augment.crop', [96, 126])])
def test_images_that_the_stride_does_not_divide_are_told_before_training(
    tmp_path: Path, key: str, size: list[int]
) -> None:
    wrong: dict[str, Any] = {'input_size': size} if key == 'input_size' else {'augment': {'crop': size}}
    with pytest.raises(RecipeError, match=key + r' is .*; expected multiples of embeddings\.stride, 4'):
        make_trainer(tmp_path, **wrong, embeddings={'taps': ['encoder.0'], 'stride': 4})

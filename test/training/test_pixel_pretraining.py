from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import RecipeError
from seg_ros.networks.hypercolumn import Hypercolumn
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.resources import resource
from seg_ros.synthetic import RenderedDrive
from seg_ros.training import pixel_pretraining as module
from seg_ros.training.augment import Augmentation
from seg_ros.training.distributed import Processes
from seg_ros.training.loader import Augmented, Draw
from seg_ros.training.pixel_pretraining import PixelClassifier, collect, draw_places
from seg_ros.training.recipe import Columns, Recipe
from seg_ros.training.setup import set_up
from seg_ros.training.trainer import Trainer

HOW = Columns(per_class=4, images=6)
SMALL_VGG = {'encoder': 'vgg11', 'width': 8}
PREPARE = ImageNetwork(nn.Identity(), Normalisation())


class Pairs:
    """Images and labels as a data set."""

    classes, names = ClassSet.from_yaml(resource('config/labels/camvid11.yaml')), ['pair']

    def __init__(self, pairs: list[tuple[UInt8Array, UInt8Array]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return self.pairs[index]


def drive(seed: int) -> Augmented:
    """Eight small images of a street, as they are."""
    frames = RenderedDrive(seed, 8, 96, 128)
    return Augmented([Pairs([frames[index] for index in range(8)])], Augmentation((96, 128)), 0)


@pytest.fixture(scope='module')
def streets() -> Augmented:
    return drive(1)


def make_trainer(content: dict[str, Any], folder: Path) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'recipe.yaml').write_text(yaml.safe_dump(content))
    alone = Processes(0, 1, torch.device('cpu'))
    return Trainer(set_up(Recipe.from_yaml(folder / 'recipe.yaml'), None, folder, alone))


def test_a_few_pixels_of_each_class_are_drawn() -> None:
    labels = np.full((20, 30), 255, np.uint8)
    labels[5:, :] = 2
    labels[3, 4:7] = 7
    draws = [draw_places(labels, 5, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert [labels[tuple(place)] for place in draws[0]] == [2] * 5 + [7] * 3
    assert len({tuple(place) for place in draws[0]}) == 8
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    assert draw_places(np.full((4, 4), 255, np.uint8), 5, np.random.default_rng(0)).shape == (0, 2)


def clouds(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three clouds of points, one dimension that says nothing, one that only rounding changes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = torch.tensor([[0.0, 0], [4, 0], [0, 4]])
    points = centres[labels] + torch.randn(n, 2, generator=generator)
    others = torch.randn(n, 2, generator=generator) * torch.tensor([1, 1e-8]) + torch.tensor([0, 0.1])
    return torch.cat([points, others], 1), labels


def test_classes_that_lie_apart_are_learnt() -> None:
    classifier = PixelClassifier(3, epochs=30, learning_rate=0.02).fit(*clouds(600, 0))
    columns, labels = clouds(300, 1)
    scores = classifier.scores(columns)
    assert (scores.argmax(1) == labels).float().mean() > 0.95
    # Of the best linear classifier of such clouds, the borders lie half-way between centres.
    middle = torch.tensor([[2.0, 0, 0, 0.1], [0, 2, 0, 0.1]])
    halves = classifier.scores(middle).softmax(1)
    assert (halves[0, :2] - 0.5).abs().max() < 0.1
    assert (halves[1, ::2] - 0.5).abs().max() < 0.1


def test_the_scale_of_values_does_not_matter() -> None:
    columns, labels = clouds(300, 0)
    scale, offset = torch.tensor([1e-3, 50.0, 4.0, 1.0]), torch.tensor([0.1, -70, 0, 5])
    one = PixelClassifier(3).fit(columns, labels)
    other = PixelClassifier(3).fit(columns * scale + offset, labels)
    want, got = one.scores(columns), other.scores(columns * scale + offset)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_the_seed_decides() -> None:
    columns, labels = clouds(600, 0)
    fits = [PixelClassifier(3, epochs=1, seed=seed).fit(columns, labels).layers_[0][0] for seed in (0, 0, 1)]
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


@pytest.mark.parametrize('options', [{}, SMALL_VGG | {'grid': 2}, SMALL_VGG | {'hidden': [9, 7]}], ids=str)
def test_the_network_says_of_pixels_what_the_classifier_says(
    options: dict[str, Any], streets: Augmented
) -> None:
    torch.manual_seed(0)
    network = Hypercolumn(11, **options).eval()
    sample = collect(network, PREPARE, streets, HOW, seed=3, is_quiet=True)
    classifier = PixelClassifier(11, hidden=network.hidden, epochs=3, learning_rate=0.02)
    classifier.fit(sample.columns, sample.labels)
    network.load_classifier(classifier.layers_, sample.mean, sample.variance)
    want, got, labels = classifier.scores(sample.columns).float(), [], []
    for number in range(HOW.images):
        image, truth = streets[Draw(0, number, number * 8 // 6)]
        places = draw_places(truth.numpy(), HOW.per_class, np.random.default_rng((3, number)))
        with torch.no_grad():
            got.append(network(PREPARE(image[None]))[0][:, places[:, 0], places[:, 1]].T)
        labels.append(truth.numpy()[places[:, 0], places[:, 1]])
    assert want.std() > 0.1
    torch.testing.assert_close(torch.cat(got), want, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(np.concatenate(labels), sample.labels)


def test_normalised_maps_have_mean_0_and_variance_1(streets: Augmented) -> None:
    torch.manual_seed(0)
    network = Hypercolumn(11, **SMALL_VGG).eval()
    sample = collect(network, PREPARE, streets, Columns(images=8), seed=0, is_quiet=True)
    network.load_classifier(
        [(torch.zeros(11, sample.columns.shape[1]).double(), torch.zeros(11))], sample.mean, sample.variance
    )
    with torch.no_grad():
        maps = [network.maps(PREPARE(streets[Draw(0, n, n)][0][None])) for n in range(8)]
        for number, classify in enumerate(network.classify):
            values = classify.normalise(torch.cat([m[number] for m in maps])).movedim(1, 0).flatten(1)
            torch.testing.assert_close(values.mean(1), torch.zeros(len(values)), rtol=0, atol=1e-3)
            alive = sample.variance.split(list(network.encoder.channels))[number] > 1e-3
            torch.testing.assert_close(values.var(1)[alive], torch.ones(int(alive.sum())), rtol=0, atol=2e-2)


def test_other_streets_are_recognised_above_chance(streets: Augmented) -> None:
    torch.manual_seed(0)
    network = Hypercolumn(11, **SMALL_VGG).eval()
    first, others = (
        collect(network, PREPARE, images, Columns(per_class=30), seed=0, is_quiet=True)
        for images in (streets, drive(2))
    )
    classifier = PixelClassifier(11, epochs=10, learning_rate=0.01).fit(first.columns, first.labels)
    right = classifier.scores(others.columns).argmax(1) == others.labels
    shares = [float(right[others.labels == k].float().mean()) for k in others.labels.unique()]
    assert np.mean(shares) > 0.25  # by chance, 0.09


@pytest.fixture
def sparse(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny recipe with a hypercolumn network that is pre-trained."""
    columns = {'per_class': 8, 'epochs': 5, 'learning_rate': 0.01}
    return tiny | {'model': 'hypercolumn', 'arguments': SMALL_VGG, 'columns': columns, 'workers': 0}


def test_a_run_starts_from_the_pixel_classifier(sparse: dict[str, Any], tmp_path: Path) -> None:
    trainers = {
        'one': make_trainer(sparse, tmp_path / 'one'),
        'two': make_trainer(sparse, tmp_path / 'two'),
        'without': make_trainer(sparse | {'columns': None}, tmp_path / 'without'),
    }
    states = {name: trainer.setup.network.state_dict() for name, trainer in trainers.items()}
    assert all(torch.equal(states['one'][key], states['two'][key]) for key in states['one'])
    for key, value in states['without'].items():
        is_encoder = key.startswith('network.encoder')
        is_trained = key.endswith(('classify.weight', 'classify.bias', 'running_mean', 'running_var'))
        assert is_encoder != is_trained or key.endswith(('normalise.weight', 'normalise.bias', 'tracked'))
        assert torch.equal(value, states['one'][key]) != is_trained, key
    averages = trainers['one'].setup.average.network.state_dict()
    assert all(torch.equal(averages[key], value) for key, value in states['one'].items())


def test_the_first_step_of_a_run_knows_what_the_pixels_said(sparse: dict[str, Any], tmp_path: Path) -> None:
    still = sparse | {'learning_rate': 1e-9}
    one, without = (
        make_trainer(recipe, tmp_path / name)._train_epoch(0)
        for name, recipe in (('one', still), ('without', still | {'columns': None}))
    )
    assert one < 0.8 * without


def test_a_run_that_goes_on_is_not_started_anew(
    sparse: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse['epochs'] = 1
    trainer = make_trainer(sparse, tmp_path)
    trainer.run()
    monkeypatch.setattr(module, 'collect', lambda *_args, **_options: pytest.fail('columns are taken again'))
    again = make_trainer(sparse, tmp_path)
    assert again.progress.epoch == 1
    states = [t.setup.network.state_dict() for t in (trainer, again)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_what_has_no_such_classifier_is_told(sparse: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match='columns: enet '):
        make_trainer(sparse | {'model': 'enet', 'arguments': {}}, tmp_path)
    with pytest.raises(RecipeError, match=r'init is .*; expected none .*columns'):
        make_trainer(sparse | {'init': 'other.safetensors'}, tmp_path)


@pytest.mark.parametrize(
    'wrong',
    [
        {'per_class': 0},
        {'images': 0},
        {'epochs': 0},
        {'learning_rate': 0.0},
        {'weight_decay': -1.0},
        {'rate': 1},
    ],
)
def test_wrong_settings_are_named(sparse: dict[str, Any], tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf'columns\.{next(iter(wrong))} '):
        make_trainer(sparse | {'columns': wrong}, tmp_path)


def test_images_without_labels_are_told() -> None:
    network = Hypercolumn(11, **SMALL_VGG).eval()
    void = Pairs([(np.zeros((96, 128, 3), np.uint8), np.full((96, 128), 255, np.uint8))])
    with pytest.raises(RecipeError, match='not one pixel has a class'):
        collect(network, PREPARE, Augmented([void], Augmentation((96, 128)), 0), HOW, seed=0, is_quiet=True)

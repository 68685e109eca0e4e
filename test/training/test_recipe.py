from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import RecipeError, UnknownNameError
from seg_ros.modelfile.metadata import EmbeddingMetadata
from seg_ros.networks.registry import MODELS
from seg_ros.resources import resource
from seg_ros.schema import bounds_of, field_types
from seg_ros.training.recipe import EmbeddingRecipe, Recipe

SHIPPED = sorted(resource('config/train').glob('*.yaml'))


def load(content: Any, folder: Path, *changes: str) -> Recipe:
    path = folder / 'r.yaml'
    path.write_text(yaml.safe_dump(content))
    return Recipe.from_yaml(path, changes)


GROUPED = {
    'dataset': 'squares',
    'relabel': {'classes': 'squares', 'names': {'square': ['square', 'background']}},
}


@pytest.mark.parametrize('path', SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_load(path: Path) -> None:
    recipe = Recipe.from_yaml(path)
    assert recipe.model in MODELS
    assert all(source.dataset in DATASETS for source in recipe.train)
    assert yaml.safe_load(yaml.safe_dump(recipe.as_json())) == recipe.as_json()


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'epoch': 3}, 'epoch is not a known key; did you mean epochs'),
        ({'epochs': 'many'}, 'epochs'),
        ({'epochs': 3.0}, 'epochs'),
        ({'epochs': True}, 'epochs'),
        ({'epochs': 0}, 'epochs'),
        ({'learning_rate': 'high'}, 'learning_rate'),
        ({'learning_rate': float('nan')}, 'learning_rate'),
        ({'learning_rate': -1}, 'learning_rate'),
        ({'input_size': [32]}, 'input_size'),
        ({'input_size': [32, 'x']}, r'input_size\[1\]'),
        ({'input_size': [4, 4]}, 'input_size'),
        ({'train': []}, 'train'),
        ({'train': {'dataset': 'squares'}}, 'train'),
        ({'train': [{'dataset': 'squares', 'repeat': 0}]}, r'train\[0\].repeat is 0; expected 1 '),
        ({'train': [{'split': 'train'}]}, r'train\[0\].dataset is missing'),
        ({'augment': {'crop': [32, 40], 'flip': 2.0}}, r'augment.flip is 2.0; expected 0 \.\. 1'),
        ({'augment': {'crop': [32, 40], 'noise': -1}}, 'augment.noise'),
        ({'augment': {}}, 'augment.crop is missing'),
        ({'loss': {'balance': 'enough'}}, "loss.balance is 'enough'; expected none, enet or median"),
        ({'loss': {'constant': 1.0}}, 'loss.constant is 1.0; expected more than 1'),
        ({'normalisation': {'std': [1.0, 1.0, 0.0]}}, 'normalisation'),
        ({'teacher': {'model': 'x', 'temperature': 0}}, 'teacher.temperature'),
        ({'ema': 1}, 'ema is 1; expected 0 or more, less than 1'),
        ({'paste': {'classes': ['car'], 'probability': 2}}, 'paste.probability'),
        ({'augment': {'crop': [32, 40], 'scale': [2.0, 1.0]}}, r'augment.scale is \(2.0, 1.0\)'),
        ({'augment': {'crop': [4, 40]}}, r'augment.crop\[0\] is 4; expected 8 '),
        ({'train': [{'dataset': 'squares', 'splt': 'val'}]}, r'train\[0\].splt .*did you mean split'),
        ({'init': 'a', 'columns': {}}, 'init is .*columns'),
        ({'train': [GROUPED], 'columns': {}}, 'columns is .*groups of classes'),
        ({'test': GROUPED}, r'test\.relabel is .*expected one class for each'),
        ({'teacher': {'model': []}}, r'teacher\.?.*expected a model file, or one or more teachers'),
        ({'teacher': {'model': [{'model': 'x', 'scale': 0}]}}, r'scale'),
        (
            {'embeddings': {'taps': ['a'], 'near': 3.0}},
            r'embeddings.near is 3.0; expected less than far \(2\)',
        ),
        ({'embeddings': {'taps': ['a'], 'stride': 3}}, 'embeddings.stride is 3; expected 1, 2, 4 or 8'),
        ({'embeddings': {'taps': []}}, 'embeddings.taps'),
        ({'seed': -1}, 'seed'),
        ({'precision': 'fp8'}, 'precision'),
        ({3: 4}, '3'),
    ],
)
def test_a_wrong_value_is_named(
    tiny: dict[str, Any], tmp_path: Path, change: dict[Any, Any], named: str
) -> None:
    with pytest.raises(RecipeError, match=named):
        load(tiny | change, tmp_path)


@pytest.mark.parametrize('key', ['model', 'input_size', 'train', 'augment'])
def test_a_missing_key_is_named(tiny: dict[str, Any], tmp_path: Path, key: str) -> None:
    del tiny[key]
    with pytest.raises(RecipeError, match=f'{key} is missing'):
        load(tiny, tmp_path)


@pytest.mark.parametrize('text', ['', '- 1', 'model: [', 'a: 1\n\tb: 2', '\xff'])
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 'r.yaml').write_bytes(text.encode('latin-1'))
    with pytest.raises(RecipeError, match=r'r\.yaml'):
        Recipe.from_yaml(tmp_path / 'r.yaml')
    with pytest.raises(RecipeError, match=r'absent\.yaml does not exist'):
        Recipe.from_yaml(tmp_path / 'absent.yaml')


def test_changes_apply(tiny: dict[str, Any], tmp_path: Path) -> None:
    recipe = load(
        tiny,
        tmp_path,
        'epochs=7',
        'augment.flip=0',
        'train.0.repeat=2',
        'learning_rate=1e-3',
        'loss.jaccard=0.5',
        'init=a/b.safetensors',
        'validation=null',
    )
    assert (recipe.epochs, recipe.augment.flip, recipe.train[0].repeat) == (7, 0.0, 2)
    assert (recipe.learning_rate, recipe.loss.jaccard, recipe.validation) == (0.001, 0.5, None)
    assert recipe.without_folders().init == 'b.safetensors'


@pytest.mark.parametrize(
    'change', ['epochs', '=3', 'train.9.repeat=1', 'epochs.x=1', 'epochs=[', 'nonsense=1']
)
def test_a_change_that_does_not_fit_is_named(tiny: dict[str, Any], tmp_path: Path, change: str) -> None:
    with pytest.raises(RecipeError, match=change.split('=')[0] or change):
        load(tiny, tmp_path, change)


@pytest.mark.parametrize('key', ['dimensions', 'window', 'iterations'])
def test_embeddings_are_bounded_as_in_model_files(key: str) -> None:
    most, of_file = (bounds_of(field_types(kind)[key])[0].le for kind in (EmbeddingRecipe, EmbeddingMetadata))
    assert isinstance(most, int)
    assert most == of_file
    settings: dict[str, Any] = {key: most + 2}
    with pytest.raises(RecipeError, match=f'{key} is {most + 2}'):
        EmbeddingRecipe(('a',), **settings)


def test_changes_are_bounded(tiny_file: Path) -> None:
    for change, words in (
        ('arguments.' + 'a.' * 5000 + 'b=1', 'at most 32'),
        ('epochs=' + '9' * 5000, 'number of'),
        ('epochs=[', 'line 1'),
        ('epochs=!!timestamp x', 'timestamp'),
        ('input_size=[32, 100000]', '8192'),
        ('workers=100000', '256'),
        ('seed=10000000000000000000000', 'seed'),
    ):
        with pytest.raises(RecipeError, match=words) as caught:
            Recipe.from_yaml(tiny_file, [change])
        assert '\n' not in str(caught.value)


def test_an_unknown_name_is_shown_in_one_short_line(tiny_file: Path) -> None:
    for name in ('x' * 5000, '"a\\nb"'):
        with pytest.raises(UnknownNameError) as caught:
            Recipe.from_yaml(tiny_file, [f'quantization={name}', 'init=a'])
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seg_ros.errors import RecipeError
from seg_ros.userfiles.yaml import parse_yaml, read_yaml


def parse(text: str, **keys: Any) -> Any:
    return parse_yaml(text, 'x', RecipeError, **keys)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | FLOATS | st.text('aé:\n-# ', max_size=20)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('abé', max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_are_read_as_pyyaml_writes_them(value: Any) -> None:
    assert parse(yaml.safe_dump(value, allow_unicode=True)) == value


@given(st.text('ab:,-[]{}&*!?|>\'"#%@ \n\t01.e~<=é\ud800', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except RecipeError as err:
        assert '\n' not in str(err)  # noqa: PT017


@pytest.mark.parametrize(
    'word', ['no', 'on', 'null', '~', '1e3', '12:30', '007', '0x10', '2024-01-01', 'yes']
)
def test_text_keys_hold_text(word: str) -> None:
    assert parse(f'a: {{name: {word}}}', text_keys=('name',)) == {'a': {'name': word}}


def test_numbers_of_yaml_1_2_and_anchors() -> None:
    assert parse('a: &x {b: 1e-3}\nc: *x\nd: {<<: *x, e: 2}') == {
        'a': {'b': 0.001},
        'c': {'b': 0.001},
        'd': {'b': 0.001, 'e': 2},
    }
    assert parse('2024-01-01') == '2024-01-01'


BOMB = 'a: &a [x,x,x,x,x,x,x,x,x]\n' + ''.join(
    f'{new}: &{new} [{",".join(["*" + old] * 9)}]\n' for old, new in zip('abcdefgh', 'bcdefghi', strict=True)
)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (BOMB, 'more than 20,000'),
        ('&a [*a]', 'contains itself'),
        ('[' * 100_000, 'deeper than 32'),
        ('[' + '1,' * 120_000 + ']', 'more than 20,000'),
        ('x' * 300_000, 'characters'),
        ('9' * 5000, 'number of 5,000'),
        ('0x' + 'f' * 5000, 'number of'),
        ('1:' * 1000 + '1', 'number of'),
        ('a: .inf', 'finite'),
        ('a: .nan', 'finite'),
        ('!!timestamp 2001-99-99', 'timestamp'),
        ('!!timestamp x', 'timestamp'),
        ('!!bool maybe', 'maybe'),
        ('!!int ""', 'int'),
        ('!!float x', 'float'),
        ('!!binary x', 'binary'),
        ('!!set {a}', 'set'),
        ('!!python/object/apply:os.system [ls]', 'python'),
        ('a: 1\na: 2', "repeats the key 'a'"),
        ('? [1]\n: 2', 'key'),
        ('"\\ud800"', 'half a character'),
        ('- "\\UFFFFFFFF"', 'line 1, column .*beyond'),
        ('- "\\U00110000"', 'line 1, column .*beyond'),
        ('a: b: c', 'line 1'),
        ('*a', 'undefined alias'),
        ('---\na\n---\nb', 'another document'),
        ('a\0b', 'special characters'),
    ],
)
def test_what_is_not_plain_and_small_is_refused_at_once(text: str, words: str) -> None:
    started = time.process_time()
    with pytest.raises(RecipeError, match=words) as caught:
        parse(text)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert time.process_time() - started < 3


def test_files_are_named(tmp_path: Path) -> None:
    (tmp_path / 'a.yaml').write_text('a: [1')
    with pytest.raises(RecipeError, match=r'^recipe .*a\.yaml cannot be read: line 1, column 6'):
        read_yaml(tmp_path / 'a.yaml', 'recipe', RecipeError)

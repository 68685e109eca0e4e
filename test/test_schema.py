from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import pytest
from msgspec import Meta

from seg_ros.errors import ParameterError, RecipeError
from seg_ros.schema import Count, Fraction, NotNegative, Positive, build, check_fields, check_value, in_words


@dataclass(frozen=True)
class Tree:
    name: str
    height: Annotated[float, Meta(gt=0, lt=100)] = 1.0
    leaves: Count = 1
    kind: Literal['oak', 'elm'] = 'oak'
    rings: tuple[float, float] = (0.0, 1.0)
    bark: NotNegative | None = None

    def __post_init__(self) -> None:
        check_fields(self, ParameterError)
        if self.rings[0] > self.rings[1]:
            raise ParameterError(f'rings is {self.rings}; expected the smaller first')
        if self.name == 'bonsai':
            raise ParameterError('a bonsai is small')


class Note(TypedDict):
    text: str


@dataclass(frozen=True)
class Wood:
    trees: Annotated[tuple[Tree, ...], Meta(min_length=1)]
    owner: Tree | None = None
    shares: dict[str, Fraction] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    anything: dict[str, Any] = field(default_factory=dict)
    paths: str | tuple[Tree, ...] = ''
    names: dict[str, str | tuple[str, ...]] = field(default_factory=dict)


def wood(content: dict[Any, Any]) -> Wood:
    return build(Wood, {'trees': [{'name': 'a'}], **content}, 'wood.yaml', RecipeError)


def test_content_becomes_typed() -> None:
    content = {
        'trees': ({'name': 'a', 'height': 3, 'rings': [1, 2]}, {'name': 'b', 'bark': None}),
        'owner': {'name': 'c', 'kind': 'elm'},
        'shares': {'x': 1},
        'notes': [{'text': 'hello'}],
        'anything': {'deep': [1, {'x': float('nan')}]},
    }
    made = wood(content)
    first = made.trees[0]
    assert first == Tree('a', 3.0, rings=(1.0, 2.0))
    assert [type(value) for value in (first.height, *first.rings, made.shares['x'])] == [float] * 4
    assert made.owner == Tree('c', kind='elm')
    assert made.notes == [{'text': 'hello'}]
    assert list(made.anything) == ['deep']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'tres': []}, 'tres is not a known key; did you mean trees?'),
        ({'zzz': 1}, 'zzz is not a known key; known: trees, owner, shares, notes, anything, paths, names'),
        ({3: 4}, '3 is not a known key; known: trees, owner, shares, notes, anything, paths, names'),
        ({'trees': []}, 'trees is []; expected 1 or more entries'),
        ({'trees': 3}, 'trees is 3; expected a list'),
        ({'trees': [3]}, 'trees[0] is 3; expected keys and values'),
        ({'trees': [{}]}, 'trees[0].name is missing'),
        ({'trees': [{'name': 'a', 'leafs': 3}]}, 'trees[0].leafs is not a known key; did you mean leaves?'),
        ({'trees': [{'name': 'a'}, {'name': 1}]}, 'trees[1].name is 1; expected str'),
        ({'owner': {'name': 'a', 'height': 0}}, 'owner.height is 0; expected more than 0, less than 100'),
        ({'owner': {'name': 'a', 'height': 100}}, 'owner.height is 100; expected more than 0, less than 100'),
        ({'owner': {'name': 'a', 'height': True}}, 'owner.height is True; expected float'),
        ({'owner': {'name': 'a', 'height': '3'}}, "owner.height is '3'; expected float"),
        ({'owner': {'name': 'a', 'height': float('nan')}}, 'owner.height is nan; expected a finite number'),
        (
            {'owner': {'name': 'a', 'rings': [0, float('inf')]}},
            'owner.rings[1] is inf; expected a finite number',
        ),
        ({'owner': {'name': 'a', 'leaves': 0}}, 'owner.leaves is 0; expected 1 or more'),
        ({'owner': {'name': 'a', 'leaves': 2.0}}, 'owner.leaves is 2.0; expected int'),
        ({'owner': {'name': 'a', 'kind': 'ash'}}, "owner.kind is 'ash'; expected oak or elm"),
        ({'owner': {'name': 'a', 'rings': [0]}}, 'owner.rings is [0]; expected a list of length 2'),
        ({'owner': {'name': 'a', 'rings': [3, 2]}}, 'owner.rings is (3.0, 2.0); expected the smaller first'),
        ({'owner': {'name': 'a', 'bark': -1}}, 'owner.bark is -1; expected 0 or more'),
        ({'owner': {'name': 'a', 'bark': []}}, 'owner.bark is []; expected float or none'),
        ({'owner': {'name': 'bonsai'}}, 'owner: a bonsai is small'),
        ({'owner': 3}, 'owner is 3; expected keys and values or none'),
        ({'shares': {'a': 0.5, 'b': 2}}, 'shares.b is 2; expected 0 .. 1'),
        ({'shares': {'a': 'x'}}, "shares.a is 'x'; expected float"),
        ({'shares': {1: 1}}, 'shares has a key that is not a string'),
        ({'notes': [{}]}, 'notes[0].text is missing'),
        ({'notes': [{'text': 'a', 'by': 'b'}]}, 'notes[0].by is not a known key; known: text'),
        ({'paths': 3}, 'paths is 3; expected str or a list'),
        (
            {'paths': [{'name': 'a', 'height': 0}]},
            'paths[0].height is 0; expected more than 0, less than 100',
        ),
        ({'paths': [{'name': 'a', 'hight': 1}]}, 'paths[0].hight is not a known key; did you mean height?'),
        ({'paths': [{}]}, 'paths[0].name is missing'),
        ({'names': {'a': [1]}}, 'names.a[0] is 1; expected str'),
        ({'names': {'a': 3}}, 'names.a is 3; expected str or a list'),
        ({'anything': {1: 2}}, 'anything has a key that is not a string'),
        (
            {'owner': {'name': 'a', 'height': 10**400}},
            f'owner.height is 1{"0" * 17}...{"0" * 19}; expected a finite number',
        ),
    ],
)
def test_a_message_says_where_and_what(content: dict[Any, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        wood(content)
    assert str(caught.value) == f'wood.yaml: {message}'


def test_a_message_about_the_whole() -> None:
    with pytest.raises(RecipeError, match=r'^wood\.yaml is \[\]; expected keys and values$'):
        build(Wood, [], 'wood.yaml', RecipeError)
    with pytest.raises(RecipeError, match=r'^wood\.yaml is None; expected keys and values$'):
        build(Wood, None, 'wood.yaml', RecipeError)


def test_keys_with_defaults_may_be_demanded() -> None:
    whole = {'trees': [], 'owner': None, 'shares': {}, 'notes': [], 'anything': {}, 'paths': '', 'names': {}}
    tree = {'name': 'a', 'height': 1, 'leaves': 1, 'kind': 'oak', 'rings': [0, 1]}
    build(Wood, {**whole, 'trees': [tree]}, 'w', RecipeError, may_lack=('bark',))
    del tree['kind']
    with pytest.raises(RecipeError, match=r'trees\[0\]\.kind is missing'):
        build(Wood, {**whole, 'trees': [tree]}, 'w', RecipeError, may_lack=('bark',))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'leaves': 0}, 'leaves is 0; expected 1 or more'),
        ({'height': 'x'}, "height is 'x'; expected float"),
        ({'rings': (0, float('nan'))}, 'rings[1] is nan; expected a finite number'),
        ({'rings': (0, 'x')}, "rings[1] is 'x'; expected float"),
        ({'rings': 3}, 'rings is 3; expected a list'),
    ],
)
def test_objects_made_in_python_are_checked_too(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        Tree('a', **arguments)
    assert str(caught.value) == message


def test_fields_are_converted() -> None:
    tree = Tree('a', 2, rings=[0, 1])  # type: ignore[arg-type]
    assert (type(tree.height), tree.rings) == (float, (0.0, 1.0))


def test_values_alone() -> None:
    assert check_value(int | None, None, 'n', ParameterError) is None
    assert check_value(int | float, 3, 'n', ParameterError) == 3
    with pytest.raises(ParameterError, match=r'^n is -1; expected more than 0$'):
        check_value(Positive, -1, 'n', ParameterError)


def test_hostile_values_give_short_messages() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    for value in (deep, 'x' * 10**6, [1] * 10**6, {'x' * 10**5: deep}, 10**5000):
        with pytest.raises(ParameterError) as caught:
            check_value(bool, value, 'flag', ParameterError)
        assert len(str(caught.value)) < 400
        with pytest.raises(RecipeError) as refused:
            build(Wood, {'x' * 10**6: value}, 'w', RecipeError)
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize('key', ['a\nb', '\x1b[31m', '\u202e', '\n' * 300])
def test_keys_cannot_forge_lines_of_a_log(key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build(Wood, {key: 1}, 'w', RecipeError)
    assert str(caught.value).isprintable()


def test_bounds_in_words() -> None:
    assert in_words(Meta(ge=0, le=1)) == '0 .. 1'
    assert in_words(Meta(ge=0, lt=1)) == '0 or more, less than 1'
    assert in_words(Meta(min_length=2, max_length=2)) == '2 entries'


def test_keys_of_another_kind_are_named() -> None:
    with pytest.raises(RecipeError, match=r'^values has a key that is not a whole number'):
        check_value(dict[int, str], {'a': 'b'}, 'values', RecipeError)
    with pytest.raises(RecipeError, match=r'^values has a key that is not a string'):
        check_value(dict[str, str], {1: 'b'}, 'values', RecipeError)
    with pytest.raises(RecipeError, match='whole number'):
        check_value(dict[str, dict[int, str]] | None, {'x': {'a': 'b'}}, 'values', RecipeError)

"""Changes of inputs: of single bytes, of trees of plain values, and of texts."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import yaml

INTEGERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, 1e-320,
    float('nan'), float('inf'), float('-inf'), '', ' ', 'x' * 300, 'a\nb', '\x1b[31m', '\u202e', '\ud800',
    '../../etc/passwd', 'no', '1e3', '2001-01-01', [], {}, [[]], [None], {'x': 1}, [1] * 300, ['a', 1],
)  # fmt: skip

YAML_TOKENS = (
    b'null', b'~', b'no', b'1e400', b'0x1F', b'2E', b'0o17', b'1_000', b'1:30', b'.nan', b'-.inf',
    b'9' * 5000,
    b'2001-01-01', b'2001-99-99', b'!!timestamp 2001-99-99', b'!!bool x', b'!!int x', b'!!float x',
    b'!!null x',
    b'!!binary aa', b'!!set {a}', b'!!omap [a: 1]', b'!!pairs [a]', b'!!python/object:os.system x', b'!x y',
    b'&a [*a]', b'*a', b'<<: *a', b'<<: 1', b'? [a]\n: b', b'{{}: 1}', b'[' * 500, b'{a: ' * 500, b'- ' * 500,
    b'%YAML 9.9\n---\n', b'%TAG ! x\n---\n', b'---\n...\n---\n', b'\xef\xbb\xbf', b'\xff\xfe', b'\x00',
    b'\xe9',
    b'\xc2\x85', b'\xe2\x80\xa8', b'"\\x00"', b'"\\ud800"', b'"\\UFFFFFFFF"', b'|9\n', b'>-\n', b'\t', b'#',
    b'=',
    b'a: &x [1,1,1,1]\nb: &y [*x,*x,*x,*x]\nc: [*y,*y,*y,*y]\n',
)  # fmt: skip


def change_bytes(data: bytes, random: Random, tokens: Sequence[bytes] = ()) -> bytes:
    """Flip, overwrite, cut, clear, repeat or move some bytes, or put a token in."""
    if not data:
        return random.choice([b'\0', *tokens])
    place, other = random.randrange(len(data)), random.randrange(len(data))
    n = random.choice((1, 2, 4, 8, 16, random.randrange(1, 200)))
    width = random.choice((1, 2, 4, 8))
    number = random.choice((*INTEGERS, random.getrandbits(64))) & (256**width - 1)
    order = random.choice(('little', 'big'))
    ways: list[Callable[[], bytes]] = [
        lambda: data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :],
        lambda: data[:place] + number.to_bytes(width, order) + data[place + width :],
        lambda: data[:place],
        lambda: data[:place] + data[place + n :],
        lambda: data[:place] + bytes(min(n, len(data) - place)) + data[place + n :],
        lambda: data[:place] + data[other : other + n] + data[place + random.choice((0, n)) :],
        lambda: data[:place] + random.randbytes(n) + data[place + random.choice((0, n)) :],
    ]
    if tokens:
        token = random.choice(tokens)
        ways += [lambda: data[:place] + token + data[place + random.choice((0, len(token))) :]] * 4
    return random.choice(ways)()


def change_tree(tree: Any, random: Random) -> Any:
    """Replace, remove, copy or rename one value in JSON content, which is changed in place."""
    places = [(None, None), *_places(tree)]
    box, key = random.choice(places[1:] or places)
    if box is None:
        return random.choice(ODD_VALUES)
    way = random.randrange(6)
    if way < 3:
        box[key] = random.choice(ODD_VALUES)
    elif way == 3:
        del box[key]
    elif way == 4:
        other, other_key = random.choice(places[1:])
        box[key] = json.loads(json.dumps(other[other_key]))
    elif isinstance(box, dict):
        box[random.choice(['x', '', '__init__', 'a' * 300, '\n'])] = box.pop(key)
    else:
        box.insert(key, box[key])
    return tree


def change_json(data: bytes, random: Random) -> bytes:
    """Change one value of JSON text."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return change_bytes(data, random)
    return json.dumps(change_tree(tree, random)).encode('utf-8', 'replace')


def change_yaml(data: bytes, random: Random) -> bytes:
    """Change one value of YAML text, or put a token behind a key."""
    lines = data.split(b'\n')
    row = random.randrange(len(lines))
    if random.random() < 0.5 and b':' in lines[row]:
        lines[row] = lines[row].split(b':')[0] + b': ' + random.choice(YAML_TOKENS)
        return b'\n'.join(lines)
    if b'&' in data and b'*' in data:  # copies of copies would make a huge tree
        return change_bytes(data, random, YAML_TOKENS)
    try:
        tree = change_tree(yaml.safe_load(data), random)
        return yaml.safe_dump(tree, sort_keys=False).encode('utf-8', 'replace')
    except (
        yaml.YAMLError,
        ValueError,
        ArithmeticError,
        TypeError,
        AttributeError,
        RecursionError,
        LookupError,
    ):
        return change_bytes(data, random, YAML_TOKENS)


def with_png_checksums(data: bytes) -> bytes:
    """A PNG file with the right checksum of each chunk; other bytes as they are."""
    start = data.find(b'\x89PNG\r\n\x1a\n')
    if start < 0:
        return data
    result, place = bytearray(data), start + 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from('>I', data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        result[end : end + 4] = struct.pack('>I', zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(result)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a tree with each of its keys."""
    waiting = [tree]
    while waiting:
        box = waiting.pop()
        if isinstance(box, (dict, list)):
            keys = list(box) if isinstance(box, dict) else range(len(box))
            for key in keys:
                yield box, key
                waiting.append(box[key])

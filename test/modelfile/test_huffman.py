import heapq
import time

import numpy as np
import pytest

from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.modelfile import huffman


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


MESSAGES = {
    'none': np.empty(0, np.uint8),
    'one': np.array([0]),
    'one largest': np.array([65535]),
    'one symbol': np.full(1000, 7),
    'two symbols': np.array([3, 200, 3, 3]),
    'even': rng().integers(0, 16, 5001),
    'bell': np.clip(rng().normal(0, 30, 20_000), -127, 127).astype(np.int8).view(np.uint8),
    'steep': rng().geometric(0.5, 20_000),
    'deep': np.repeat(np.arange(24), 2 ** np.arange(24).clip(max=17)),
    'all of 16 bits': rng().permutation(65536).astype(np.uint16),
}


@pytest.mark.parametrize('name', MESSAGES)
def test_decoding_gives_what_was_encoded(name: str) -> None:
    symbols = MESSAGES[name]
    decoded = huffman.decode(huffman.encode(symbols), symbols.size)
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, symbols)


def test_a_message_by_hand() -> None:
    # Lengths 1, 2, 2, so codes 0, 10, 11. Alphabet 3: 011. Steps 1, 1, 0: gamma of 2, 2, 1: 010 010 1.
    # Then 0 0 10 11: 011 010 010 1 0 0 10 11 0.
    assert huffman.encode(np.array([0, 0, 1, 2])) == bytes([0b01101001, 0b01001011])


def slow_bits(counts: list[int]) -> int:
    """Bits of all codes of a Huffman tree without limit: the sum of its inner nodes."""
    heap = list(counts)
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@pytest.mark.parametrize('seed', range(20))
def test_lengths_are_those_of_huffman_where_no_limit_is_met(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 100, 50)
    lengths = huffman.code_lengths(counts)
    assert (counts * lengths).sum() == slow_bits([c for c in counts.tolist() if c])
    assert (2.0 ** -lengths[lengths > 0]).sum() == 1


def best_limited(counts: list[int], longest: int) -> float:
    """Fewest bits of a complete code whose lengths fall as counts rise, by trying all."""

    def tried(k: int, shortest: int, room: int) -> float:
        if k == len(counts):
            return 0 if room == 0 else np.inf
        ways = [
            counts[k] * n + tried(k + 1, n, room - 2 ** (longest - n))
            for n in range(shortest, longest + 1)
            if room >= 2 ** (longest - n)
        ]
        return min(ways, default=np.inf)

    counts = sorted(counts, reverse=True)
    return tried(0, 1, 2**longest)


@pytest.mark.parametrize('longest', [3, 4, 5])
def test_limited_lengths_are_the_best(longest: int) -> None:
    counts = np.array([1, 1, 2, 3, 5, 8, 13, 21])
    lengths = huffman.code_lengths(counts, longest)
    assert lengths.max() <= longest
    assert (counts * lengths).sum() == best_limited(counts.tolist(), longest)


def test_too_many_symbols_for_their_codes() -> None:
    with pytest.raises(ParameterError, match='at most 4'):
        huffman.code_lengths(np.ones(5, int), 2)


@pytest.mark.parametrize(
    'symbols', [np.array([-1]), np.array([65536]), np.array([0.5]), np.zeros((2, 2), int)]
)
def test_other_values_are_refused(symbols: np.ndarray) -> None:
    with pytest.raises(ParameterError):
        huffman.encode(symbols)


@pytest.mark.parametrize('name', ['two symbols', 'even', 'steep'])
def test_plain_loops_do_what_compiled_ones_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = MESSAGES[name]
    data = huffman.encode(symbols)
    for function in ('_write_bits', '_read_gamma', '_read_lengths', '_read_codes'):
        compiled = getattr(huffman, function)
        monkeypatch.setattr(huffman, function, getattr(compiled, 'py_func', compiled))
    assert huffman.encode(symbols) == data
    assert np.array_equal(huffman.decode(data, symbols.size), symbols)


def message(*bits: str) -> bytes:
    return np.packbits([int(bit) for bit in ''.join(bits).replace(' ', '')]).tobytes()


HOSTILE = {
    'nothing': (b'', 1),
    'something for nothing': (b'\x80', 0),
    'no alphabet': (bytes(100), 5),
    'alphabet of 2**16 + 1': (message('0' * 16, '1', '0' * 15, '1'), 5),
    'alphabet without lengths': (message('0' * 16, '1', '0' * 16), 5),
    'length below 0': (message('010', '011'), 5),  # alphabet 2, step -1
    'length above 16': (message('1', '000010 0010'), 5),  # alphabet 1, step 17
    'too many codes': (message('011', '010 1 1', '000'), 3),  # three of length 1
    'too few codes': (message('011', '00100 1 1', '0'), 1),  # three of length 2
    'a single code': (message('1', '010', '000'), 3),
    'longer than its data': (huffman.encode(MESSAGES['even']), 6000),
    'far longer than its data': (huffman.encode(MESSAGES['even']), 10**15),
    'shorter than its data': (huffman.encode(MESSAGES['even']), 4000),
    'cut': (huffman.encode(MESSAGES['even'])[:-1], 5001),
    'byte after it': (huffman.encode(MESSAGES['even']) + b'\0', 5001),
    'byte after a constant': (huffman.encode(MESSAGES['one symbol']) + b'\0', 1000),
    'bit in the padding': (message('011', '010 010 1', '0 0 10 11', '1'), 4),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_damaged_messages_are_refused(name: str) -> None:
    with pytest.raises(ModelFileError):
        huffman.decode(*HOSTILE[name])


def test_any_bytes_are_refused_or_read_to_their_end() -> None:
    random, n_read = rng(), 0
    for _ in range(3000):
        data = random.integers(0, 256, random.integers(1, 12)).astype(np.uint8).tobytes()
        n = int(random.integers(1, 40))
        try:
            symbols = huffman.decode(data, n)
        except ModelFileError:
            continue
        n_read += 1
        assert symbols.size == n
    assert n_read


def test_two_million_symbols_do_not_take_seconds() -> None:
    symbols = np.tile(MESSAGES['bell'], 100)
    data = huffman.encode(symbols)
    huffman.decode(huffman.encode(symbols[:9]), 9)  # compiles
    started = time.perf_counter()
    assert np.array_equal(huffman.decode(data, symbols.size), symbols)
    assert time.perf_counter() - started < 20  # 0.03 s alone, compiled

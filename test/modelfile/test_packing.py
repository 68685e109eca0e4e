import hashlib
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Size, Tensor, nn

from seg_ros.errors import ModelFileError, ParameterError, UnknownNameError
from seg_ros.modelfile import huffman, packing
from seg_ros.modelfile.byte_reader import encode_number
from seg_ros.modelfile.packing import Form, forms_of, pack, unpack
from seg_ros.networks.enet import ENet
from seg_ros.quantization.batch_norm_folding import canonical_batch_norms, find_pairs
from seg_ros.quantization.weight_sharing import round_weights, share, share_network, unshare


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 20


def sparse(*shape: int, share_left: float = 0.1) -> Tensor:
    left = torch.rand(shape, generator=torch.Generator().manual_seed(9)) < share_left
    return values(*shape) * left


def once(value: Tensor, form: Form) -> Tensor:
    """What comes back of a tensor."""
    return unpack(pack({'w': value}, {'w': form}), {'w': value.shape})['w']


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.view(torch.int32), other.view(torch.int32))


SHAPES = [(1,), (7,), (3, 5), (16, 8, 3, 3), (300, 4, 1, 1), (64, 64, 3, 3)]


@pytest.mark.parametrize('shape', [(), *SHAPES])
@pytest.mark.parametrize('kind', ['float32', 'float16', 'bfloat16'])
def test_floats_are_rounded_once(shape: tuple[int, ...], kind: str) -> None:
    value = values(*shape)
    assert same_bits(once(value, Form(kind)), value.to(getattr(torch, kind)).float())


def test_special_floats() -> None:
    value = torch.tensor([0.0, -0.0, 1e-45, -3.4e38, 65504.0])
    assert same_bits(once(value, Form('float32')), value)
    assert same_bits(once(value[:2], Form('float16')), value[:2])
    assert same_bits(once(value[1].expand(9).clone(), Form('float16')), value[1].expand(9).clone())


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('n_bits', [4, 8])
@pytest.mark.parametrize('make', [values, sparse])
def test_steps_are_those_of_rounding(
    shape: tuple[int, ...], n_bits: int, make: Callable[..., Tensor]
) -> None:
    value = make(*shape)
    for axis in range(min(len(shape), 2)):
        steps, scale = round_weights(value, n_bits, axis=axis)
        unit = scale.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        assert torch.equal(once(value, Form(f'int{n_bits}', axis)), steps.float() * unit)


def test_steps_of_given_scales_come_back_exactly() -> None:
    scale = torch.rand(6) + 0.1
    for kind, last in (('int8', 127), ('int4', 7)):
        steps = torch.randint(-last, last + 1, (4, 6, 3, 3))
        value = steps.float() * scale.reshape(1, 6, 1, 1)
        assert same_bits(once(value, Form(kind, 1, scale)), value + 0)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('n_bits', [1, 3, 4, 8])
@pytest.mark.parametrize('make', [values, sparse])
def test_shared_values_come_back_exactly(
    shape: tuple[int, ...], n_bits: int, make: Callable[..., Tensor]
) -> None:
    value = share(make(*shape), n_bits).weight
    assert torch.equal(once(value, Form('shared')), value)


def test_masked_weights_have_one_zero() -> None:
    value = torch.tensor([-0.5, 0.5, -0.5, 0.25] * 100) * torch.tensor([0.0, 0.0, 0.0, 1.0] * 100)
    back = once(value, Form('shared'))
    assert torch.equal(back, value)
    assert not back.signbit().any()


def size(value: Tensor, kind: str) -> int:
    return len(pack({'w': value}, {'w': Form(kind)}))


def test_sizes() -> None:
    n = 64 * 64 * 9
    value = share(values(64, 64, 3, 3), 4).weight
    assert n * 3.5 / 8 < size(value, 'shared') < n * 4 / 8  # Huffman coding gains
    even = (torch.arange(n) % 16).float().reshape(64, -1)
    assert n * 4 / 8 < size(even, 'shared') < n * 4 / 8 + 100  # and loses nothing where it does not
    few = share(sparse(64, 64, 3, 3), 4).weight
    # By entropy: 0.469 bits for where, 0.1 * 3.9 for what.
    assert size(few, 'shared') < n * 1.05 / 8
    assert size(torch.full((64, 64, 3, 3), 0.7), 'float32') < 40
    assert size(values(64, 64, 3, 3), 'int8') < n + 200


def test_a_whole_network() -> None:
    torch.manual_seed(0)
    network, x = ENet(5).eval(), torch.randn(1, 3, 32, 32)
    canonical_batch_norms(network, find_pairs(network, x))
    unshare(share_network(network, 4), torch.float16)
    state = network.state_dict()
    data = pack(state, forms_of(network, 'shared', 'float32'))
    back = unpack(data, {name: value.shape for name, value in ENet(5).state_dict().items()})
    assert list(back) == list(ENet(5).state_dict())
    other = ENet(5).eval()
    other.load_state_dict(back)
    assert torch.equal(other(x), network(x))
    n_values = sum(p.numel() for p in network.parameters())
    assert len(data) < 0.75 * n_values


def test_transposed_convolutions_have_their_channels_second() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6), nn.Linear(3, 2))
    forms = forms_of(network, 'int8')
    assert {name: (form.kind, form.axis) for name, form in forms.items()} == {
        '0.weight': ('int8', 1),
        '0.bias': ('float16', 0),
        '1.weight': ('float16', 0),
        '1.bias': ('float16', 0),
        '1.running_mean': ('float32', 0),
        '1.running_var': ('float32', 0),
        '1.num_batches_tracked': ('float32', 0),
        '2.weight': ('int8', 0),
        '2.bias': ('float16', 0),
    }


def test_pruned_tensors_are_smaller_than_the_architecture() -> None:
    state = {'b.num_batches_tracked': torch.tensor(5), 'a': values(3, 4), 'c': values(2)}
    largest = {'c': Size([9]), 'b.num_batches_tracked': Size([]), 'a': Size([3, 8])}
    back = unpack(pack(state, {}), largest)
    assert list(back) == list(largest)
    assert same_bits(back['a'], state['a'])
    assert same_bits(back['c'], state['c'])
    assert back['b.num_batches_tracked'].dtype == torch.int64
    assert back['b.num_batches_tracked'] == 0


def test_plain_huffman_packs_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Numba, files are the same."""
    value = sparse(16, 8, 3, 3)
    data = pack({'w': value}, {'w': Form('int8')})
    for function in ('_write_bits', '_read_gamma', '_read_lengths', '_read_codes'):
        compiled = getattr(huffman, function)
        monkeypatch.setattr(huffman, function, getattr(compiled, 'py_func', compiled))
    assert pack({'w': value}, {'w': Form('int8')}) == data


@pytest.mark.parametrize(
    ('value', 'form', 'match'),
    [
        (values(300), Form('shared'), '300 different values; expected at most 256'),
        (values(3), Form('int8', 1), 'no axis 1'),
        (values(3), Form('int8', 0, torch.ones(2)), 'expected 3 finite values'),
        (values(3), Form('int8', 0, torch.tensor([1.0, 0.0, 1.0])), 'above 0'),
        (values(3), Form('int8', 0, torch.tensor([1.0, torch.inf, 1.0])), 'finite'),
        (torch.zeros(0, 3), Form('float32'), 'at least one float'),
        (torch.zeros(3, dtype=torch.int64), Form('float32'), 'torch.int64'),
    ],
)
def test_forms_that_a_tensor_cannot_take(value: Tensor, form: Form, match: str) -> None:
    with pytest.raises(ParameterError, match=f'w cannot be packed.*{match}'):
        pack({'w': value}, {'w': form})


@pytest.mark.parametrize(
    ('value', 'kind'), [(torch.nan, 'float32'), (1e5, 'float16'), (torch.inf, 'int8'), (torch.inf, 'shared')]
)
def test_values_that_are_not_finite_are_not_packed(value: float, kind: str) -> None:
    with pytest.raises(ModelFileError, match='not finite'):
        pack({'w': torch.tensor([1.0, value])}, {'w': Form(kind)})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match='float32, float16'):
        Form('int7')
    with pytest.raises(ParameterError, match="'v'"):
        pack({'w': values(3)}, {'v': Form('int8')})


HEAD = packing.MAGIC + bytes([packing.VERSION])


def sealed(body: bytes) -> bytes:
    """A file by hand, with the digest that it should have."""
    return body + hashlib.sha256(body).digest()[:16]


def floats(*given: float) -> bytes:
    """Of kind floats, format float32, not coded."""
    planes = np.array(given, '<f4').view(np.uint8).reshape(-1, 4).T
    return bytes([3]) + b''.join(b'\0' + plane.tobytes() for plane in planes)


def repeated(symbol: int) -> bytes:
    """A stream that is as long as is asked for."""
    message = huffman.encode(np.array([symbol]))
    return encode_number(len(message)) + message


def test_a_file_by_hand() -> None:
    data = sealed(HEAD + bytes([2, 0]) + floats(1.5, -2.0))
    assert unpack(data, {'w': Size([2])})['w'].tolist() == [1.5, -2.0]
    # Channels of two values; steps 1, -1, 7, 0 as halves of bytes; scales 0.5 and 2.
    data = sealed(HEAD + bytes([2, 2, 4, 0]) + floats(0.5, 2) + bytes([0, 0, 0x1F, 0x70]))
    assert unpack(data, {'w': Size([2, 2])})['w'].tolist() == [[0.5, -0.5], [14.0, 0.0]]
    # Sparse: two entries, gaps 1 and 2, index 1 of two values each as a bit.
    data = sealed(HEAD + bytes([6, 1, 2]) + floats(0, 3) + bytes([1, 2, 0, 0x12, 0, 0b11000000]))
    assert unpack(data, {'w': Size([6])})['w'].tolist() == [0, 3, 0, 0, 3, 0]


HOSTILE = {
    'empty': b'',
    'digest only': bytes(16),
    'other magic': sealed(b'seg_rot\0\1' + bytes([2, 0]) + floats(1, 2)),
    'damaged': (HEAD + bytes([2, 0]) + floats(1, 2) + bytes(16)),
    'no version': sealed(packing.MAGIC),
    'other version': sealed(packing.MAGIC + bytes([2, 2, 0]) + floats(1, 2)),
    'nothing in it': sealed(HEAD),
    'larger than the architecture': sealed(HEAD + bytes([9, 0]) + floats(*range(9))),
    'far larger': sealed(HEAD + encode_number(2**34) + bytes([0, 0]) + bytes(4)),
    'endless number': sealed(HEAD + b'\xff' * 30),
    'no channels': sealed(HEAD + bytes([0, 0]) + floats()),
    'unknown kind': sealed(HEAD + bytes([2, 3]) + floats(1, 2)),
    'unknown format': sealed(HEAD + bytes([2, 0, 4]) + floats(1, 2)),
    'cut floats': sealed(HEAD + bytes([2, 0]) + floats(1, 2)[:-1]),
    'something after it': sealed(HEAD + bytes([2, 0]) + floats(1, 2) + b'\0'),
    'not a number': sealed(HEAD + bytes([2, 0]) + floats(1, np.nan)),
    'signalling not a number': sealed(HEAD + bytes([2, 0, 0]) + b'\1\0\x80\x7f'),
    'scale overflows': sealed(HEAD + bytes([2, 8, 0]) + floats(3e38, 1) + bytes([0, 0, 100, 1])),
    'axis outside': sealed(HEAD + bytes([2, 8, 1]) + floats(1, 1) + bytes([0, 0, 1, 1])),
    'step -128': sealed(HEAD + bytes([2, 8, 0]) + floats(1, 1) + bytes([0, 0, 128, 1])),
    'unknown layout': sealed(HEAD + bytes([2, 8, 0]) + floats(1, 1) + bytes([2, 0, 1, 1])),
    'no codebook': sealed(HEAD + bytes([2, 1, 0, 0])),
    'large codebook': sealed(HEAD + bytes([2, 1]) + encode_number(257) + bytes(2000)),
    'index outside': sealed(HEAD + bytes([2, 1, 3]) + floats(1, 2, 3) + bytes([0, 0, 0b01110000])),
    'symbol 20 of 4 bits': sealed(HEAD + bytes([2, 4, 0]) + floats(1, 1) + b'\0' + repeated(20)),
    'many entries': sealed(
        HEAD + bytes([2, 8, 0]) + floats(1, 1) + b'\1' + encode_number(2**24) + repeated(0) + repeated(0)
    ),
    'gap beyond': sealed(HEAD + bytes([2, 1, 2]) + floats(0, 3) + bytes([1, 1, 0, 0x20, 0, 0x80])),
    'Huffman table without end': sealed(HEAD + bytes([2, 8, 0]) + floats(1, 1) + bytes([0, 90]) + bytes(90)),
    'message longer than the file': sealed(HEAD + bytes([2, 8, 0]) + floats(1, 1) + bytes([0, 90, 1])),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files_are_refused(name: str) -> None:
    with pytest.raises(ModelFileError):
        unpack(HOSTILE[name], {'w': Size([2])})


def test_nothing_large_is_allocated_for_a_small_architecture() -> None:
    tracemalloc.start()
    try:
        for data in HOSTILE.values():
            with pytest.raises(ModelFileError):
                unpack(data, {'w': Size([2])})
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_the_tensor_is_named() -> None:
    data = pack({'a': values(2), 'b.weight': values(5)}, {})
    with pytest.raises(ModelFileError, match=r'b\.weight: shape \(5,\); expected at most \(4,\)'):
        unpack(data, {'a': Size([2]), 'b.weight': Size([4])})


def test_any_change_is_seen() -> None:
    data = pack({'w': values(40)}, {'w': Form('int8')})
    for k in range(len(data)):
        with pytest.raises(ModelFileError):
            unpack(data[:k] + bytes([data[k] ^ 1]) + data[k + 1 :], {'w': Size([40])})
        with pytest.raises(ModelFileError):
            unpack(data[:k], {'w': Size([40])})


def test_the_parser_survives_what_a_digest_would_not() -> None:
    state = {
        'a': values(8, 4, 3, 3),
        'b': sparse(8, 4, 3, 3),
        'c': share(sparse(20, 20), 3).weight,
        'd': values(20),
        'e': share(values(20, 20), 4).weight,
    }
    forms = {'a': Form('int8'), 'b': Form('int4', 1), 'c': Form('shared'), 'd': Form('float16')}
    body = pack(state, {**forms, 'e': Form('shared')})[:-16]
    largest = {name: value.shape for name, value in state.items()}
    rng, n_read = np.random.default_rng(0), 0
    for _ in range(1500):
        changed = bytearray(body)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(len(HEAD), len(changed))] = rng.integers(0, 256)
        if rng.random() < 0.2:
            start = rng.integers(len(HEAD), len(changed))
            del changed[start : start + rng.integers(1, 9)]
        try:
            back = unpack(sealed(bytes(changed)), largest)
        except ModelFileError:
            continue
        n_read += 1
        assert all(value.isfinite().all() for value in back.values())
        assert all(value.numel() <= state[name].numel() for name, value in back.items())
    assert 0 < n_read < 1500

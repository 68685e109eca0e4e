from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Size, Tensor

from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.modelfile.deep_compression import (
    read_codebooks,
    read_deep_compression,
    squeezenet_shapes,
    write_deep_compression,
)
from seg_ros.quantization.weight_sharing import share

SHAPES = {
    'a.weight': Size([2, 3, 2, 2]),
    'a.bias': Size([2]),
    'b.weight': Size([3, 50]),
    'b.bias': Size([3]),
}


def small_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    state['a.weight'][state['a.weight'] < 0] = 0
    state['b.weight'][torch.rand(3, 50) < 0.95] = 0
    state['b.weight'] = share(state['b.weight'], 3).weight
    return state


def small_file(path: Path) -> Path:
    write_deep_compression(small_state(), path)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    back = read_deep_compression(small_file(tmp_path / 'a.net'), SHAPES)
    assert list(back) == list(SHAPES)
    assert all(torch.equal(back[name], value) for name, value in small_state().items())


def test_a_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / 'a.net'
    codebook = np.zeros(16, '<f4')
    codebook[1:3] = 5, -1
    # Three entries: place 1 with value 1, filler 16 places on, then place 19 with value 2.
    path.write_bytes(
        np.array([3], '<u4').tobytes()
        + codebook.tobytes()
        + np.array([0.5], '<f4').tobytes()
        + bytes([0x01, 0x02])
        + bytes([0xF1, 0x01])
    )
    state = read_deep_compression(path, {'w.weight': Size([1, 20]), 'w.bias': Size([1])})
    expected = torch.zeros(1, 20)
    expected[0, 1], expected[0, 19] = 5, -1
    assert torch.equal(state['w.weight'], expected)
    assert state['w.bias'].tolist() == [0.5]
    again = tmp_path / 'b.net'
    write_deep_compression(state, again, {'w.weight': torch.from_numpy(codebook.astype(np.float32))})
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    'change', ['cut', 'longer', 'more entries', 'relative indices', 'first value', 'not finite']
)
def test_damaged_files_are_refused(tmp_path: Path, change: str) -> None:
    path = small_file(tmp_path / 'a.net')
    data = bytearray(path.read_bytes())
    if change == 'cut':
        del data[-1]
    elif change == 'longer':
        data.append(0)
    elif change == 'more entries':
        data[:4] = (10**9).to_bytes(4, 'little')
    elif change == 'relative indices':
        data[-2:] = b'\xff\xff'
    else:
        data[8:12] = np.array([1 if change == 'first value' else np.inf], '<f4').tobytes()
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r'a\.net is not this network'):
        read_deep_compression(path, SHAPES)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match='cannot be read'):
        read_deep_compression(tmp_path / 'none.net')


def test_weights_of_too_many_values_are_refused(tmp_path: Path) -> None:
    state = small_state()
    state['b.weight'] = torch.randn(3, 50)
    with pytest.raises(ParameterError, match=r'b\.weight has 150 .*at most 15'):
        write_deep_compression(state, tmp_path / 'a.net')
    codebooks = read_codebooks(small_file(tmp_path / 'b.net'), SHAPES)
    with pytest.raises(ParameterError, match=r'b\.weight has values that its codebook lacks'):
        write_deep_compression(state, tmp_path / 'a.net', codebooks)
    assert not (tmp_path / 'a.net').exists()


def test_shapes_are_those_of_squeezenet() -> None:
    shapes = squeezenet_shapes()
    assert len(shapes) == 52
    assert sum(shape.numel() for shape in shapes.values()) == 1_248_424  # torchvision's squeezenet1_0


def test_public_file_is_read_to_the_last_byte(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / 'weights'
    path = folder / 'squeezenet1_0_deep_compression.net'
    state = read_deep_compression(path)
    reference = torch.load(folder / 'squeezenet1_0_deep_compression_torchvision_keys.pth', weights_only=True)
    assert list(state) == list(reference)
    assert all(torch.equal(value, reference[name]) for name, value in state.items())
    write_deep_compression(state, tmp_path / 'same.net', read_codebooks(path))
    assert (tmp_path / 'same.net').read_bytes() == path.read_bytes()
    write_deep_compression(state, tmp_path / 'other.net')
    again = read_deep_compression(tmp_path / 'other.net')
    assert all(torch.equal(value, reference[name]) for name, value in again.items())

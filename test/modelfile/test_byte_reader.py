import pytest

from seg_ros.errors import ModelFileError
from seg_ros.modelfile.byte_reader import ByteReader, encode_number


@pytest.mark.parametrize(
    ('value', 'data'), [(0, b'\0'), (127, b'\x7f'), (128, b'\x80\1'), (300, b'\xac\2'), (2**35 - 1, None)]
)
def test_numbers(value: int, data: bytes | None) -> None:
    assert data is None or encode_number(value) == data
    reader = ByteReader(encode_number(value) + b'!')
    assert reader.number() == value
    assert reader.take(1) == b'!'
    assert reader.n_left == 0


@pytest.mark.parametrize('data', [b'', b'\x80', b'\xff' * 5 + b'\0'])
def test_numbers_that_do_not_end(data: bytes) -> None:
    with pytest.raises(ModelFileError):
        ByteReader(data).number()


def test_no_more_than_there_is() -> None:
    with pytest.raises(ModelFileError, match='2 bytes too early'):
        ByteReader(b'abc').take(5)

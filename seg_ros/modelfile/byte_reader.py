"""Reader of numbers and bytes for binary formats, safe for truncated and hostile files.

Used by packed weights (``packing``) and by the public layout of Deep Compression (``deep_compression``).
"""

from seg_ros.errors import ModelFileError

_LONGEST_NUMBER = 5  # bytes


class ByteReader:
    """Takes numbers and bytes from the front of some data, never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def n_left(self) -> int:
        """Number of bytes that were not taken yet."""
        return len(self._data) - self._place

    def take(self, n_bytes: int) -> bytes:
        """Take the next ``n_bytes`` bytes.

        Raises:
            ModelFileError: The data end before that. The other methods raise it too.
        """
        if n_bytes > self.n_left:
            raise ModelFileError(f'the data end {n_bytes - self.n_left} bytes too early')
        self._place += n_bytes
        return self._data[self._place - n_bytes : self._place]

    def byte(self) -> int:
        """Take one byte, 0..255."""
        return self.take(1)[0]

    def number(self) -> int:
        """Take a number below 2**35 in LEB128.

        LEB128 has 7 bits of the number in each byte, lowest bits first. The highest bit of a byte is 1 if
        another byte follows.

        Raises:
            ModelFileError: The number is longer.
        """
        number = 0
        for k in range(_LONGEST_NUMBER):
            byte = self.byte()
            number |= (byte & 0x7F) << (7 * k)
            if byte < 0x80:
                return number
        raise ModelFileError(f'a number has more than {_LONGEST_NUMBER} bytes; the file is damaged')


def encode_number(value: int) -> bytes:
    """A number in LEB128, as :meth:`ByteReader.number` reads it."""
    low = bytearray()
    while value >= 0x80:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*low, value])

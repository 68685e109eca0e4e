"""Reading numbers and bytes of a file that may be cut short or made to harm."""

from seg_ros.errors import ModelFileError

_LONGEST_NUMBER = 5  # bytes


class Reader:
    """Takes numbers and bytes from the front of some data, and never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def n_left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._data) - self._place

    def take(self, n_bytes: int) -> bytes:
        """The next bytes.

        Raises:
            ModelFileError: there are not so many; likewise in the other methods.
        """
        if n_bytes > self.n_left:
            raise ModelFileError(f'the data end {n_bytes - self.n_left} bytes early')
        self._place += n_bytes
        return self._data[self._place - n_bytes : self._place]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """A number in LEB128, below 2**35: 7 bits a byte, the lowest first, the highest bit says more follow.

        Raises:
            ModelFileError: it is longer.
        """
        number = 0
        for k in range(_LONGEST_NUMBER):
            byte = self.byte()
            number |= (byte & 0x7F) << (7 * k)
            if byte < 0x80:
                return number
        raise ModelFileError(f'a number has more than {_LONGEST_NUMBER} bytes')


def number(value: int) -> bytes:
    """A number as :meth:`Reader.number` reads it."""
    low = bytearray()
    while value >= 0x80:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*low, value])

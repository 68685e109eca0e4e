"""Parts of a bag that could not be read: reported once, counted, and kept for the caller."""

import logging
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_N_KEPT = 100
_N_LOGGED = 10
_N_REMEMBERED = 100_000
_N_CHARACTERS = 500


@dataclass(frozen=True)
class BagLoss:
    """A part of a bag that could not be read.

    Attributes:
        file: Path of the file.
        problem: Place and reason, one line.
        n_messages: Number of messages lost; 0 if only an index is damaged; None = unknown.
    """

    file: Path
    problem: str
    n_messages: int | None

    def __str__(self) -> str:
        lost = {
            None: 'the number of lost messages is unknown',
            0: 'no message is lost',
            1: '1 message is lost',
        }
        told = lost.get(self.n_messages, f'{self.n_messages} messages are lost')
        return f'{self.file}: {self.problem}; {told}'


class LossRecord:
    """Losses of a bag. Each is logged as a warning when it is first found; reading again adds nothing.

    Attributes:
        losses: The first 100 losses, in the order in which they were found.
        n_losses: Number of losses, also of those that are not kept.
        n_messages: Number of messages lost, as far as it is known.
    """

    def __init__(self) -> None:
        self.losses: list[BagLoss] = []
        self.n_losses = self.n_messages = 0
        self._seen: set[int] = set()

    def add(self, file: Path, problem: str, n_messages: int | None) -> None:
        """Record a loss; see `BagLoss` for the arguments."""
        loss = BagLoss(file, one_line(problem), n_messages)
        if hash(loss) in self._seen:
            return
        if len(self._seen) < _N_REMEMBERED:
            self._seen.add(hash(loss))
        self.n_losses += 1
        self.n_messages += n_messages or 0
        if len(self.losses) < _N_KEPT:
            self.losses.append(loss)
        if self.n_losses <= _N_LOGGED:
            log.warning('%s', loss)
        elif self.n_losses == _N_LOGGED + 1:
            log.warning('%s: there are more losses, which are only counted', file)

    def __bool__(self) -> bool:
        return bool(self.losses)

    def __str__(self) -> str:
        return '; '.join(str(loss) for loss in self.losses[:3])


def one_line(text: str) -> str:
    """A text from a file in one line of bounded length, without control characters."""
    short = text if len(text) <= _N_CHARACTERS else text[:_N_CHARACTERS] + '...'
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in short)

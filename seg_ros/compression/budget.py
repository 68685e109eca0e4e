"""Budgets that a smaller network must keep, and their statement in recipes.

Energy is the estimate of :mod:`seg_ros.networks.graph.cost`, after T.-J. Yang, Y.-H. Chen, V. Sze, "Designing
energy-efficient convolutional neural networks using energy-aware pruning", CVPR 2017.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from seg_ros.errors import BudgetError, ParameterError, UnknownNameError
from seg_ros.networks.graph.cost import count_bytes, count_macs, count_parameters, energy_uj


@dataclass(frozen=True)
class Budget:
    """Maximum cost of a network.

    Attributes:
        kind: One of BUDGETS: 'macs', 'energy' (in mJ) or 'latency' (in ms) of one image, 'parameters', or
            'bytes'.
        limit: Maximum cost, above 0.
        level: Name in ``cost.LEVELS``, for 'bytes' and 'energy'.
        measure: Function that measures the milliseconds of a network for an image, for 'latency'.
    """

    kind: str
    limit: float
    level: str = 'fp32'
    measure: Callable[[nn.Module], float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in BUDGETS:
            raise UnknownNameError('kind of budget', self.kind, list(BUDGETS))
        if not self.limit > 0:
            raise ParameterError(f'budget of {self.limit} {self.kind}; expected more than 0')
        if (self.kind == 'latency') != (self.measure is not None):
            raise ParameterError(
                f"budget of {self.kind}: 'latency' needs 'measure', other kinds do not take it"
            )

    @property
    def is_counted(self) -> bool:
        """Whether the cost is a sum over the values of the network, so that savings are known before."""
        return self.kind in ('macs', 'parameters', 'bytes')

    def amount(self, network: nn.Module, example: Tensor) -> float:
        """Cost of a network, in the unit of the limit."""
        if self.measure is not None:
            return self.measure(network)
        if self.kind == 'macs':
            return count_macs(network, example[:1])
        if self.kind == 'energy':
            return energy_uj(network, example[:1], self.level) / 1e3
        return count_parameters(network) if self.kind == 'parameters' else count_bytes(network, self.level)

    def refusal(self, smallest: float, now: float) -> BudgetError:
        """An error that names the smallest cost that can be reached, and the present cost."""
        return BudgetError(
            f'budget of {self._say(self.limit)} cannot be met: it is {self._say(now)} now, and the smallest '
            f'reachable is {self._say(smallest)}; allow more, lower the floor, or remove blocks first'
        )

    def _say(self, amount: float) -> str:
        unit = _UNITS.get(self.kind)
        return f'{amount:.4g} {unit}' if unit else f'{math.ceil(amount):,} {self.kind}'


BUDGETS = ('macs', 'parameters', 'bytes', 'energy', 'latency')
"""Kinds of budgets."""

_UNITS = {'energy': 'mJ', 'latency': 'ms'}

"""Labels that say "one of these classes", for data sets with coarser classes than the network."""

from collections.abc import Sequence

from seg_ros.arrays import UNLABELLED
from seg_ros.errors import RecipeError


class ClassGroups:
    """The groups of classes that the labels of a training run use. Their ids follow those of the classes.

    Groups are numbered when they are first asked for, so all data sets of a run share one instance.

    Args:
        n_classes: Number of classes, 1..255.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self._groups: list[tuple[int, ...]] = []

    def __len__(self) -> int:
        return len(self._groups)

    def id_of(self, members: Sequence[int]) -> int:
        """Label of pixels that have one of several classes.

        Args:
            members: Ids of the classes, at least one, each less than ``n_classes``.

        Returns:
            The id of the class if there is one alone, else ``n_classes`` or more.

        Raises:
            RecipeError: There are more groups than labels.
        """
        group = tuple(sorted(set(members)))
        if len(group) == 1:
            return group[0]
        if group not in self._groups:
            if self.n_classes + len(self._groups) == UNLABELLED:
                raise RecipeError(
                    f'relabel: more than {UNLABELLED - self.n_classes} groups of classes; '
                    f'labels have room for {UNLABELLED} classes and groups'
                )
            self._groups.append(group)
        return self.n_classes + self._groups.index(group)

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """Ids of the classes of each group; label ``n_classes + n`` is group n."""
        return tuple(self._groups)

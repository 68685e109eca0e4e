"""Copy-paste augmentation: pastes objects of one training image into another.

G. Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation", arXiv
2012.07177. Labels of classes do not separate instances, so all pixels of a class are pasted at once, as in V.
Olsson et al., "ClassMix", arXiv 2007.07936.
"""

from dataclasses import dataclass

import numpy as np

from seg_ros import schema
from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import RecipeError
from seg_ros.schema import Fraction


@dataclass(frozen=True)
class Paste:
    """Settings of copy-paste augmentation. The pasted image is augmented by itself; both keep their size.

    Attributes:
        classes: Names of the classes to paste: things in front of others, not sky or road.
        probability: Probability that something is pasted into an image.
        per_class: Probability of each class to be pasted then.
    """

    classes: tuple[str, ...]
    probability: Fraction = 0.5
    per_class: Fraction = 0.7

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)

    def ids(self, classes: ClassSet) -> tuple[int, ...]:
        """Ids of the classes to paste.

        Raises:
            UnknownNameError: The data do not have such a class.
        """
        return tuple(classes.id_of(name, 'class to paste') for name in self.classes)

    def draw(self, ids: tuple[int, ...], rng: np.random.Generator) -> list[int]:
        """Draw the classes to paste from ``ids``; empty = paste nothing."""
        if rng.random() >= self.probability:
            return []
        return [id_ for id_ in ids if rng.random() < self.per_class]


def paste(
    below: tuple[UInt8Array, UInt8Array], above: tuple[UInt8Array, UInt8Array], ids: list[int]
) -> tuple[UInt8Array, UInt8Array]:
    """Paste the pixels of some classes of one image over another image.

    Args:
        below: Image (H, W, 3) uint8 and labels (H, W) uint8 to paste into; not changed.
        above: Image and labels of the same size, to paste from.
        ids: Class ids to paste.

    Returns:
        Image (H, W, 3) uint8 and labels (H, W) uint8.
    """
    is_pasted = np.isin(above[1], ids)
    image = np.where(is_pasted[..., None], above[0], below[0])
    return image, np.where(is_pasted, above[1], below[1])

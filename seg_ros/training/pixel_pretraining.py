"""Pre-training a hypercolumn network's classifier on few pixels of each image.

All pixels of an image say much the same, and most are of a few classes. So the classifier first learns, as
multinomial logistic regression, from a few pixels of each class that an image shows; then its weights become
the 1x1 convolutions of a network that training goes on with on all pixels.
"""

import logging
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from tqdm import tqdm

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import RecipeError
from seg_ros.networks.hypercolumn import Hypercolumn
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.loader import Augmented, Draw
from seg_ros.training.recipe import Columns, Recipe
from seg_ros.training.schedule import learning_rate, parameter_groups

log = logging.getLogger(__name__)

_BATCH_SIZE = 256
_WARMUP = 0.1


class PixelClassifier:
    """Multinomial logistic regression of standardised columns, by AdamW.

    Args:
        n_classes: classes to tell apart.
        epochs: passes over the columns.
        learning_rate: the peak.
        weight_decay: decoupled.
        seed: of the order.

    Attributes:
        weight_: (n_classes, D) float64, of columns as they come: they are standardised within it.
        bias_: (n_classes,) float64.
    """

    weight_: Tensor
    bias_: Tensor

    def __init__(
        self,
        n_classes: int,
        *,
        epochs: int = 20,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        seed: int = 0,
    ) -> None:
        self.n_classes, self.epochs, self.seed = n_classes, epochs, seed
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def fit(self, columns: Tensor, labels: Tensor) -> 'PixelClassifier':
        """Learn from (n, D) float columns and their (n,) int64 classes."""
        mean, std = columns.mean(0), columns.std(0, correction=0)
        varies = std > 1e-5 * columns.abs().amax(0)  # by more than rounding
        std = torch.where(varies, std, 1.0)
        x = (columns - mean) / std
        layer = nn.Linear(x.shape[1], self.n_classes).to(x.device)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        optimizer = optim.AdamW(parameter_groups(layer, self.weight_decay))
        generator = torch.Generator().manual_seed(self.seed)
        orders = [torch.randperm(len(x), generator=generator) for _ in range(self.epochs)]
        batches = [batch.to(x.device) for order in orders for batch in torch.split(order, _BATCH_SIZE)]
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group['lr'] = learning_rate(step, len(batches), self.learning_rate, _WARMUP)
            optimizer.zero_grad()
            F.cross_entropy(layer(x[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.weight_ = layer.weight.detach().double() / std
        self.bias_ = layer.bias.detach().double() - self.weight_ @ mean.double()
        return self

    def scores(self, columns: Tensor) -> Tensor:
        """(n, n_classes) float64 of (n, D) float."""
        return columns.double() @ self.weight_.T + self.bias_


class Sample(NamedTuple):
    """Columns of a few pixels of many images, and what all their pixels are like.

    Attributes:
        columns: (n, D) float32.
        labels: (n,) int64, class ids.
        mean: (D,) float64, of the values of the maps.
        variance: (D,) float64, likewise.
    """

    columns: Tensor
    labels: Tensor
    mean: Tensor
    variance: Tensor


def pretrain_classifier(
    network: nn.Module, images: Augmented, recipe: Recipe, device: torch.device, *, is_quiet: bool = False
) -> None:
    """Pre-train the classifier of a hypercolumn network, in place; its encoder stays as it is.

    The same on every process of a run.

    Args:
        network: to start; is moved to ``device``.
        images: to learn from.
        recipe: says how, in ``columns``; does nothing where that is None.
        device: to compute on.
        is_quiet: no progress bar.

    Raises:
        RecipeError: the network is of another kind, or not one pixel has a class.
    """
    if recipe.columns is None:
        return
    if not isinstance(network, Hypercolumn):
        raise RecipeError(f'columns: {recipe.model} classifies no hypercolumns; leave columns out')
    network.to(device).eval()
    how, prepare = recipe.columns, ImageNetwork(nn.Identity(), recipe.normalisation).to(device)
    sample = collect(network, prepare, images, how, recipe.seed, is_quiet=is_quiet)
    classifier = PixelClassifier(
        network.n_classes,
        epochs=how.epochs,
        learning_rate=how.learning_rate,
        weight_decay=how.weight_decay,
        seed=recipe.seed,
    ).fit(sample.columns, sample.labels)
    network.load_classifier(classifier.weight_, classifier.bias_, sample.mean, sample.variance)
    if not is_quiet:
        right = (classifier.scores(sample.columns).argmax(1) == sample.labels).float().mean()
        log.info('classifier: %.1f %% of %d columns right', 100 * right, len(sample.labels))


@torch.no_grad()
def collect(
    network: Hypercolumn,
    prepare: ImageNetwork,
    images: Augmented,
    how: Columns,
    seed: int,
    *,
    is_quiet: bool = False,
) -> Sample:
    """Columns of a few pixels of each class that an image shows.

    Args:
        network: in evaluation mode.
        prepare: turns images into the network's input; on the network's device.
        images: to take them of.
        how: how many.
        seed: of which pixels.
        is_quiet: no progress bar.

    Raises:
        RecipeError: not one pixel has a class.
    """
    device = prepare.scale.device
    count = min(how.images, len(images))
    columns, labels, moments = [], [], []
    for number in tqdm(range(count), desc='columns', unit='image', leave=False, disable=is_quiet):
        image, truth = images[Draw(0, number, number * len(images) // count)]
        maps = network.maps(prepare(image[None].to(device)))
        places = draw_places(truth.numpy(), how.per_class, np.random.default_rng((seed, number)))
        columns.append(network.columns(maps, torch.from_numpy(places).to(device)))
        labels.append(truth[tuple(places.T)].long())
        means = [torch.cat([m.double().pow(power).mean((0, 2, 3)) for m in maps]) for power in (1, 2)]
        moments.append(torch.stack(means))
    all_labels = torch.cat(labels).to(device)
    if not len(all_labels):
        raise RecipeError('columns: not one pixel has a class; are the labels those of this class set?')
    mean, square = torch.stack(moments).mean(0)
    return Sample(torch.cat(columns), all_labels, mean, (square - mean.square()).clamp(min=0))


def draw_places(labels: UInt8Array, per_class: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A few pixels of each class, at random.

    Args:
        labels: (H, W) uint8.
        per_class: pixels of a class, fewer where it has fewer.
        rng: draws.

    Returns:
        (n, 2) int64, row and column, class by class; void is no class.
    """
    drawn = [np.empty((0, 2), np.int64)]
    for class_id in np.unique(labels[labels != UNLABELLED]):
        places = np.argwhere(labels == class_id)
        drawn.append(rng.choice(places, min(per_class, len(places)), replace=False))
    return np.concatenate(drawn)

"""Pre-training of a hypercolumn network's classifier on few pixels of each image.

The pixels of an image are similar, and most belong to few classes. Therefore the classifier first learns from
a few pixels of each class in an image: as multinomial logistic regression, or as a perceptron if the network
has hidden layers. Then its weights become the 1x1 convolutions of the network, which is trained further on
all pixels.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise
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
    """Classifier of standardised columns by AdamW: logistic regression, or fully connected layers with ReLU.

    Args:
        n_classes: Number of classes.
        hidden: Number of values of each hidden layer; empty = multinomial logistic regression.
        epochs: Number of passes over the columns.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of the first weights and of the order of the columns.

    Attributes:
        layers_: Weight (n_out, n_in) and bias (n_out,) float64 of each layer. The first is for columns that
            are not standardised.
    """

    layers_: list[tuple[Tensor, Tensor]]

    def __init__(
        self,
        n_classes: int,
        *,
        hidden: Sequence[int] = (),
        epochs: int = 20,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        seed: int = 0,
    ) -> None:
        self.n_classes, self.hidden, self.epochs, self.seed = n_classes, hidden, epochs, seed
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def fit(self, columns: Tensor, labels: Tensor) -> 'PixelClassifier':
        """Fit to (n, D) float columns and their (n,) int64 classes."""
        mean, std = columns.mean(0), columns.std(0, correction=0)
        varies = std > 1e-5 * columns.abs().amax(0)  # by more than rounding errors
        std = torch.where(varies, std, 1.0)
        x = (columns - mean) / std
        generator = torch.Generator().manual_seed(self.seed)
        network = self._start(x.shape[1], generator).to(x.device)
        optimizer = optim.AdamW(parameter_groups(network, self.weight_decay))
        orders = [torch.randperm(len(x), generator=generator) for _ in range(self.epochs)]
        batches = [batch.to(x.device) for order in orders for batch in torch.split(order, _BATCH_SIZE)]
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group['lr'] = learning_rate(step, len(batches), self.learning_rate, _WARMUP)
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        self.layers_ = [(m.weight.detach().double(), m.bias.detach().double()) for m in linear]
        weight, bias = self.layers_[0]
        self.layers_[0] = weight / std, bias - (weight / std) @ mean.double()
        return self

    def scores(self, columns: Tensor) -> Tensor:
        """Scores (n, n_classes) float64 of columns (n, D) float."""
        x = columns.double()
        for number, (weight, bias) in enumerate(self.layers_):
            x = (x.relu() if number else x) @ weight.T + bias
        return x

    def _start(self, n_values: int, generator: torch.Generator) -> nn.Sequential:
        """The classifier before it has learnt: zeros if it is linear, random numbers with hidden layers."""
        network = nn.Sequential()
        for n_in, n_out in pairwise((n_values, *self.hidden, self.n_classes)):
            layer = nn.Linear(n_in, n_out)
            nn.init.zeros_(layer.bias)
            if self.hidden:
                nn.init.kaiming_normal_(layer.weight, nonlinearity='relu', generator=generator)
            else:
                nn.init.zeros_(layer.weight)
            network.extend([nn.ReLU(), layer] if len(network) else [layer])
        return network


class Sample(NamedTuple):
    """Columns of a few pixels of many images, and statistics of all their pixels.

    Attributes:
        columns: Columns, (n, D) float32.
        labels: Their class ids, (n,) int64.
        mean: Mean of the maps over all pixels, (D,) float64.
        variance: Variance of the maps over all pixels, (D,) float64.
    """

    columns: Tensor
    labels: Tensor
    mean: Tensor
    variance: Tensor


def pretrain_classifier(
    network: nn.Module, images: Augmented, recipe: Recipe, device: torch.device, *, is_quiet: bool = False
) -> None:
    """Pre-train the classifier of a hypercolumn network, in place; its encoder does not change.

    All processes of a run compute the same.

    Args:
        network: Network to change; it is moved to ``device``.
        images: Training images.
        recipe: Recipe with the settings in ``columns``; without these, nothing happens.
        device: Device to compute on.
        is_quiet: Show no progress bar.

    Raises:
        RecipeError: The network is not a hypercolumn network, or not one pixel has a class.
    """
    if recipe.columns is None:
        return
    if not isinstance(network, Hypercolumn):
        raise RecipeError(f'columns: {recipe.model} is not a hypercolumn network; remove columns')
    network.to(device).eval()
    settings, prepare = recipe.columns, ImageNetwork(nn.Identity(), recipe.normalisation).to(device)
    sample = collect(network, prepare, images, settings, recipe.seed, is_quiet=is_quiet)
    classifier = PixelClassifier(
        network.n_classes,
        hidden=network.hidden,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        seed=recipe.seed,
    ).fit(sample.columns, sample.labels)
    network.load_classifier(classifier.layers_, sample.mean, sample.variance)
    if not is_quiet:
        correct = (classifier.scores(sample.columns).argmax(1) == sample.labels).float().mean()
        log.info('classifier: %.1f %% of %d columns correct', 100 * correct, len(sample.labels))


@torch.no_grad()
def collect(
    network: Hypercolumn,
    prepare: ImageNetwork,
    images: Augmented,
    settings: Columns,
    seed: int,
    *,
    is_quiet: bool = False,
) -> Sample:
    """Collect columns of a few pixels of each class in each image.

    Args:
        network: Network in evaluation mode.
        prepare: Turns images into the network's input; on the network's device.
        images: Training images.
        settings: Number of images and of pixels.
        seed: Seed of the choice of pixels.
        is_quiet: Show no progress bar.

    Raises:
        RecipeError: Not one pixel has a class.
    """
    device = prepare.scale.device
    count = min(settings.images, len(images))
    columns, labels, moments = [], [], []
    for number in tqdm(range(count), desc='columns', unit='image', leave=False, disable=is_quiet):
        image, truth = images[Draw(0, number, number * len(images) // count)]
        maps = network.maps(prepare(image[None].to(device)))
        places = draw_places(truth.numpy(), settings.per_class, np.random.default_rng((seed, number)))
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
    """Draw a few pixels of each class at random.

    Args:
        labels: (H, W) uint8, class ids and 255.
        per_class: Maximum number of pixels of each class.
        rng: Source of all randomness.

    Returns:
        (n, 2) int64, row and column, class by class, without void.
    """
    drawn = [np.empty((0, 2), np.int64)]
    for class_id in np.unique(labels[labels != UNLABELLED]):
        places = np.argwhere(labels == class_id)
        drawn.append(rng.choice(places, min(per_class, len(places)), replace=False))
    return np.concatenate(drawn)

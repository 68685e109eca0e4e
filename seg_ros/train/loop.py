"""The training loop: AdamW, a rise and a cosine fall of the learning rate, averaged weights, and a state file after
every epoch from which a killed run goes on as if nothing had happened."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg_ros.checkpoint import ModelDescription, load_model
from seg_ros.data.dataset import Dataset
from seg_ros.errors import RecipeError
from seg_ros.evaluate.metrics import class_average, confusion_matrix, mean_iou
from seg_ros.image import ImageNetwork
from seg_ros.models.squeezenet import SqueezeNetEncoder
from seg_ros.registry import DATASETS, look_up
from seg_ros.train.curves import write_curves
from seg_ros.train.distributed import Processes
from seg_ros.train.ema import WeightAverage
from seg_ros.train.loader import Augmented, EpochSampler, InMemory, make_loader
from seg_ros.train.losses import SegmentationLoss, class_frequencies, class_weights, distillation_loss
from seg_ros.train.recipe import Recipe, Source, Teacher
from seg_ros.train.state import load_state, save_state

log = logging.getLogger(__name__)

STATE_FILE = 'state.safetensors'


class TrainingStep(nn.Module):
    """Network, teacher and loss as one module, so that torch.compile fuses them and DDP wraps them.

    Args:
        network: learns.
        loss: on labels.
        precision: 'bf16' for autocast, or 'fp32'.
        teacher: its frozen teacher, or None.
        teaching: how the teacher counts.
    """

    def __init__(
        self,
        network: ImageNetwork,
        loss: SegmentationLoss,
        precision: str,
        teacher: ImageNetwork | None = None,
        teaching: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.autocast = precision == 'bf16'
        self.teacher = teacher.eval().requires_grad_(False) if teacher else None
        self.teaching = teaching

    def train(self, mode: bool = True) -> 'TrainingStep':
        """Switch the network; the teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher:
            self.teacher.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of (B, H, W, 3) uint8 images against (B, H, W) uint8 labels, a () float."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            scores = self.network(images)
        loss: Tensor = self.loss(scores, labels)
        if self.teacher and self.teaching:
            with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
                taught = self.teacher(images)
            loss = loss + self.teaching.weight * distillation_loss(
                scores.float(), taught.float(), self.teaching.temperature
            )
        return loss


def open_source(source: Source, data: Path | None) -> Dataset:
    """The data set that a recipe names.

    Raises:
        RecipeError: it needs a folder and ``data`` is None, or refuses its options.
    """
    build = look_up(DATASETS, source.dataset, 'data set')
    root = data / source.root if data else None
    try:
        return build(root, source.split, **source.options)
    except TypeError as err:
        raise RecipeError(f'data set {source.dataset} refuses options {source.options}: {err}') from err


def learning_rate(step: int, n_steps: int, peak: float, warmup: float) -> float:
    """A linear rise to ``peak`` over the first share ``warmup`` of the steps, then half a cosine to 0."""
    rise = warmup * n_steps
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(n_steps - rise, 1)))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Convolution kernels with weight decay; normalisation, biases and PReLU slopes without."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{'params': kernels, 'weight_decay': weight_decay}, {'params': others, 'weight_decay': 0.0}]


@torch.inference_mode()
def validate(network: ImageNetwork, dataset: Dataset, device: torch.device, precision: str) -> dict[str, float]:
    """mean_iou and class_average of a network on a data set, at the images' own size."""
    n_classes = len(dataset.classes)
    matrix = confusion_matrix(*[torch.zeros(0, dtype=torch.uint8).numpy()] * 2, n_classes)
    for index in range(len(dataset)):
        image, truth = dataset[index]
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bf16'):
            scores = network(torch.from_numpy(image)[None].to(device))
        labels = scores[0].argmax(0).to(torch.uint8).cpu().numpy()
        matrix += confusion_matrix(truth, labels, n_classes)
    return {'mean_iou': mean_iou(matrix), 'class_average': class_average(matrix)}


@dataclass
class Progress:
    """How far a run is; what the state file keeps beside weights.

    Attributes:
        epoch: epochs done.
        best_mean_iou: of all validations so far, 0..1.
        validations_without_gain: in a row.
        rows: one an epoch, see seg_ros.train.curves.
    """

    epoch: int
    best_mean_iou: float
    validations_without_gain: int
    rows: list[dict[str, float]]


class Trainer:
    """One training run.

    Args:
        recipe: what to train, on what, how.
        data: root of the data set, None for data that needs no folder.
        folder: receives the state file, curves, and whatever ``on_epoch`` writes.
        processes: this process among those that train.

    Attributes:
        description: of the network being trained.
        average: the averaged network, the result.
        validation: the data set measured on, or None.
    """

    def __init__(self, recipe: Recipe, data: Path | None, folder: Path, processes: Processes) -> None:
        self.recipe, self.folder, self.processes = recipe, folder, processes
        device = processes.device
        parts = [InMemory(open_source(source, data)) for source in recipe.train]
        repeated = [part for part, source in zip(parts, recipe.train) for _ in range(source.repeat)]
        self.validation = InMemory(open_source(recipe.validation, data)) if recipe.validation else None
        self.description = ModelDescription(
            architecture=recipe.model,
            arguments=recipe.arguments,
            classes=parts[0].classes,
            input_size=recipe.input_size,
            normalisation=recipe.normalisation,
            training={'recipe': recipe.as_json(), 'seed': recipe.seed},
        )
        if any(part.classes != parts[0].classes for part in parts):
            raise RecipeError('the sources of train have different classes; expected one class set')

        torch.manual_seed(recipe.seed)
        network = self._initial_network()
        self.images_network = ImageNetwork(network, self.description.normalisation).to(
            device, memory_format=torch.channels_last
        )
        self.average = WeightAverage(self.images_network, recipe.ema)
        frequencies = sum(class_frequencies(part) * len(part) for part in repeated)
        assert isinstance(frequencies, Tensor)
        weights = class_weights(frequencies / frequencies.sum(), recipe.loss.balance, recipe.loss.constant)
        loss = SegmentationLoss(
            weights, jaccard=recipe.loss.jaccard, label_smoothing=recipe.loss.label_smoothing
        )
        self._step = TrainingStep(
            self.images_network, loss, recipe.precision, self._load_teacher(), recipe.teacher
        ).to(device)
        self._run: Callable[[Tensor, Tensor], Tensor] = self._step
        if processes.world_size > 1:
            self._run = DistributedDataParallel(self._step)
        if recipe.compile:
            self._run = torch.compile(self._run)
        self._optimizer = optim.AdamW(parameter_groups(network, recipe.weight_decay), lr=0.0)

        if recipe.batch_size % processes.world_size:
            raise RecipeError(f'batch_size {recipe.batch_size} does not divide by {processes.world_size} processes')
        augmented = Augmented(repeated, recipe.augment, recipe.seed)
        self._sampler = EpochSampler(
            len(augmented), recipe.batch_size, recipe.seed, processes.rank, processes.world_size
        )
        per_process = recipe.batch_size // processes.world_size
        self._loader: DataLoader[tuple[Tensor, Tensor]] = make_loader(
            augmented, self._sampler, per_process, recipe.workers
        )
        self.progress = Progress(0, -1.0, 0, [])
        if (folder / STATE_FILE).is_file():
            self._resume()

    def run(self, on_epoch: 'Callable[[Trainer, bool], None]' = lambda trainer, is_best: None) -> Progress:
        """Train to the end of the recipe.

        Args:
            on_epoch: called in the main process after each epoch with whether a validation found it the best so far.
        """
        recipe, progress = self.recipe, self.progress
        epochs = tqdm(
            range(progress.epoch, recipe.epochs),
            desc='training',
            unit='epoch',
            initial=progress.epoch,
            total=recipe.epochs,
            disable=not self.processes.is_main,
        )
        for epoch in epochs:
            if recipe.stop_after and progress.validations_without_gain >= recipe.stop_after:
                log.info('stopped after epoch %d: validation brings no gain any more', epoch)
                break
            started = time.monotonic()
            loss = self._train_epoch(epoch)
            measured = self._validate_after(epoch)
            row = {
                'epoch': epoch + 1,
                'learning_rate': self._learning_rate(epoch, len(self._loader) - 1),
                'loss': loss,
                **measured,
                'seconds': time.monotonic() - started,
            }
            is_best = self._count(row)
            epochs.set_postfix(loss=f'{loss:.3f}', best=f'{100 * max(progress.best_mean_iou, 0):.1f}')
            if self.processes.is_main:
                self._save()
                write_curves(self.folder, progress.rows)
                on_epoch(self, is_best)
        return progress

    def _initial_network(self) -> nn.Module:
        network = self.description.build()
        if self.recipe.encoder_weights:
            if not isinstance(getattr(network, 'encoder', None), SqueezeNetEncoder):
                raise RecipeError(f'encoder_weights: {self.recipe.model} has no encoder that loads ImageNet weights')
            network.encoder.load_weights(Path(self.recipe.encoder_weights))  # type: ignore[union-attr, operator]
        if self.recipe.init is None:
            return network
        parent = load_model(Path(self.recipe.init))
        own, learned = network.state_dict(), parent.network.state_dict()
        if own.keys() != learned.keys():
            raise RecipeError(f'init {self.recipe.init} is a {parent.description.architecture}, not {self.recipe.model}')
        # A head for other classes starts anew.
        network.load_state_dict({k: v if v.shape == own[k].shape else own[k] for k, v in learned.items()})
        return network

    def _load_teacher(self) -> ImageNetwork | None:
        if self.recipe.teacher is None:
            return None
        model = load_model(Path(self.recipe.teacher.model))
        if model.description.classes != self.description.classes:
            raise RecipeError(f'teacher {model.path} has other classes than the data: {model.description.classes.names}')
        teacher = ImageNetwork(model.network, model.description.normalisation)
        return teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _learning_rate(self, epoch: int, position: int) -> float:
        n_steps = self.recipe.epochs * len(self._loader)
        step = epoch * len(self._loader) + position
        return learning_rate(step, n_steps, self.recipe.learning_rate, self.recipe.warmup)

    def _train_epoch(self, epoch: int) -> float:
        # Dropout depends on seed, epoch and rank alone, so that a resumed run draws what an unbroken one would.
        torch.manual_seed(hash((self.recipe.seed, epoch, self.processes.rank)) % 2**63)
        self._sampler.epoch = epoch
        self._step.train()
        total = torch.zeros((), device=self.processes.device)
        for position, (images, labels) in enumerate(self._loader):
            for group in self._optimizer.param_groups:
                group['lr'] = self._learning_rate(epoch, position)
            self._optimizer.zero_grad(set_to_none=True)
            loss = self._run(images.to(self.processes.device), labels.to(self.processes.device))
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self.average.update(self.images_network, epoch * len(self._loader) + position)
            total += loss.detach()
        if self.processes.world_size > 1:
            distributed.all_reduce(total)
        mean = float(total) / len(self._loader) / self.processes.world_size
        if not math.isfinite(mean):
            raise RecipeError(f'the loss is {mean} in epoch {epoch + 1}; lower learning_rate')
        return mean

    def _validate_after(self, epoch: int) -> dict[str, float]:
        """Measured in every process alike, so that all agree on when to stop."""
        due = (epoch + 1) % self.recipe.validate_every == 0 or epoch + 1 == self.recipe.epochs
        if self.validation is None or not due:
            return {'mean_iou': math.nan, 'class_average': math.nan}
        network = self.average.network
        assert isinstance(network, ImageNetwork)
        return validate(network, self.validation, self.processes.device, self.recipe.precision)

    def _count(self, row: dict[str, float]) -> bool:
        progress = self.progress
        progress.epoch = int(row['epoch'])
        progress.rows.append(row)
        if math.isnan(row['mean_iou']):
            return False
        is_best = row['mean_iou'] > progress.best_mean_iou
        progress.best_mean_iou = max(progress.best_mean_iou, row['mean_iou'])
        progress.validations_without_gain = 0 if is_best else progress.validations_without_gain + 1
        return is_best

    def _modules(self) -> dict[str, nn.Module]:
        return {'network': self.images_network, 'average': self.average.network}

    def _save(self) -> None:
        save_state(
            self.folder / STATE_FILE,
            self._modules(),
            self._optimizer,
            {'recipe': self.recipe.as_json(), 'progress': vars(self.progress)},
        )

    def _resume(self) -> None:
        record = load_state(self.folder / STATE_FILE, self._modules(), self._optimizer)
        changed = [k for k, v in self.recipe.as_json().items() if record['recipe'].get(k) != _plain(v)]
        if changed:
            raise RecipeError(
                f'{self.folder} holds a run whose {", ".join(changed)} differ from the recipe; '
                'remove the folder or choose another'
            )
        self.progress = Progress(**record['progress'])
        log.info('resuming after epoch %d', self.progress.epoch)


def _plain(value: object) -> object:
    """A value as it comes back from JSON."""
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value

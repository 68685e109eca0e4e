"""From an image to a prediction: the one way that the node, the command line and the replay share.

Loading checks the model against its own golden record on the very backend that will run it, so that a wrong
normalisation, swapped channels or a broken backend is found before the first frame.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from seg_ros.checkpoint import Model, load_model
from seg_ros.decide import decide, warm_up
from seg_ros.errors import ParameterError, SelfCheckError, UnavailableError, UnknownNameError
from seg_ros.image import ImageNetwork, resize_image
from seg_ros.labels import ClassSet
from seg_ros.params import Settings
from seg_ros.registry import BACKENDS, QUANTIZATIONS, look_up
from seg_ros.resources import resource
from seg_ros.runtime.backend import Backend, choose_device
from seg_ros.types import Prediction, UInt8Array

log = logging.getLogger(__name__)

REQUIRED_AGREEMENT = 0.97
"""Share of golden pixels that must get their recorded label; below it a model is refused."""

_TIMED_RUNS = 7


@dataclass
class StageTimes:
    """How long each step of the last frame took, in milliseconds."""

    resize_ms: float = 0.0
    network_ms: float = 0.0
    decide_ms: float = 0.0


@dataclass
class Pipeline:
    """A loaded, checked and warmed-up model.

    Attributes:
        model: the file it came from.
        backend_name: what runs it, a name in seg_ros.registry.BACKENDS.
        quantization: level it computes in.
        device: where.
        input_size: (height, width) of the network's input in pixels.
        confidence_threshold: pixels below it, 0..1, become 255; may change between frames.
        agreement: share of golden pixels that got their recorded label.
        times: of the last frame.
    """

    model: Model
    backend: Backend
    backend_name: str
    quantization: str
    device: torch.device
    input_size: tuple[int, int]
    n_threads: int = 0
    confidence_threshold: float = 0.0
    agreement: float = 0.0
    times: StageTimes = field(default_factory=StageTimes)

    @classmethod
    def load(cls, settings: Settings) -> 'Pipeline':
        """Load, choose a backend, warm up, and compare with the golden record.

        Raises:
            ModelFileError: the file cannot be used; SelfCheckError if it disagrees with its own record.
            UnavailableError: backend, device or quantisation level cannot be had; lists those that can.
            UnknownNameError: a name is in no table.
        """
        model = load_model(find_model(settings.model))
        device = choose_device(settings.device)
        level = choose_quantization(model, settings.quantization)
        height, width = model.description.input_size
        size = (settings.input_height or height, settings.input_width or width)
        if min(size) < 32:
            raise ParameterError(f'network input of {size[0]}x{size[1]} pixels; expected 32 or more each way')
        name, backend = choose_backend(model, settings.backend, level, size, device, settings.n_threads)
        warm_up()
        pipeline = cls(model, backend, name, level, device, size, settings.n_threads)
        pipeline.agreement = pipeline.self_check()
        pipeline.confidence_threshold = settings.confidence_threshold
        return pipeline

    @property
    def classes(self) -> ClassSet:
        """What the labels mean."""
        return self.model.description.classes

    def as_json(self) -> dict[str, object]:
        """What runs, under the keys that all reports share."""
        return {
            'path': str(self.model.path),
            'digest': self.model.digest,
            'n_parameters': self.model.n_parameters,
            'n_bytes': self.model.n_bytes,
            'quantization': self.quantization,
            'backend': self.backend_name,
            'device': str(self.device),
        }

    def __call__(self, image: UInt8Array, *, with_confidence: bool = False) -> Prediction:
        """Segment one image.

        Args:
            image: (H, W, 3) uint8 RGB of any size.
            with_confidence: whether to compute the confidence as well.

        Returns:
            Labels, and confidence if asked for, at the image's size.
        """
        started = time.perf_counter()
        resized = np.ascontiguousarray(resize_image(image, *self.input_size))
        if not resized.flags.writeable:  # torch warns of read-only memory, which a view of a message may be
            resized = resized.copy()
        resized_at = time.perf_counter()
        scores = self.backend(torch.from_numpy(resized)[None])
        scored_at = time.perf_counter()
        prediction = decide(
            scores[0],
            *image.shape[:2],
            with_confidence=with_confidence,
            confidence_threshold=self.confidence_threshold,
            n_threads=self.n_threads,
        )
        done_at = time.perf_counter()
        self.times = StageTimes(
            resize_ms=1e3 * (resized_at - started),
            network_ms=1e3 * (scored_at - resized_at),
            decide_ms=1e3 * (done_at - scored_at),
        )
        return prediction

    def self_check(self) -> float:
        """Share of golden pixels that get their recorded label here.

        Raises:
            SelfCheckError: it is below REQUIRED_AGREEMENT.
        """
        golden = self.model.golden
        labels = np.stack([self(image).labels for image in golden.images])
        agreement = float((labels == golden.labels).mean())
        own_size = self.input_size == self.model.description.input_size
        if own_size and agreement < REQUIRED_AGREEMENT:
            raise SelfCheckError(
                f'model {self.model.path} gives the recorded label for {agreement:.1%} of its golden pixels on '
                f'backend {self.backend_name}, {self.quantization}, {self.device}; at least '
                f'{REQUIRED_AGREEMENT:.0%} must agree. The file is damaged or the backend is broken: '
                'try another backend or fetch the file again'
            )
        return agreement


def find_model(name: str) -> Path:
    """The file behind a path or the name of a shipped model; may not exist."""
    if '/' in name or name.endswith('.safetensors'):
        return Path(name).expanduser()
    try:
        return resource(f'models/{name}.safetensors')
    except UnavailableError:
        shipped = sorted(path.stem for path in resource('models').glob('*.safetensors'))
        raise UnknownNameError('model', name, shipped) from None


def choose_quantization(model: Model, level: str) -> str:
    """The level behind 'auto', or the one asked for.

    Raises:
        UnavailableError: it cannot be derived from what the file holds.
    """
    stored = model.description.quantization
    if level == 'auto':
        return stored
    wanted = look_up(QUANTIZATIONS, level, 'quantization level')
    if stored not in wanted.derivable_from:
        possible = [name for name, q in QUANTIZATIONS.items() if stored in q.derivable_from]
        raise UnavailableError(
            f'quantization {level} cannot be derived from {model.path}, which holds {stored}; '
            f'possible: auto, {", ".join(possible)}'
        )
    return level


def choose_backend(
    model: Model, name: str, level: str, size: tuple[int, int], device: torch.device, n_threads: int
) -> tuple[str, Backend]:
    """The backend of that name, or for 'auto' the fastest of those this computer has, by measuring.

    Raises:
        UnavailableError: it is not available; says why, and lists those that are.
    """
    dtype = QUANTIZATIONS[level].dtype
    obstacles = {key: kind.why_not(device, dtype) for key, kind in BACKENDS.items()}
    available = [key for key, obstacle in obstacles.items() if obstacle is None]

    def build(key: str) -> Backend:
        network = model.description.build()
        network.load_state_dict(model.network.state_dict())
        images = ImageNetwork(network, model.description.normalisation, dtype).eval()
        return BACKENDS[key](images, size, device, n_threads)

    if name != 'auto':
        look_up(BACKENDS, name, 'backend')
        if obstacles[name]:
            raise UnavailableError(
                f"backend '{name}' with {level} on {device} {obstacles[name]}; available: auto, {', '.join(available)}"
            )
        return name, build(name)
    return _fastest({key: build for key in available}, size)


def _fastest(builders: dict[str, Callable[[str], Backend]], size: tuple[int, int]) -> tuple[str, Backend]:
    images = torch.zeros(1, *size, 3, dtype=torch.uint8)
    timed: dict[str, tuple[float, Backend]] = {}
    for key, build in builders.items():
        try:
            backend = build(key)
            times = [_seconds(backend, images) for _ in range(_TIMED_RUNS)]
        except Exception as err:  # noqa: BLE001 - a broken candidate must not stop the others
            log.warning('backend %s is left out: %s', key, err)
            continue
        timed[key] = (sorted(times)[_TIMED_RUNS // 2], backend)
    if not timed:
        raise UnavailableError('no backend could run the model; see the warnings before this')
    log.info('backends: %s', ', '.join(f'{key} {1e3 * s:.1f} ms' for key, (s, _) in timed.items()))
    best = min(timed, key=lambda key: timed[key][0])
    return best, timed[best][1]


def _seconds(backend: Backend, images: torch.Tensor) -> float:
    started = time.perf_counter()
    backend(images).sum().item()  # waits for a GPU
    return time.perf_counter() - started

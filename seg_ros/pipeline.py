"""From an image to a prediction: the one way that the node, the command line and the replay share.

Loading checks the model against its own golden record on the very backend that will run it, so that a wrong
normalisation, swapped channels or a broken backend is found before the first frame.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from seg_ros.checkpoint import Model, load_model
from seg_ros.choice import choose_backend, choose_quantization
from seg_ros.decide import decide, warm_up
from seg_ros.errors import ParameterError, SelfCheckError, UnavailableError, UnknownNameError
from seg_ros.image import resize_image
from seg_ros.labels import ClassSet
from seg_ros.params import Settings
from seg_ros.resources import resource
from seg_ros.runtime.backend import Backend, choose_device
from seg_ros.types import Prediction, UInt8Array

REQUIRED_AGREEMENT = 0.97
"""Share of golden pixels that must get their recorded label; below it a model is refused."""


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
                f'model {self.model.path} gives the recorded label for {agreement:.1%} of its golden pixels '
                f'on backend {self.backend_name}, {self.quantization}, {self.device}; at least '
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

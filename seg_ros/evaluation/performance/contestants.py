"""Contestants that make labels of a camera image: plain PyTorch, plain ONNX Runtime, and a model of ours."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from seg_ros.evaluation.performance.turns import NETWORK, TOTAL, Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg_ros.arrays import UInt8Array
    from seg_ros.inference.settings import Settings

    Work = Callable[[], tuple[UInt8Array | None, dict[str, float]]]
    """Segments once: labels (H, W) uint8, or None without classes, and times in milliseconds by name."""

IMAGE_SIZE = 480, 640
"""(height, width) of the camera image in pixels."""
ENET_SIZE, ENET_CLASSES = (360, 480), 11
"""(height, width) of the input of the plain ENet, and its number of classes: those of CamVid."""

_DRIVE = 23
"""Seed of the rendered drive that the images come from."""


def camera_images(n_cameras: int = 1) -> list[UInt8Array]:
    """Rendered street images, (480, 640, 3) uint8 RGB each."""
    from seg_ros.synthetic import RenderedDrive

    drive = RenderedDrive(_DRIVE, n_cameras, *IMAGE_SIZE)
    return [drive[index][0] for index in range(n_cameras)]


def prepared(work: Work, facts: dict[str, Any]) -> Prepared:
    """Do the work once, for its labels and to warm up."""
    labels, _ = work()
    return Prepared(lambda: work()[1], labels, facts)


def waiting_for(device: str) -> Callable[[], None]:
    """A function that waits until a GPU has finished; it does nothing for a CPU."""
    if device == 'cpu':
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


@dataclass(frozen=True)
class EagerENet:
    """ENet as a plain PyTorch program runs it: eager, float32, channels first.

    The weights are untrained: the time does not depend on them. The command seg_ros sets GOMP_SPINCOUNT,
    which favours this contestant: with OpenMP's default, a busy computer makes two threads many times slower.

    Attributes:
        n_threads: Number of CPU threads.
        device: Device, 'cpu' or 'cuda:N'.
    """

    n_threads: int
    device: str

    def prepare(self) -> Prepared:
        """Build the network; see seg_ros.evaluation.performance.turns.Contestant."""
        return prepared(self.build(camera_images()[0]), {'backend': 'torch', 'quantization': 'fp32'})

    def build(self, image: UInt8Array) -> Work:
        """Build the network; the work is to run it on an image (H, W, 3) uint8."""
        import torch
        from torch.nn import functional as F

        from seg_ros.images.resize import resize_image
        from seg_ros.networks.registry import MODELS

        torch.set_num_threads(self.n_threads)
        torch.manual_seed(0)
        network, wait = MODELS['enet'](ENET_CLASSES).eval().to(self.device), waiting_for(self.device)

        def work() -> tuple[UInt8Array, dict[str, float]]:
            started = time.perf_counter()
            resized = torch.from_numpy(resize_image(image, *ENET_SIZE)).to(self.device)
            with torch.no_grad():
                pixels = resized.permute(2, 0, 1)[None].float().contiguous() / 255
                before = time.perf_counter()
                scores = network(pixels)
                wait()
                after = time.perf_counter()
                upsampled = F.interpolate(scores, image.shape[:2], mode='bilinear', align_corners=False)
                labels = upsampled.argmax(1)[0].byte().cpu().numpy()
            ended = time.perf_counter()
            return labels, {TOTAL: 1e3 * (ended - started), NETWORK: 1e3 * (after - before)}

        return work


@dataclass(frozen=True)
class DefaultOnnxRuntime:
    """ONNX Runtime with the default options of a session. Resizing and labels are those of seg_ros.

    Attributes:
        settings: Settings that name a float model, the size of its input and the device.
        n_threads: Number of CPU threads.
    """

    settings: Settings
    n_threads: int

    def prepare(self) -> Prepared:
        """Export the network and open a session; see seg_ros.evaluation.performance.turns.Contestant.

        Raises:
            UnavailableError: A package or provider is missing.
        """
        from seg_ros.errors import UnavailableError
        from seg_ros.images.resize import resize_image
        from seg_ros.inference.argmax import argmax_labels
        from seg_ros.inference.backends.network_source import NetworkSource
        from seg_ros.inference.backends.onnx_export import onnx_of
        from seg_ros.inference.backends.onnx_runtime import OnnxRuntimeBackend, import_onnxruntime
        from seg_ros.inference.served_model import ModelSource
        from seg_ros.networks.graph_names import FREE_SIDES, GRAPH_INPUT

        source, device = ModelSource(self.settings), self.settings.device
        is_graph, size = source.served.metadata.is_graph, source.served.input_size
        why_not = OnnxRuntimeBackend.why_not_graph(device) if is_graph else None
        if reason := why_not or OnnxRuntimeBackend.why_not(device, 'float32'):
            raise UnavailableError(f'ONNX Runtime {reason}')
        network = NetworkSource.of_model(source, 'fp32', with_embeddings=False)
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        if self.n_threads != os.cpu_count():
            options.intra_op_num_threads = self.n_threads
        for name, side in zip(FREE_SIDES, size, strict=True):
            options.add_free_dimension_override_by_name(name, side)
        provider: Any = 'CPUExecutionProvider'
        if device != 'cpu':
            provider = ('CUDAExecutionProvider', {'device_id': int(device.rpartition(':')[2])})
        session = onnxruntime.InferenceSession(onnx_of(network, size), options, [provider])
        names, image = list(network.outputs), camera_images()[0]

        def work() -> tuple[UInt8Array | None, dict[str, float]]:
            started = time.perf_counter()
            resized = resize_image(image, *size)
            before = time.perf_counter()
            outputs = dict(zip(names, session.run(names, {GRAPH_INPUT: resized[None]}), strict=True))
            after = time.perf_counter()
            labels = None
            if 'scores' in outputs:
                labels = argmax_labels(outputs['scores'][0], *image.shape[:2], n_threads=self.n_threads)[0]
            ended = time.perf_counter()
            return labels, {TOTAL: 1e3 * (ended - started), NETWORK: 1e3 * (after - before)}

        return prepared(work, {'backend': 'onnxruntime', 'quantization': 'fp32'})


@dataclass(frozen=True)
class ServedCamera:
    """A model of seg_ros as the node runs it, on the images of one or several cameras in turn.

    Attributes:
        settings: Settings that name the model, the backend, the device and the number of threads.
        options: Options of each frame by name, see seg_ros.inference.options.FrameOptions.
        n_cameras: Number of cameras; a run segments one image of each.
    """

    settings: Settings
    options: dict[str, Any] = field(default_factory=dict)
    n_cameras: int = 1

    def prepare(self) -> Prepared:
        """Load the model; see seg_ros.evaluation.performance.turns.Contestant."""
        from seg_ros.inference.segmenter import Segmenter

        segmenter = Segmenter.load(self.settings)
        images, wait = camera_images(self.n_cameras), waiting_for(segmenter.device)

        def work() -> tuple[UInt8Array, dict[str, float]]:
            steps: dict[str, float] = {}
            started = time.perf_counter()
            for image in images:
                prediction = segmenter(image, **self.options)
                wait()
                for name, step_ms in asdict(prediction.times).items():
                    steps[name] = steps.get(name, 0.0) + step_ms
            return prediction.labels, {TOTAL: 1e3 * (time.perf_counter() - started), **steps}

        return prepared(work, {**segmenter.as_json(), 'input_size': list(segmenter.input_size)})

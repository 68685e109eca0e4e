"""From an image to a prediction: the one way that the node, the command line and the replay share.

Loading checks the model against its own golden record on the very backend that will run it, so that a wrong
normalisation, swapped channels or a broken backend is found before the first frame.
"""

import time
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import ParameterError, SelfCheckError, UnavailableError
from seg_ros.images.resize import resize_image
from seg_ros.inference.argmax import Prediction, argmax_labels, warm_up
from seg_ros.inference.backends.backend import Backend, choose_device
from seg_ros.inference.backends.select import choose_backend
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.find import find_model, shipped_models
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.precision import choose_quantization
from seg_ros.networks.masked_average import check_window
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.hamming import unpack
from seg_ros.segments.segments import SegmentRules, Segments, find_segments

REQUIRED_AGREEMENT = 0.97
"""Share of golden pixels that must get their recorded label; below it a model is refused."""


@dataclass
class StageTimes:
    """How long each step of the last frame took, in milliseconds."""

    resize_ms: float = 0.0
    network_ms: float = 0.0
    filter_ms: float = 0.0
    argmax_ms: float = 0.0
    segments_ms: float = 0.0


@dataclass(frozen=True)
class SegmentedPrediction(Prediction):
    """What the pipeline says about one image.

    Attributes:
        segments: of the image's size, with codes; None unless asked for.
    """

    segments: Segments | None = None


@dataclass
class Segmenter:
    """A loaded, checked and warmed-up model.

    Attributes:
        model: the file it came from.
        backend_name: what runs it, a name in seg_ros.inference.backends.registry.BACKENDS.
        quantization: level it computes in.
        device: where.
        input_size: (height, width) of the network's input in pixels.
        confidence_threshold: pixels below it, 0..1, become 255; may change between frames.
        agreement: share of golden pixels that got their recorded label, or of golden bits that are as
            recorded if that is lower.
        rules: how segments are found, for a model with codes; may change between frames.
        refinement: weight of a segment's scores in the labels of its pixels, 0 = none; needs codes; may
            change between frames.
        codebook: digest that its codes belong to; '' for a model without codes.
        filter: sharpens the scores by the model's embeddings; None leaves them. It may change between frames
            where the pipeline was loaded with one.
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
    rules: SegmentRules = field(default_factory=SegmentRules)
    refinement: float = 0.0
    codebook: str = ''
    filter: EmbeddingFilter | None = None
    times: StageTimes = field(default_factory=StageTimes)

    @classmethod
    def load(cls, settings: Settings) -> 'Segmenter':
        """Load, choose a backend, warm up, and compare with the golden record.

        Raises:
            ModelFileError: the file cannot be used; SelfCheckError if it disagrees with its own record.
            UnavailableError: backend, device or quantisation level cannot be had; lists those that can. Or
                labels are to be refined, or filtered, and the model has no codes, or embeddings.
            UnknownNameError: a name is in no table.
        """
        model = load_model(find_model(settings.model))
        device = choose_device(settings.device)
        level = choose_quantization(model, settings.quantization)
        height, width = model.metadata.input_size
        size = (settings.input_height or height, settings.input_width or width)
        if min(size) < 32:
            raise ParameterError(f'network input of {size[0]}x{size[1]} pixels; expected 32 or more each way')
        label_filter = embedding_filter(model, settings, size) if settings.embedding_filter_enabled else None
        name, backend = choose_backend(
            model,
            settings.backend,
            level,
            size,
            device,
            settings.n_threads,
            with_embeddings=label_filter is not None,
        )
        warm_up()
        segmenter = cls(model, backend, name, level, device, size, settings.n_threads, filter=label_filter)
        segmenter.rules = segment_rules(model.metadata, settings)
        segmenter.codebook = model.codebook(size)
        segmenter.agreement = segmenter.self_check()
        segmenter.confidence_threshold = settings.confidence_threshold
        segmenter.refinement = settings.segments_refinement
        if segmenter.refinement > 0 and segmenter.code_pooling is None:
            raise UnavailableError(
                f'segments.refinement is set, but model {model.path} has no codes; '
                'seg_ros fit-codes adds them'
            )
        return segmenter

    @property
    def classes(self) -> ClassSet:
        """What the labels mean."""
        return self.model.metadata.classes

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

    @cached_property
    def code_pooling(self) -> CodePooling | None:
        """Gives segments their codes; None for a model without."""
        return None if self.model.codes is None else CodePooling.of(self.model.codes)

    def __call__(
        self,
        image: UInt8Array,
        *,
        with_confidence: bool = False,
        with_segments: bool = False,
    ) -> SegmentedPrediction:
        """Segment one image.

        Args:
            image: (H, W, 3) uint8 RGB of any size.
            with_confidence: whether to compute the confidence as well.
            with_segments: whether to find segments and their codes as well.

        Returns:
            Labels, and confidence and segments if asked for, at the image's size.

        Raises:
            UnavailableError: segments are asked of a model without codes.
        """
        self.times = StageTimes()
        started = time.perf_counter()
        resized = np.ascontiguousarray(resize_image(image, *self.input_size))
        if not resized.flags.writeable:  # torch warns of read-only memory, which a view of a message may be
            resized = resized.copy()
        self.times.resize_ms = 1e3 * (time.perf_counter() - started)
        scores, segments = self.score(resized, with_segments=with_segments)
        started = time.perf_counter()
        if with_segments and segments is not None:
            segments = segments.resized(*image.shape[:2])
        resized_at = time.perf_counter()
        self.times.segments_ms += 1e3 * (resized_at - started)
        decided = self._argmax(scores, image.shape[0], image.shape[1], with_confidence)
        self.times.argmax_ms = 1e3 * (time.perf_counter() - resized_at)
        return SegmentedPrediction(decided.labels, decided.confidence, segments if with_segments else None)

    def score(
        self, resized: UInt8Array, *, with_segments: bool = False
    ) -> tuple[torch.Tensor | None, Segments | None]:
        """All that decides about an image's labels: the network, its embedding filter, its segments.

        Args:
            resized: (height, width, 3) uint8 RGB of the network's size, contiguous.
            with_segments: whether to find segments even if labels are not refined by them.

        Returns:
            (K, h, w) float32 scores on the device, None of a model without classes; and segments of the
            network's size where they were found.
        """
        started = time.perf_counter()
        answers = self.backend(torch.from_numpy(resized)[None])
        scores = answers['scores'][0] if 'scores' in answers else None
        scored_at = time.perf_counter()
        self.times.network_ms = 1e3 * (scored_at - started)
        if self.filter is not None and scores is not None:
            scores = self.filter(scores, answers['embeddings'][0], self.n_threads)
            self.times.filter_ms = 1e3 * (time.perf_counter() - scored_at)
        if not with_segments and not self.refinement > 0:
            return scores, None
        started = time.perf_counter()
        segments = self._find_segments(resized, answers, scores)
        if self.refinement > 0 and scores is not None:
            scores = segments.refine(scores, self.refinement)
        self.times.segments_ms = 1e3 * (time.perf_counter() - started)
        return scores, segments

    def _argmax(
        self, scores: torch.Tensor | None, height: int, width: int, with_confidence: bool
    ) -> Prediction:
        if scores is None:
            nothing = np.full((height, width), UNLABELLED, np.uint8)
            return Prediction(nothing, np.zeros_like(nothing) if with_confidence else None)
        return argmax_labels(
            scores,
            height,
            width,
            with_confidence=with_confidence,
            confidence_threshold=self.confidence_threshold,
            n_threads=self.n_threads,
        )

    def _find_segments(
        self, resized: UInt8Array, answers: dict[str, torch.Tensor], scores: torch.Tensor | None
    ) -> Segments:
        if self.code_pooling is None:
            raise UnavailableError(f'model {self.model.path} has no codes; seg_ros fit-codes adds them')
        return find_segments(
            resized, answers['codes'][0], scores, self.code_pooling, self.rules, self.n_threads
        )

    def self_check(self) -> float:
        """Share of golden pixels that get their recorded label here.

        Raises:
            SelfCheckError: it is below REQUIRED_AGREEMENT.
        """
        golden = self.model.golden
        agreement = self._agreement_of_labels(golden.labels, None)
        if self.filter is not None and golden.filtered is not None and self._is_own_size:
            own = embedding_filter(self.model, Settings(), self.input_size)
            agreement = min(agreement, self._agreement_of_labels(golden.filtered, own))
        if golden.codes is not None and self.code_pooling is not None:
            resized = [np.array(resize_image(image, *self.input_size)) for image in golden.images]
            logits = [self.backend(torch.from_numpy(image)[None])['codes'][0] for image in resized]
            codes = [self.code_pooling.golden(*pair) for pair in zip(logits, resized, strict=True)]
            bits = np.stack([unpack(part) for part in codes])
            if self._is_own_size and bits.shape != (*golden.codes.shape[:2], self.code_pooling.n_bits):
                raise SelfCheckError(f'model {self.model.path} records golden codes of another shape')
            if self._is_own_size:
                wanted = unpack(golden.codes.reshape(-1, golden.codes.shape[2])).reshape(bits.shape)
                same = float((bits == wanted).mean())
                self._refuse_below(same, 'value', 'bits')
                agreement = min(agreement, same)
        return agreement

    def _agreement_of_labels(self, recorded: UInt8Array, label_filter: EmbeddingFilter | None) -> float:
        """Share of golden pixels with the recorded label, with this filter; refused if too low."""
        chosen, self.filter = self.filter, label_filter
        labels = np.stack([self(image).labels for image in self.model.golden.images])
        self.filter = chosen
        agreement = float((labels == recorded).mean())
        self._refuse_below(agreement, 'label', 'pixels')
        return agreement

    @property
    def _is_own_size(self) -> bool:
        return self.input_size == self.model.metadata.input_size

    def _refuse_below(self, agreement: float, what: str, of_what: str) -> None:
        if self._is_own_size and agreement < REQUIRED_AGREEMENT:
            raise SelfCheckError(
                f'model {self.model.path} gives the recorded {what} for {agreement:.1%} of its golden '
                f'{of_what} on backend {self.backend_name}, {self.quantization}, {self.device}; at least '
                f'{REQUIRED_AGREEMENT:.0%} must agree. The file is damaged or the backend is broken: '
                'try another backend or fetch the file again'
            )


def segment_rules(metadata: ModelMetadata, settings: Settings) -> SegmentRules:
    """The model's own rules, but for what the settings say."""
    own = metadata.codes
    if own is None:
        return SegmentRules()
    return SegmentRules(
        superpixels=own.superpixels
        if settings.segments_superpixels == 'auto'
        else settings.segments_superpixels,
        region_size=settings.segments_region_size or own.region_size,
        merge=settings.segments_merge,
        merge_limit=own.merge_limit if settings.segments_merge_limit < 0 else settings.segments_merge_limit,
        size_power=own.size_power,
        border_share=own.border_share,
    )


def embedding_filter(model: Model, settings: Settings, size: tuple[int, int]) -> EmbeddingFilter:
    """The model's own filter, but for what the settings say.

    Args:
        model: with embeddings.
        settings: what differs from its own.
        size: (height, width) of the network's input in pixels.

    Raises:
        ParameterError: the size is no multiple of the embeddings' stride, or the window is larger than them.
        UnavailableError: the model has no embeddings; names the shipped ones that have.
    """
    own = model.metadata.embeddings
    if own is None or model.embeddings is None:
        raise UnavailableError(
            f'model {model.path} has no embeddings, which the filter needs; shipped models that have: '
            f"{', '.join(_shipped_with_embeddings()) or 'none'}; 'embeddings' in a training recipe adds them"
        )
    if size[0] % own.stride or size[1] % own.stride:
        raise ParameterError(
            f'network input of {size[0]}x{size[1]} pixels; the embedding filter of model {model.path} '
            f'expects multiples of {own.stride}: set input_height and input_width so'
        )
    chosen = EmbeddingFilter(
        window=settings.embedding_filter_window or own.window,
        iterations=settings.embedding_filter_iterations or own.iterations,
        hardness=settings.embedding_filter_hardness or float(model.embeddings.hardness.detach()),
    )
    check_window(chosen.window, (size[0] // own.stride, size[1] // own.stride))
    return chosen


def _shipped_with_embeddings() -> list[str]:
    return [path.stem for path in shipped_models() if load_model(path).embeddings is not None]

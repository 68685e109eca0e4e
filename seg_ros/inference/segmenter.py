"""From an image to a prediction: the one way shared by node, command line, replay and evaluation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_ros._caches import provide_folders
from seg_ros.arrays import UNLABELLED, Maps, UInt8Array, unfolded
from seg_ros.classes import ClassSet
from seg_ros.errors import UnavailableError
from seg_ros.images.resize import resize_image
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.backends.backend import NetworkRunner, bounded_threads, guarded, takes_any_size
from seg_ros.inference.backends.select import choose_backend, choose_device_and_level
from seg_ros.inference.embedding_filter import EmbeddingFilter, load_filter
from seg_ros.inference.loops_ahead import segments_ahead, wait_for
from seg_ros.inference.memory import keep_freed_memory, return_freed_memory, return_unused_code
from seg_ros.inference.options import FrameOptions
from seg_ros.inference.prediction import LabelledImage, Prediction, Scored, StageTimes, Stopwatch
from seg_ros.inference.self_check import check_golden
from seg_ros.inference.served_model import ModelSource, ServedModel
from seg_ros.inference.settings import Settings
from seg_ros.inference.warm_up import warm_up, warm_up_segments
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.segments import Segments, find_segments

_WITHOUT_CODES = frozenset(['scores', 'embeddings'])


@contextmanager
def _segments_prepared(pooling: CodePooling | None, report: Callable[[str], None]) -> Iterator[None]:
    """Compile the loops of segments beside what the context does, and warm them up at its end.

    Args:
        pooling: The model's codes; None if it has none, so that nothing is to be done.
        report: Called with the name of each stage; an exception that it raises stops the work.
    """
    if pooling is None:
        yield
        return
    ahead = segments_ahead()
    try:
        yield
        ahead.wait(report)
        warm_up_segments(pooling, report)
        ahead.note()
    finally:
        ahead.stop()


@dataclass(frozen=True)
class Segmenter:
    """A loaded, checked and warmed-up model; nothing about it changes after loading.

    One thread at a time may call it.

    Attributes:
        model: The model file in memory.
        backend: Runs the network.
        backend_name: Name of the backend in seg_ros.inference.backends.registry.BACKENDS.
        quantization: Level that the network computes at.
        device: Device that the network runs on, 'cpu' or 'cuda:N'.
        n_threads: Number of CPU threads; 0 = one per core.
        options: Options of a frame for which a call gives none.
        embedding_filter: Embedding filter; None if it was not switched on.
        agreement: Smallest fraction of the golden record that was reproduced at load, 0..1.
    """

    model: ServedModel
    backend: NetworkRunner
    backend_name: str
    quantization: str
    device: str
    n_threads: int = 0
    options: FrameOptions = field(default_factory=FrameOptions)
    embedding_filter: EmbeddingFilter | None = None
    agreement: float = 0.0

    @classmethod
    def load(
        cls,
        source: str | Path | Settings = 'lite_camvid_int8',
        report: Callable[[str], None] = lambda stage: None,
    ) -> 'Segmenter':
        """Load a model, choose a backend, warm up, and compare with the golden record.

        Args:
            source: Name of a shipped model, path of a model file, or the settings of all parameters.
            report: Called with the name of each stage when it begins; an exception that it raises stops the
                loading.

        Raises:
            ModelFileError: The file cannot be used; SelfCheckError if it does not reproduce its golden
                record.
            ParameterError: The input size or the filter's window does not fit.
            UnavailableError: Backend, device or level is not available; the message lists the available ones.
                Or the settings need codes or embeddings that the model lacks.
            UnknownNameError: A name is not in its table.
        """
        settings = source if isinstance(source, Settings) else Settings(model=str(source))
        keep_freed_memory()
        provide_folders()
        report('model file')
        loaded = ModelSource(settings)
        model = loaded.served
        device, level = choose_device_and_level(model, settings)
        if settings.segments_refinement > 0 and model.code_pooling is None:
            raise UnavailableError(f'segments.refinement is set, but {_no_codes(model)}')
        chosen = load_filter(model, settings) if settings.embedding_filter_enabled else None
        with _segments_prepared(model.code_pooling, report):
            warm_up(with_filter=chosen is not None, report=report)
            name, backend = choose_backend(
                loaded,
                settings.backend,
                level,
                device,
                settings.n_threads,
                with_embeddings=chosen is not None,
                report=report,
            )
        if settings.segments_refinement > 0:
            wait_for('segments', report)
        unchecked = cls(
            model=model,
            backend=backend,
            backend_name=name,
            quantization=level,
            device=device,
            n_threads=bounded_threads(settings.n_threads),
            options=FrameOptions.from_settings(settings),
            embedding_filter=chosen,
        )
        report('self-check')
        checked = replace(unchecked, agreement=check_golden(unchecked))
        return_freed_memory()  # what loading needed once
        return_unused_code()
        return checked

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.model.input_size

    @property
    def code_pooling(self) -> CodePooling | None:
        """Pools codes over segments; None for a model without codes."""
        return self.model.code_pooling

    @property
    def codebook(self) -> str:
        """Digest under which codes are comparable; '' for a model without codes."""
        return self.model.codebook

    @property
    def classes(self) -> ClassSet:
        """Classes of the labels."""
        return self.model.metadata.classes

    def as_json(self) -> dict[str, object]:
        """Model, level, backend and device, under the keys that all reports share."""
        return {
            'path': str(self.model.path),
            'digest': self.model.digest,
            'n_parameters': self.model.n_parameters,
            'n_bytes': self.model.n_bytes,
            'quantization': self.quantization,
            'backend': self.backend_name,
            'device': str(self.device),
        }

    def __call__(self, image: UInt8Array, options: FrameOptions | None = None, **changes: Any) -> Prediction:
        """Segment one image.

        Args:
            image: (H, W, 3) uint8 RGB of any size.
            options: Options of this frame; None = those of the settings given at load.
            changes: Single options by name, e.g. ``confidence=True``, instead of those in ``options``.

        Returns:
            Labels, and confidence and segments if asked for, at the image's size, with the times of the
            steps.

        Raises:
            ParameterError: An option is out of its range.
            UnavailableError: Segments or refinement are asked of a model without codes.
        """
        chosen = replace(options or self.options, **changes) if changes else options or self.options
        return self.complete(self.label(image, chosen))

    def label(self, image: UInt8Array, options: FrameOptions | None = None) -> LabelledImage:
        """Labels of one image, before its segments: to be used at once, and then given to :meth:`complete`.

        Args:
            image: (H, W, 3) uint8 RGB of any size.
            options: Options of this frame; None = those of the settings given at load.

        Raises:
            ParameterError: An option is out of its range.
            UnavailableError: Segments or refinement are asked of a model without codes.
        """
        chosen, stopwatch = options or self.options, Stopwatch()
        if chosen.segments and self.code_pooling is None:
            raise UnavailableError(_no_codes(self.model))
        needs_resized = chosen.segments or chosen.refinement > 0
        is_resized_by_backend = takes_any_size(self.backend) and not needs_resized
        resized = image if is_resized_by_backend else self.resize(image)
        stopwatch.lap('resize_ms')
        with nullcontext() if self.device == 'cpu' else guarded(f'{self.device}, after {self.backend_name},'):
            outputs, scored = self._score(resized, chosen, stopwatch)
            labels, confidence = self._argmax(scored.scores, image.shape[0], image.shape[1], chosen)
        stopwatch.lap('argmax_ms')
        return LabelledImage(labels, confidence, resized, outputs, scored, chosen, stopwatch)

    def complete(self, labelled: LabelledImage) -> Prediction:
        """The prediction of an image whose labels are known: its segments are found if they are wanted.

        Args:
            labelled: What :meth:`label` returned. No other image may have been labelled meanwhile.
        """
        labels, stopwatch, segments = labelled.labels, labelled.stopwatch, None
        if labelled.options.segments:
            stopwatch.skip()
            found = labelled.scored.segments or self._find_segments(
                labelled.resized, labelled.outputs, labelled.scored.scores, labelled.options
            )
            segments = found.resized(*labels.shape)
            stopwatch.lap('segments_ms')
        return Prediction(labels, labelled.confidence, segments, StageTimes(**stopwatch.laps_ms))

    def resize(self, image: UInt8Array) -> UInt8Array:
        """An image (H, W, 3) uint8 at the network's input size, contiguous and writeable."""
        resized = np.ascontiguousarray(resize_image(image, *self.input_size))
        # torch warns of read-only memory, engines refuse it, and a view of a message may be read-only
        return resized if resized.flags.writeable else resized.copy()

    def score(self, resized: UInt8Array, options: FrameOptions | None = None) -> Scored:
        """Network, embedding filter and refinement: everything but the resizing and the labels.

        Args:
            resized: (h, w, 3) uint8 RGB of the network's input size, as :meth:`resize` gives it.
            options: Options of this frame; None = those of the settings given at load.
        """
        scored = self._score(resized, options or self.options, Stopwatch())[1]
        return scored if scored.scores is None else scored._replace(scores=unfolded(scored.scores))

    def segment_rules(self, options: FrameOptions | None = None) -> SegmentRules:
        """Rules by which segments are found: those in the model file, unless the options say otherwise."""
        own, options = self.model.metadata.codes, options or self.options
        if own is None:
            return SegmentRules()
        return SegmentRules(
            superpixels=own.superpixels if options.superpixels == 'auto' else options.superpixels,
            region_size=options.region_size or own.region_size,
            merge=options.merge,
            merge_limit=own.merge_limit if options.merge_limit < 0 else options.merge_limit,
            size_power=own.size_power,
            border_share=own.border_share,
        )

    def _score(
        self, resized: UInt8Array, options: FrameOptions, stopwatch: Stopwatch
    ) -> tuple[dict[str, Maps], Scored]:
        """Outputs of the network, and what decides about labels."""
        needs_codes = options.segments or options.refinement > 0
        outputs = self.backend(resized[None], None if needs_codes else _WITHOUT_CODES)
        scores = outputs['scores'][0] if 'scores' in outputs else None
        stopwatch.lap('network_ms')
        if self.embedding_filter is not None and options.filter and scores is not None:
            scores = self.embedding_filter(
                scores,
                outputs['embeddings'][0],
                self.n_threads,
                iterations=options.filter_iterations or None,
                hardness=options.filter_hardness or None,
            )
            stopwatch.lap('filter_ms')
        if options.refinement <= 0:
            return outputs, Scored(scores, None)
        segments = self._find_segments(resized, outputs, scores, options)
        if scores is not None:
            scores = segments.refine(scores, options.refinement)
        stopwatch.lap('segments_ms')
        return outputs, Scored(scores, segments)

    def _find_segments(
        self,
        resized: UInt8Array,
        outputs: dict[str, Maps],
        scores: Maps | None,
        options: FrameOptions,
    ) -> Segments:
        if self.code_pooling is None:
            raise UnavailableError(_no_codes(self.model))
        rules = self.segment_rules(options)
        return find_segments(resized, outputs['codes'][0], scores, self.code_pooling, rules, self.n_threads)

    def _argmax(
        self, scores: Maps | None, height: int, width: int, options: FrameOptions
    ) -> tuple[UInt8Array, UInt8Array | None]:
        if scores is None:
            labels = np.full((height, width), UNLABELLED, np.uint8)
            return labels, np.zeros_like(labels) if options.confidence else None
        return argmax_labels(
            scores,
            height,
            width,
            with_confidence=options.confidence,
            confidence_threshold=options.confidence_threshold,
            temperature=self.model.metadata.temperature,
            n_threads=self.n_threads,
        )


def _no_codes(model: ServedModel) -> str:
    return f'model {model.path} has no codes; seg_ros fit-codes adds them'

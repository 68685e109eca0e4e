"""Results of an evaluation: the types of ``results.json``, version 1, and its JSON schema.

Fractions are 0..1 and times are in milliseconds, unless a name says otherwise. ``null`` = not measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from seg_ros.errors import SegRosError
from seg_ros.userfiles.reading import read_bytes

SCHEMA_VERSION = 1
_MAX_BYTES = 2**28


class Interval(Struct, kw_only=True, frozen=True):
    """A figure with its 95 % interval by bootstrap over runs of frames."""

    value: float | None
    low: Annotated[float | None, Meta(description='null = too few runs')] = None
    high: float | None = None


class Percentiles(Struct, kw_only=True, frozen=True):
    """Distribution of times in milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


class LossEntry(Struct, kw_only=True, frozen=True):
    """Messages of a bag that could not be used."""

    reason: str
    n_messages: Annotated[int | None, Meta(description='null = unknown')]


class BagEntry(Struct, kw_only=True, frozen=True):
    """A bag."""

    name: str
    path: str
    topic: str
    encoding: str
    size: Annotated[list[int], Meta(description='height and width in pixels')]
    n_frames: Annotated[int, Meta(description='messages on the topic')]
    n_evaluated: Annotated[int, Meta(description='frames that could be read and were segmented')]
    n_labelled: Annotated[int, Meta(description='evaluated frames with labels')]
    n_labels_lost: Annotated[int, Meta(description='labels that cannot be read, or belong to no frame')] = 0
    duration_s: float
    frame_rate_hz: float | None
    labels: Annotated[str | None, Meta(description='topic or folder of the true labels')]
    losses: list[LossEntry]


class ClassEntry(Struct, kw_only=True, frozen=True):
    """A class."""

    id: int
    name: str
    colour: list[int]


class ReliabilityBin(Struct, kw_only=True, frozen=True):
    """Pixels of similar confidence."""

    confidence: Annotated[float | None, Meta(description='null = no pixels')]
    accuracy: float | None
    fraction: float


class AccuracyEntry(Struct, kw_only=True, frozen=True):
    """Accuracy against true labels."""

    mean_iou: Interval
    boundary_iou: Interval
    pixel_accuracy: Interval
    class_iou: dict[str, Interval | None]
    confusion_matrix: Annotated[
        list[list[int]], Meta(description='rows true, columns predicted, last column unlabelled; pixels')
    ]
    ece: Annotated[Interval, Meta(description='expected calibration error, 15 bins')]
    reliability: list[ReliabilityBin]


class AgreementEntry(Struct, kw_only=True, frozen=True):
    """Agreement with the labels of a reference model."""

    reference: str
    pixels: Interval
    class_iou: dict[str, Interval | None]


class StabilityEntry(Struct, kw_only=True, frozen=True):
    """Changes between consecutive frames."""

    flicker: Interval | None
    flicker_compensated: Interval | None
    code_flicker: Interval | None
    track_flicker: Interval | None


class ConfidenceEntry(Struct, kw_only=True, frozen=True):
    """Confidence of all pixels."""

    mean: Interval
    histogram: Annotated[list[float], Meta(description='fraction of pixels by confidence in 1/255')]


class NoveltyEntry(Struct, kw_only=True, frozen=True):
    """Frames unlike those that the model knows."""

    mean: float | None
    threshold: float | None
    out_of_distribution: Annotated[float | None, Meta(description='fraction of frames above the threshold')]


class ResourcesEntry(Struct, kw_only=True, frozen=True):
    """Use of the computer."""

    cpu_cores: Annotated[
        float | None, Meta(description='mean number of busy cores while a frame is segmented')
    ]
    peak_memory_mb: Annotated[float | None, Meta(description='of the whole process')]


class LiveEntry(Struct, kw_only=True, frozen=True):
    """Replay through the node over DDS at the recorded pace."""

    frames_in: int
    frames_out: int
    age_ms: Percentiles | None
    drops: dict[str, int]
    cpu_cores: float | None = None
    peak_memory_mb: float | None = None


class Series(Struct, kw_only=True, frozen=True):
    """Values over time, averaged over at most 600 stretches of frames."""

    bag: list[str]
    time_s: list[float]
    mean_iou: list[float | None]
    agreement: list[float | None]
    flicker_compensated: list[float | None]
    confidence: list[float | None]
    novelty: list[float | None]
    total_ms: list[float | None]
    shares: dict[str, list[float]]


class Histogram(Struct, kw_only=True, frozen=True):
    """Number of frames by time for their labels."""

    edges_ms: list[float]
    counts: list[int]


class RunTable(Struct, kw_only=True, frozen=True):
    """Counts of stretches of frames, for comparison with a later evaluation."""

    bags: Annotated[list[str], Meta(description='bag of each stretch')]
    confusion: list[list[list[int]]]
    agreement: list[list[list[int]]]
    flicker_compensated: list[list[int]]


class SystemEntry(Struct, kw_only=True, frozen=True):
    """Results of a model at a level of quantization, over all bags."""

    name: str
    path: str
    digest: str
    quantization: str
    backend: str
    device: str
    n_parameters: int
    n_bytes: int
    input_size: list[int]
    n_frames: int
    accuracy: AccuracyEntry | None
    agreement: AgreementEntry | None
    stability: StabilityEntry
    confidence: ConfidenceEntry
    class_shares: dict[str, float]
    novelty: NoveltyEntry
    latency_ms: dict[str, Percentiles | None]
    resources: ResourcesEntry
    series: Series
    latency_histogram: Histogram
    runs: RunTable
    live: LiveEntry | None = None


class ComparisonEntry(Struct, kw_only=True, frozen=True):
    """Difference of a figure between two systems, the second less the first."""

    first: str
    second: str
    metric: str
    difference: Interval
    verdict: str


class BaselineEntry(Struct, kw_only=True, frozen=True):
    """Comparison with the results of an earlier evaluation."""

    path: str
    comparisons: list[ComparisonEntry]


class ThresholdEntry(Struct, kw_only=True, frozen=True):
    """A limit that a figure must keep."""

    metric: str
    system: str
    value: float | None
    limit: float
    kind: Literal['below', 'above']
    passed: bool


class FailureEntry(Struct, kw_only=True, frozen=True):
    """A system or a bag that could not be evaluated."""

    system: str
    bag: str
    reason: str


class Machine(Struct, kw_only=True, frozen=True):
    """The computer."""

    processor: str
    cores: int
    os: str
    python: str


class Results(Struct, kw_only=True, frozen=True):
    """Results of ``seg_ros evaluate-bag``."""

    schema: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    seg_ros: str
    created: Annotated[str, Meta(description='UTC, ISO 8601')]
    command: list[str]
    machine: Machine
    verdict: str
    bags: list[BagEntry]
    classes: list[ClassEntry]
    systems: list[SystemEntry]
    comparisons: list[ComparisonEntry] = []
    baseline: BaselineEntry | None = None
    thresholds: list[ThresholdEntry] = []
    failures: list[FailureEntry] = []

    def as_json(self) -> dict[str, Any]:
        """Plain values, as ``results.json`` has them."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def in_valid_text(self) -> Results:
        """The same, with the bytes of names that are not UTF-8 written as numbers."""
        return msgspec.convert(_in_valid_text(self.as_json()), Results)


def json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of ``results.json``."""
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', **msgspec.json.schema(Results)}


def valid_text(text: str) -> str:
    """A text that UTF-8 can hold; other bytes of the name of a file are written as numbers."""
    return text.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')


def _in_valid_text(value: Any) -> Any:
    """Plain values with valid texts."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, list):
        return [_in_valid_text(item) for item in value]
    if isinstance(value, dict):
        return {valid_text(key): _in_valid_text(item) for key, item in value.items()}
    return value


def write_results(path: Path, results: Results) -> None:
    """Write ``results.json``; missing folders are made.

    Raises:
        SegRosError: It cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(results.in_valid_text()), indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + b'\n')
    except OSError as err:
        raise SegRosError(f'{path} cannot be written: {err}; choose another -o') from err


def read_results(path: Path) -> Results:
    """Read ``results.json``.

    Raises:
        SegRosError: It does not exist, is not such a file, or has another version of the schema.
    """
    content = read_bytes(path, SegRosError, _MAX_BYTES)
    try:
        version = msgspec.json.decode(content, type=_Version).schema
        if version != SCHEMA_VERSION:
            raise SegRosError(
                f'{path} has version {version} of the schema; expected {SCHEMA_VERSION}: evaluate again with '
                'this release'
            )
        return msgspec.json.decode(content, type=Results)
    except msgspec.MsgspecError as err:
        raise SegRosError(f'{path} is not a results.json of seg_ros evaluate-bag: {err}') from err


class _Version(Struct):
    schema: int

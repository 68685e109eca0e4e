"""Rows of the measured tables, with the ratios between them, as JSON has them."""

from dataclasses import asdict, dataclass
from typing import Any

from seg_ros.evaluation.performance.turns import NETWORK, TOTAL, Laps, times_as_json, times_faster
from seg_ros.inference.backends.timing import BackendTimes

STEPS = ('resize_ms', 'network_ms', 'filter_ms', 'segments_ms', 'argmax_ms')
"""Steps of a frame, in order; names of seg_ros.inference.prediction.StageTimes."""


@dataclass(frozen=True)
class MachineRates:
    """Rates of the machine with a number of threads.

    Attributes:
        n_threads: Number of CPU threads.
        matrix_gflops: Additions and multiplications in float32 matrix products, 10⁹ a second: the highest
            and the median rate; None if not measured.
        copy_gb_per_s: Bytes read and written by a copy, 10⁹ a second, in the same way.
        by: Library that computed the product.
    """

    n_threads: int
    matrix_gflops: dict[str, float] | None
    copy_gb_per_s: dict[str, float] | None
    by: str

    @staticmethod
    def of(amount: float, laps: Laps | None) -> dict[str, float] | None:
        """Rate at which an amount was done, in 10⁹ a second."""
        if laps is None:
            return None
        highest, median = (amount / 1e6 / ms for ms in (laps.total.lowest_ms, laps.total.typical_ms))
        return {'highest': highest, 'median': median}


@dataclass(frozen=True)
class NetworkRow:
    """Speed of one network on one library, from image to labels.

    Attributes:
        name: Name of the network and library.
        kind: 'enet' = plain PyTorch, 'onnxruntime_defaults', or 'model' = a backend of seg_ros.
        n_threads: Number of CPU threads.
        laps: Its times.
        agreement: Fraction of pixels with the label of the model on its first backend, 0..1; None for ENet.
        n_macs: Number of multiply-accumulate operations of the network; None if they cannot be counted.
        enet: Time of the plain ENet in the same turns; None if it did not run.
        default_onnxruntime: Time of ONNX Runtime with its defaults in the same turns; None if it did not run.
        rates: Rates of the machine in the same turns.
    """

    name: str
    kind: str
    n_threads: int
    laps: Laps
    agreement: float | None
    n_macs: int | None
    enet: BackendTimes | None
    default_onnxruntime: BackendTimes | None
    rates: MachineRates

    @property
    def network_gflops(self) -> float | None:
        """Additions and multiplications of the network, 10⁹ a second, in its shortest time."""
        return self.n_macs and 2 * self.n_macs / 1e6 / self.laps.times[NETWORK].lowest_ms

    @property
    def matrix_fraction(self) -> float | None:
        """The rate of the network as a fraction of the highest rate of matrix products in float32."""
        matrix, network = self.rates.matrix_gflops, self.network_gflops
        return network / matrix['highest'] if matrix and network else None

    def as_json(self) -> dict[str, Any]:
        """Times and ratios; null = not measured."""
        return {
            'name': self.name,
            'kind': self.kind,
            'n_threads': self.n_threads,
            'backend': self.laps.facts['backend'],
            'quantization': self.laps.facts['quantization'],
            'total_ms': times_as_json(self.laps.total),
            'network_ms': times_as_json(self.laps.times[NETWORK]),
            'times_faster_than_enet': times_faster(self.laps.total, self.enet),
            'times_faster_than_default_onnxruntime': times_faster(self.laps.total, self.default_onnxruntime),
            'agreement': self.agreement,
            'n_macs': self.n_macs,
            'network_gflops': self.network_gflops,
            'matrix_fraction': self.matrix_fraction,
        }


@dataclass(frozen=True)
class StepsRow:
    """Steps of a frame with some outputs.

    Attributes:
        name: Outputs that were asked for.
        laps: Times of the steps in STEPS and of the whole.
    """

    name: str
    laps: Laps

    def as_json(self) -> dict[str, Any]:
        """Times of each step, and of the whole."""
        times = {name: times_as_json(self.laps.times[name]) for name in (*STEPS, TOTAL)}
        return {'name': self.name, 'backend': self.laps.facts['backend'], **times}


@dataclass(frozen=True)
class ScalingRow:
    """Time at one value of something that was varied: input size, threads or cameras.

    Attributes:
        name: The value in words.
        value: Factor of the input size, number of threads or number of cameras.
        laps: Its times.
        first: Time of the first row.
        n_frames: Number of frames of one call.
    """

    name: str
    value: float
    laps: Laps
    first: BackendTimes
    n_frames: int = 1

    @property
    def frames_per_s(self) -> float:
        """Frames a second in the median time, of all cameras together."""
        return 1e3 * self.n_frames / self.laps.total.typical_ms

    def as_json(self) -> dict[str, Any]:
        """Times, frames a second, and times of the first row divided by these."""
        return {
            'name': self.name,
            'value': self.value,
            'input_size': self.laps.facts['input_size'],
            'total_ms': times_as_json(self.laps.total),
            'network_ms': times_as_json(self.laps.times[NETWORK]),
            'frames_per_s': self.frames_per_s,
            'frames_per_s_of_each_camera': self.frames_per_s / self.n_frames,
            'times_faster_than_first': times_faster(self.laps.total, self.first),
        }


@dataclass(frozen=True)
class StartRow:
    """Start of a fresh process.

    Attributes:
        name: Program, and state of its caches.
        backend: Backend that ran the network.
        import_s: Seconds until the modules were imported, from the start of Python code.
        load_s: Seconds from then until the model was loaded and checked.
        first_labels_s: Seconds from the start of the process to the first labels.
        memory_mb: Resident memory after 10 frames in 10⁶ bytes; 0 where the system does not tell.
        has_torch: Whether torch was imported.
    """

    name: str
    backend: str
    import_s: float
    load_s: float
    first_labels_s: float
    memory_mb: float
    has_torch: bool

    def as_json(self) -> dict[str, Any]:
        """All attributes by name."""
        return asdict(self)


@dataclass(frozen=True)
class PerformanceReport:
    """Everything that ``seg_ros bench`` measured.

    Attributes:
        conditions: Date, machine, versions, model and options.
        networks: Networks on libraries, from image to labels.
        rates: Rates of the machine in the same turns.
        steps: Steps of a frame.
        sizes: Times over the size of the input.
        threads: Times over the number of threads.
        cameras: Times over the number of cameras.
        starts: Starts of fresh processes.
        left_out: Name and reason of each row that could not be measured.
    """

    conditions: dict[str, Any]
    networks: list[NetworkRow]
    rates: list[MachineRates]
    steps: list[StepsRow]
    sizes: list[ScalingRow]
    threads: list[ScalingRow]
    cameras: list[ScalingRow]
    starts: list[StartRow]
    left_out: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The whole report; times in milliseconds unless a key says otherwise."""
        rows = (
            'networks',
            'steps',
            'sizes',
            'threads',
            'cameras',
            'starts',
        )
        return {
            **self.conditions,
            **{name: [row.as_json() for row in getattr(self, name)] for name in rows},
            'rates': [asdict(rate) for rate in self.rates],
            'left_out': self.left_out,
        }

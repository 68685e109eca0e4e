"""Evaluation of the real node: a bag at its true rate over DDS, with ages, drops and resources."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_ros.arrays import Float64Array
from seg_ros.errors import UnavailableError
from seg_ros.evaluation.figures import percentiles
from seg_ros.inference.settings import Settings
from seg_ros.replay.latency import LatencyLog
from seg_ros.replay.options import ReplayOptions
from seg_ros.replay.recording import NodeCounts
from seg_ros.replay.resources import Resources

if TYPE_CHECKING:
    from seg_ros.replay.report import ReplayReport


@dataclass(frozen=True)
class LiveMeasures:
    """Measures of a replay at true rate.

    Attributes:
        frames_in: Number of frames published.
        frames_out: Number of frames whose labels came back.
        ages_ms: (N,) float64, times from publishing a frame until its labels came.
        drops: Number of frames without labels by cause; their sum is ``frames_in - frames_out``.
        stage_ms: Median time of each step of the node, in the last seconds.
        resources: Processor time and memory of the node; None if unknown.
    """

    frames_in: int
    frames_out: int
    ages_ms: Float64Array
    drops: dict[str, int]
    stage_ms: dict[str, float]
    resources: Resources | None

    @classmethod
    def total(cls, measures: 'Sequence[LiveMeasures]') -> 'LiveMeasures':
        """Measures of several replays together; stage times and processor time are means."""
        drops: Counter[str] = Counter()
        for measure in measures:
            drops.update(measure.drops)
        known = [m.resources for m in measures if m.resources]
        stages = {name for measure in measures for name in measure.stage_ms}
        return cls(
            frames_in=sum(m.frames_in for m in measures),
            frames_out=sum(m.frames_out for m in measures),
            ages_ms=np.concatenate([m.ages_ms for m in measures]),
            drops=dict(drops),
            stage_ms={
                s: float(np.mean([m.stage_ms[s] for m in measures if s in m.stage_ms])) for s in stages
            },
            resources=Resources(
                float(np.mean([r.cpu_cores for r in known])), max(r.peak_memory_mb for r in known)
            )
            if known
            else None,
        )

    @property
    def age_ms(self) -> dict[str, float] | None:
        """``p50``, ``p90``, ``p99`` and ``max`` of the ages; None if there are none."""
        return percentiles(self.ages_ms)

    def as_json(self) -> dict[str, Any]:
        """Figures under the keys of all reports."""
        return {
            'frames_in': self.frames_in,
            'frames_out': self.frames_out,
            'age_ms': self.age_ms,
            'drops': self.drops,
            'stage_ms': self.stage_ms,
            'resources': self.resources.as_json() if self.resources else None,
        }


def evaluate_live(
    path: Path,
    output: Path,
    settings: Settings,
    options: ReplayOptions,
    *,
    topic: str | None = None,
    overwrite: bool = False,
) -> LiveMeasures:
    """Play a bag to the real node, in a process of its own, and measure.

    Args:
        path: Path of the bag to play.
        output: Path of the recording, an MCAP file.
        settings: Parameters of the node.
        options: Pace and outputs; the default is the true rate.
        topic: Image topic; None = the only image topic of the bag.
        overwrite: Replace ``output`` if it exists.

    Raises:
        KeyboardInterrupt: A signal ended the replay; the recording has the results so far.
        BagError, ModelFileError, UnavailableError: As for :func:`seg_ros.replay.run.replay_bag`.
        UnavailableError: ROS cannot be imported.
    """
    replay_bag = import_replay()
    report = replay_bag(path, output, settings, options, topic=topic, overwrite=overwrite)
    if report is None or report.was_interrupted:
        raise KeyboardInterrupt
    counts = report.recording.counts()
    return LiveMeasures(
        frames_in=report.latencies.n_in,
        frames_out=report.latencies.n_out,
        ages_ms=report.latencies.latency_ms,
        drops=drops_by_cause(report.latencies, counts),
        stage_ms=report.recording.stage_ms(),
        resources=report.resources,
    )


def import_replay() -> 'Callable[..., ReplayReport | None]':
    """Import :func:`seg_ros.replay.run.replay_bag`; everything else works without ROS.

    Raises:
        UnavailableError: ROS cannot be imported.
    """
    try:
        from seg_ros.replay.run import replay_bag
    except ImportError as err:
        raise UnavailableError(
            f'a replay needs ROS 2, which cannot be imported ({err}); source your distribution and its '
            'workspace, or install with "pip install seg_ros[ros]"'
        ) from err
    return replay_bag


def drops_by_cause(latencies: LatencyLog, counts: NodeCounts) -> dict[str, int]:
    """Number of frames without labels by cause.

    The causes are those of the node (`seg_ros.inference.drops.Drop`) and two of the middleware:
    ``lost_input`` frames never reached the node, and the labels of ``lost_output`` frames never came back.
    Frames that the node had not finished when the replay ended are ``unfinished``, and so are frames that its
    last diagnostics do not count yet.

    Args:
        latencies: Counts of the replay.
        counts: Last counts of the node.

    Returns:
        Cause -> number of frames, without causes of no frame.
    """
    drops = dict(counts.dropped)
    n_missing = latencies.n_in - latencies.n_out
    middleware = {
        'lost_input': latencies.n_in - counts.n_in,
        'lost_output': counts.n_out - latencies.n_out,
    }
    for cause, n in middleware.items():
        drops[cause] = max(min(n, n_missing - sum(drops.values())), 0)
    drops['unfinished'] = max(n_missing - sum(drops.values()), 0)
    return {cause: n for cause, n in drops.items() if n}

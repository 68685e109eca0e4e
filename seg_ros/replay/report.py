"""Report of a replay: counts, latencies, times of the node's stages, classes."""

from dataclasses import dataclass
from typing import Any

from seg_ros.evaluation.figures import format_milliseconds, format_percent, format_table, percentiles
from seg_ros.replay.latency import LatencyLog
from seg_ros.replay.recording import Recording
from seg_ros.replay.resources import Resources


@dataclass(frozen=True)
class ReplayReport:
    """Results of a replay.

    Attributes:
        latencies: Counts of frames and results, and latencies.
        recording: The bag that was written.
        was_interrupted: Whether a signal ended the replay.
        resources: Processor time and memory of the node; None if it is not ours.
    """

    latencies: LatencyLog
    recording: Recording
    was_interrupted: bool
    resources: Resources | None = None

    def as_json(self) -> dict[str, Any]:
        """Figures under the keys of all reports; ``class_shares`` are fractions 0..1."""
        return {
            'bag': str(self.recording.path),
            **self.recording.model,
            'frames_in': self.latencies.n_in,
            'frames_out': self.latencies.n_out,
            'dropped': self.latencies.n_in - self.latencies.n_out,
            'latency_ms': percentiles(self.latencies.latency_ms),
            'stage_ms': self.recording.stage_ms(),
            'resources': self.resources.as_json() if self.resources else None,
            'class_shares': self.recording.class_fractions(),
        }

    def as_text(self) -> str:
        """The figures as a table for the screen."""
        figures = self.as_json()
        latency = format_milliseconds(figures['latency_ms'])
        if self.latencies.n_ambiguous:
            latency += f'; without {self.latencies.n_ambiguous} frames that share a stamp with others'
        return format_table(
            {
                'model': '{path}, {quantization} on {backend}, {device}'.format(**figures),
                'frames': '{frames_in} in, {frames_out} out, {dropped} dropped'.format(**figures),
                'latency': latency,
                'stages': format_milliseconds(figures['stage_ms']),
                'node': self._use_of_node(),
                'classes': format_percent(figures['class_shares']),
                'bag': figures['bag'],
            }
        )

    def _use_of_node(self) -> str:
        """Use of the node's process in words; empty if it is not known."""
        if self.resources is None:
            return ''
        return f'{self.resources.cpu_cores:.2f} cores, at most {self.resources.peak_memory_mb:.0f} MB'

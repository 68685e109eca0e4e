"""A whole replay: start the node, play the bag to it, record, stop it, and report."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import ModelFileError, SegRosError
from seg_ros.evaluation.figures import in_milliseconds, in_percent, percentiles, table
from seg_ros.inference.settings import Settings, parameters_from
from seg_ros.modelfile.find import find_model
from seg_ros.replay.latency import LatencyLog
from seg_ros.replay.node_process import NODE_NAME, NodeProcess, isolate_dds_domain, use_large_image_transport
from seg_ros.replay.player import DIAGNOSTICS_PERIOD_S, Replay, ReplayOptions, base_topic, is_compressed
from seg_ros.replay.recording import Recording

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class ReplayReport:
    """What came of a replay.

    Attributes:
        latencies: frames in and out, and their latencies.
        recording: the bag that was written.
        was_interrupted: whether a signal ended it.
    """

    latencies: LatencyLog
    recording: Recording
    was_interrupted: bool

    def as_json(self) -> dict[str, Any]:
        """Figures under the keys that all reports share; shares are fractions 0..1."""
        return {
            'bag': str(self.recording.path),
            **self.recording.model,
            'frames_in': self.latencies.n_in,
            'frames_out': self.latencies.n_out,
            'dropped': self.latencies.n_in - self.latencies.n_out,
            'latency_ms': percentiles(self.latencies.latency_ms),
            'stage_ms': self.recording.stage_ms(),
            'class_shares': self.recording.class_shares(),
        }

    def as_text(self) -> str:
        """The same as a table."""
        figures = self.as_json()
        latency = in_milliseconds(figures['latency_ms'])
        if self.latencies.n_ambiguous:
            latency += f'; without {self.latencies.n_ambiguous} frames that share a stamp with others'
        return table(
            {
                'model': '{path}, {quantization} on {backend}, {device}'.format(**figures),
                'frames': '{frames_in} in, {frames_out} out, {dropped} dropped'.format(**figures),
                'latency': latency,
                'stages': in_milliseconds(figures['stage_ms']),
                'classes': in_percent(figures['class_shares']),
                'bag': figures['bag'],
            }
        )


def replay_bag(
    path: Path,
    output: Path,
    settings: Settings,
    options: ReplayOptions,
    *,
    topic: str | None = None,
    domain: int | None = None,
    own_node: bool = True,
    overwrite: bool = False,
) -> ReplayReport | None:
    """Play a bag to the node and record what it says.

    Args:
        path: the bag to play.
        output: the MCAP file to write.
        settings: of the node that is started.
        options: how to play.
        topic: of the images; None = the only image topic.
        domain: of DDS; None = one on this computer that nobody else uses, or with a node that runs already
            that of the environment.
        own_node: start a node; False = use the one that runs already, as it is.
        overwrite: whether ``output`` may be replaced.

    Returns:
        The report; None if a signal came before the first result.

    Raises:
        BagError: a bag cannot be read or written.
        ModelFileError: there is no such model file.
        UnavailableError: the node does not start, ends, or gives no result.
    """
    _prepare_environment(domain, own_node)
    if own_node and not find_model(settings.model).is_file():
        raise ModelFileError(f'there is no model file {find_model(settings.model)}; choose one with --model')
    with _stop_on_signal() as stop, ExitStack() as stack:
        bag = stack.enter_context(BagReader(path))
        images = bag.image_topic(topic)
        if output.exists() and output.samefile(path):
            raise SegRosError(f'{output} is the bag to play; choose another name for what is recorded')
        writer = stack.enter_context(BagWriter(output, overwrite=overwrite, keep_unfinished=True))
        node = None
        if own_node:
            parameters = {
                **parameters_from(settings),
                'image_transport': 'compressed' if is_compressed(images) else 'raw',
                'use_sim_time': True,
                'diagnostics_period_s': DIAGNOSTICS_PERIOD_S,
            }
            remappings = {'image': base_topic(images), '__node': NODE_NAME}
            node = stack.enter_context(NodeProcess(parameters, remappings))
        replay = stack.enter_context(Replay(bag, images, writer, options, stop, node))
        try:
            if own_node:
                replay.start_node()
            replay.run()
        finally:
            if not replay.latencies.n_out:
                writer.discard()
        if not replay.latencies.n_out and not stop.is_set():
            raise replay.failure(f'{replay.latencies.n_in} frames went in, but no result came out')
    if not replay.latencies.n_out:
        return None
    return ReplayReport(replay.latencies, Recording(output, images.name), stop.is_set())


def _prepare_environment(domain: int | None, own_node: bool) -> None:
    use_large_image_transport()
    if own_node or domain is not None:
        isolate_dds_domain(domain)


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first signal to end sets; a second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask_to_stop(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

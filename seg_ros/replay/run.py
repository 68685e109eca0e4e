"""A whole replay: start the node, play the bag to it, record its results, stop it, and report.

`replay_bag` lists the steps; the other modules are its parts. `node_process` runs the node, `lifecycle`
configures and activates it, and `player` publishes and records. `recording` reads the recording, and `report`
summarizes it.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from seg_ros.bags.messages import Topic
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import ModelFileError, SegRosError
from seg_ros.inference.settings import Settings, parameters_from
from seg_ros.modelfile.find import find_model
from seg_ros.replay.node_process import NodeProcess
from seg_ros.replay.options import ReplayOptions
from seg_ros.replay.player import DIAGNOSTICS_PERIOD_S, Replay
from seg_ros.replay.recording import Recording
from seg_ros.replay.report import ReplayReport
from seg_ros.replay.topics import NODE_NAME, base_topic, is_compressed
from seg_ros.ros.dds import added_to_environment, large_image_transport, local_domain, reserved_domain

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    """Play a bag to the node and record its results.

    Args:
        path: Path of the bag to play.
        output: Path of the MCAP file to write.
        settings: Parameters of the node that is started.
        options: Pace and outputs.
        topic: Image topic; None = the only image topic of the bag.
        domain: DDS domain, 0..232; None = a free one on this computer for a node of our own
            (`seg_ros.ros.dds.reserved_domain`), else that of the environment.
        own_node: Start a node; False = use the node that runs already, as it is.
        overwrite: Replace ``output`` if it exists.

    Returns:
        The report; None if a signal came before the first result.

    Raises:
        BagError: A bag cannot be read or written.
        ModelFileError: The model file does not exist.
        UnavailableError: The node does not start, ends, or gives no result; or no DDS domain is free.
    """
    if own_node and not find_model(settings.model).is_file():
        raise ModelFileError(f'there is no model file {find_model(settings.model)}; choose one with --model')
    with _stop_on_signal() as stop, ExitStack() as stack:
        variables = stack.enter_context(_dds_variables(domain, own_node))
        bag = stack.enter_context(BagReader(path))
        images = bag.image_topic(topic)
        if output.exists() and output.samefile(path):
            raise SegRosError(f'{output} is the bag to play; choose another path for the recording')
        writer = stack.enter_context(BagWriter(output, overwrite=overwrite, keep_unfinished=True))
        node = stack.enter_context(_own_node(settings, images, variables)) if own_node else None
        with added_to_environment(variables):
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
    recording = Recording(output, images.name)
    return ReplayReport(replay.latencies, recording, stop.is_set(), replay.resources)


@contextmanager
def _dds_variables(domain: int | None, own_node: bool) -> Iterator[dict[str, str]]:
    """Environment variables that the node and this process need to exchange images."""
    transport = large_image_transport(os.environ)
    if domain is not None:
        yield {**transport, 'ROS_DOMAIN_ID': str(domain)}
    elif own_node:
        with reserved_domain() as free:
            yield {**transport, **local_domain(free)}
    else:
        yield transport


def _own_node(settings: Settings, images: Topic, variables: Mapping[str, str]) -> NodeProcess:
    """The node for an image topic, not started."""
    parameters = {
        **parameters_from(settings),
        'image_transport': 'compressed' if is_compressed(images) else 'raw',
        'use_sim_time': True,
        'diagnostics_period_s': DIAGNOSTICS_PERIOD_S,
    }
    return NodeProcess(parameters, {'image': base_topic(images), '__node': NODE_NAME}, variables)


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first signal sets; a second signal raises KeyboardInterrupt.

    Only the main thread receives signals; in another thread, the event is never set.
    """
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

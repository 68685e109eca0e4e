"""The faults of a soak: each disturbs the node for a few seconds, and says how diagnostics name it."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from robot import NodeUnderTest, Robot
from sensor_msgs.msg import Image
from std_msgs.msg import String

from seg_ros.inference.parameter import Mutability, Parameter
from seg_ros.inference.settings import PARAMETERS
from seg_ros.modelfile.find import shipped_models

PLAIN_ENCODINGS = {
    'rgb8': (3, np.uint8),
    'bgr8': (3, np.uint8),
    'rgba8': (4, np.uint8),
    'bgra8': (4, np.uint8),
    'mono8': (1, np.uint8),
    'mono16': (1, np.uint16),
    'rgb16': (3, np.uint16),
    'bgr16': (3, np.uint16),
    'bayer_rggb8': (1, np.uint8),
    'bayer_bggr8': (1, np.uint8),
    'bayer_gbrg16': (1, np.uint16),
}
_S = 10**9


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: The fault in words.
        inject: Disturbs the node, and returns when the fault is over.
        named_by: Pattern that a diagnostic message matches meanwhile; empty for a disturbance that a node
            takes without a word, with labels going on.
        recovery_s: Limit of the time from the end of the fault to labels of a new frame.
    """

    name: str
    inject: Callable[['Faults'], None]
    named_by: str = ''
    recovery_s: float = 1.0


class Faults:
    """Injects faults.

    Args:
        robot: The node's surroundings.
        node: The node's process.
        folder: Folder of model files that may be spoilt; the node may load from it.
        seed: Seed of all random choices.
    """

    def __init__(self, robot: Robot, node: NodeUnderTest, folder: Path, seed: int) -> None:
        self._robot, self._node, self._folder = robot, node, folder
        self.random = random.Random(seed)
        self.array = np.random.default_rng(seed)

    def noise(self, height: int, width: int, channels: int = 3, kind: Any = np.uint8) -> Any:
        """Random pixels."""
        shape = (height, width, channels) if channels > 1 else (height, width)
        return self.array.integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)

    def bad_images(self) -> None:
        """Messages that lie about their size, encoding or data."""

        def make() -> Image:
            message = self._robot.message(self.noise(480, 640))
            spoil = self.random.randrange(8)
            if spoil == 0:
                message.data = message.data[: self.random.randrange(len(message.data))]
            elif spoil == 1:
                message.step = self.random.choice([0, 1, 2**31, 1919])
            elif spoil == 2:
                message.encoding = self.random.choice(['', 'rgb7', 'x' * 1000, '8UC17', 'jpeg'])
            elif spoil == 3:
                message.width = self.random.choice([0, 2**31, 641])
            elif spoil == 4:
                message.height = self.random.choice([0, 2**31, 481])
            elif spoil == 5:
                message.width, message.height = 65_536, 65_536
            elif spoil == 6:
                message.data = type(message.data)('B')
            else:
                message.encoding = '64FC3'
            return message

        self._publish(make)

    def payloads(self) -> None:
        """Serialized messages that are not images: cut, random, or of another type."""
        good = serialize_message(self._robot.message(self.noise(480, 640)))

        def make() -> Any:
            cut = good[: self.random.randrange(len(good) - 4)]
            return self.random.choice([cut, good[:4] + os.urandom(100), serialize_message(String(data='x'))])

        self._publish(make)

    def depth_images(self) -> None:
        """Depth where colour is expected."""
        depth = np.linspace(400, 9000, 480 * 640).reshape(480, 640).astype(np.uint16)
        self._publish(lambda: self._robot.message(depth, '16UC1'))

    def sizes(self) -> None:
        """Every frame of another size."""
        self._publish(
            lambda: self._robot.message(self.noise(*(self.random.choice(range(1, 1100)) for _ in 'hw')))
        )

    def encodings(self) -> None:
        """Every frame of another encoding."""

        def make() -> Image:
            encoding = self.random.choice(list(PLAIN_ENCODINGS))
            channels, kind = PLAIN_ENCODINGS[encoding]
            return self._robot.message(self.noise(480, 640, channels, kind), encoding)

        self._publish(make)

    def stamps(self) -> None:
        """Time that jumps: to zero, years ahead, back by seconds, at random."""
        jumps = [lambda: 0, lambda: time.time_ns() + 10**9 * _S // 10, lambda: time.time_ns() - 5 * _S]
        jumps += [lambda: self.random.randrange(2**31 - 1) * _S]
        image = self.noise(480, 640)
        self._publish(lambda: self._robot.message(image, stamp_ns=self.random.choice(jumps)()))

    def silence(self) -> None:
        """The camera stalls."""
        self._publish(lambda: None, seconds=4)

    def restarts(self) -> None:
        """The camera goes and comes, with another reliability each time."""
        robot = self._robot
        for reliability in (1, 2, 1, 2):
            before = robot.camera
            profile = type(before.qos_profile)(depth=5, reliability=reliability)
            robot.node.destroy_publisher(before)
            robot.camera = robot.node.create_publisher(Image, '/image', profile)
            time.sleep(0.7)

    def subscribers(self) -> None:
        """Twenty subscribers come and go, of all topics."""
        node = self._robot.node
        for _ in range(3):
            topics = ['overlay', 'confidence', 'labels', 'segment_ids', 'segments_overlay']
            # raw: Fast DDS 3.2 may never return from taking a message that it cannot deserialise
            made = [
                node.create_subscription(
                    Image, f'/seg_ros/{self.random.choice(topics)}', lambda _: None, 1, raw=True
                )
                for _ in range(20)
            ]
            time.sleep(1)
            for subscription in made:
                node.destroy_subscription(subscription)

    def parameters(self) -> None:
        """A flood of parameters over all legal values that change at once."""
        live = [p for p in PARAMETERS if p.change is Mutability.ANY_TIME]
        before = {p.name: p.default for p in live}
        for _ in range(150):
            chosen = self.random.choice(live)
            self._robot.set(chosen.name, self._legal(chosen))
        time.sleep(2)
        for name, value in before.items():
            self._robot.set(name, value)

    def swaps(self) -> None:
        """Models, levels and backends set one after the other, most of them before the last has loaded."""
        for _ in range(6):
            name = self.random.choice(['model', 'quantization', 'n_threads'])
            values = {
                'model': [path.stem for path in shipped_models()],
                'quantization': ['auto', 'fp32', 'int8', 'bf16'],
                'n_threads': [0, 1, 2],
            }
            self._robot.set(name, self.random.choice(values[name]))
            time.sleep(self.random.choice([0.05, 0.3, 2]))
        self._restore_model()

    def transitions(self) -> None:
        """Two clients ask for transitions at the same time."""

        def ask(names: list[str]) -> None:
            for name in names:
                self._robot.change_state(name)

        names = ['deactivate', 'activate', 'deactivate', 'cleanup', 'configure', 'activate']
        threads = [threading.Thread(target=ask, args=(self.random.sample(names, len(names)),)) for _ in '12']
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in ('configure', 'activate'):
            self._robot.change_state(name)

    def errors(self) -> None:
        """The network raises for every frame."""
        self._switch('error')

    def memory(self) -> None:
        """The backend is out of memory for every frame."""
        self._switch('memory')

    def stopped(self) -> None:
        """The process is stopped for three seconds, as by a debugger or a full computer."""
        self._node.signal(signal.SIGSTOP)
        time.sleep(3)
        self._node.signal(signal.SIGCONT)

    def model_replaced(self) -> None:
        """The running model's file is overwritten in place, deleted, and asked for again."""
        path, good = self._folder / 'running.safetensors', self._folder / 'good.safetensors'
        with path.open('r+b') as file:
            file.write(os.urandom(path.stat().st_size // 2))
        time.sleep(1)
        path.unlink()
        self._robot.set('model', 'lite_camvid')
        time.sleep(1)
        self._wait_until(lambda: 'loading' not in self._last_text(), 60)
        self._robot.set('model', str(path))
        self._wait_until(lambda: self._robot.said_since(time.monotonic() - 3, 'was not taken'), 60)
        shutil.copy(good, path)
        self._restore_model()

    def disk_full(self) -> None:
        """No file can grow while another model loads."""
        with self._limited_files():
            self._robot.set('n_threads', 1)
            time.sleep(2)
            self._wait_until(lambda: 'loading' not in self._last_text(), 60)
        self._restore_model()

    def load(self) -> None:
        """Other programs take both cores."""
        burn = 'while True: pass'
        others = [subprocess.Popen([sys.executable, '-c', burn]) for _ in range(2)]
        time.sleep(5)
        for other in others:
            other.kill()
            other.wait()

    def restore(self) -> None:
        """Make everything as it was at the start: an active node with its model."""
        self._node.control.write_text('')
        for name, value in (('latency_budget_ms', 0.0), ('max_rate_hz', 0.0), ('max_age_ms', 0.0)):
            self._robot.set(name, value)
        self._restore_model()

    def _restore_model(self) -> None:
        for name, value in (('model', str(self._folder / 'running.safetensors')), ('quantization', 'auto')):
            self._robot.set(name, value)
        self._robot.set('n_threads', 0)
        time.sleep(0.5)
        self._wait_until(lambda: 'loading' not in self._last_text(), 120)

    def _last_text(self) -> str:
        return self._robot.texts[-1][1] if self._robot.texts else ''

    def _switch(self, name: str) -> None:
        self._node.control.write_text(name)
        time.sleep(4)
        self._node.control.write_text('')

    def _publish(self, make: Callable[[], Image | None], seconds: float = 4) -> None:
        with self._robot.frames(make):
            time.sleep(seconds)

    def _legal(self, parameter: Parameter) -> Any:
        """A random legal value, often an extreme one."""
        if parameter.choices:
            return self.random.choice(parameter.choices)
        if isinstance(parameter.default, bool):
            return self.random.random() < 0.5
        low, high = parameter.minimum or 0, parameter.maximum or 1
        kind = type(parameter.default)
        values = [kind(low), kind(high), parameter.default, kind(self.random.uniform(low, high))]
        return self.random.choice([*values, kind(0)] if parameter.zero_too else values)

    @contextmanager
    def _limited_files(self) -> Any:
        number = self._node.process.pid
        before = resource.prlimit(number, resource.RLIMIT_FSIZE)
        resource.prlimit(number, resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            yield
        finally:
            resource.prlimit(number, resource.RLIMIT_FSIZE, before)

    def _wait_until(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not is_done() and time.monotonic() < end:
            time.sleep(0.1)


FAULTS = (
    Fault('images that lie about themselves', Faults.bad_images, 'images? bad|bad images'),
    Fault('messages that are not images', Faults.payloads, 'not a sensor_msgs'),
    Fault('depth images', Faults.depth_images, 'depth'),
    Fault('sizes that change', Faults.sizes),
    Fault('encodings that change', Faults.encodings),
    Fault('stamps that jump', Faults.stamps, 'stamp'),
    Fault('camera stalls', Faults.silence, 'stalled'),
    Fault('camera restarts', Faults.restarts, 'no publisher|no image yet|stalled|incompatible|Hz'),
    Fault('20 subscribers come and go', Faults.subscribers),
    Fault('flood of parameters', Faults.parameters),
    Fault('flood of models and levels', Faults.swaps, 'loading|was not taken'),
    Fault('transitions from two clients', Faults.transitions),
    Fault('errors of the network', Faults.errors, 'the network failed'),
    Fault('backend out of memory', Faults.memory, 'memory|1 TB'),
    Fault('process stopped', Faults.stopped),
    Fault('model file overwritten and deleted', Faults.model_replaced, 'was not taken'),
    Fault('disk full', Faults.disk_full, 'loading'),
    Fault('both cores busy', Faults.load),
)
"""All faults."""

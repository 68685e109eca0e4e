"""The running model of a node, and the one that loads in the background to replace it."""

import contextlib
import gc
import logging
import sys
import time
from collections.abc import Callable

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from seg_ros._numba import free_threads
from seg_ros.inference.backends.select import BACKEND_STAGE
from seg_ros.inference.memory import return_freed_memory
from seg_ros.inference.process import exempt_from_collection, short_pauses
from seg_ros.inference.settings import Settings
from seg_ros.ros.frame_processor import Frame, FrameProcessor
from seg_ros.ros.worker import Mailbox, Worker

log = logging.getLogger(__name__)

Progress = Callable[[str], None]
_LOOK_PERIOD_S = 0.05
_InvalidHandle: type[Exception] = rclpy_implementation.InvalidHandle


class LoadingStoppedError(Exception):
    """A model that loads is not wanted any more."""


class _Loading:
    """A model that loads.

    Attributes:
        settings: Settings that it loads with.
        stage: Stage that it is at, in words.
        is_wanted: Set to false to stop it at its next stage.
        processor: The result; None until it has loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.stage, self.is_wanted = settings, '', True
        self.processor: FrameProcessor | None = None
        self._since_s = time.monotonic()

    def report(self, stage: str) -> None:
        """Take note of a stage; raises LoadingStoppedError if the model is not wanted any more."""
        if not self.is_wanted:
            raise LoadingStoppedError(self.settings.model)
        # Many small stages have a name of the form "group: detail"; the log tells each group once.
        group, before = stage.partition(':')[0], self.stage.partition(':')[0]
        log.log(logging.DEBUG if group == before else logging.INFO, 'loading: %s', stage)
        self.stage = stage

    @property
    def text(self) -> str:
        """Progress in words."""
        stage = f': {self.stage}' if self.stage else ''
        return f'loading {self.settings.model}{stage}, {time.monotonic() - self._since_s:.0f} s'


class ModelSlot:
    """Runs a model on the frames of a mailbox, and replaces it between two frames.

    One model loads at a time. All methods are for the thread of the node's executor.

    Args:
        node: Node that the model works for.
        prepare: Called in a worker thread with settings, the running processor and a function that reports
            stages; returns the processor that runs there.
        on_end: Called when the model that was asked for last runs, with None, or with the error for which it
            does not; the model before it runs on then.

    Attributes:
        mailbox: Mailbox of the frames.
    """

    def __init__(
        self,
        node: Node,
        prepare: Callable[[Settings, FrameProcessor | None, Progress], FrameProcessor],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self.mailbox: Mailbox[Frame] = Mailbox()
        self._node, self._prepare, self._on_end = node, prepare, on_end
        self._prepared = node.create_guard_condition(self._look)
        self._wanted: Settings | None = None
        self._loading: tuple[_Loading, Worker[Frame]] | None = None
        self._running: tuple[FrameProcessor, Worker[Frame]] | None = None
        self._replaced: Worker[Frame] | None = None

    @property
    def processor(self) -> FrameProcessor | None:
        """The running processor; None if no model runs."""
        return self._running[0] if self._running else None

    @property
    def progress(self) -> str:
        """Progress of the model that loads, in words; empty if none does."""
        return self._loading[0].text if self._loading and self._wanted else ''

    def want(self, settings: Settings) -> None:
        """Load a model unless it runs already; ``on_end`` is called when it has ended."""
        self._wanted = settings
        self._advance()

    def wait(self) -> None:
        """Block until the model that was asked for has loaded or failed."""
        while self._loading:
            if self._loading[1].wait(_LOOK_PERIOD_S):
                self._look()
            elif not self._node.context.ok():
                raise KeyboardInterrupt

    def release(self) -> None:
        """Free the running model; the one that loads ends in the background, at its next stage."""
        self._wanted = None
        self.mailbox.clear()
        if self._running:
            self._running[1].close()
            self._running = None
        if self._loading:
            self._loading[0].is_wanted = False
            self._loading[1].retire()
        self._free()

    def is_busy(self) -> bool:
        """Whether a thread still works on a model, after :meth:`release`."""
        return self._loading is not None and self._loading[1].is_alive()

    def tidy(self) -> None:
        """Free the memory of a model that has been replaced, once its last frame is done."""
        if self._replaced and not self._replaced.is_alive():
            self._replaced = None
            self._free()

    def _advance(self) -> None:
        """Start the next step towards the model that is wanted."""
        wanted = self._wanted
        if self._loading:
            loading = self._loading[0]
            if wanted is None or not wanted.loads_like(loading.settings):
                loading.is_wanted = False  # for good: it may have stopped already
        elif wanted is None:
            return
        elif self._running and wanted.loads_like(self._running[0].loaded_with):
            self._on_end(None)
        else:
            self._load(wanted)

    def _load(self, settings: Settings) -> None:
        loading, running = _Loading(settings), self.processor

        def report(stage: str) -> None:
            if stage.startswith(BACKEND_STAGE):
                exempt_from_collection()
            loading.report(stage)

        def prepare() -> FrameProcessor:
            with short_pauses():
                loading.processor = self._prepare(settings, running, report)
            return loading.processor

        self._loading = loading, Worker(prepare, self.mailbox, self._wake)

    def _wake(self) -> None:
        """Have the executor's thread look at the model that has loaded; called in the worker thread."""
        with contextlib.suppress(_InvalidHandle):  # the node has been destroyed meanwhile
            self._prepared.trigger()

    def _look(self) -> None:
        if not self._loading or not self._loading[1].is_prepared:
            return
        (loading, worker), self._loading = self._loading, None
        if not loading.is_wanted:
            worker.retire()
            del loading, worker
            self._free()
            self._advance()
        elif worker.error:
            self._wanted = None
            self._on_end(worker.error)
        elif loading.processor:
            self._replaced = self._running[1] if self._running else None
            self._running = loading.processor, worker
            worker.start(after=self._replaced)
            self._on_end(None)

    def _free(self) -> None:
        """Free the memory of models that are gone; networks refer to themselves in circles."""
        gc.collect()
        if not self._running:
            free_threads()
        return_freed_memory()
        torch = sys.modules.get('torch')
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def first_line(err: BaseException) -> str:
    """First line of an error's text, or its name if it has none."""
    return str(err).partition('\n')[0] or repr(err)

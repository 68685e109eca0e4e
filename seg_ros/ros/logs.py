"""Python's log records in the log of a ROS node."""

import logging
from typing import Any


class LogForwarder(logging.Handler):
    """Forwards the records of a Python logger and its children to a node's logger, until it is closed.

    Args:
        source: Python logger.
        target: Logger of the node, ``Node.get_logger()``; its level holds for both.
    """

    def __init__(self, source: logging.Logger, target: Any) -> None:
        super().__init__()
        self._source, self._target = source, target
        self._level_before = source.level
        is_verbose = target.get_effective_level() <= logging.DEBUG  # ROS has the same numbers
        source.setLevel(logging.DEBUG if is_verbose else logging.INFO)
        source.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        # rclpy refuses a second severity from the same line of code, so each has a line of its own.
        if record.levelno >= logging.ERROR:
            self._target.error(text)
        elif record.levelno >= logging.WARNING:
            self._target.warning(text)
        elif record.levelno >= logging.INFO:
            self._target.info(text)
        else:
            self._target.debug(text)

    def close(self) -> None:
        self._source.removeHandler(self)
        self._source.setLevel(self._level_before)
        super().close()

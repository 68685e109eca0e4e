"""The service ``~/find_similar``: segments of the last frames that look alike."""

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node

from seg_ros import schema
from seg_ros.errors import ParameterError
from seg_ros.inference.stamps import split_stamp
from seg_ros.msg import SegmentSighting
from seg_ros.ros.endpoints import FIND_SIMILAR
from seg_ros.ros.guard import guarded
from seg_ros.segments.history import CodeHistory
from seg_ros.srv import FindSimilar

_CODEBOOK_LIMIT = 256
"""Maximum number of characters of a digest in a request; the node's own have 64."""


class FindSimilarService:
    """Serves ``~/find_similar`` until it is closed.

    Args:
        node: Node that offers the service.
        history: Codes to search.
    """

    def __init__(self, node: Node, history: CodeHistory) -> None:
        self._node, self._history = node, history
        self._service = node.create_service(FindSimilar, FIND_SIMILAR, guarded(node, self._answer))

    def close(self) -> None:
        """End the service."""
        self._node.destroy_service(self._service)

    def _answer(self, request: Any, response: Any) -> Any:
        response.codebook = self._history.codebook
        try:
            response.sightings = self._search(request)
        except ParameterError as err:
            response.message = str(err)
        else:
            response.success = True
        return response

    def _search(self, request: Any) -> list[SegmentSighting]:
        if len(request.codebook) > _CODEBOOK_LIMIT:
            raise ParameterError(f'the codebook has {len(request.codebook)} characters; expected a digest')
        if not schema.is_plain_text(request.codebook):
            raise ParameterError(f'the codebook is {schema.shown(request.codebook)}; expected a digest')
        if len(request.code):
            code, codebook = np.frombuffer(request.code, np.uint8), request.codebook
        else:
            code, codebook = self._history.code_of(request.segment_id - 1), self._history.codebook
        found = self._history.search(code, codebook, radius=request.radius, count=request.max_count)
        return [
            SegmentSighting(
                stamp=_time(s.stamp_ns),
                id=s.segment + 1,
                track_id=s.number,
                distance=s.distance,
            )
            for s in found
        ]


def _time(stamp_ns: int) -> Time:
    sec, nanosec = split_stamp(stamp_ns)
    return Time(sec=sec, nanosec=nanosec)

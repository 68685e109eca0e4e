"""Options of a replay; nothing here needs ROS."""

from dataclasses import dataclass

from seg_ros.replay.topics import NODE_NAME
from seg_ros.ros.endpoints import OF_SEGMENTS


@dataclass(frozen=True)
class ReplayOptions:
    """Pace of a replay, and its outputs.

    Attributes:
        rate: Speed; 1 = as recorded, above 0.
        every_frame: Publish a frame only when the frame before has its results.
        timeout_s: Longest wait for the results of each frame with ``every_frame``, else of the last frame.
        limit: Maximum number of frames; None = all.
        confidence: Request and record the confidence.
        overlay: Request and record the overlay.
        segments: Request and record the segments, the segment-id image and the segments overlay.
    """

    rate: float = 1.0
    every_frame: bool = False
    timeout_s: float = 10.0
    limit: int | None = None
    confidence: bool = False
    overlay: bool = False
    segments: bool = False

    @property
    def outputs(self) -> list[str]:
        """Topics on which the node publishes a result for every frame; labels first."""
        wanted = {'labels': True, 'confidence': self.confidence, 'overlay': self.overlay}
        wanted |= dict.fromkeys(sorted(OF_SEGMENTS), self.segments)
        return [f'/{NODE_NAME}/{name}' for name, is_wanted in wanted.items() if is_wanted]

"""The publishers of the node's topics."""

from collections.abc import Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.msg import ModelInfo, SegmentCodeArray
from seg_ros.ros.endpoints import ENCODINGS, LABEL_INFO, MODEL_INFO, SEGMENTS
from seg_ros.ros.messages import label_info, label_info_type, message_from_image, model_info
from seg_ros.ros.qos import checked_overrides, latched_qos, output_qos


class Outputs:
    """The lifecycle publishers of a configured node.

    Args:
        node: Node that publishes.

    Raises:
        ParameterError: A parameter below ``qos_overrides.`` is refused.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publishers: list[Any] = []
        try:
            self._images = {name: self._publisher(Image, f'~/{name}', output_qos()) for name in ENCODINGS}
            self._segments = self._publisher(SegmentCodeArray, SEGMENTS, output_qos())
            self._model_info = self._publisher(ModelInfo, MODEL_INFO, latched_qos())
            kind = label_info_type()
            self._label_info = self._publisher(kind, LABEL_INFO, latched_qos()) if kind else None
        except ParameterError:
            self.destroy()
            raise

    @property
    def n_subscribers(self) -> int:
        """Number of subscribers of all topics that are published for every frame."""
        return sum(publisher.get_subscription_count() for publisher in self._of_frames().values())

    def wanted(self) -> set[str]:
        """Topics of a frame with subscribers: 'segments', and names in `ENCODINGS`."""
        return {name for name, publisher in self._of_frames().items() if publisher.get_subscription_count()}

    def publish(self, images: Mapping[str, UInt8Array], header: Any) -> None:
        """Publish images of one frame; does nothing while the node is inactive.

        Args:
            images: Images by topic name: (H, W) uint8 labels or confidence, (H, W) uint16 segment ids, or
                (H, W, 3) uint8 RGB.
            header: Header of the input image.
        """
        for name, image in images.items():
            self._images[name].publish(message_from_image(image, ENCODINGS[name], header))

    def publish_segments(self, message: SegmentCodeArray) -> None:
        """Publish the segments of one frame; does nothing while the node is inactive."""
        self._segments.publish(message)

    def announce(self, segmenter: Segmenter, threshold: float) -> None:
        """Publish the running model and the meaning of its labels, for present and late subscribers."""
        self._model_info.publish(model_info(segmenter))
        if self._label_info:
            stamp = self._node.get_clock().now().to_msg()
            self._label_info.publish(label_info(segmenter, threshold, stamp))

    def _of_frames(self) -> dict[str, Any]:
        return {**self._images, 'segments': self._segments}

    def destroy(self) -> None:
        """Destroy the publishers; no other thread may publish any more."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def _publisher(self, kind: Any, name: str, qos: Any) -> Any:
        options = QoSOverridingOptions.with_default_policies()
        with checked_overrides(name):
            publisher = self._node.create_lifecycle_publisher(kind, name, qos, qos_overriding_options=options)
        self._publishers.append(publisher)
        return publisher

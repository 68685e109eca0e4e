"""Topics of an annotated bag; those that the node publishes have its names."""

LABELS = '/seg_ros/labels'
CONFIDENCE = '/seg_ros/confidence'
SEGMENTS = '/seg_ros/segments'
SEGMENT_IDS = '/seg_ros/segment_ids'
MODEL_INFO = '/seg_ros/model_info'
LABEL_INFO = '/seg_ros/label_info'

OVERLAY = '/seg_ros/overlay/compressed'
SEGMENTS_OVERLAY = '/seg_ros/segments_overlay/compressed'
LABEL_COLOURS = '/seg_ros/label_colours/compressed'
DIFFERENCE = '/seg_ros/difference/compressed'

VALUES = '/seg_ros/values'
"""Begin of the topics of values for plots, such as ``/seg_ros/values/mean_iou``."""

PLOTTED = ('mean_iou', 'agreement', 'confidence', 'flicker', 'flicker_compensated', 'novelty', 'total_ms')
"""Names of the values of a frame, as the results of an evaluation have them."""


def image_topic(camera_topic: str) -> str:
    """Topic of the camera's images in an annotated bag, where they are JPEG files."""
    return f'/{camera_topic.strip("/")}'.removesuffix('/compressed') + '/compressed'


def value_topic(name: str) -> str:
    """Topic of a value in `PLOTTED`."""
    return f'{VALUES}/{name}'

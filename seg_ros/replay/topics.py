"""Names of the node and of the topics of a replay."""

from seg_ros.bags.messages import COMPRESSED_IMAGE, Topic

NODE_NAME = 'seg_ros'
"""Name of the segmentation node; its topics are ``/seg_ros/...``."""

LABELS = f'/{NODE_NAME}/labels'
SEGMENTS = f'/{NODE_NAME}/segments'
SEGMENTS_OVERLAY = f'/{NODE_NAME}/segments_overlay'
MODEL_INFO = f'/{NODE_NAME}/model_info'
LABEL_INFO = f'/{NODE_NAME}/label_info'
DIAGNOSTICS = '/diagnostics'


def is_compressed(topic: Topic) -> bool:
    """Whether the topic carries JPEG or PNG files."""
    return topic.type == COMPRESSED_IMAGE


def base_topic(topic: Topic) -> str:
    """Target of the remapping of the node's topic ``image``; image_transport adds ``/compressed`` itself."""
    return topic.name.removesuffix('/compressed') if is_compressed(topic) else topic.name


def published_topic(topic: Topic) -> str:
    """Topic on which the replay publishes: compressed images are expected below the name of the raw ones."""
    return f'{base_topic(topic)}/compressed' if is_compressed(topic) else topic.name

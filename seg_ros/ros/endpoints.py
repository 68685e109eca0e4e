"""Topics and services of the node, each name once; nothing here needs ROS.

The node makes its endpoints from these tables. :mod:`seg_ros.ros.security_policy` writes them into a policy.
Names are as ROS has them: ``~`` is the node, a name without ``/`` lies in its namespace.
"""

CAMERA = {'raw': 'image', 'compressed': 'image/compressed'}
"""Value of the parameter ``image_transport`` -> subscribed topic."""

ENCODINGS = {
    'labels': 'mono8',
    'confidence': 'mono8',
    'overlay': 'rgb8',
    'segment_ids': '16UC1',
    'segments_overlay': 'rgb8',
}
"""Name of an image topic below ``~/`` -> encoding of its images."""

OF_SEGMENTS = {'segments', 'segment_ids', 'segments_overlay'}
"""Topics below ``~/`` that need a model with codes."""

SEGMENTS, MODEL_INFO, LABEL_INFO = '~/segments', '~/model_info', '~/label_info'
DIAGNOSTICS = '/diagnostics'
FIND_SIMILAR = '~/find_similar'

PUBLISHED = (*(f'~/{name}' for name in ENCODINGS), SEGMENTS, MODEL_INFO, LABEL_INFO, DIAGNOSTICS)
"""Topics that the node publishes; ``~/label_info`` only where vision_msgs is installed."""

PUBLISHED_BY_RCLPY = ('~/transition_event', '/parameter_events', '/rosout')
"""Topics that rclpy publishes for every lifecycle node."""

BOND = 'bond'
"""Topic that an active node publishes and subscribes to where nav2 manages it with a bond."""

CLOCK = '/clock'
"""Topic that rclpy subscribes to for a node with ``use_sim_time``."""

SERVED = (FIND_SIMILAR,)
"""Services of the node; ``~/find_similar`` only with a model that has codes."""

SERVED_BY_RCLPY = (
    *(f'~/{name}' for name in ('change_state', 'get_state', 'get_transition_graph')),
    *(f'~/{name}' for name in ('get_available_states', 'get_available_transitions')),
    *(f'~/{name}' for name in ('set_parameters', 'set_parameters_atomically', 'get_parameters')),
    *(f'~/{name}' for name in ('get_parameter_types', 'describe_parameters', 'list_parameters')),
    '~/get_type_description',
)
"""Services that rclpy offers for every lifecycle node."""

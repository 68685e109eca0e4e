"""The segmentation node on a camera: ros2 launch seg_ros segmentation.launch.py image:=/camera/image_raw."""

import os

from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from launch import LaunchDescription
from seg_ros.resources import resource

ARGUMENTS = {
    'namespace': ('', 'Namespace of the node.'),
    'name': ('seg_ros', 'Name of the node, below which its topics are.'),
    'params_file': (str(resource('config/seg_ros.param.yaml')), 'Values of the parameters.'),
    'image': ('/camera/image_raw', 'Topic of the camera; compressed images come from <image>/compressed.'),
    'use_sim_time': ('false', 'Follow /clock, for simulations and bags.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
    'autostart': ('true', 'Configure and activate the node; else a lifecycle manager must.'),
    'use_rviz': ('false', 'Show image, overlay and confidence in RViz.'),
}
"""Name -> default, meaning."""

PROFILE, PROFILE_BEFORE = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""Where Fast DDS 3, and 2, look for the profile that docs/transport.md explains."""


def generate_launch_description() -> LaunchDescription:
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    transport = image_transport()
    node = LifecycleNode(
        package='seg_ros',
        executable='seg_node',
        namespace=given['namespace'],
        name=given['name'],
        parameters=[
            given['params_file'],
            {
                'use_sim_time': ParameterValue(given['use_sim_time'], value_type=bool),
                'autostart': False,  # the events below do that
            },
        ],
        remappings=[('image', given['image'])],
        ros_arguments=['--log-level', given['log_level']],
        additional_env=transport,
        output='screen',
    )
    below = below_the_node(given['namespace'], given['name'])
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(resource('config/segmentation.rviz'))],
        parameters=[{'use_sim_time': ParameterValue(given['use_sim_time'], value_type=bool)}],
        remappings=[
            ('/camera/image_raw', given['image']),
            *((f'/seg_ros/{topic}', [below, topic]) for topic in ('overlay', 'confidence', 'labels')),
        ],
        additional_env=transport,
        condition=IfCondition(given['use_rviz']),
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=meaning)
                for name, (default, meaning) in ARGUMENTS.items()
            ),
            *autostart(node, IfCondition(given['autostart'])),
            node,
            rviz,
        ]
    )


def autostart(node: LifecycleNode, condition: IfCondition) -> list[RegisterEventHandler | EmitEvent]:
    """Configure the node, then activate it: by events, since LifecycleNode(autostart=True) is newer."""

    def request(transition: int, **options: object) -> EmitEvent:
        matcher = matches_action(node)
        event = ChangeState(lifecycle_node_matcher=matcher, transition_id=transition)
        return EmitEvent(event=event, **options)

    activate = OnStateTransition(
        target_lifecycle_node=node,
        start_state='configuring',
        goal_state='inactive',
        entities=[request(Transition.TRANSITION_ACTIVATE)],
    )
    return [
        RegisterEventHandler(activate, condition=condition),
        request(Transition.TRANSITION_CONFIGURE, condition=condition),
    ]


def below_the_node(namespace: LaunchConfiguration, name: LaunchConfiguration) -> PythonExpression:
    """What the names of its topics begin with: '/' or '/<namespace>/', then '<name>/'."""
    return PythonExpression(
        ["('/' + '", namespace, "'.strip('/') + '/' + '", name, "' + '/').replace('//', '/')"]
    )


def image_transport() -> dict[str, str]:
    """Environment in which images go through shared memory, unless the user has chosen a transport."""
    if any(name in os.environ for name in (PROFILE, PROFILE_BEFORE, 'FASTDDS_BUILTIN_TRANSPORTS')):
        return {}
    has_fast_dds_2 = os.environ.get('ROS_DISTRO') in ('humble', 'jazzy')
    name = PROFILE_BEFORE if has_fast_dds_2 else PROFILE  # Fast DDS 3 warns of the old one
    return {name: str(resource('config/fastdds_large_images.xml'))}

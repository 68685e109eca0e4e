"""Starts the node for a camera: ros2 launch seg_ros segmentation.launch.py image:=/camera/image_raw."""

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
from seg_ros.ros.dds import large_image_transport

ARGUMENTS = {
    'namespace': ('', 'Namespace of the node'),
    'name': ('seg_ros', 'Name of the node; its topics are /<namespace>/<name>/...'),
    'params_file': (str(resource('config/seg_ros.param.yaml')), 'Path of the parameter file'),
    'image': (
        '/camera/image_raw',
        'Image topic of the camera; compressed images come from <image>/compressed',
    ),
    'use_sim_time': ('false', 'Use the time of /clock, for simulations and bags'),
    'log_level': ('info', 'Log level: debug, info, warn, error or fatal'),
    'autostart': ('true', 'Configure and activate the node; false = leave this to a lifecycle manager'),
    'use_rviz': ('false', 'Show image, overlay and confidence in RViz'),
}
"""Name -> default, description."""


def generate_launch_description() -> LaunchDescription:
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    transport = large_image_transport(os.environ)
    node = LifecycleNode(
        package='seg_ros',
        executable='seg_node',
        namespace=given['namespace'],
        name=given['name'],
        parameters=[
            given['params_file'],
            {
                'use_sim_time': ParameterValue(given['use_sim_time'], value_type=bool),
                'autostart': False,  # events of this launch file start it
            },
        ],
        remappings=[('image', given['image'])],
        ros_arguments=['--log-level', given['log_level']],
        additional_env=transport,
        output='screen',
    )
    prefix = topic_prefix(given['namespace'], given['name'])
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(resource('config/segmentation.rviz'))],
        parameters=[{'use_sim_time': ParameterValue(given['use_sim_time'], value_type=bool)}],
        remappings=[
            ('/camera/image_raw', given['image']),
            *((f'/seg_ros/{topic}', [prefix, topic]) for topic in ('overlay', 'confidence', 'labels')),
        ],
        additional_env=transport,
        condition=IfCondition(given['use_rviz']),
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            *autostart(node, IfCondition(given['autostart'])),
            node,
            rviz,
        ]
    )


def autostart(node: LifecycleNode, condition: IfCondition) -> list[RegisterEventHandler | EmitEvent]:
    """Configure and activate the node by events: older releases lack LifecycleNode(autostart=True)."""

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


def topic_prefix(namespace: LaunchConfiguration, name: LaunchConfiguration) -> PythonExpression:
    """Prefix of the node's topics: '/<name>/' or '/<namespace>/<name>/'."""
    return PythonExpression(
        ["('/' + '", namespace, "'.strip('/') + '/' + '", name, "' + '/').replace('//', '/')"]
    )

"""Starts the node for a camera: ros2 launch seg_ros segmentation.launch.py image:=/camera/image_raw.

The launch ends when the node ends, with an exit code other than 0 if the node had one.
"""

import os
from pathlib import Path

import yaml
from launch.actions import DeclareLaunchArgument, Shutdown
from launch.conditions import IfCondition
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription, Substitution
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
            {
                'use_sim_time': ParameterValue(given['use_sim_time'], value_type=bool),
                # Event handlers of a launch would activate it after every configure, by whomever.
                'autostart': ParameterValue(given['autostart'], value_type=bool),
            },
        ],
        remappings=[('image', given['image'])],
        # launch_ros drops a parameter file that does not exist; the node refuses to start without it.
        ros_arguments=['--params-file', given['params_file'], '--log-level', given['log_level']],
        on_exit=end_with_node,
        additional_env=transport,
        output='screen',
    )
    rviz_config = resource('config/segmentation.rviz')
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=given['namespace'],  # relative image topics are then the same as the node's
        arguments=['-d', str(rviz_config)],
        parameters=[{'use_sim_time': ParameterValue(given['use_sim_time'], value_type=bool)}],
        remappings=[
            ('/camera/image_raw', given['image']),
            *((f'/seg_ros/{topic}', [FullName(node), f'/{topic}']) for topic in displayed(rviz_config)),
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
            node,
            rviz,
        ]
    )


def end_with_node(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
    """End the launch when the node has ended; an exception is the only way to an exit code other than 0."""
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError(f'{event.process_name} has ended with exit code {event.returncode}')
    return [Shutdown(reason='the node has ended')]


def displayed(rviz_config: Path) -> list[str]:
    """Topics of the node that an RViz configuration shows, without the prefix /seg_ros/."""
    displays = yaml.safe_load(rviz_config.read_text())['Visualization Manager']['Displays']
    topics = [display['Topic']['Value'] for display in displays if 'Topic' in display]
    return [topic.removeprefix('/seg_ros/') for topic in topics if topic.startswith('/seg_ros/')]


class FullName(Substitution):
    """Name of a node with its namespace, once the node has been started: '/<namespace>/<name>'."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    def describe(self) -> str:
        return 'FullName()'

    def perform(self, context: LaunchContext) -> str:
        return str(self._node.node_name)

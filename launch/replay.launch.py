"""Starts the node and RViz for a bag, in the time of `ros2 bag play --clock` or `seg_ros replay --no-node`.

    ros2 launch seg_ros replay.launch.py image:=/camera/image_raw
    ros2 launch seg_ros replay.launch.py image:=/camera/image_raw bag:=drive.mcap

With `bag`, the launch plays this bag, records the results of the node, and ends when the bag ends.
"""

import sys
from pathlib import Path

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, Shutdown
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    bag = LaunchConfiguration('bag')
    segmentation = PythonLaunchDescriptionSource(str(Path(__file__).parent / 'segmentation.launch.py'))
    play = [
        sys.executable,
        '-m',
        'seg_ros.cli',
        'replay',
        bag,
        '--no-node',
        '--topic',
        LaunchConfiguration('image'),
    ]
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'image', default_value='/camera/image_raw', description='Image topic of the bag'
            ),
            DeclareLaunchArgument(
                'bag', default_value='', description='Path of the bag to play; empty = play it yourself'
            ),
            DeclareLaunchArgument(
                'use_rviz', default_value='true', description='Show image, overlay and confidence in RViz'
            ),
            IncludeLaunchDescription(
                segmentation,
                launch_arguments={
                    'image': LaunchConfiguration('image'),
                    'use_rviz': LaunchConfiguration('use_rviz'),
                    'use_sim_time': 'true',
                    'autostart': 'true',
                }.items(),
            ),
            ExecuteProcess(
                cmd=play,
                output='screen',
                condition=IfCondition(PythonExpression(["'", bag, "' != ''"])),
                on_exit=Shutdown(reason='the bag has been played'),
            ),
        ]
    )

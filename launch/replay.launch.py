"""The node on recorded data, in the time of `ros2 bag play --clock` or of `seg_ros replay --no-node`.

    ros2 launch seg_ros replay.launch.py image:=/camera/image_raw
    ros2 launch seg_ros replay.launch.py image:=/camera/image_raw bag:=drive.mcap

With `bag` the bag is played, what the node says is recorded, and everything ends with the bag.
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
                'image', default_value='/camera/image_raw', description='Image topic of the bag.'
            ),
            DeclareLaunchArgument('bag', default_value='', description='Bag to play; empty for none.'),
            DeclareLaunchArgument(
                'use_rviz', default_value='true', description='Whether to show it in RViz.'
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

"""Starts the node and RViz for a bag, in the time of `ros2 bag play --clock` or `seg_ros replay --no-node`.

    ros2 launch seg_ros replay.launch.py image:=/camera/image_raw
    ros2 launch seg_ros replay.launch.py image:=/camera/image_raw bag:=drive.mcap

With `bag`, the launch plays this bag, records the results of the node, and ends when the bag ends. Its exit
code is not 0 if the bag could not be played. A recording never replaces an earlier one.
"""

import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetParameter

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from seg_ros.bags.messages import COMPRESSED_IMAGE
from seg_ros.bags.reader import BagReader
from seg_ros.errors import SegRosError


def generate_launch_description() -> LaunchDescription:
    segmentation = PythonLaunchDescriptionSource(str(Path(__file__).parent / 'segmentation.launch.py'))
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'image', default_value='/camera/image_raw', description='Image topic of the bag'
            ),
            DeclareLaunchArgument(
                'bag', default_value='', description='Path of the bag to play; empty = play it yourself'
            ),
            DeclareLaunchArgument(
                'output',
                default_value='',
                description='Path of the recording; empty = BAG_seg_ros.mcap, or with the next free number',
            ),
            DeclareLaunchArgument(
                'use_rviz',
                default_value='true' if has_rviz() else 'false',
                description='Show image, overlay and confidence in RViz; by default if rviz2 is installed',
            ),
            OpaqueFunction(function=play),
            IncludeLaunchDescription(
                segmentation,
                launch_arguments={
                    'image': LaunchConfiguration('image'),
                    'use_rviz': LaunchConfiguration('use_rviz'),
                    'use_sim_time': 'true',
                    'autostart': 'true',
                }.items(),
            ),
        ]
    )


def has_rviz() -> bool:
    """Whether RViz is installed."""
    try:
        get_package_prefix('rviz2')
    except (PackageNotFoundError, LookupError, OSError):
        return False
    return True


def play(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The process that plays the bag, if there is one; an exception ends the launch with exit code 1."""
    bag, image, output = (context.launch_configurations[name] for name in ('bag', 'image', 'output'))
    if not bag:
        return []
    try:
        with BagReader(Path(bag)) as opened:
            topic = opened.image_topic(image)  # before the node loads its model
    except SegRosError as err:
        raise RuntimeError(str(err)) from err
    command = [sys.executable, '-m', 'seg_ros.cli', 'replay', bag, '-o', output or free_path(Path(bag))]
    transport = 'compressed' if topic.type == COMPRESSED_IMAGE else 'raw'
    return [
        SetParameter('image_transport', transport),
        ExecuteProcess(
            cmd=[*command, '--no-node', '--topic', image],
            output='screen',
            on_exit=end_with_replay,
        ),
    ]


def free_path(bag: Path) -> str:
    """Path of a recording that does not exist, in the current folder."""
    stem, number = f'{bag.resolve().stem}_seg_ros', 1
    name = f'{stem}.mcap'
    while Path(name).exists():
        number += 1
        name = f'{stem}_{number}.mcap'
    return name


def end_with_replay(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
    """End the launch when the bag has been played; only an exception gives an exit code other than 0."""
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError(
            f'the bag was not played: seg_ros replay has ended with exit code {event.returncode}'
        )
    return [Shutdown(reason='the bag has been played')]

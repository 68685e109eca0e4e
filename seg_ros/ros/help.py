"""Text of ``ros2 run seg_ros seg_node --help``."""

from seg_ros import __version__
from seg_ros.inference.parameter import Parameter
from seg_ros.inference.settings import PARAMETERS

_HEAD = """\
usage: ros2 run seg_ros seg_node [--help] [--ros-args ARGUMENTS]

Segments the images of a camera: labels, confidence, overlay and segments of every frame (seg_ros {version}).
The node is a lifecycle node: it waits unconfigured until somebody configures and activates it, or does so
by itself with -p autostart:=true.

ROS arguments, behind --ros-args:
  -p NAME:=VALUE          set a parameter
  --params-file FILE      read parameters from a YAML file; "seg_ros params" prints one with all of them
  -r image:=TOPIC         subscribe to a camera; by default image in the node's namespace
  -r __node:=NAME         name of the node; its topics are /NAMESPACE/NAME/...
  -r __ns:=/NAMESPACE     namespace of the node
  --log-level LEVEL       debug, info, warn, error or fatal

Parameters, with their defaults:
"""
_TAIL = """
Examples:
  ros2 run seg_ros seg_node --ros-args -p autostart:=true -r image:=/camera/image_raw
  ros2 run seg_ros seg_node --ros-args -p autostart:=true -p model:=/home/me/my_model.safetensors
  ros2 run seg_ros seg_node --ros-args --params-file my.param.yaml -r __ns:=/front
  ros2 launch seg_ros segmentation.launch.py image:=/camera/image_raw
"""
_WIDTH = 110
_INDENT = 36


def help_text() -> str:
    """The whole text: ROS arguments, parameters and examples."""
    return _HEAD.format(version=__version__) + ''.join(map(_row, PARAMETERS)) + _TAIL


def _row(parameter: Parameter) -> str:
    """Line of a parameter; the description is cut to the width of the page."""
    shown = str(parameter.default).lower() if type(parameter.default) is bool else parameter.default
    name = f'  {parameter.name} = {shown}'.ljust(_INDENT)
    text = parameter.doc
    if len(name) + 1 + len(text) > _WIDTH:
        text = text[: _WIDTH - len(name) - 5].rpartition(' ')[0].rstrip(',;:') + ' ...'
    return f'{name} {text}\n'

"""Rendered scenes, an exact class for every pixel: streets seen from a car, soccer fields from a robot."""

from seg_ros.rendered.drive import RenderedDrive
from seg_ros.rendered.soccer import SoccerScene, SoccerStyle
from seg_ros.rendered.style import Style

__all__ = ['RenderedDrive', 'SoccerScene', 'SoccerStyle', 'Style']

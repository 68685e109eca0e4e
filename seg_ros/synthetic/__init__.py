"""Rendered scenes with an exact class per pixel: streets seen from a car, soccer fields seen by a robot."""

from seg_ros.synthetic.drive import RenderedDrive
from seg_ros.synthetic.soccer import SoccerScene, SoccerStyle
from seg_ros.synthetic.style import Style

__all__ = ['RenderedDrive', 'SoccerScene', 'SoccerStyle', 'Style']

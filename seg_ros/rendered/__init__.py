"""Rendered drives: random streets seen from a moving car, with an exact class for every pixel."""

from seg_ros.rendered.drive import RenderedDrive
from seg_ros.rendered.style import Style

__all__ = ['RenderedDrive', 'Style']

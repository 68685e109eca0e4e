"""Reads and writes ROS bags without ROS."""

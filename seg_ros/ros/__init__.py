"""The ROS 2 edge: the only modules that import rclpy and messages."""

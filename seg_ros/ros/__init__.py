"""The lifecycle node: everything that imports rclpy."""

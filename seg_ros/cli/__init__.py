"""The command ``seg_ros``: a file for each subcommand."""

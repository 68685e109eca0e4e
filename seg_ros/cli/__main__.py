"""``python -m seg_ros.cli``."""

import sys

from seg_ros.cli.main import main

if __name__ == '__main__':
    sys.exit(main())

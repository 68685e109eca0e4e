import os

import pytest

# Tests talk to themselves only: neither to a robot on the same network nor to another run on this machine.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get('SEG_ROS_SLOW') != '1':
        for item in items:
            if item.get_closest_marker('slow'):
                item.add_marker(pytest.mark.skip(reason='slow: set SEG_ROS_SLOW=1 to run it'))

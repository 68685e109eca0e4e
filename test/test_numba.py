"""The way Numba is loaded, and packages that are hidden while another one is imported."""

import subprocess
import sys

import pytest

from seg_ros._numba import hidden

PROGRAM = """
import sys
from seg_ros._numba import leave_out_extras
import seg_ros.ros.program  # which loads Numba, as the node does
leave_out_extras()
from seg_ros.inference.segmenter import Segmenter
from seg_ros.synthetic import RenderedDrive
image, _ = RenderedDrive(2, 1, 360, 480)[0]
prediction = Segmenter.load('lite_camvid_int8')(image, confidence=True, segments=True)
assert prediction.segments.n > 3
print(sorted({'scipy.linalg', 'numba', 'torch'} & sys.modules.keys()))
import scipy.linalg
"""


def test_a_hidden_package_comes_back() -> None:
    sys.modules.pop('colorsys', None)
    with hidden('colorsys', 'json'):
        import json

        assert json.dumps([1]) == '[1]'  # it was loaded before
        with pytest.raises(ImportError):
            import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_an_error_inside_leaves_nothing_hidden() -> None:
    sys.modules.pop('colorsys', None)
    with pytest.raises(ValueError, match='inside'), hidden('colorsys'):
        raise ValueError('inside')
    assert 'colorsys' not in sys.modules


def test_the_loops_of_the_node_need_no_scipy() -> None:
    pytest.importorskip('numba')
    output = subprocess.check_output([sys.executable, '-c', PROGRAM], text=True, timeout=300)
    assert output.split() == ["['numba']"]

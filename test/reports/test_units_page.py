import re
from pathlib import Path

import cv2
import numpy as np
import torch

from seg_ros.evaluation.units import Peak
from seg_ros.reports.units_page import Portrait, as_picture, cut_out, with_ring, write_page, write_sheet

PICTURES = [np.full((30, 30, 3), 40 * k, np.uint8) for k in range(4)]


def test_nothing_is_grey_and_signs_are_dark_and_bright() -> None:
    projection = torch.zeros(9, 9, 3)
    projection[4, 4] = torch.tensor([-2.0, 2.0, 1.0])
    picture = as_picture(projection)
    assert picture[4, 4].tolist() == [0, 255, 191]
    picture[4, 4] = 128
    assert (picture == 128).all()
    assert (as_picture(torch.zeros(3, 3, 3)) == 128).all()


def test_a_window_may_reach_beyond_the_picture() -> None:
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) + 100
    inside = cut_out(picture, (1, 3), (2, 5))
    np.testing.assert_array_equal(inside, picture[1:3, 2:5])
    beyond = cut_out(picture, (-2, 6), (-1, 7))
    np.testing.assert_array_equal(beyond[2:6, 1:6], picture)
    beyond[2:6, 1:6] = 0
    assert (beyond < 100).all()
    assert cut_out(picture, (9, 11), (9, 12)).shape == (2, 3, 3)


def test_a_ring_leaves_its_middle_and_small_pictures_alone() -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    ringed = with_ring(picture, 20, 40)
    assert ringed[20, 45, 0] > 200
    assert not ringed[18:23, 38:43].any()
    assert not picture.any()
    assert not with_ring(picture[:20, :20], 9, 9).any()


def test_page_and_sheet(tmp_path: Path) -> None:
    portraits = [
        Portrait('<one>', 3, 0.5, 0.25, None, None, [Peak(2, 0, 1, 1)], PICTURES, PICTURES, {'car': 3}),
        Portrait('whole', 1, 0.4, 0.5, 0.9, -0.2, [Peak(2, 0, 1, 1)], PICTURES),  # no projections
        Portrait('gone', None),
    ]
    write_page(tmp_path / 'p.html', 'A & B', {'layer': 'x'}, [{'model': '<one>'}], {3: portraits})
    page = (tmp_path / 'p.html').read_text()
    for words in ('A &amp; B', '&lt;one&gt;', 'its unit 1', '(-0.20 σ)', 'correlation 0.90', 'on car 3×'):
        assert words in page
    assert '<one>' not in page
    assert len(re.findall('<img src="data:', page)) == 3
    assert page.count('removed') == 1
    write_sheet(tmp_path / 'p.png', portraits)
    assert cv2.imread(str(tmp_path / 'p.png')).shape[1] == 3 * 420

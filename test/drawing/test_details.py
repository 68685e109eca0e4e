import numpy as np

from seg_ros.drawing.details import cut_out, enlarge, with_ring


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


def test_pixels_become_squares() -> None:
    picture = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    large = enlarge(picture, 7)
    assert large.shape == (6, 9, 3)
    np.testing.assert_array_equal(large[1::3, 1::3], picture)
    np.testing.assert_array_equal(enlarge(picture, 3), picture)

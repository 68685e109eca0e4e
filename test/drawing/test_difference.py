import numpy as np

from seg_ros.drawing.difference import draw_difference


def test_a_difference_by_eye() -> None:
    image = np.full((1, 6, 3), 200, np.uint8)
    truth = np.array([[1, 1, 1, 1, 255, 0]], np.uint8)
    first = np.array([[1, 1, 0, 0, 1, 1]], np.uint8)
    other = np.array([[1, 0, 1, 255, 0, 1]], np.uint8)
    red, green, yellow, grey = (230, 40, 40), (40, 190, 70), (240, 190, 40), (90, 90, 90)
    assert [tuple(p) for p in draw_difference(image, truth, first, other)[0].tolist()] == [
        grey,
        red,
        green,
        yellow,
        grey,
        grey,
    ]

import numpy as np

from seg_ros.evaluation.embedding_views import LabelChanges, View
from seg_ros.reports.embedding_plates import MASK, NOT_JUDGED, with_changes, with_mask


def test_a_mask_colours_what_counts() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    image[..., 0] = 160  # a mean of 120
    picture = with_mask(image, np.array([[0, 0.5, 1]]))
    assert picture[0, 0].tolist() == [66, 66, 66]
    full = [round(0.3 * own + 0.7 * colour) for own, colour in zip((160, 100, 100), MASK, strict=True)]
    assert picture[0, 2].tolist() == full
    np.testing.assert_allclose(picture[0, 1], (picture[0, 0].astype(int) + full) / 2, atol=1)


def test_changes_have_the_colour_of_what_they_are() -> None:
    plain, filtered, truth = (
        np.array([row], np.uint8) for row in ([1, 1, 0, 0, 1], [1, 0, 1, 2, 0], [1, 1, 1, 1, 255])
    )
    image = np.full((1, 5, 3), 200, np.uint8)
    view = View('a', image, np.zeros((1, 1, 1), np.float32), plain, filtered, truth, LabelChanges())
    grey, red, green, yellow, blue = with_changes(view)[0].tolist()
    assert len(set(grey)) == 1
    assert red[0] > 200 > max(red[1:])
    assert green[1] > 150 > max(green[0], green[2])
    assert min(yellow[:2]) > 150 > yellow[2]
    assert tuple(blue) == NOT_JUDGED

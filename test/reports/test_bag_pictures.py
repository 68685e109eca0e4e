import base64
import struct
from dataclasses import replace

import cv2
import numpy as np

from seg_ros.bag_evaluation.gallery import GalleryFrame
from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.reports.bag_pictures import DIFFERS, MOST_CARDS, NOT_COMPARED, fit_pictures, palette_png


def classes_of(n: int) -> ClassSet:
    return ClassSet(tuple(ClassInfo(k, f'class_{k}', (37 * k % 256, 90, 255 - 4 * k)) for k in range(n)))


def a_frame(index: int, reasons: tuple[str, ...] = (), value: float = 0.5) -> GalleryFrame:
    """An image of noise; the labels differ in 8 columns, and 8 columns have nothing to compare with."""
    image = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
    labels, difference = np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8)
    labels[:, 32:] = 1
    difference[:, :8], difference[:, 8:16] = 1, 255
    values = {'mean_iou': value}
    return GalleryFrame(
        'street', index, index / 15, index, reasons, values, image, labels, difference, 'labels'
    )


def test_only_the_most_remarkable_frames_are_shown() -> None:
    worse_and_worse = [a_frame(k, ('worst',), 1 - k / 20) for k in range(20)]
    shown = [p.frame.index for p in fit_pictures(worse_and_worse, classes_of(2), 10**7) if p.frame.reasons]
    assert shown == list(range(20 - MOST_CARDS, 20))


def test_pictures_shrink_and_frames_with_a_reason_stay() -> None:
    frames = [a_frame(k, ('unlike',) if k % 10 == 5 else ()) for k in range(60)]
    whole = fit_pictures(frames, classes_of(2), 10**7)
    assert [p.frame.index for p in whole] == list(range(60))
    assert whole[0].image.width == 64
    size = sum(p.n_bytes for p in whole)
    for limit in (size - 1, size // 8, size // 40):
        fitted = fit_pictures(frames[::-1], classes_of(2), limit)
        assert sum(p.n_bytes for p in fitted) <= limit
        places = [p.frame.index for p in fitted]
        assert places == sorted(places)
        if len(places) > 8:
            assert {5, 15, 25, 35, 45, 55} <= set(places)
    assert fit_pictures([], classes_of(2), 10) == []
    assert fit_pictures(frames, classes_of(2), 1) == []


def test_labels_as_a_png_file() -> None:
    classes = classes_of(4)
    labels = np.array([[0, 1, 2, 3], [3, 3, 255, 4]], np.uint8)
    content = palette_png(labels, classes)
    assert struct.unpack('>II', content[16:24]) == (4, 2)
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown.shape == (2, 4, 4)
    for row, values in zip(shown, labels, strict=True):
        for (blue, green, red, opacity), value in zip(row.tolist(), values.tolist(), strict=True):
            is_class = value < 4
            assert opacity == (255 if is_class else 0)
            assert not is_class or (red, green, blue) == classes.classes[value].colour


def test_differences_are_marked() -> None:
    (shown,) = fit_pictures([a_frame(0, ('worst',))], classes_of(2), 10**7)
    assert shown.difference is not None
    assert shown.difference.caption == 'differences from the true labels'
    encoded = shown.difference.uri.partition(',')[2]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
    for columns, colour in ((slice(1, 6), DIFFERS), (slice(10, 14), NOT_COMPARED)):
        assert np.abs(picture[:, columns, ::-1].reshape(-1, 3).mean(axis=0) - colour).max() < 12
    unlike = replace(a_frame(0, ('worst',)), difference=None)
    assert fit_pictures([unlike], classes_of(2), 10**7)[0].difference is None

"""Rendered soccer fields against slow geometry of their own: rays, planes and spheres, pixel by pixel."""

import math
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.synthetic import SoccerScene, SoccerStyle
from seg_ros.synthetic.canvas import PinholeCamera
from seg_ros.synthetic.soccer_field import Field

BACKGROUND, FIELD, LINE, GOAL, BALL, ROBOT, PERSON = range(7)
OBJECTS = (GOAL, BALL, ROBOT, PERSON)

EMPTY = SoccerStyle(n_robots=0, n_people=0)

Floats = npt.NDArray[np.float64]


def digest(picture: tuple[UInt8Array, UInt8Array]) -> str:
    return sha256(picture[0].tobytes() + picture[1].tobytes()).hexdigest()


def rays(scene: SoccerScene, height: int, width: int) -> Floats:
    """(H, W, 3) world directions of the pixels of a picture, by turning one axis after the other."""
    camera, style = scene.camera, scene.style
    focal = style.focal * width
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, height / 2 - np.arange(height) - 0.5)
    z = np.full_like(x, focal)
    cos, sin = math.cos(style.roll), math.sin(style.roll)
    x, y = cos * x + sin * y, cos * y - sin * x
    cos, sin = math.cos(style.pitch), math.sin(style.pitch)
    y, z = cos * y + sin * z, cos * z - sin * y
    cos, sin = math.cos(camera.yaw), math.sin(camera.yaw)
    x, z = cos * x + sin * z, cos * z - sin * x
    return np.stack([x, y, z], -1)


def on_ground(scene: SoccerScene, height: int, width: int) -> tuple[Floats, Floats]:
    """Field coordinates x, z of every pixel; not a number above the horizon."""
    ray = rays(scene, height, width)
    far = np.where(ray[..., 1] < 0, -scene.camera.position[1] / np.minimum(ray[..., 1], -1e-9), np.nan)
    return scene.camera.position[0] + far * ray[..., 0], scene.camera.position[2] + far * ray[..., 2]


def from_marking(field: Field, x: Floats, z: Floats) -> Floats:
    """How far outside the nearest marking a place lies, in metres; below 0 within one."""
    x, z = np.abs(x), np.abs(z)  # the field is symmetric
    half = field.line / 2
    length, width = field.length / 2, field.width / 2

    def segment(x0: float, z0: float, x1: float, z1: float) -> Floats:
        """Outside a rectangle of the line's width around a straight line, ends squared."""
        over_x = np.maximum(np.maximum(x0 - x, x - x1), 0) - half
        over_z = np.maximum(np.maximum(z0 - z, z - z1), 0) - half
        return np.maximum(over_x, over_z)

    found = [segment(0, 0, 0, width), segment(length, 0, length, width), segment(0, width, length, width)]
    for depth, wide in field.areas:
        found += [
            segment(length - depth, 0, length - depth, wide / 2),
            segment(length - depth, wide / 2, length, wide / 2),
        ]
    found.append(np.abs(np.hypot(x, z) - field.circle) - half)
    found += [np.hypot(x - mark, z) - 1.1 * field.line for mark in (0, length - field.mark)]
    return np.min(found, axis=0)


@pytest.fixture(scope='module')
def pictures() -> list[tuple[UInt8Array, UInt8Array]]:
    return [SoccerScene(seed, 120, 160).render() for seed in range(40)]


@pytest.mark.parametrize('size', [(240, 320), (101, 333), (64, 48)])
def test_pictures_have_the_size_asked_for(size: tuple[int, int]) -> None:
    image, labels = SoccerScene(5, *size).render()
    assert (image.shape, labels.shape) == ((*size, 3), size)
    assert image.dtype == labels.dtype == np.uint8
    assert image.flags.c_contiguous
    assert labels.flags.c_contiguous


def test_the_same_seed_gives_the_same_bytes_and_another_others(
    pictures: list[tuple[UInt8Array, UInt8Array]],
) -> None:
    scene = SoccerScene(7, 120, 160)
    assert digest(scene.render()) == digest(scene.render()) == digest(pictures[7])
    assert len({digest(picture) for picture in pictures}) == len(pictures)
    assert SoccerStyle.random(1) == SoccerStyle.random(1) != SoccerStyle.random(2)


def test_another_process_renders_the_same_bytes(pictures: list[tuple[UInt8Array, UInt8Array]]) -> None:
    code = (
        'from hashlib import sha256; from seg_ros.synthetic import SoccerScene; '
        'i, l = SoccerScene(11, 120, 160).render(); '
        'print(sha256(i.tobytes() + l.tobytes()).hexdigest())'
    )
    other = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(pictures[11])


def test_all_classes_appear_and_no_others(pictures: list[tuple[UInt8Array, UInt8Array]]) -> None:
    counts = np.bincount(np.concatenate([labels.ravel() for _, labels in pictures]), minlength=256)
    shares = counts / counts.sum()
    assert (shares[:7] > 0.001).all()
    assert counts[7:].sum() == 0
    assert 0.3 < shares[FIELD] < 0.8
    assert np.mean([(labels == BALL).any() for _, labels in pictures]) > 0.5


def test_colour_alone_does_not_tell_the_classes(pictures: list[tuple[UInt8Array, UInt8Array]]) -> None:
    """The most frequent class of each of 4096 colours, learned from half of the pictures."""

    def colours(part: list[tuple[UInt8Array, UInt8Array]]) -> tuple[npt.NDArray[np.int64], UInt8Array]:
        packed = [(image // 16).astype(np.int64) @ (256, 16, 1) for image, _ in part]
        return np.concatenate([p.ravel() for p in packed]), np.concatenate([t.ravel() for _, t in part])

    table = np.zeros((4096, 7), np.int64)
    np.add.at(table, colours(pictures[:20]), 1)
    seen, truth = colours(pictures[20:])
    guess = table.argmax(1)[seen]
    for label in (LINE, GOAL, BALL, ROBOT, PERSON):
        either = ((guess == label) | (truth == label)).sum()
        assert ((guess == label) & (truth == label)).sum() < 0.4 * either, label


def test_lines_and_the_edge_of_the_green_lie_where_their_measures_say() -> None:
    height, width = 180, 240
    n_within = 0
    for seed in range(10):
        style = replace(SoccerStyle.random(seed), n_robots=0, n_people=0)
        scene = SoccerScene(seed, height, width, style)
        _, labels = scene.render()
        x, z = on_ground(scene, height, width)
        outside = np.nan_to_num(from_marking(scene.field, x, z), nan=1e9)
        nearest, farthest = around(outside)
        # Far away a line is thinner than the ground between two pixels.
        spans = [np.subtract(*around(side)[::-1]) for side in (x, z)]
        assert (nearest <= 0.3 * np.hypot(*spans))[labels == LINE].all(), seed
        assert np.isin(labels[farthest < 0], (LINE, *OBJECTS)).all(), seed
        n_within += ((farthest < 0) & (labels == LINE)).sum()

        field = scene.field
        beyond = np.maximum(np.abs(x) - field.length / 2, np.abs(z) - field.width / 2) - field.border
        nearest, farthest = around(np.nan_to_num(beyond, nan=1e9))
        assert (nearest[np.isin(labels, (FIELD, LINE))] <= 0).all(), seed
        assert (labels[farthest < 0] != BACKGROUND).all(), seed
    assert n_within > 2000


def around(values: Floats) -> tuple[Floats, Floats]:
    """The least and the largest of every pixel and its eight neighbours."""
    window = np.ones((3, 3), np.uint8)
    return cv2.erode(values, window), cv2.dilate(values, window)


def test_the_ball_is_as_large_as_its_distance_says() -> None:
    height, width = 240, 320
    n_checked = 0
    for seed in range(40):
        scene = SoccerScene(seed, height, width, replace(EMPTY, pitch=-0.3, roll=0.05))
        _, labels = scene.render()
        towards = scene.ball - scene.camera.position
        distance = np.linalg.norm(towards)
        ray = rays(scene, height, width)
        cosine = ray @ towards / np.linalg.norm(ray, axis=-1) / distance
        expected = cosine > math.cos(math.asin(scene.ball_radius / distance))
        if expected.sum() < 120 or expected[[0, -1]].any() or expected[:, [0, -1]].any():
            continue
        n_checked += 1
        both = (expected & (labels == BALL)).sum()
        assert both / (expected | (labels == BALL)).sum() > 0.9
        assert (labels == BALL).sum() == pytest.approx(expected.sum(), rel=0.06)
        assert scene.ball[1] == scene.ball_radius
    assert n_checked >= 8


def test_posts_stand_on_the_goal_lines() -> None:
    height, width = 240, 320
    n_seen = 0
    for seed in range(30):
        scene = SoccerScene(seed, height, width, EMPTY)
        _, labels = scene.render()
        for end in (-1, 1):
            for side in (-1, 1):
                middle = np.array(
                    [
                        end * scene.field.length / 2,
                        0.5 * scene.field.goal_height,
                        side * scene.field.goal_width / 2,
                    ]
                )
                view = scene.camera.view(middle[None])
                if view[0, 2] < 0.5:
                    continue
                x, y = scene.camera.pixels(view)[0] / 2
                if 1 < x < width - 1 and 1 < y < height - 1:
                    n_seen += 1
                    assert labels[int(y), int(x)] in (GOAL, BALL)
    assert n_seen > 10


def test_the_camera_leans_with_its_roll() -> None:
    """Leaned to the right by r, the far edge of the field falls by tan(r) a pixel towards the left."""
    roll, tops = 0.1, []
    for lean in (0.0, roll):
        scene = SoccerScene(3, 240, 320, replace(EMPTY, pitch=-0.15, roll=lean, camera_height=0.4))
        x, z = on_ground(scene, 240, 320)
        tops.append(np.isfinite(x).argmax(0))
    assert np.ptp(tops[0]) == 0
    assert tops[1][0] - tops[1][-1] == pytest.approx(319 * math.tan(roll), abs=1.5)
    camera = PinholeCamera(np.array([1.0, 0.5, -2.0]), 0.7, -0.3, 300.0, (160.0, 120.0), roll)
    x, z, depth = camera.ground(np.float32([10, 160, 300]), np.float32([150, 220]))
    for row, y in enumerate((150, 220)):
        for column, left in enumerate((10, 160, 300)):
            place = np.array([[x[row, column], 0, z[row, column]]])
            np.testing.assert_allclose(camera.pixels(camera.view(place))[0], (left, y), atol=1e-2)
            assert camera.view(place)[0, 2] == pytest.approx(depth[row, column], rel=1e-4)


def test_objects_hide_what_is_behind_them() -> None:
    """With robots, labels change only where a robot or a person is now; nothing else moves."""
    for seed in range(6):
        style = replace(SoccerStyle.random(seed), n_people=0, n_robots=0)
        without = SoccerScene(seed, 120, 160, style).render()[1]
        with_robots = SoccerScene(seed, 120, 160, replace(style, n_robots=5)).render()[1]
        differs = without != with_robots
        near = cv2.dilate((with_robots == ROBOT).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not (differs & ~near).any()


@pytest.mark.parametrize('wrong', [{'seed': -1}, {'height': 8}, {'width': 0}])
def test_impossible_scenes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match='expected seed >= 0'):
        SoccerScene(**{'seed': 0, **wrong})

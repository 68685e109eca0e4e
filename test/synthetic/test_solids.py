"""Convex bodies, each against a slow answer: is this point of the picture inside it?"""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.synthetic.canvas import Canvas, PinholeCamera
from seg_ros.synthetic.solids import Light, Sphere, Tube, box, frustum, paint_all, plain, rim

HEIGHT, WIDTH = 240, 320
LIGHT = Light(np.array([0.0, 1.0, 0.0]))
RED, GREEN = (200.0, 0.0, 0.0), (0.0, 200.0, 0.0)

Floats = npt.NDArray[np.float64]


def canvas() -> Canvas:
    camera = PinholeCamera(np.array([0.2, 0.6, -3.0]), 0.05, -0.1, 640.0, (320.0, 240.0), 0.08)
    return Canvas(HEIGHT, WIDTH, camera, (0, 0, 0), 1e6, near_m=0.1, thin=())


def labels_of(*solids: object) -> UInt8Array:
    paper = canvas()
    paint_all(list(solids), paper, LIGHT)  # type: ignore[arg-type]
    return paper.labels


def points_on(labels: UInt8Array, points: Floats) -> UInt8Array:
    """Labels of the pixels that points of the world fall on."""
    camera = canvas().camera
    pixels = np.floor(camera.pixels(camera.view(points))).astype(int)
    return labels[pixels[:, 1], pixels[:, 0]]


def turned(angle: float) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([(cos, 0, -sin), (0, 1, 0), (sin, 0, cos)])


def test_a_box_covers_its_points_and_little_more() -> None:
    centre, axes, half = np.array([0.1, 0.4, 0.3]), turned(0.5), np.array([0.3, 0.2, 0.4])
    labels = labels_of(box(centre, axes, half, RED, 3))
    inside = np.random.default_rng(0).uniform(-0.98, 0.98, (4000, 3)) * half @ axes + centre
    assert (points_on(labels, inside) == 3).all()
    painted = np.zeros_like(labels)
    camera = canvas().camera
    dense = np.stack(np.meshgrid(*[np.linspace(-1, 1, 150)] * 3), -1).reshape(-1, 3) * half @ axes + centre
    pixels = np.floor(camera.pixels(camera.view(dense))).astype(int)
    painted[pixels[:, 1], pixels[:, 0]] = 3
    assert (painted == 3).sum() == pytest.approx((labels == 3).sum(), rel=0.03)


def test_a_frustum_covers_its_points() -> None:
    rng = np.random.default_rng(1)
    height = rng.uniform(0, 1, 3000)
    radius = (0.4 - 0.25 * height) * np.sqrt(rng.random(3000)) * np.cos(np.pi / 24)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    inside = np.stack([radius * np.cos(angle), 0.8 * height, radius * np.sin(angle)], 1)
    labels = labels_of(frustum(np.zeros(3), 0.8, (0.4, 0.15), RED, 2, n_sides=24))
    assert (points_on(labels, inside) == 2).all()


def test_a_tube_covers_its_points_and_a_sphere_those_within_its_rim() -> None:
    rng = np.random.default_rng(2)
    start, end = np.array([-0.4, 0.2, 0.0]), np.array([0.5, 0.7, 0.6])
    ball = rng.normal(size=(3000, 3))
    ball *= (0.1 * rng.random((3000, 1)) ** (1 / 3)) / np.linalg.norm(ball, axis=1, keepdims=True)
    tube = labels_of(Tube(start, end, (0.1, 0.1), RED, 4))
    within = start + rng.random((3000, 1)) * (end - start) + 0.9 * ball
    assert (points_on(tube, within) == 4).all()
    sphere = labels_of(Sphere(end, 0.1, plain(RED), 4))
    assert (points_on(sphere, end + 0.95 * ball) == 4).all()


def test_the_rim_is_where_rays_touch() -> None:
    eye, centre = np.array([0.0, 0.5, 0.0]), np.array([0.3, 0.1, 1.0])
    points = rim(eye, centre, 0.2)
    assert points is not None
    np.testing.assert_allclose(np.linalg.norm(points - centre, axis=1), 0.2)
    np.testing.assert_allclose(((points - eye) * (points - centre)).sum(1), 0, atol=1e-12)
    assert rim(centre + np.array([0, 0.1, 0]), centre, 0.2) is None


def test_the_nearer_body_is_seen_whatever_the_order() -> None:
    near = Sphere(np.array([0.2, 0.5, -1.0]), 0.15, plain(RED), 1)
    far = Sphere(np.array([0.2, 0.5, 1.0]), 0.6, plain(GREEN), 2)
    seen = [labels_of(*order) for order in itertools.permutations((near, far))]
    np.testing.assert_array_equal(seen[0], seen[1])
    assert points_on(seen[0], near.centre[None])[0] == 1
    assert set(np.unique(seen[0])) == {0, 1, 2}


def test_what_faces_the_lamp_is_lighter() -> None:
    up, down = LIGHT.gain(np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]))
    assert up > down > 0


def test_what_is_behind_the_camera_or_around_it_is_not_painted() -> None:
    eye = canvas().camera.position
    behind = eye - np.array([0, 0, 1])
    for solid in (
        Sphere(behind, 0.2, plain(RED), 1),
        Sphere(eye, 0.2, plain(RED), 1),
        Tube(behind, behind + np.array([0.3, 0, 0]), (0.1, 0.1), RED, 1),
        box(behind, np.eye(3), (0.1, 0.1, 0.1), RED, 1),
    ):
        assert not labels_of(solid).any()

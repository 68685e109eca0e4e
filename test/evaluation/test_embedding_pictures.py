from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seg_ros.arrays import moved_to_memory
from seg_ros.errors import ParameterError
from seg_ros.evaluation.embedding_pictures import (
    EmbeddingColours,
    Spot,
    choose_spots,
    mask_at,
    spots_at,
    window_of,
)
from seg_ros.evaluation.embedding_views import EmbeddedModel, LabelChanges, View
from seg_ros.synthetic import RenderedDrive

RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def model(embedded_model_file: Path) -> EmbeddedModel:
    return EmbeddedModel.load(str(embedded_model_file), 'auto', 'cpu')


@pytest.fixture(scope='module')
def views(model: EmbeddedModel) -> list[View]:
    drive = RenderedDrive(7, 3, 96, 128)
    return [model.look(str(index), *drive[index]) for index in range(3)]


def a_view(labels: Any, stride: int = 4) -> View:
    """Of labels, one for each embedding."""
    large = np.asarray(labels, np.uint8).repeat(stride, 0).repeat(stride, 1)
    embeddings = np.zeros((2, *np.shape(labels)), np.float32)
    image = np.zeros((*large.shape, 3), np.uint8)
    return View('a', image, embeddings, large, large, np.full_like(large, 255), LabelChanges())


def test_colours_are_the_main_components_of_all_images(views: list[View]) -> None:
    maps = [view.embeddings for view in views]
    colours = EmbeddingColours().fit(maps)
    vectors = np.concatenate([m.transpose(1, 2, 0).reshape(-1, m.shape[0]) for m in maps]).astype(np.float64)
    centred = vectors - vectors.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(
        colours.explained_variance_ratio_, (values**2 / (values**2).sum())[:3], atol=1e-6
    )
    projected = centred @ directions[:3].T
    low, high = np.percentile(projected, (1, 99), axis=0)
    wanted = np.clip((projected - low) / (high - low), 0, 1) * 255
    got = np.concatenate([colours.transform(m).reshape(-1, 3) for m in maps])
    for channel in range(3):
        error = min(np.abs(got[:, channel] - w).max() for w in (wanted[:, channel], 255 - wanted[:, channel]))
        assert error <= 0.6
    assert colours.transform(maps[0]).shape == (24, 32, 3)


def test_fewer_dimensions_than_colours() -> None:
    line = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    colours = EmbeddingColours().fit([line])
    picture = colours.transform(line)
    assert (np.diff(picture[..., 0].ravel().astype(int)) > 0).all()
    assert (picture[..., 1:] == 128).all()
    np.testing.assert_allclose(colours.explained_variance_ratio_, (1, 0, 0))
    same = np.ones((5, 2, 2), np.float32)
    assert (EmbeddingColours().fit([same]).transform(same) == 128).all()


def test_the_sign_of_a_component_does_not_hang_on_the_order_of_images() -> None:
    maps = [RNG.normal(size=(6, 5, 4)).astype(np.float32) for _ in range(3)]
    one, other = EmbeddingColours().fit(maps), EmbeddingColours().fit(maps[::-1])
    np.testing.assert_allclose(one.components_, other.components_, atol=1e-10)


def test_a_mask_by_hand() -> None:
    embeddings = RNG.normal(size=(3, 6, 8)).astype(np.float32)
    mask = mask_at(embeddings, Spot(0, 0, 1, 4), 0.7, 5)
    for y, x in np.ndindex(6, 8):
        distance = np.abs(embeddings[:, y, x].astype(float) - embeddings[:, 1, 4]).sum()
        is_inside = abs(y - 1) <= 2 and abs(x - 4) <= 2
        assert mask[y, x] == pytest.approx(np.exp(-0.7 * distance) if is_inside else 0, abs=1e-12)
    assert mask[1, 4] == 1


def test_the_masks_of_all_pixels_are_the_filter(model: EmbeddedModel, views: list[View]) -> None:
    """One pass of the filter is the mean of the probabilities under each pixel's mask."""
    embeddings, scores = views[0].embeddings, RNG.normal(size=(2, 24, 32)).astype(np.float32)
    once = replace(model.filter, iterations=1)
    got = np.exp(moved_to_memory(once(scores, embeddings)))
    probabilities = np.exp(scores) / np.exp(scores).sum(0)
    for row, column in ((0, 0), (11, 20), (23, 31), (5, 1)):
        mask = mask_at(embeddings, Spot(0, 0, row, column), model.filter.hardness, model.filter.window)
        wanted = (mask * probabilities).sum((1, 2)) / mask.sum()
        np.testing.assert_allclose(got[:, row, column], wanted, rtol=1e-4, atol=1e-5)


def test_windows_end_at_the_border() -> None:
    assert window_of(Spot(0, 0, 0, 7), 5, (6, 8)) == (slice(0, 3), slice(5, 8))
    assert window_of(Spot(0, 0, 3, 3), 5, (6, 8)) == (slice(1, 6), slice(1, 6))


def test_pixels_are_chosen_beside_edges() -> None:
    labels = np.zeros((24, 40), int)
    labels[:, 20:] = 1
    spots = choose_spots(a_view(labels), 7, 4)
    assert len(spots) == 6
    assert all(abs(spot.column - 19.5) < 3 for spot in spots)
    assert max(spot.row for spot in spots) - min(spot.row for spot in spots) >= 12  # spread
    assert all(3 <= spot.row <= 20 for spot in spots)  # the whole window lies inside
    assert {labels[spot.row, spot.column] for spot in spots} == {0, 1}
    assert spots == choose_spots(a_view(labels), 7, 4)
    assert [(spot.x, spot.y) for spot in spots] == [(4 * s.column + 2, 4 * s.row + 2) for s in spots]


def test_without_an_edge_the_middle_is_shown() -> None:
    assert choose_spots(a_view(np.ones((6, 10), int)), 5, 4) == [Spot(22, 14, 3, 5)]
    (spot,) = choose_spots(a_view([[0, 1], [0, 1]]), 9, 4, 1)  # a window larger than the map
    assert spot.row < 2


def test_pixels_by_hand() -> None:
    embedding_metadata = SimpleNamespace(stride=4)
    model: Any = SimpleNamespace(
        embedding_metadata=embedding_metadata, size=(98, 130)
    )  # the last row and column fill no stride
    assert spots_at([0, 97, 129, 5], model) == [Spot(0, 97, 23, 0), Spot(129, 5, 1, 31)]
    assert spots_at([], model) == []
    for pixels, told in (([130, 0], 'X in 0..129'), ([0, 98], 'Y in 0..97'), ([1, 2, 3], 'got 3 numbers')):
        with pytest.raises(ParameterError, match=told):
            spots_at(pixels, model)

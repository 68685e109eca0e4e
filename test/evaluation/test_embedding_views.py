from pathlib import Path

import numpy as np
import pytest
import torch

from seg_ros.errors import UnavailableError
from seg_ros.evaluation.embedding_views import EmbeddedModel, LabelChanges, nearest
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.synthetic import RenderedDrive


def test_changes_by_hand() -> None:
    plain = np.array([[0, 0, 1, 1, 2, 2]], np.uint8)
    filtered = np.array([[0, 1, 0, 2, 0, 2]], np.uint8)
    truth = np.array([[0, 1, 1, 0, 255, 1]], np.uint8)
    change = LabelChanges.between(plain, filtered, truth)
    assert change == LabelChanges(n_pixels=6, n_changed=4, n_judged=3, n_right=1, n_wrong=1)
    assert change.as_json() == pytest.approx(
        {'changed_share': 4 / 6, 'became_right_share': 1 / 3, 'became_wrong_share': 1 / 3}
    )
    assert change.as_text() == '66.67 % of pixels; of these 33% became right, 33% became wrong'
    twice = change + change
    assert (twice.n_pixels, twice.fraction) == (12, change.fraction)


def test_without_true_labels_nothing_is_judged() -> None:
    plain, filtered = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    change = LabelChanges.between(plain, filtered, np.full((2, 2), 255, np.uint8))
    assert change.became_right is change.became_wrong is None
    assert change.as_text() == '100.00 % of pixels'
    assert LabelChanges().fraction == 0


@pytest.mark.parametrize('size', [(96, 128), (200, 260)])
def test_labels_are_those_of_the_pipeline(embedded_model_file: Path, size: tuple[int, int]) -> None:
    image, truth = RenderedDrive(5, 1, *size)[0]
    model = EmbeddedModel.load(str(embedded_model_file), 'auto', 'cpu')
    view = model.look('a', image, truth)
    labels = []
    for on in (False, True):
        settings = Settings(str(embedded_model_file), backend='torch', embedding_filter_enabled=on)
        labels.append(Segmenter.load(settings)(image).labels)
    assert view.change == LabelChanges.between(labels[0], labels[1], truth)
    assert view.change.n_changed > 0
    for shown, whole in zip((view.plain, view.filtered, view.truth), (*labels, truth), strict=True):
        np.testing.assert_array_equal(shown, nearest(whole, (96, 128)))
    assert view.image.shape == (96, 128, 3)
    assert view.embeddings.shape == (8, 24, 32)
    assert model.look('a', image, None).change.n_judged == 0


def test_labels_at_another_size_are_those_in_the_middle() -> None:
    labels = np.arange(36, dtype=np.uint8).reshape(6, 6)
    np.testing.assert_array_equal(nearest(labels, (2, 2)), [[7, 10], [25, 28]])
    np.testing.assert_array_equal(nearest(labels, (12, 12)), labels.repeat(2, 0).repeat(2, 1))


def test_what_is_told(embedded_model_file: Path, model_file: Path) -> None:
    model = EmbeddedModel.load(str(embedded_model_file), 'auto', 'cpu')
    assert model.as_json()['hardness'] == pytest.approx(float(model.model.embeddings.hardness.detach()))
    facts = model.as_facts()
    assert facts['embeddings'] == '8 numbers at every 4th row and column, from the image, initial, stage4'
    assert facts['filter'] == '5 x 5 embeddings (20 x 20 pixels), 2 passes over probabilities'
    half = float(facts['hardness'].split()[-1])
    assert torch.exp(torch.tensor(-model.filter.hardness * half)) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(UnavailableError, match=r'has no embeddings, .*; shipped models that have: '):
        EmbeddedModel.load(str(model_file), 'auto', 'cpu')

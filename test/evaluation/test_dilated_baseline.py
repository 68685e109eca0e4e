"""The dilated convolutions: what they start as, how far they see, and what they learn."""

from pathlib import Path

import numpy as np
import torch

from seg_ros.datasets.rendered import RenderedDataset
from seg_ros.evaluation.dilated_baseline import DILATIONS, ContextModule, by_context, train_context
from seg_ros.evaluation.filter_accuracy import measure_filters
from seg_ros.evaluation.filter_methods import unchanged
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings


def test_it_starts_as_no_filter_and_sees_as_far_as_its_dilations() -> None:
    module = ContextModule(3)
    scores = torch.randn(3, 48, 48)
    image, embeddings = np.zeros((48, 48, 3), np.uint8), torch.zeros(2, 48, 48)
    assert torch.equal(by_context(module)(image, scores, embeddings), scores)
    fine = torch.randn(3, 96, 96)
    assert torch.equal(by_context(module)(image, fine, embeddings), fine)
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.2)
    given = scores[None].requires_grad_()
    (gradient,) = torch.autograd.grad(module(given)[0, 0, 24, 24], given)
    rows = np.flatnonzero(gradient.abs().sum((0, 1, 3)).numpy())
    assert (rows.min(), rows.max()) == (24 - sum(DILATIONS), 24 + sum(DILATIONS))
    assert 2 * sum(DILATIONS) + 1 == 35


def test_it_learns_from_the_scores_of_a_network(embedded_model_file: Path) -> None:
    settings = Settings(model=str(embedded_model_file), backend='torch', embedding_filter_enabled=True)
    segmenter = Segmenter.load(settings)
    images = RenderedDataset(None, 'train', n_drives=2, n_frames=2, height=96, width=128)
    methods = {
        'plain': unchanged,
        'start': by_context(ContextModule(11)),
        'learned': by_context(train_context(segmenter, images, 30)),
    }
    figures = measure_filters(segmenter, images, methods)
    assert figures['start']['mean_iou'] == figures['plain']['mean_iou']
    assert figures['learned']['pixel_accuracy'] > figures['plain']['pixel_accuracy']

"""Statistics of batch normalisations against plain sums over all values."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_ros.networks.segnet import SegNetSmall
from seg_ros.training.batch_norm_statistics import has_statistics, recompute_statistics


@pytest.fixture
def batches() -> list[Tensor]:
    """Batches that differ in their mean, so that the mean of their variances is not the variance."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 8, 12, generator=generator) * (1 + k) + 3 * k for k in range(3)]


def test_the_first_statistics_are_those_of_all_pixels(batches: list[Tensor]) -> None:
    norm = nn.BatchNorm2d(3)
    recompute_statistics(nn.Sequential(norm, nn.ReLU()), batches)
    pixels = np.concatenate([b.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1) for b in batches], 1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    np.testing.assert_allclose(norm.running_mean, pixels.mean(1), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, pixels.var(1, ddof=1), rtol=1e-5)


def test_deeper_statistics_are_those_behind_normalised_batches(batches: list[Tensor]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    recompute_statistics(network, batches)
    seen = []
    for batch in batches:
        mean, variance = batch.mean((0, 2, 3)), batch.var((0, 2, 3), correction=0)
        x = (batch - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        seen.append(torch.einsum('kc,bcyx->kbyx', network[2].weight[:, :, 0, 0], x).flatten(1))  # type: ignore[index]
    values = torch.cat(seen, 1) + network[2].bias[:, None]  # type: ignore[index]
    torch.testing.assert_close(network[3].running_mean, values.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network[3].running_var, values.var(1), rtol=1e-4, atol=1e-5)


def test_nothing_but_statistics_changes(batches: list[Tensor]) -> None:
    network = SegNetSmall(2, width=4).train()
    network.encoder[0].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    recompute_statistics(network, batches)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.endswith(('running_mean', 'running_var'))}
    assert modes == [module.training for module in network.modules()]


def test_without_images_the_statistics_stay() -> None:
    norm = nn.BatchNorm2d(2)
    before = norm.running_var.clone()  # type: ignore[union-attr]
    recompute_statistics(norm, [])
    assert torch.equal(norm.running_var, before)  # type: ignore[arg-type]
    assert has_statistics(norm)
    assert not has_statistics(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False)))

import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import ParameterError
from seg_ros.networks.enet import ENet
from seg_ros.quantization.batch_norm_folding import canonical_batch_norms, find_pairs
from seg_ros.quantization.weight_sharing import round_weights


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics and weights as after training, of both signs, and one channel switched off."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 3)
            nn.init.normal_(module.weight, 0.3)
            nn.init.normal_(module.bias)
            module.weight.data[0] = 0
    return network.eval()


class Branches(nn.Module):
    """Convolutions that a normalisation reads, and ones that something else reads as well."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 3, bias=False)
        self.grouped = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, bias=False)
        self.biased = nn.Conv2d(6, 6, 1)
        self.added = nn.Conv2d(6, 6, 1, bias=False)
        self.given = nn.Conv2d(6, 6, 1, bias=False)
        self.twice = nn.Conv2d(6, 6, 1, bias=False)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(n, eps=eps)
            for n, eps in zip((4, 6, 6, 6, 6, 6, 6), (1e-5, 1e-3) * 4, strict=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = self.norms[0](self.plain(x))
        x = self.norms[1](self.grouped(x))
        x = self.norms[2](self.biased(x))
        added = self.added(x)
        x = self.norms[3](added) + added
        given = self.given(x)
        x = self.norms[4](given)
        return self.norms[5](self.twice(x)) + self.norms[6](self.twice(x.sin())), {'given': given}


def test_only_what_a_normalisation_alone_reads_is_paired() -> None:
    pairs = find_pairs(Branches().eval(), torch.randn(1, 3, 8, 8))
    assert pairs == [('plain', 'norms.0'), ('grouped', 'norms.1')]


def test_results_stay_the_same() -> None:
    network, x = lived_in(Branches()), torch.randn(2, 3, 8, 8)
    before = network(x)
    canonical_batch_norms(network, find_pairs(network, x))
    after = network(x)
    assert torch.allclose(after[0], before[0], atol=1e-4, rtol=1e-4)
    assert torch.allclose(after[1]['given'], before[1]['given'], atol=1e-4, rtol=1e-4)
    for norm in network.norms:
        assert (norm.running_mean == 0).all()
        assert torch.allclose(norm.running_var + norm.eps, torch.tensor(1.0), atol=1e-7, rtol=0)
    assert [bool((norm.weight == 1).all()) for norm in network.norms] == [True] * 2 + [False] * 5


def test_all_of_enet_but_where_pooling_is_appended() -> None:
    network, x = lived_in(ENet(5)), torch.randn(1, 3, 32, 40)
    before = network(x)
    pairs = find_pairs(network, x)
    norms = {name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert norms - {norm for _, norm in pairs} == {'initial.norm_act.0'}
    canonical_batch_norms(network, pairs)
    # ENet with such weights gives scores of up to hundreds.
    assert torch.allclose(network(x), before, rtol=1e-3, atol=1e-4 * float(before.detach().abs().max()))


def test_rounding_by_channel_gives_the_same_steps() -> None:
    network = lived_in(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)))
    steps, _ = round_weights(network[0].weight, 8)
    sign = network[1].weight.detach().sign().reshape(-1, 1, 1, 1)
    canonical_batch_norms(network, [('0', '1')])
    folded, _ = round_weights(network[0].weight, 8)
    # A scale is rounded up to 8 bits, by which the last step may become 126; channel 0 is switched off.
    assert (folded - steps * sign)[1:].abs().max() <= 1


def test_other_pairs_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    for pair in (('0', '1'), ('2', '1'), ('0', 'x')):
        with pytest.raises(ParameterError, match='without bias'):
            canonical_batch_norms(network, [pair])

"""Public weights: networks written out from their publishers' layers, and compared value by value."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.cli.main import main
from seg_ros.errors import ModelFileError
from seg_ros.importing.layout_enet import from_davidtvs
from seg_ros.importing.layout_segnet import in_order
from seg_ros.importing.weights_import import WeightChoices, import_weights
from seg_ros.modelfile.file import load_model
from seg_ros.networks.enet import ENet
from seg_ros.networks.segnet import SegNet, SegNetSmall

CLASSES = ClassSet(tuple(ClassInfo(i, f'class{i}', (20 * i, 0, 0)) for i in range(4)))
SMALL = WeightChoices(size=(32, 32))


class Recorder:
    """Makes random weights under the names of a publisher, in the order in which layers are declared."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}
        self._random = torch.Generator().manual_seed(0)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=self._random)

    def kernel(self, name: str, *shape: int) -> None:
        self.state[f'{name}.weight'] = self.normal(*shape, scale=(2 / shape[1] / shape[2] / shape[3]) ** 0.5)

    def norm(self, name: str, n: int) -> None:
        values = (1 + self.normal(n) / 10, self.normal(n) / 10, self.normal(n) / 10, 1 + self.normal(n).abs())
        for part, value in zip(('weight', 'bias', 'running_mean', 'running_var'), values, strict=True):
            self.state[f'{name}.{part}'] = value
        self.state[f'{name}.num_batches_tracked'] = torch.tensor(7)

    def slope(self, name: str) -> None:
        self.state[f'{name}.weight'] = self.normal(1).abs() / 3


class PublishedENet:
    """PyTorch-ENet in words of functions: declared and run block by block, PReLU before the decoder."""

    def __init__(self, n_classes: int) -> None:
        self.w = Recorder()
        self.n_classes = n_classes
        self.calls: list[Any] = []
        self.w.kernel('initial_block.main_branch', 13, 3, 3, 3)
        self.w.norm('initial_block.batch_norm', 16)
        self.w.slope('initial_block.out_activation')
        self._declare('downsample1_0', 16, 64, 2)
        for i in range(1, 5):
            self._declare(f'regular1_{i}', 64, 64, 1)
        self._declare('downsample2_0', 64, 128, 2)
        kinds = ('regular', 'dilated', 'asymmetric', 'dilated', 'regular', 'dilated', 'asymmetric', 'dilated')
        self.context = [
            f'{kind}{stage}_{i + 1 - (stage == 3)}' for stage in (2, 3) for i, kind in enumerate(kinds)
        ]
        for name in self.context:
            self._declare(name, 128, 128, 1)
        self._declare_up('upsample4_0', 128, 64)
        for name, n in (('regular4_1', 64), ('regular4_2', 64)):
            self._declare(name, n, n, 1, has_slopes=False)
        self._declare_up('upsample5_0', 64, 16)
        self._declare('regular5_1', 16, 16, 1, has_slopes=False)
        self.w.kernel('transposed_conv', 16, n_classes, 3, 3)

    def _declare(self, name: str, n: int, n_out: int, first: int, *, has_slopes: bool = True) -> None:
        inner = n // 4
        self.w.kernel(f'{name}.ext_conv1.0', inner, n, first, first)
        self._end(f'{name}.ext_conv1', 1, inner, has_slopes)
        sizes = [(5, 1), (1, 5)] if 'asymmetric' in name else [(3, 3)]
        for i, size in enumerate(sizes):
            self.w.kernel(f'{name}.ext_conv2.{3 * i}', inner, inner, *size)
            self._end(f'{name}.ext_conv2', 3 * i + 1, inner, has_slopes)
        self.w.kernel(f'{name}.ext_conv3.0', n_out, inner, 1, 1)
        self._end(f'{name}.ext_conv3', 1, n_out, has_slopes)
        if has_slopes:
            self.w.slope(f'{name}.out_activation')

    def _end(self, name: str, position: int, n: int, has_slopes: bool) -> None:
        self.w.norm(f'{name}.{position}', n)
        if has_slopes:
            self.w.slope(f'{name}.{position + 1}')

    def _declare_up(self, name: str, n: int, n_out: int) -> None:
        inner = n // 4
        self.w.kernel(f'{name}.main_conv1.0', n_out, n, 1, 1)
        self.w.norm(f'{name}.main_conv1.1', n_out)
        self.w.kernel(f'{name}.ext_conv1.0', inner, n, 1, 1)
        self.w.norm(f'{name}.ext_conv1.1', inner)
        self.w.kernel(f'{name}.ext_tconv1', inner, inner, 2, 2)
        self.w.norm(f'{name}.ext_tconv1_bnorm', inner)
        self.w.kernel(f'{name}.ext_conv2.0', n_out, inner, 1, 1)
        self.w.norm(f'{name}.ext_conv2.1', n_out)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        s = self.w.state
        parts = (s[f'{name}.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias'))
        return F.batch_norm(x, *parts)

    def _act(self, name: str, x: Tensor) -> Tensor:
        slope = self.w.state.get(f'{name}.weight')
        return x.relu() if slope is None else F.prelu(x, slope)

    def _part(self, name: str, position: int, x: Tensor, **how: Any) -> Tensor:
        x = F.conv2d(x, self.w.state[f'{name}.{position}.weight'], **how)
        return self._act(f'{name}.{position + 2}', self._norm(f'{name}.{position + 1}', x))

    def _bottleneck(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        y = self._part(f'{name}.ext_conv1', 0, x)
        if 'asymmetric' in name:
            y = self._part(f'{name}.ext_conv2', 0, y, padding=(2, 0))
            y = self._part(f'{name}.ext_conv2', 3, y, padding=(0, 2))
        else:
            y = self._part(f'{name}.ext_conv2', 0, y, padding=dilation, dilation=dilation)
        return self._act(f'{name}.out_activation', x + self._part(f'{name}.ext_conv3', 0, y))

    def _down(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        main, indices = F.max_pool2d(x, 2, return_indices=True)
        y = self._part(f'{name}.ext_conv1', 0, x, stride=2)
        y = self._part(f'{name}.ext_conv3', 0, self._part(f'{name}.ext_conv2', 0, y, padding=1))
        main = torch.cat((main, torch.zeros(1, y.shape[1] - main.shape[1], *y.shape[2:])), 1)
        return self._act(f'{name}.out_activation', main + y), indices

    def _up(self, name: str, x: Tensor, indices: Tensor) -> Tensor:
        s = self.w.state
        main = self._norm(f'{name}.main_conv1.1', F.conv2d(x, s[f'{name}.main_conv1.0.weight']))
        y = self._norm(f'{name}.ext_conv1.1', F.conv2d(x, s[f'{name}.ext_conv1.0.weight'])).relu()
        y = F.conv_transpose2d(y, s[f'{name}.ext_tconv1.weight'], stride=2)
        y = self._norm(f'{name}.ext_tconv1_bnorm', y).relu()
        y = self._norm(f'{name}.ext_conv2.1', F.conv2d(y, s[f'{name}.ext_conv2.0.weight']))
        return (F.max_unpool2d(main, indices, 2) + y).relu()

    def __call__(self, x: Tensor) -> Tensor:
        s = self.w.state
        main = F.conv2d(x, s['initial_block.main_branch.weight'], stride=2, padding=1)
        x = self._norm('initial_block.batch_norm', torch.cat((main, F.max_pool2d(x, 3, 2, 1)), 1))
        x, first = self._down('downsample1_0', self._act('initial_block.out_activation', x))
        for i in range(1, 5):
            x = self._bottleneck(f'regular1_{i}', x)
        x, second = self._down('downsample2_0', x)
        for name, dilation in zip(self.context, (1, 2, 1, 4, 1, 8, 1, 16) * 2, strict=True):
            x = self._bottleneck(name, x, dilation)
        x = self._bottleneck('regular4_2', self._bottleneck('regular4_1', self._up('upsample4_0', x, second)))
        x = self._bottleneck('regular5_1', self._up('upsample5_0', x, first))
        return F.conv_transpose2d(x, s['transposed_conv.weight'], stride=2, padding=1, output_padding=1)


def test_published_enet_gives_the_same_scores(tmp_path: Path) -> None:
    published = PublishedENet(4)
    path = tmp_path / 'enet.pth'
    torch.save({'epoch': 3, 'state_dict': {f'module.{k}': v for k, v in published.w.state.items()}}, path)
    told = import_weights(path, tmp_path / 'enet.safetensors', 'enet', CLASSES, SMALL)
    assert told.facts['layout'] == 'davidtvs/PyTorch-ENet'
    model = load_model(tmp_path / 'enet.safetensors')
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model.network(x), published(x), rtol=1e-3, atol=1e-3)


class PublishedSegNet(nn.Module):
    """A port of SegNet: biases everywhere, full convolutions in the decoder on demand, classes last."""

    def __init__(self, n_classes: int, width: int, *, is_turned: bool, has_last_norm: bool) -> None:
        super().__init__()
        w = width
        plan = [[3, w, w], [w, 2 * w, 2 * w], [2 * w, *[4 * w] * 3], [4 * w, *[8 * w] * 3], [*[8 * w] * 4]]
        back = [
            [*[8 * w] * 4],
            [*[8 * w] * 3, 4 * w],
            [*[4 * w] * 3, 2 * w],
            [2 * w, 2 * w, w],
            [w, w, n_classes],
        ]
        kind = nn.ConvTranspose2d if is_turned else nn.Conv2d
        self.enc = nn.ModuleList(nn.ModuleList(self._pairs(nn.Conv2d, c)) for c in plan)
        self.dec = nn.ModuleList(nn.ModuleList(self._pairs(kind, c)) for c in back)
        if not has_last_norm:
            self.dec[-1][-1] = nn.Identity()

    @staticmethod
    def _pairs(kind: Any, channels: list[int]) -> list[nn.Module]:
        found: list[nn.Module] = []
        for i, o in pairwise(channels):
            norm = nn.BatchNorm2d(o)
            for value in (norm.weight, norm.running_var):
                nn.init.uniform_(value, 0.5, 1.5)  # type: ignore[arg-type]
            for value in (norm.bias, norm.running_mean):
                nn.init.normal_(value, 0, 0.1)  # type: ignore[arg-type]
            found += [kind(i, o, 3, padding=1), norm]
        return found

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for scale in self.enc:
            for conv, norm in zip(scale[::2], scale[1::2], strict=True):
                x = norm(conv(x)).relu()
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            kept.append(indices)
        for scale in self.dec:
            x = F.max_unpool2d(x, kept.pop(), 2)
            for conv, norm in zip(scale[::2], scale[1::2], strict=True):
                is_last = conv is self.dec[-1][2]
                x = norm(conv(x)) if is_last else norm(conv(x)).relu()
        return x


@pytest.mark.parametrize(('is_turned', 'has_last_norm'), [(False, False), (True, True)])
def test_published_segnets_give_the_same_scores(is_turned: bool, has_last_norm: bool) -> None:
    torch.manual_seed(0)
    published = PublishedSegNet(4, 4, is_turned=is_turned, has_last_norm=has_last_norm).eval()
    weights = {k: v for k, v in published.state_dict().items() if not k.endswith('tracked')}
    converted = in_order(weights, 4)
    assert converted.used == set(weights)
    assert bool(converted.notes) == has_last_norm
    network = SegNet(4, **converted.arguments)
    network.load_state_dict(converted.state, strict=False)
    assert set(network.state_dict()) - set(converted.state) == {
        k for k in network.state_dict() if k.endswith('tracked')
    }
    x = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), published(x), rtol=1e-4, atol=1e-5)


def test_own_names_in_safetensors(tmp_path: Path, capsys: Any) -> None:
    torch.manual_seed(0)
    network = SegNetSmall(4, width=8).eval()
    save_file(network.state_dict(), tmp_path / 'own.safetensors')
    (tmp_path / 'c.yaml').write_text(
        'classes:\n' + ''.join(f'  - {{id: {i}, name: c{i}, colour: [{i}, 0, 0]}}\n' for i in range(4))
    )
    words = [
        'import',
        str(tmp_path / 'own.safetensors'),
        '--classes',
        str(tmp_path / 'c.yaml'),
        '--input-size',
    ]
    words += ['64x48', '--network', 'segnet_small', '-o', str(tmp_path / 'm.safetensors')]
    assert main(words) == 1
    assert 'expected (16, 3, 7, 7)' in capsys.readouterr().err
    assert main([*words, '--arguments', '{width: 8}', '--normalisation', 'signed']) == 0
    assert 'the names of seg_ros' in capsys.readouterr().out
    model = load_model(tmp_path / 'm.safetensors')
    assert model.metadata.input_size == (48, 64)
    for name, value in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value)


def test_tensors_without_use_are_named(tmp_path: Path) -> None:
    state = {**ENet(4).state_dict(), 'aux.weight': torch.zeros(3)}
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(ModelFileError, match=r'1 tensors would not be used: aux\.weight'):
        import_weights(tmp_path / 'x.pth', tmp_path / 'm.safetensors', 'enet', CLASSES, SMALL)
    with pytest.raises(ModelFileError, match='1 blocks; expected'):
        from_davidtvs({'a.weight': torch.zeros(3)}, 4)


def test_pickles_are_refused(tmp_path: Path) -> None:
    torch.save(ENet(4), tmp_path / 'whole.pth')
    with pytest.raises(ModelFileError, match=r'only tensors.*state_dict'):
        import_weights(tmp_path / 'whole.pth', tmp_path / 'm.safetensors', 'enet', CLASSES, SMALL)

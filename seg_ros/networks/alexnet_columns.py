"""AlexNet as an encoder of hypercolumns, without the layers behind the last map.

The network is that of :mod:`seg_ros.networks.alexnet` in torchvision's layout.
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from seg_ros.networks.pretrained import as_convolution
from seg_ros.networks.pyramid import Encoder

_CONVOLUTIONS = (  # input and output channels, kernel, stride, padding; torchvision's name
    (3, 64, 11, 4, 2, 'features.0'),
    (64, 192, 5, 1, 2, 'features.3'),
    (192, 384, 3, 1, 1, 'features.6'),
    (384, 256, 3, 1, 1, 'features.8'),
    (256, 256, 3, 1, 1, 'features.10'),
    (256, 4096, 6, 1, 0, 'classifier.1'),
    (4096, 4096, 1, 1, 0, 'classifier.4'),
)
_POOLED_AFTER = (1, 2, 5)
_N_CONVOLUTIONS = 5


class AlexNetColumns(Encoder):
    """AlexNet up to the last of some layers, for images of any size.

    fc6 is padded by 2 values before and 3 behind, so that it keeps the size of its input.

    Args:
        layers: Names of the layers whose results are the maps, in their order: conv1 to conv5, pool1, pool2,
            pool5, fc6, fc7.
    """

    trained_on = 'AlexNet (torchvision)'

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()
        self._layers, channels = tuple(layers), dict[str, int]()
        self._depth = int(layers[-1][-1])
        for number, (n_in, n_out, kernel, stride, padding, _) in enumerate(_CONVOLUTIONS[: self._depth], 1):
            name = f'conv{number}' if number <= _N_CONVOLUTIONS else f'fc{number}'
            self.add_module(name, nn.Conv2d(n_in, n_out, kernel, stride, padding))
            channels |= {name: n_out, f'pool{number}': n_out}
        self.pool = nn.MaxPool2d(3, stride=2)
        self.margin = nn.ZeroPad2d((2, 3, 2, 3))
        self.channels = tuple(channels[layer] for layer in layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W at least 64, to one map for each layer, at 1/4 to 1/32."""
        maps = dict(self._results(x))
        return [maps[layer] for layer in self._layers]

    def _results(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Names and results of the layers, after their ReLU, in their order."""
        for number in range(1, self._depth + 1):
            is_convolution = number <= _N_CONVOLUTIONS
            name = f'conv{number}' if is_convolution else f'fc{number}'
            x = self.get_submodule(name)(self.margin(x) if name == 'fc6' else x).relu()
            yield name, x
            is_last = number == self._depth and self._layers[-1] == name
            if number in _POOLED_AFTER and not is_last:
                x = self.pool(x)
                yield f'pool{number}', x

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load torchvision's weights; layers behind the last map are ignored."""
        names = [f'conv{n}' if n <= _N_CONVOLUTIONS else f'fc{n}' for n in range(1, len(_CONVOLUTIONS) + 1)]
        renamed = {row[-1]: name for row, name in zip(_CONVOLUTIONS, names, strict=True)}
        skipped = {'classifier.6', *names[self._depth :]}
        own = {}
        for key, value in state.items():
            layer, _, tensor = key.rpartition('.')
            name = renamed.get(layer, layer)
            if name not in skipped:
                is_kernel = name in ('fc6', 'fc7') and tensor == 'weight'
                own[f'{name}.{tensor}'] = (
                    as_convolution(value, self.get_parameter(f'{name}.weight')) if is_kernel else value
                )
        self.load_named(own)

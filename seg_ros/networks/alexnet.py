"""AlexNet as a fully convolutional encoder.

A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks",
2012. Torchvision publishes weights of the form with one column (A. Krizhevsky, arXiv 1404.5997). Caffe
publishes weights of the form with two columns, grouped convolutions and local response normalisation
(CaffeNet). fc6 and fc7 become a 6x6 and a 1x1 convolution, after J. Long, E. Shelhamer, T. Darrell, "Fully
convolutional networks", 2015.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.networks.pretrained import as_convolution
from seg_ros.networks.pyramid import Encoder

_LAYOUTS = {  # conv1 to conv5: input channels, output channels, kernel, stride, padding, groups
    'torchvision': (
        (3, 64, 11, 4, 2, 1),
        (64, 192, 5, 1, 2, 1),
        (192, 384, 3, 1, 1, 1),
        (384, 256, 3, 1, 1, 1),
        (256, 256, 3, 1, 1, 1),
    ),
    'caffe': (
        (3, 96, 11, 4, 0, 1),
        (96, 256, 5, 1, 2, 2),
        (256, 384, 3, 1, 1, 1),
        (384, 384, 3, 1, 1, 2),
        (384, 256, 3, 1, 1, 2),
    ),
}
_POOLED_AFTER = (1, 2, 5)
_N_CELLS = 6


class AlexNetFeatures(Encoder):
    """AlexNet up to fc7, for images of any size: maps at about 1/8, 1/16 and 1/32, and fc7 at 1/32.

    The layers are called conv1 to conv5, fc6 and fc7, and the ReLUs behind them relu1 to relu7. Codes and
    embeddings read rectified maps from relu1 to relu7. With padding, fc6 keeps the size of its input. Without
    padding, its result at each place is exactly the result of the fully connected layer.

    Args:
        layout: 'torchvision' (one column) or 'caffe' (groups and normalisation).
        pad: Whether fc6 is padded.

    Raises:
        ModelFileError: The layout is unknown.
    """

    def __init__(self, layout: str = 'torchvision', *, pad: bool = True) -> None:
        super().__init__()
        if layout not in _LAYOUTS:
            raise ModelFileError(f"unknown AlexNet layout '{layout}'; known: {', '.join(_LAYOUTS)}")
        self.trained_on = f'AlexNet ({layout})'
        self.layout = layout
        for number, (n_in, n_out, kernel, stride, padding, groups) in enumerate(_LAYOUTS[layout], 1):
            convolution = nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups)
            self.add_module(f'conv{number}', convolution)
        self.fc6 = nn.Conv2d(256, 4096, _N_CELLS)
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        for number in range(1, 8):
            self.add_module(f'relu{number}', nn.ReLU())
        before = (_N_CELLS - 1) // 2
        self.margin = nn.ZeroPad2d((before, before + 1) * 2) if pad else nn.Identity()
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=layout == 'caffe')
        self.normalise = nn.LocalResponseNorm(5, 1e-4, 0.75) if layout == 'caffe' else nn.Identity()
        first, second, _, _, last = (row[1] for row in _LAYOUTS[layout])
        self.channels = (first, second, last, 4096)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W at least 63, to the maps after the three poolings and after fc7."""
        maps = []
        for number in range(1, 6):
            x = self.get_submodule(f'relu{number}')(self.get_submodule(f'conv{number}')(x))
            if number in _POOLED_AFTER:
                x = self.pool(x)
                x = self.normalise(x) if number <= 2 else x
                maps.append(x)
        x = self.get_submodule('relu6')(self.fc6(self.margin(x)))
        maps.append(self.get_submodule('relu7')(self.fc7(x)))
        return maps

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load torchvision's weights (``features.0``, ...) or Caffe's (``conv1``, ``fc6``, ...)."""
        renamed = {f'features.{old}': f'conv{new}' for new, old in enumerate((0, 3, 6, 8, 10), 1)}
        renamed |= {'classifier.1': 'fc6', 'classifier.4': 'fc7'}
        own = {}
        for key, value in state.items():
            layer, _, tensor = key.rpartition('.')
            name = renamed.get(layer, layer)
            if name in ('classifier.6', 'fc8'):
                continue
            if name in ('fc6', 'fc7') and tensor == 'weight':
                value = as_convolution(value, self.get_parameter(f'{name}.weight'))
            own[f'{name}.{tensor}'] = value
        self.load_named(own)

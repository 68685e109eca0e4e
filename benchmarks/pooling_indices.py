"""Measure the memory that SegNet saves by keeping the positions of maxima instead of maps.

The authors state that positions need two bits for each 2x2 window, and that decoders which read maps of the
encoder need far more memory (Badrinarayanan et al. 2017, sections 3 and 4.4). The numbers of bytes that the
encoder keeps for the decoder are counted. Peaks of memory are measured, each in a process of its own: of
SegNet, and of the same network whose decoder enlarges its maps and adds those of the encoder.

    python benchmarks/pooling_indices.py --width 64
"""

import argparse
import json
import resource
import subprocess
import sys

import torch
from torch import Tensor

from seg_ros.networks.graph.cost import peak_activation_bytes
from seg_ros.networks.layers import doubled, max_pool, pad_to_multiple
from seg_ros.networks.segnet import SegNet

N_CLASSES = 11


class SegNetWithMaps(SegNet):
    """SegNet whose decoder enlarges by repetition and adds the maps that the encoder has pooled."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, normalised, to (B, n_classes, H, W) scores."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride)
        maps = []
        for scale in self.encoder.scales:
            x = scale(x)
            maps.append(x)
            x, _ = max_pool(x)
        for scale, kept in zip(self.decoder, reversed(maps), strict=True):
            x = scale(doubled(x) + kept)
        scores: Tensor = self.classify(x)
        return scores[..., :height, :width]


NETWORKS = {'positions of maxima': SegNet, 'maps': SegNetWithMaps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--width', type=int, default=64, help='number of channels of the first scale')
    parser.add_argument('--size', nargs=2, type=int, default=[360, 480], help='height and width of the image')
    parser.add_argument('--measure', choices=list(NETWORKS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    example = torch.zeros(1, 3, *arguments.size)
    if arguments.measure:
        print(json.dumps(peak_bytes(NETWORKS[arguments.measure](N_CLASSES, width=arguments.width), example)))
        return
    n_values = kept_values(arguments.width, arguments.size)
    print(f'kept for the decoder, MB, an image of {arguments.size[1]}x{arguments.size[0]}:')
    for name, bits in (('float32', 32), ('bfloat16', 16)):
        print(f'  maps in {name:31} {n_values * bits / 8e6:9.2f}')
    for name, bits in (('as float32, in this package', 32), ('as bfloat16', 16), ('as 2 bits', 2)):
        print(f'  positions {name:29} {n_values / 4 * bits / 8e6:9.2f}')
    for name, build in NETWORKS.items():
        counted = peak_activation_bytes(build(N_CLASSES, width=arguments.width), example)
        words = ['--width', str(arguments.width), '--size', *map(str, arguments.size), '--measure', name]
        command = [sys.executable, __file__, *words]
        measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f'with {name}: {counted / 1e6:.1f} MB of activations at one time, peak {measured / 1e6:.1f} MB')


def kept_values(width: int, size: list[int]) -> int:
    """Number of values of all maps before their pooling."""
    height, length = (-(-n // SegNet.stride) * SegNet.stride for n in size)
    channels = [width * multiple for multiple in (1, 2, 4, 8, 8)]
    return sum(count * (height >> k) * (length >> k) for k, count in enumerate(channels))


@torch.no_grad()
def peak_bytes(network: SegNet, example: Tensor) -> int:
    """Increase of the peak of this process's memory by one pass."""
    network.eval()
    network(example[..., :64, :64])  # what libraries allocate once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network(example)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == '__main__':
    main()

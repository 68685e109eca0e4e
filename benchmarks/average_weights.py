"""The mean of the weights of two networks, of which one learnt on from the other.

It is about as good as the better one, and often better on images unlike those learnt from (M. Wortsman et
al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903). Codes and embeddings are left out: make new
ones.

    python benchmarks/average_weights.py BEFORE AFTER -o MEAN
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from seg_ros.modelfile.file import load_model
from seg_ros.training.export import export_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('before', type=Path)
    parser.add_argument('after', type=Path)
    parser.add_argument('--share', type=float, default=0.5, help='of the one after')
    parser.add_argument('-o', '--output', type=Path, required=True)
    arguments = parser.parse_args()

    before, after = load_model(arguments.before), load_model(arguments.after)
    others = before.network.state_dict()
    shapes = [{k: v.shape for k, v in m.network.state_dict().items()} for m in (before, after)]
    if shapes[0] != shapes[1]:
        parser.error(f'{before.path} and {after.path} are different networks; expected one that learnt on')
    mean = {
        name: torch.lerp(others[name], value, arguments.share) if value.is_floating_point() else value
        for name, value in after.network.state_dict().items()
    }
    after.network.load_state_dict(mean)
    training = {**after.metadata.training, 'mean_with': before.digest}
    export_model(arguments.output, after.network, replace(after.metadata, training=training))


if __name__ == '__main__':
    main()

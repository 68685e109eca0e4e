"""Average the weights of two networks, one of which was trained further from the other.

The mean is about as accurate as the better network, and often more accurate on images unlike the training
images (M. Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903). Codes and embeddings
are left out; fit new ones.

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
    parser.add_argument('before', type=Path, help='model before the further training')
    parser.add_argument('after', type=Path, help='model after it')
    parser.add_argument('--share', type=float, default=0.5, help='weight of the second model, 0..1')
    parser.add_argument('-o', '--output', type=Path, required=True, help='model file to write')
    arguments = parser.parse_args()

    before, after = load_model(arguments.before), load_model(arguments.after)
    others = before.network.state_dict()
    shapes = [{k: v.shape for k, v in m.network.state_dict().items()} for m in (before, after)]
    if shapes[0] != shapes[1]:
        parser.error(f'{before.path} and {after.path} have different weights; expected one network')
    mean = {}
    for name, value in after.network.state_dict().items():
        is_weight = value.is_floating_point()
        mean[name] = torch.lerp(others[name].float(), value.float(), arguments.share) if is_weight else value
    after.network.load_state_dict(mean)
    training = {**after.metadata.training, 'mean_with': before.digest}
    export_model(arguments.output, after.network, replace(after.metadata, training=training))


if __name__ == '__main__':
    main()

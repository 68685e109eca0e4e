"""Compare pruning criteria: mIoU of a model against its remaining operations.

Each point starts from the whole model. Channels are removed by one criterion until a fraction of the
operations remains. The accuracy is measured without training and, with --epochs, after equal training for
all.

    python benchmarks/pruning_criteria.py MODEL --dataset camvid --data DIR --split val
    python benchmarks/pruning_criteria.py MODEL --dataset squares --split test --epochs 4
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from seg_ros.compression.context import CompressionContext
from seg_ros.compression.cost_target import CostTarget
from seg_ros.compression.learning import take
from seg_ros.compression.steps import Prune
from seg_ros.datasets.open import open_dataset
from seg_ros.modelfile.file import load_model
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Source
from seg_ros.training.validation import as_figures, measure

LEARNING = {
    'augment': {'scale': [0.7, 1.5], 'flip': 0.5, 'brightness': 0.3, 'contrast': 0.3, 'saturation': 0.3},
    'loss': {'balance': 'enet', 'constant': 1.06, 'jaccard': 1.0},
    'batch_size': 8,
    'learning_rate': 0.002,
    'warmup': 0.1,
    'ema': 0.95,
    'workers': 1,
    'precision': 'bf16',
    'seed': 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--dataset', default='camvid')
    parser.add_argument('--data', type=Path)
    parser.add_argument('--split', default='val')
    parser.add_argument('--criteria', nargs='+', default=['taylor', 'l1', 'random'])
    parser.add_argument('--shares', nargs='+', type=float, default=[0.9, 0.8, 0.7, 0.6, 0.5])
    parser.add_argument('--images', type=int, default=16, help='number of images for scoring')
    parser.add_argument(
        '--epochs', type=int, default=0, help='number of epochs of training after pruning; 0 = none'
    )
    parser.add_argument(
        '--crop', nargs=2, type=int, help='height and width of training images (default: whole images)'
    )
    parser.add_argument('--only-learnt', action='store_true', help='leave out the curves without training')
    parser.add_argument(
        '--seeds', type=int, default=3, help='number of seeds of random pruning, which are averaged'
    )
    parser.add_argument(
        '--keep-statistics', action='store_true', help='keep the statistics of batch normalisations'
    )
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    arguments = parser.parse_args()

    whole = mean_iou(arguments.model, arguments)
    print(f'{"":24} whole {whole:6.2f}')
    curves: dict[str, dict[float, float]] = {}
    before = [] if arguments.only_learnt else [0]
    for epochs in [*before, *([arguments.epochs] if arguments.epochs else [])]:
        for criterion in arguments.criteria:
            seeds = range(arguments.seeds if criterion == 'random' else 1)
            name = f'{criterion}, {epochs} epochs' if epochs else f'{criterion}, not learnt'
            curves[name] = {}
            for fraction in arguments.shares:
                reached = [point(arguments, criterion, fraction, epochs, seed) for seed in seeds]
                curves[name][fraction] = sum(reached) / len(reached)
            print(f'{name:24}', *(f'{s:.0%} {v:6.2f}  ' for s, v in curves[name].items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({'whole': whole, 'curves': curves}, indent=2) + '\n')
    if arguments.plot:
        draw(arguments.plot, whole, curves, arguments)


def point(arguments: argparse.Namespace, criterion: str, fraction: float, epochs: int, seed: int) -> float:
    """mIoU in percent of the model pruned to a fraction of its operations."""
    learn: dict[str, Any] = {**LEARNING, 'epochs': epochs} if epochs else {}
    if learn and arguments.crop:
        learn['augment'] = {**LEARNING['augment'], 'crop': arguments.crop}
    train = Source(arguments.dataset, 'train')
    context = CompressionContext(
        (train,), None, arguments.data, Processes(0, 1, torch.device('cpu')), {}, arguments.model
    )
    step = Prune(
        CostTarget('macs', share=fraction),
        criterion,
        images=arguments.images,
        statistics=not arguments.keep_statistics,
        learn=learn,
        floor=0.05,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        pruned = Path(folder) / 'pruned.safetensors'
        take(step, load_model(arguments.model), pruned, context)
        return mean_iou(pruned, arguments)


def mean_iou(path: Path, arguments: argparse.Namespace) -> float:
    """mIoU in percent."""
    model = load_model(path)
    metadata = model.metadata
    network = ImageNetwork(model.network, metadata.normalisation).eval()
    dataset = open_dataset(arguments.dataset, arguments.data, arguments.split)
    matrix, _ = measure(network, dataset, metadata.input_size, Processes(0, 1, torch.device('cpu')))
    return 100 * float(as_figures(matrix, metadata.classes)['mean_iou'])


def draw(
    path: Path, whole: float, curves: dict[str, dict[float, float]], arguments: argparse.Namespace
) -> None:
    """Draw the curves as a picture file: a colour for each criterion, broken lines without training."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4))
    for name, curve in curves.items():
        criterion, how = name.split(', ')
        style = '--' if how == 'not learnt' and arguments.epochs else '-'
        points = {1.0: whole, **curve}
        colour = f'C{arguments.criteria.index(criterion)}'
        axis.plot(
            [100 * s for s in points], list(points.values()), style, marker='o', color=colour, label=name
        )
    axis.invert_xaxis()
    axis.set(
        xlabel='remaining operations, %',
        ylabel=f'mIoU on {arguments.dataset} {arguments.split}, %',
        ylim=(0, 100),
    )
    axis.legend()
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()

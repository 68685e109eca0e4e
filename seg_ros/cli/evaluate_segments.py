"""``seg_ros evaluate-segments``: segments of a model with codes, and of other methods, against people's."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from seg_ros import schema
from seg_ros.datasets.registry import SEGMENTED
from seg_ros.datasets.segmented import SegmentedImages
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.evaluation.figures import format_table, write_json
from seg_ros.evaluation.segment_baselines import GRIDS, METHODS, Cutter, cut
from seg_ros.inference.backends.backend import choose_device
from seg_ros.metrics.segments import SegmentScores
from seg_ros.modelfile import precision
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.precision import choose_quantization
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.resources import resource

MEASURES = ('per_segment', 'covering')
Tuned = dict[str, dict[str, dict[str, int | float]]]
"""Method -> measure -> settings."""

_SWEEP = (8, 10, 14, 20, 28, 40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('dataset', choices=list(SEGMENTED), help='kind of data set')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument('--split', default='val', help='part of the data set (default: %(default)s)')
    parser.add_argument('--model', default='segments', help='model with codes (default: %(default)s)')
    parser.add_argument(
        '--methods', nargs='+', choices=list(METHODS), default=list(METHODS), metavar='METHOD'
    )
    parser.add_argument('--limit', type=int, metavar='N', help='measure on N images spread over the split')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')
    parser.add_argument(
        '--plot', type=Path, metavar='OUT', help='draw figures over superpixel counts, as PNG'
    )
    parser.add_argument(
        '--settings',
        type=Path,
        metavar='FILE',
        help='of all methods (default: those shipped for the data set)',
    )
    parser.add_argument(
        '--tune', metavar='SPLIT', help='first choose the settings on that split, and keep them in --settings'
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, or cuda:N (default: %(default)s)')
    parser.add_argument('--quantization', default='auto', help='auto, or a level (default: %(default)s)')
    parser.add_argument(
        '--backend',
        default='auto',
        choices=('auto', 'torch'),
        help='images have sizes of their own, which torch alone takes',
    )


def run(arguments: argparse.Namespace) -> int:
    """Tune if asked to, measure, print, and write the figures."""
    model = load_model(arguments.model)
    frames = frame_network(model, arguments.device, arguments.quantization)
    open_set = SEGMENTED[arguments.dataset]
    if arguments.tune:
        if arguments.settings is None:
            raise ParameterError('--tune chooses settings; say with --settings FILE where to keep them')
        if arguments.tune == arguments.split:
            raise ParameterError(f'--tune {arguments.tune} is the split to measure on; choose another')
        tuned = tune(open_set(arguments.data, arguments.tune), frames, arguments.methods, arguments.limit)
        kept = read_settings(arguments.settings, arguments.dataset) if arguments.settings.exists() else {}
        write_json(arguments.settings, {**kept, **tuned})
    settings = read_settings(arguments.settings, arguments.dataset)
    images = open_set(arguments.data, arguments.split)
    figures = measure(images, frames, settings, arguments.methods, arguments.limit)
    report = {
        'dataset': arguments.dataset,
        'split': arguments.split,
        'n_images': len(_chosen(images, arguments.limit)),
        'path': str(model.path),
        'digest': model.digest,
        'device': arguments.device,
        'quantization': model.metadata.quantization,
        'methods': figures,
    }
    rows = {
        method: '  '.join(
            f'{measure} {100 * figures[method][measure]["value"]:.2f} %' for measure in MEASURES
        )
        for method in figures
    }
    print(format_table(rows))
    write_json(arguments.json, report)
    if arguments.plot:
        _plot(arguments.plot, images, frames, settings, arguments.limit)
    return 0


def frame_network(model: Model, device: str, quantization: str) -> FrameNetwork:
    """What gives codes for images of any size.

    Raises:
        UnavailableError: the model has no codes.
    """
    if model.codes is None:
        raise UnavailableError(f'model {model.path} has no codes; seg_ros fit-codes adds them')
    level = choose_quantization(model, quantization)
    return precision.frame_network(model, level).to(choose_device(device))


def read_settings(path: Path | None, dataset: str) -> Tuned:
    """Read the settings of all methods.

    Args:
        path: JSON file; None = the file that is shipped for the data set.
        dataset: Name of the data set.

    Raises:
        ParameterError: The file cannot be read, or it does not hold settings.
    """
    try:
        path = path or resource(f'config/segments/{dataset}.json')
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError, UnavailableError) as err:
        raise ParameterError(
            f'no settings for {dataset}: {err}; choose some with --tune train --settings FILE'
        ) from err
    return schema.build(Tuned, content, str(path), ParameterError)


def tune(
    images: SegmentedImages, frames: FrameNetwork, methods: Sequence[str], limit: int | None = None
) -> Tuned:
    """For each method and measure the settings of GRIDS that are best on some images."""
    scores: dict[tuple[str, int], SegmentScores] = {}
    for index in tqdm(_chosen(images, limit), desc='tuning', unit='image', disable=None):
        image, annotations = images[index]
        cutter = Cutter(image, frames)
        for method in methods:
            for position, settings in enumerate(GRIDS.get(method, ())):
                found = cut(cutter, method, settings)
                scores.setdefault((method, position), SegmentScores()).add(found, annotations)
    tuned: Tuned = {}
    for method in methods:
        own = {position: score for (name, position), score in scores.items() if name == method}
        tuned[method] = {
            measure: GRIDS[method][max(own, key=lambda k: float(getattr(own[k], measure)))]
            for measure in MEASURES
            if own
        }
    if 'kmeans' in methods and 'codes' in methods:
        tuned['kmeans'] = tuned['codes']
    return tuned


def measure(
    images: SegmentedImages,
    frames: FrameNetwork,
    tuned: Tuned,
    methods: Sequence[str],
    limit: int | None = None,
) -> dict[str, Any]:
    """Both measures of each method, with the settings chosen for each."""
    unknown = [method for method in methods if not tuned.get(method, {}).keys() >= set(MEASURES)]
    if unknown:
        raise ParameterError(f'no settings for {", ".join(unknown)}; choose some with --tune')
    scores = {(method, measure): SegmentScores() for method in methods for measure in MEASURES}
    for index in tqdm(_chosen(images, limit), desc='segments', unit='image', disable=None):
        image, annotations = images[index]
        cutter = Cutter(image, frames)
        for method, measure in scores:
            scores[method, measure].add(cut(cutter, method, tuned[method][measure]), annotations)
    return {
        method: {
            measure: {
                'value': float(getattr(scores[method, measure], measure)),
                'settings': tuned[method][measure],
            }
            for measure in MEASURES
        }
        for method in methods
    }


def _chosen(images: SegmentedImages, limit: int | None) -> list[int]:
    """Indices of at most ``limit`` images, spread evenly."""
    n = len(images)
    return list(range(n)) if not limit or limit >= n else [k * n // limit for k in range(limit)]


def _plot(
    path: Path,
    images: SegmentedImages,
    frames: FrameNetwork,
    tuned: Mapping[str, Mapping[str, Mapping[str, float]]],
    limit: int | None,
) -> None:
    """Both measures over the number of superpixels: figure 3 of the paper."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    swept = ('slic', 'kmeans', 'codes', 'features')
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4))
    counts: dict[int, list[int]] = {size: [] for size in _SWEEP}
    scores: dict[tuple[str, str, int], SegmentScores] = {}
    with torch.no_grad():
        for index in tqdm(_chosen(images, limit), desc='sweep', unit='image', disable=None):
            image, annotations = images[index]
            cutter = Cutter(image, frames)
            for size in _SWEEP:
                counts[size].append(int(cutter.slic({'region_size': size}).max()) + 1)
                for method in swept:
                    for measure in MEASURES:
                        found = cut(cutter, method, {**tuned[method][measure], 'region_size': size})
                        scores.setdefault((method, measure, size), SegmentScores()).add(found, annotations)
    x = [sum(counts[size]) / len(counts[size]) for size in _SWEEP]
    for axis, measure in zip(axes, MEASURES, strict=True):
        for method in swept:
            y = [100 * float(getattr(scores[method, measure, size], measure)) for size in _SWEEP]
            axis.plot(x, y, marker='o', label=method)
        axis.set(xscale='log', xlabel='superpixels', ylabel=f'{measure.replace("_", " ")}, %')
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

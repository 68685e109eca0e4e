"""Compare training on chosen frames with training on frames at even steps, on rendered soccer fields.

The pool are recordings of a robot that mostly stands and sometimes walks: a place is seen in 1 to 40 frames,
most of which look alike. A first model is trained on few frames of the first recording. It gives uncertainty,
labels and descriptors of the whole pool, from which `select_frames` chooses. Both sets get their true labels.
The recipe `soccer` trains on each of them, from the same file, with equal steps and several seeds. The test
images show fields that are not in the pool:

    python benchmarks/active_learning.py --output runs/active

A run that was stopped continues with the same command. The file `results.json` of the folder has
the figures, which the last lines of the output repeat.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.bag_evaluation.descriptors import describe_frame
from seg_ros.bag_evaluation.selection import Candidates, reasons_of, select_frames
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.classes import ClassSet
from seg_ros.datasets.folder_writer import FolderWriter
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.resources import resource
from seg_ros.synthetic import SoccerScene
from seg_ros.synthetic.soccer import SoccerStyle

CAMERA, TRUTH = '/camera/image_raw', '/truth/labels'
PERIOD_NS = 500_000_000
LONGEST_STAND = 40
SIZE = 240, 320
FIRST_POOL_SEED = 9_000_000  # the splits of the data set 'soccer' begin at 1, 2 and 3 million
CLASSES = ClassSet.from_yaml(resource('config/labels/soccer.yaml'))


@dataclass(frozen=True)
class PoolFrame:
    """Frame of the pool."""

    bag: int
    stamp_ns: int
    image: UInt8Array
    truth: UInt8Array


def recording(number: int, n_frames: int) -> Iterator[tuple[UInt8Array, UInt8Array]]:
    """Frames of one recording: one light and one camera, and places that are seen for different times."""
    rng = np.random.default_rng([number, 77])
    style = SoccerStyle.random(FIRST_POOL_SEED + 10_000 * number)
    n_left, place = n_frames, 0
    while n_left:
        seed = FIRST_POOL_SEED + 10_000 * number + place
        place += 1
        n_here = min(round(float(np.exp(rng.uniform(0, np.log(LONGEST_STAND))))), n_left)
        n_left -= n_here
        crowd = {
            'n_robots': int(rng.integers(0, 8)),
            'n_people': int(rng.choice((0, 1, 2), p=(0.55, 0.3, 0.15))),
        }
        base = replace(style, pitch=float(np.clip(style.pitch + rng.normal(0, 0.1), -0.8, 0.1)), **crowd)
        for _ in range(n_here):
            sway = replace(
                base,
                pitch=base.pitch + float(rng.normal(0, 0.006)),
                roll=base.roll + float(rng.normal(0, 0.006)),
            )
            yield SoccerScene(seed, *SIZE, style=sway).render()


def write_pool(folder: Path, n_bags: int, n_frames: int) -> list[Path]:
    """Write the recordings as bags, except those that exist."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'recording_{number:02}.mcap' for number in range(n_bags)]
    for number, path in enumerate(tqdm(paths, desc='pool', disable=None)):
        if path.exists():
            continue
        with BagWriter(path, compression='zstd') as bag:
            for index, (image, truth) in enumerate(recording(number, n_frames)):
                stamp_ns = PERIOD_NS * (2 + index)
                bag.write_image(CAMERA, image, stamp_ns)
                bag.write_image(TRUTH, truth, stamp_ns)
    return paths


def read_pool(paths: list[Path]) -> Iterator[PoolFrame]:
    """Frames of all recordings."""
    for number, path in enumerate(paths):
        with BagReader(path) as bag:
            messages = zip(bag.messages(CAMERA), bag.messages(TRUTH), strict=True)
            for camera, truth in messages:
                image, labels = bag.image(camera), bag.image(truth)
                if image is not None and labels is not None:
                    yield PoolFrame(number, camera.stamp_ns, image, labels[..., 0])


def write_set(folder: Path, paths: list[Path], chosen: set[int]) -> Path:
    """Write frames of the pool as a folder data set, unless it exists."""
    if not (folder / 'complete').exists():
        writer = FolderWriter(folder, 'train', CLASSES)
        for index, frame in enumerate(read_pool(paths)):
            if index in chosen:
                writer.add(f'{index:05}', frame.image, frame.truth)
        (folder / 'complete').touch()
    return folder


def train(data: Path, run: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train by a recipe unless that is done; the figures of results.json."""
    if not (run / 'results.json').exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        path = run.with_suffix('.yaml')
        path.write_text(yaml.safe_dump(recipe))
        words = ['train', str(path), '--data', str(data), '-o', str(run), '--threads', '1']
        subprocess.run([sys.executable, '-m', 'seg_ros.cli', *words], check=True)
    figures: dict[str, Any] = json.loads((run / 'results.json').read_text())
    return figures


def soccer_recipe(n_images: int, n_seen: int, seed: int, init: str) -> dict[str, Any]:
    """The shipped recipe with other data, number of epochs and seed."""
    recipe: dict[str, Any] = yaml.safe_load(resource('config/train/soccer.yaml').read_text())
    n_epochs = max(n_seen // n_images, 1)
    return {
        **recipe,
        'train': [{'dataset': 'folder', 'split': 'train', 'options': {'classes': 'classes.yaml'}}],
        'validation': {'dataset': 'soccer', 'split': 'val', 'options': {'n_images': 40}},
        'epochs': n_epochs,
        'validate_every': max(n_epochs // 3, 1),
        'init': init,
        'seed': seed,
    }


def describe_pool(paths: list[Path], model: Path, cache: Path) -> Candidates:
    """Measures and descriptors of all frames by the first model."""
    if not cache.exists():
        segmenter = Segmenter.load(Settings(model=str(model), device='cpu', n_threads=1))
        rows = []
        for frame in tqdm(read_pool(paths), desc='measures', disable=None):
            found = segmenter(frame.image, confidence=True)
            assert found.confidence is not None
            descriptor = describe_frame(frame.image, found.labels, len(CLASSES))
            rows.append((frame.bag, frame.stamp_ns, 1 - found.confidence.mean() / 255, descriptor))
        bags, stamps, uncertainty, descriptors = zip(*rows, strict=True)
        np.savez(cache, bags=bags, stamps=stamps, uncertainty=uncertainty, descriptors=np.stack(descriptors))
    with np.load(cache) as kept:
        values = {'uncertainty': kept['uncertainty'].astype(np.float64)}
        return Candidates(kept['bags'], kept['stamps'], values, kept['descriptors'])


def report(figures: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Write and print the comparison."""
    means = {name: [100 * run['soccer test']['mean_iou'] for run in runs] for name, runs in figures.items()}
    differences = np.subtract(means['chosen'], means['even'])
    classes = {
        name: {
            c: 100 * float(np.mean([run['soccer test']['class_iou'][c] for run in runs]))
            for c in CLASSES.names
        }
        for name, runs in figures.items()
    }
    summary = {
        'mean_iou_percent': means,
        'mean': {name: float(np.mean(values)) for name, values in means.items()},
        'difference_mean': float(differences.mean()),
        'difference_of_each_seed': differences.tolist(),
        'class_iou_percent': classes,
    }
    (folder / 'results.json').write_text(json.dumps(summary, indent=2) + '\n')
    print(json.dumps(summary, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--output', type=Path, required=True, help='folder for the pool, the runs and the figures'
    )
    parser.add_argument('--bags', type=int, default=12, help='number of recordings (default: %(default)s)')
    parser.add_argument(
        '--frames', type=int, default=130, help='frames of each recording (default: %(default)s)'
    )
    parser.add_argument('--select', type=int, default=100, help='frames to label (default: %(default)s)')
    parser.add_argument(
        '--first', type=int, default=20, help='frames of the first model (default: %(default)s)'
    )
    parser.add_argument(
        '--seen', type=int, default=3600, help='images seen by a training (default: %(default)s)'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[1, 2, 3], help='seeds of the trainings')
    parser.add_argument('--diversity', type=float, default=1.0, help='exponent of the distance')
    arguments = parser.parse_args()
    folder = arguments.output

    paths = write_pool(folder / 'pool', arguments.bags, arguments.frames)
    n_pool = arguments.bags * arguments.frames
    start = set(np.linspace(0, arguments.frames - 1, arguments.first).round().astype(int).tolist())
    first = folder / 'first'
    recipe = soccer_recipe(len(start), arguments.seen // 4, 1, 'lite_camvid.safetensors')
    train(write_set(folder / 'first_data', paths, start), first, recipe)

    candidates = describe_pool(paths, first / 'best.safetensors', folder / 'measures.npz')
    chosen = select_frames(candidates, arguments.select, diversity=arguments.diversity)
    even = np.linspace(0, n_pool - 1, arguments.select).round().astype(int).tolist()
    reasons = reasons_of(candidates, chosen)
    listing = [f'{index} {reason}' for index, reason in zip(chosen, reasons, strict=True)]
    (folder / 'chosen.txt').write_text('\n'.join(listing) + '\n')
    sets = {
        'chosen': write_set(folder / 'chosen_data', paths, set(chosen)),
        'even': write_set(folder / 'even_data', paths, set(even)),
    }
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in sets}
    for seed in arguments.seeds:
        for name, data in sets.items():
            recipe = soccer_recipe(arguments.select, arguments.seen, seed, 'lite_camvid.safetensors')
            figures[name].append(train(data, folder / f'{name}_{seed}', recipe))
        report(figures, folder)


if __name__ == '__main__':
    main()

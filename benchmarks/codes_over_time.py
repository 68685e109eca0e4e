"""Measure how well codes recognise an object in the next frame: ROC curve and AUC.

Objects are the connected parts of one class in the labels of CamVid. The same object in the next frame is the
part of the same class with the largest overlap. The mean over all pixels of an object is compared, as a code
and as the logits behind the code. Two views of one object should be nearer than two objects:

    python benchmarks/codes_over_time.py --data DIR --split val --model enet_camvid --plot roc.png
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.cli.options import add_model_arguments, settings_from
from seg_ros.datasets.camvid import CamVid
from seg_ros.images.resize import resize_image
from seg_ros.inference.segmenter import Segmenter
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.regions import Regions, connected_parts

Float64Array = npt.NDArray[np.float64]


def objects(labels: UInt8Array, min_area: int) -> tuple[Regions, list[int]]:
    """Connected parts of the labels, and the ids of the labelled parts that are large enough."""
    regions = connected_parts(labels.astype(np.int32))
    sizes = np.bincount(regions.ids.ravel())
    first = np.unique(regions.ids.ravel(), return_index=True)[1]
    classes = labels.ravel()[first]
    return regions, [k for k in range(regions.n) if sizes[k] >= min_area and classes[k] != UNLABELLED]


def mean_logits(
    segmenter: Segmenter, code_pooling: CodePooling, image: UInt8Array, regions: Regions
) -> Float64Array:
    """Mean logit of each bit for each region, (S, n_bits) float64."""
    resized = np.array(resize_image(image, *segmenter.input_size))
    logits = segmenter.backend(resized[None])['codes'][0]
    return code_pooling.means(logits, lab_planes(resized), regions).astype(np.float64)


def roc(same: Float64Array, different: Float64Array) -> tuple[Float64Array, Float64Array, float]:
    """False and true positive rates over all thresholds, and the area below the curve; near = same."""
    values = np.concatenate([same, different])
    truth = np.concatenate([np.ones(len(same)), np.zeros(len(different))])
    order = np.argsort(values, kind='stable')
    values, truth = values[order], truth[order]
    ends = np.flatnonzero(np.append(np.diff(values) > 0, True))
    hits, misses = np.cumsum(truth)[ends] / len(same), np.cumsum(1 - truth)[ends] / len(different)
    hits, misses = np.insert(hits, 0, 0), np.insert(misses, 0, 0)
    area = float(((misses[1:] - misses[:-1]) * (hits[1:] + hits[:-1]) / 2).sum())
    return misses, hits, area


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--split', default='val')
    parser.add_argument('--min-area', type=int, default=150, help='minimum area of an object in pixels')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    add_model_arguments(parser)
    arguments = parser.parse_args()
    segmenter = Segmenter.load(settings_from(arguments))
    code_pooling = segmenter.code_pooling
    if code_pooling is None:
        raise SystemExit('the model has no codes')
    data = CamVid(arguments.data, arguments.split)
    drives = [name.partition('_')[0] for name in data.names]
    distances: dict[str, dict[bool, list[float]]] = {
        kind: {True: [], False: []} for kind in ('codes', 'features')
    }
    before = None
    for index in tqdm(range(len(data))):
        image, labels = data[index]
        regions, chosen = objects(labels, arguments.min_area)
        means = mean_logits(segmenter, code_pooling, image, regions)
        now = regions, chosen, means, labels, drives[index]
        if before is not None and before[4] == now[4]:
            compare(before, now, distances)
        before = now
    curves = {kind: roc(np.array(d[True]), np.array(d[False])) for kind, d in distances.items()}
    report = {
        'model': str(segmenter.model.path),
        'n_same': len(distances['codes'][True]),
        'n_different': len(distances['codes'][False]),
        'auc': {kind: curve[2] for kind, curve in curves.items()},
        'median_bits': {
            str(kind): code_pooling.n_bits * float(np.median(distances['codes'][kind]))
            for kind in (True, False)
        },
    }
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    if arguments.plot:
        draw(arguments.plot, curves)


def compare(before: tuple, now: tuple, distances: dict[str, dict[bool, list[float]]]) -> None:  # type: ignore[type-arg]
    """Add the distances between all objects of one frame and all objects of the next."""
    regions, chosen, means, labels, _ = before
    next_regions, next_chosen, next_means, next_labels, _ = now
    for a in chosen:
        mask = regions.ids == a
        class_id = labels[mask][0]
        overlap = np.bincount(next_regions.ids[mask], minlength=next_regions.n)
        successors = [
            b for b in next_chosen if overlap[b] and next_labels[next_regions.ids == b][0] == class_id
        ]
        successor = max(successors, key=lambda b: int(overlap[b]), default=None)
        for b in next_chosen:
            if b != successor and overlap[b] and b in successors:
                continue  # possibly a part of the same object
            is_same = b == successor
            one, other = means[a], next_means[b]
            distances['codes'][is_same].append(float(((one > 0) != (other > 0)).mean()))
            cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-9)
            distances['features'][is_same].append(1 - float(cosine))


def draw(path: Path, curves: dict[str, tuple[Float64Array, Float64Array, float]]) -> None:
    """Draw the ROC curves as a picture file."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(5, 5))
    for kind, (misses, hits, area) in curves.items():
        axis.plot(misses, hits, label=f'{kind}, AUC {area:.4f}')
    axis.set(xlabel='false positive rate', ylabel='true positive rate', xscale='symlog')
    axis.set_xscale('symlog', linthresh=1e-3)
    axis.legend()
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()

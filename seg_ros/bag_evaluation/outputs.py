"""Outputs that need the images again: pictures for the report, annotated bags, and frames to label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from seg_ros.bag_evaluation.gallery import GalleryFrame
from seg_ros.bag_evaluation.measures import PartMeasures
from seg_ros.bag_evaluation.parts import loaded
from seg_ros.bag_evaluation.run import BagOutcome, Outcome, Request, part_path
from seg_ros.bag_evaluation.selection import Candidates, reasons_of, select_frames
from seg_ros.bag_evaluation.selection_folder import SelectedFrame, write_selection
from seg_ros.bag_evaluation.showing import SecondPass
from seg_ros.bag_evaluation.systems import System
from seg_ros.bag_evaluation.views import write_views

SELECTION = 'to_label'
"""Folder of the selected frames, inside the output folder."""

_N_CANDIDATES = 20_000


def write_outputs(
    request: Request, outcome: Outcome, folder: Path, *, annotate: bool, n_selected: int
) -> list[GalleryFrame]:
    """Write the annotated bags with their views, and the frames to label.

    Args:
        request: What was evaluated.
        outcome: Measures of all bags.
        folder: Output folder.
        annotate: Whether to write annotated bags.
        n_selected: Number of frames to select.

    Returns:
        Frames for the report.

    Raises:
        SegRosError: A bag cannot be read, or an output cannot be written.
    """
    system = shown_system(request)
    bags = [bag for bag in outcome.bags if system.key in bag.measures]

    def path_of(bag: str) -> Path:
        return folder / ('annotated.mcap' if len(bags) == 1 else f'annotated_{bag}.mcap')

    with tqdm(desc='drawing', unit='frame', disable=None) as progress:
        second = SecondPass(system, request.reference, path_of if annotate else None, progress.update)
        second.run(bags)
    if annotate and bags:
        write_views(folder, bags[0].frames.topic, written=second.topics)
    if n_selected:
        write_selection(folder / SELECTION, _selected(request, bags, system, n_selected), system.classes)
    return second.gallery


def shown_system(request: Request) -> System:
    """The system whose results are drawn: without true labels the first one that is not the reference."""
    if request.labels.topic or request.labels.folder or request.reference is None:
        return request.systems[0]
    others = [s for s in request.systems if s.key != request.reference.key]
    return others[0] if others else request.systems[0]


def _selected(
    request: Request, bags: Sequence[BagOutcome], system: System, n_selected: int
) -> Iterator[SelectedFrame]:
    """Chosen frames with the labels of the system, bag by bag."""
    candidates, places = _candidates(request, bags, system)
    chosen = select_frames(candidates, n_selected)
    reasons = dict(zip(chosen, reasons_of(candidates, chosen), strict=True))
    segmenter = loaded(system)
    for number, bag in enumerate(bags):
        of_bag = {int(places[k, 1]): k for k in chosen if places[k, 0] == number}
        for frame in bag.frames.frames(0, max(of_bag, default=-1) + 1, only=of_bag.keys()):
            if frame.image is None:
                continue
            k = of_bag[frame.index]
            values = {n: float(v[k]) for n, v in candidates.values.items() if np.isfinite(v[k])}
            labels = segmenter(frame.image, segments=False).labels
            yield SelectedFrame(
                bag.frames.path, frame.index, frame.time_ns, frame.image, labels, values, reasons[k]
            )


def _candidates(
    request: Request, bags: Sequence[BagOutcome], system: System
) -> tuple[Candidates, npt.NDArray[np.int64]]:
    """Measured frames, at most 20,000 at even steps, and (N, 2) number of the bag and position of each."""
    total = sum(bag.measures[system.key].n_frames for bag in bags)
    step = -(-total // _N_CANDIDATES)
    parts: list[tuple[int, PartMeasures]] = []
    for number, bag in enumerate(bags):
        for part in range(bag.job.n_parts):
            path = part_path(request.folder, bag.job, system.key, part)
            found = PartMeasures.load(path, len(system.classes), descriptors=True)
            if found is not None and found.descriptors is not None and found.n_frames:
                parts.append((number, found.every(step)))
    frames = {n: np.concatenate([p.frames[n] for _, p in parts]) for n in parts[0][1].frames}
    numbers = np.concatenate([np.full(p.n_frames, number) for number, p in parts]).astype(np.int64)
    described = [p.descriptors for _, p in parts if p.descriptors is not None]
    values = {
        'uncertainty': 1 - frames['confidence'],
        'flicker_compensated': frames['flicker_compensated'],
        'novelty': frames['novelty'],
        'disagreement': 1 - frames['agreement'],
    }
    candidates = Candidates(numbers, frames['time_ns'].astype(np.int64), values, np.concatenate(described))
    return candidates, np.stack([numbers, frames['index'].astype(np.int64)], axis=1)

"""Results of image and video files: label images, overlays and confidence, with figures over all of them."""

import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.drawing.overlay import Overlay
from seg_ros.errors import DatasetError, ImageError
from seg_ros.evaluation.figures import (
    LabelCounter,
    format_milliseconds,
    format_percent,
    format_table,
    percentiles,
)
from seg_ros.images.files import IMAGE_SUFFIXES, read_image, write_image
from seg_ros.images.video import VIDEO_SUFFIXES, VideoReader, VideoWriter
from seg_ros.inference.prediction import Prediction
from seg_ros.inference.segmenter import Segmenter
from seg_ros.userfiles.reading import is_folder, shown_path


class FileSegmenter:
    """Segments files, writes the results, and keeps figures.

    Args:
        segmenter: The segmenter.
        wanted: Names of the results to write: 'labels', 'overlay', 'confidence'.
        opacity: Opacity of the overlay, 0..1.
    """

    def __init__(self, segmenter: Segmenter, wanted: Collection[str], opacity: float) -> None:
        self._segmenter, self._wanted, self._opacity = segmenter, wanted, opacity
        self._overlay = Overlay(segmenter.classes)
        self._counter = LabelCounter(segmenter.classes)
        self._latency_ms: list[float] = []
        self._sources: dict[Path, Path] = {}

    def segment(self, path: Path, target: Path) -> None:
        """Segment a file and write its results.

        An image becomes ``<target>_labels.png``, ``<target>_overlay.png`` and ``<target>_confidence.png``. A
        video becomes ``<target>_overlay.mp4``, and folders of PNG files for labels and confidence.

        Args:
            path: Path of an image or video file.
            target: Beginning of the paths of the results; missing folders are made.

        Raises:
            ImageError: The file cannot be read, a result cannot be written, or the results would overwrite
                those of another file.
            OSError: A folder cannot be made.
        """
        source = self._sources.setdefault(target, path)
        if source != path:
            raise ImageError(
                f'{path} and {source} would both become {target}_*; put them into different folders'
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            self._segment_video(path, target)
        else:
            for name, picture in self._results(read_image(path)):
                write_image(target.with_name(f'{target.name}_{name}.png'), picture)

    def as_json(self) -> dict[str, Any]:
        """Figures of all files, under the keys that all reports share."""
        return {
            **self._segmenter.as_json(),
            'n_images': len(self._latency_ms),
            'latency_ms': percentiles(self._latency_ms),
            'class_shares': self._counter.fractions(),
        }

    def as_text(self) -> str:
        """The same figures as a table."""
        figures = self.as_json()
        return format_table(
            {
                'model': '{path}, {quantization} on {backend}, {device}'.format(**figures),
                'frames': str(figures['n_images']),
                'latency': format_milliseconds(figures['latency_ms']),
                'classes': format_percent(figures['class_shares']),
            }
        )

    def _segment_video(self, path: Path, target: Path) -> None:
        """Write the overlay as a video of the same rate, and all other results as PNG files in folders."""
        overlay_path = target.with_name(f'{target.name}_overlay.mp4')
        problem: ImageError | None = None
        with VideoReader(path) as video, VideoWriter(overlay_path, video.rate_hz) as overlay:
            frames = tqdm(
                video, desc=path.name, total=video.n_frames, unit='frame', leave=False, disable=None
            )
            for index, image in enumerate(frames):
                for name, picture in self._results(image):
                    if name == 'overlay':
                        problem = problem or _problem_of(overlay, picture)
                        continue
                    folder = target.with_name(f'{target.name}_{name}')
                    folder.mkdir(exist_ok=True)
                    write_image(folder / f'{index:06}.png', picture)
        if problem is not None:
            raise problem  # after all other results
        video.check_complete()

    def _results(self, image: UInt8Array) -> Iterator[tuple[str, UInt8Array]]:
        """Compute the wanted results: name, and (H, W) or (H, W, 3) uint8."""
        prediction = self._predict(image)
        for name in self._wanted:
            if name == 'overlay':
                yield name, self._overlay(image, prediction.labels, opacity=self._opacity, legend=True)
            elif name == 'confidence' and prediction.confidence is not None:
                yield name, prediction.confidence
            else:
                yield name, prediction.labels

    def _predict(self, image: UInt8Array) -> Prediction:
        started = time.perf_counter()
        prediction = self._segmenter(image, confidence='confidence' in self._wanted)
        self._latency_ms.append(1e3 * (time.perf_counter() - started))
        self._counter.add(prediction.labels)
        return prediction


def find_files(inputs: Iterable[Path], output: Path) -> Iterator[tuple[Path, Path]]:
    """Find the files to segment.

    Args:
        inputs: Files and folders. Folders are searched to any depth, also behind links, each once; files
            below ``output`` are left out, since they are results of an earlier run.
        output: Folder of the results, which keep the structure of the folders.

    Yields:
        Path of a file, and the beginning of the paths of its results.

    Raises:
        DatasetError: A folder has no image and no video.
    """
    for path in inputs:
        if not is_folder(path):
            yield path, output / path.stem
            continue
        files = sorted(_inputs_in(path, output))
        if not files:
            raise DatasetError(f'{shown_path(path)} has no image and no video')
        for file in files:
            yield file, output / file.relative_to(path).with_suffix('')


def _inputs_in(folder: Path, output: Path) -> Iterator[Path]:
    """Images and videos of a folder, at any depth: none that are hidden or results."""
    for place, files in _folders_in(folder, output.resolve()):
        for name in files:
            path = place / name
            if not name.startswith('.') and path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
                yield path


def _folders_in(folder: Path, results: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it, with the names of their files; linked folders last, and none twice."""
    waiting, seen = [folder], set()
    while waiting:
        start = waiting.pop(0)
        for name, subfolders, files in os.walk(start):
            place, real = Path(name), Path(name).resolve()
            if real in seen or results in (real, *real.parents):
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
            waiting += [place / name for name in subfolders if (place / name).is_symlink()]
            yield place, files


def _problem_of(video: VideoWriter, picture: UInt8Array) -> ImageError | None:
    """Add a frame to a video; returns the error if that fails."""
    try:
        video.write(picture)
    except ImageError as err:
        return err
    return None

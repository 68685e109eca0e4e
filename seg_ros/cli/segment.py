"""``seg_ros segment``: images, folders and videos through the pipeline, without ROS."""

import argparse
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.cli.options import add_model_arguments, settings_from
from seg_ros.drawing.overlay import Overlay
from seg_ros.errors import ImageError, SegRosError
from seg_ros.evaluation.figures import (
    LabelCounter,
    format_milliseconds,
    format_percent,
    format_table,
    percentiles,
    write_json,
)
from seg_ros.images.files import IMAGE_SUFFIXES, read_image, write_image
from seg_ros.inference.prediction import Prediction
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import check

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg')
OUTPUTS = ('labels', 'overlay', 'confidence')
_USUAL_RATE_HZ = 25.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'inputs', nargs='+', type=Path, metavar='INPUT', help='image, video, or folder of them'
    )
    parser.add_argument(
        '-o', '--output', type=Path, default=Path('segmented'), metavar='FOLDER', help='default: %(default)s'
    )
    parser.add_argument('--labels', action='store_true', help='write class ids, 8-bit PNG, 255 = unlabelled')
    parser.add_argument('--overlay', action='store_true', help='write pictures, or a video, in class colours')
    parser.add_argument('--confidence', action='store_true', help='write 8-bit PNG, 255 = certain')
    parser.add_argument('--opacity', type=float, default=0.5, help='of the colours (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')
    parser.epilog = 'Without --labels, --overlay and --confidence, labels and overlay are written.'
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment everything; a bad file is reported and makes the exit code 1, but stops nothing."""
    wanted = [name for name in OUTPUTS if getattr(arguments, name)] or ['labels', 'overlay']
    opacity = check('overlay_opacity', arguments.opacity)
    file_segmenter = FileSegmenter(Segmenter.load(settings_from(arguments)), wanted, opacity)
    n_bad = 0
    files = list(find_files(arguments.inputs, arguments.output))
    for path, target in tqdm(files, desc='segmenting', unit='file', disable=None):
        try:
            file_segmenter.segment(path, target)
        except (SegRosError, OSError) as err:
            n_bad += 1
            tqdm.write(f'seg_ros: skipped: {err}', sys.stderr)
    write_json(arguments.json, file_segmenter.as_json())
    print(file_segmenter.as_text())
    print(
        format_table(
            {'results': str(arguments.output), 'bad files': f'{n_bad} of {len(files)}' if n_bad else ''}
        )
    )
    return 1 if n_bad else 0


class FileSegmenter:
    """Segments files and remembers what it saw.

    Args:
        segmenter: what segments.
        wanted: of OUTPUTS, what to write.
        opacity: of the overlay, 0..1.
    """

    def __init__(self, segmenter: Segmenter, wanted: Collection[str], opacity: float) -> None:
        self._segmenter, self._wanted, self._opacity = segmenter, wanted, opacity
        self._overlay = Overlay(segmenter.classes)
        self._counter = LabelCounter(segmenter.classes)
        self._latency_ms: list[float] = []
        self._sources: dict[Path, Path] = {}

    def segment(self, path: Path, target: Path) -> None:
        """Segment a file and write ``<target>_labels.png``, ``<target>_overlay.png`` or ``.mp4``, and so on.

        Raises:
            DatasetError, ImageError: it cannot be read, or its results would overwrite those of another file.
            OSError: the results cannot be written.
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
        """Figures under the keys that all reports share."""
        return {
            **self._segmenter.as_json(),
            'n_images': len(self._latency_ms),
            'latency_ms': percentiles(self._latency_ms),
            'class_shares': self._counter.shares(),
        }

    def as_text(self) -> str:
        """The same as a table."""
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
        """An overlay becomes a video of the same rate; labels and confidence become folders of PNG files."""
        with ExitStack() as stack:
            video = cv2.VideoCapture(str(path))
            stack.callback(video.release)
            rate_hz = video.get(cv2.CAP_PROP_FPS) or _USUAL_RATE_HZ
            n_frames = int(max(video.get(cv2.CAP_PROP_FRAME_COUNT), 0))
            overlay = None
            frames = tqdm(
                _frames(video), desc=path.name, total=n_frames, unit='frame', leave=False, disable=None
            )
            index = -1
            for index, image in enumerate(frames):
                for name, picture in self._results(image):
                    if name != 'overlay':
                        folder = target.with_name(f'{target.name}_{name}')
                        folder.mkdir(exist_ok=True)
                        write_image(folder / f'{index:06}.png', picture)
                        continue
                    if overlay is None:
                        overlay = _open_video(target.with_name(f'{target.name}_overlay.mp4'), rate_hz, image)
                        stack.callback(overlay.release)
                    overlay.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            if index < 0:
                raise ImageError(f'{path} is missing or is no video that OpenCV reads')

    def _results(self, image: UInt8Array) -> Iterator[tuple[str, UInt8Array]]:
        """What is wanted of an image: name, and (H, W) or (H, W, 3) uint8."""
        prediction = self._predict(image)
        for name in self._wanted:
            if name == 'overlay':
                yield name, self._overlay(image, prediction.labels, opacity=self._opacity, legend=True)
            else:
                yield name, getattr(prediction, name)

    def _predict(self, image: UInt8Array) -> Prediction:
        started = time.perf_counter()
        prediction = self._segmenter(image, confidence='confidence' in self._wanted)
        self._latency_ms.append(1e3 * (time.perf_counter() - started))
        self._counter.add(prediction.labels)
        return prediction


def find_files(inputs: Iterable[Path], output: Path) -> Iterator[tuple[Path, Path]]:
    """The files to segment, and for each the path that the names of its results begin with.

    Folders are searched to any depth, and their structure is kept; results of an earlier run are left out.
    """
    for path in inputs:
        if not path.is_dir():
            yield path, output / path.stem
            continue
        for file in sorted(path.rglob('*')):
            is_result = output.resolve() in file.resolve().parents
            if file.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) and not is_result:
                yield file, output / file.relative_to(path).with_suffix('')


def _frames(video: cv2.VideoCapture) -> Iterator[UInt8Array]:
    """(H, W, 3) uint8 RGB each."""
    while True:
        is_there, frame = video.read()
        if not is_there:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _open_video(path: Path, rate_hz: float, image: UInt8Array) -> cv2.VideoWriter:
    height, width = image.shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate_hz, (width, height))
    if not video.isOpened():
        raise OSError(f'{path} cannot be written as a video')
    return video

"""``seg_ros demo``: replay a rendered drive with exact labels, or your bag, and report accuracy and speed."""

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from seg_ros import synthetic
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.cli.make_bag import stamp_of
from seg_ros.cli.options import add_json, add_model_arguments, add_output, add_topic
from seg_ros.cli.replay import add_replay_arguments, replay
from seg_ros.errors import ModelFileError
from seg_ros.evaluation.figures import format_table, write_json
from seg_ros.metrics.labels import iou, mean_iou
from seg_ros.modelfile.find import find_model
from seg_ros.synthetic import RenderedDrive

if TYPE_CHECKING:
    from seg_ros.replay.recording import Recording

SEED = 23
RATE_HZ = 10.0
HEIGHT, WIDTH = 360, 480
IMAGES, TRUTH = '/camera/image_raw', '/truth/labels'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, nargs='?', help='bag to segment (default: a rendered drive)')
    add_topic(parser)
    add_output(parser, 'FOLDER', 'folder for bags and pictures', default=Path('build_demo'))
    parser.add_argument(
        '--n-frames', type=int, default=40, help='number of rendered frames (default: %(default)s)'
    )
    add_json(parser)
    add_replay_arguments(parser)
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Replay; print the figures and the path of the contact sheet."""
    _check_model(arguments)
    is_rendered = arguments.bag is None
    bag_path = render_drive(arguments.output, arguments.n_frames) if is_rendered else arguments.bag
    arguments.every_frame |= is_rendered
    topic = IMAGES if is_rendered else arguments.topic
    output = arguments.output / f'{bag_path.stem}_seg_ros.mcap'
    report = replay(arguments, bag_path, output, topic=topic, overwrite=True)
    if report is None:
        return 130
    figures, sheet = report.as_json(), output.with_suffix('.png')
    print(report.as_text())
    if is_rendered:
        with BagReader(bag_path) as bag:
            figures |= accuracy(report.recording, bag)
            report.recording.write_contact_sheet(sheet, truth=bag, truth_topic=TRUTH)
        print(
            '\n'.join(f'  {name:12} IoU {100 * value:5.1f} %' for name, value in figures['class_iou'].items())
        )
        print(format_table({'mean IoU': f'{100 * figures["mean_iou"]:.1f} % of the exact labels'}))
    else:
        report.recording.write_contact_sheet(sheet)
    write_json(arguments.json, figures)
    print(format_table({'contact sheet': str(sheet)}))
    return 130 if report.was_interrupted else 0


def accuracy(recording: 'Recording', truth: BagReader) -> dict[str, Any]:
    """Compare the recorded labels with the exact labels on ``/truth/labels``.

    Args:
        recording: Recording of the replay.
        truth: The rendered drive.

    Returns:
        ``mean_iou``, 0..1, and ``class_iou``, which has the classes that occur.
    """
    matrix = recording.confusion(TRUTH, truth)
    values = dict(zip(recording.classes.names, iou(matrix), strict=True))
    seen = {name: float(value) for name, value in values.items() if not np.isnan(value)}
    return {'mean_iou': mean_iou(matrix), 'class_iou': seen}


def render_drive(folder: Path, n_frames: int) -> Path:
    """Render a drive with exact labels into a bag, unless this version of the renderer has done so already.

    Args:
        folder: Folder of the bag.
        n_frames: Number of frames.

    Returns:
        Path of the bag, with images on ``/camera/image_raw`` and class ids on ``/truth/labels``.
    """
    path = folder / f'drive_{SEED}_{n_frames}_{_renderer_version()}.mcap'
    if path.is_file():
        return path
    drive = RenderedDrive(SEED, n_frames, HEIGHT, WIDTH, rate_hz=RATE_HZ)
    with BagWriter(path) as bag:
        for index in tqdm(range(n_frames), desc='rendering', unit='frame', disable=None):
            image, labels = drive[index]
            bag.write_image(IMAGES, image, stamp_of(index, RATE_HZ))
            bag.write_image(TRUTH, labels, stamp_of(index, RATE_HZ))
    return path


def _renderer_version() -> str:
    """Digest of the renderer's source, 8 characters."""
    sources = sorted(Path(str(synthetic.__file__)).parent.glob('*.py'))
    return hashlib.sha256(b''.join(path.read_bytes() for path in sources)).hexdigest()[:8]


def _check_model(arguments: argparse.Namespace) -> None:
    """Refuse a missing model before anything is rendered.

    Raises:
        ModelFileError: The model file does not exist.
    """
    if not arguments.no_node and not find_model(arguments.model).is_file():
        raise ModelFileError(
            f'the demo needs the model {find_model(arguments.model)}, which does not exist; '
            'train one with "seg_ros train", or choose one with --model'
        )

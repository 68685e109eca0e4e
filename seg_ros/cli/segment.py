"""``seg_ros segment``: segment images, folders and videos without ROS."""

import argparse
import sys
from pathlib import Path

from seg_ros.cli.options import add_json, add_model_arguments, add_output, settings_from
from seg_ros.errors import SegRosError
from seg_ros.inference.settings import check

OUTPUTS = ('labels', 'overlay', 'confidence')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'inputs', nargs='+', type=Path, metavar='INPUT', help='image, video, or folder of them'
    )
    add_output(parser, 'FOLDER', 'folder for the results', default=Path('segmented'))
    parser.add_argument(
        '--labels', action='store_true', help='write class ids as 8-bit PNG files; 255 = unlabelled'
    )
    parser.add_argument(
        '--overlay', action='store_true', help='write pictures, or a video, in the colours of the classes'
    )
    parser.add_argument(
        '--confidence', action='store_true', help='write confidence as 8-bit PNG files; 255 = certain'
    )
    parser.add_argument(
        '--opacity', type=float, default=0.5, help='opacity of the overlay, 0..1 (default: %(default)s)'
    )
    add_json(parser)
    parser.epilog = 'Without --labels, --overlay and --confidence, labels and overlay are written.'
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment all files; 1 if a file could not be read, after all others."""
    from tqdm import tqdm

    from seg_ros.evaluation.figures import format_table, write_json
    from seg_ros.inference.segmenter import Segmenter
    from seg_ros.reports.segmented_files import FileSegmenter, find_files

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
    bad_files = f'{n_bad} of {len(files)}' if n_bad else ''
    print(format_table({'results': str(arguments.output), 'bad files': bad_files}))
    return 1 if n_bad else 0

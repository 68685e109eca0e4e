"""The command ``seg_ros``: one subcommand a module, imported only when it is used."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from seg_ros import __version__
from seg_ros.errors import SegRosError

COMMANDS: dict[str, tuple[str, str]] = {
    'demo': ('seg_ros.demo', 'segment a rendered drive, or your bag, with the real node'),
    'segment': ('seg_ros.segment_command', 'segment images, folders and videos, without ROS'),
    'replay': ('seg_ros.ros.replay_command', 'play a bag through the real node and record what it says'),
    'make-bag': ('seg_ros.make_bag_command', 'make a bag from a folder of images'),
    'make-images': ('seg_ros.make_images_command', 'take images out of a bag, to label them'),
    'show-data': ('seg_ros.show_data_command', 'say what is in a data set, check it, draw it, copy it'),
    'evaluate': ('seg_ros.evaluate.command', 'measure accuracy on a data set'),
    'train': ('seg_ros.train.command', 'train a network from a recipe'),
    'fit-codes': ('seg_ros.train.codes_command', 'give a model binary codes for segments'),
    'evaluate-segments': ('seg_ros.evaluate.segments_command', 'compare segments with those people drew'),
    'match': ('seg_ros.match_command', 'find segments of two images or bags that look alike'),
    'visualize': ('seg_ros.visualize_command', 'show what units respond to, and what embeddings tell apart'),
    'compare': ('seg_ros.evaluate.compare_command', 'compare models: accuracy, size, speed, memory'),
    'prune': ('seg_ros.train.prune_command', 'take channels or blocks out of a network'),
    'quantize': ('seg_ros.train.quantize_command', 'bring a network to fewer bits'),
    'share': ('seg_ros.train.share_command', 'let the weights of a network share a few values'),
    'compress': ('seg_ros.train.compress_command', 'run a recipe of such steps'),
    'info': ('seg_ros.info_command', 'say what is in a model file'),
    'params': ('seg_ros.params_command', "print the node's parameters"),
}
"""Subcommand -> module with ``add_arguments(parser)`` and ``run(arguments)``, and its help."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        Exit code: 0, or 1 for an error that is the input's, with one line that says what to do.
    """
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    words = list(sys.argv[1:] if words is None else words)
    arguments = _parser(words).parse_args(words)
    try:
        return int(arguments.run(arguments))
    except SegRosError as err:
        print(f'seg_ros: {err}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the module of the subcommand in ``words`` is imported."""
    parser = argparse.ArgumentParser(
        prog='seg_ros', description='Real-time semantic segmentation for ROS 2.', allow_abbrev=False
    )
    parser.add_argument('--version', action='version', version=f'seg_ros {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name in words:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == '__main__':
    sys.exit(main())

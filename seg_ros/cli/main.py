"""The command ``seg_ros``: one subcommand a module, imported only when it is used."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from seg_ros import __version__
from seg_ros.errors import SegRosError
from seg_ros.inference.process import keep_freed_memory, limit_thread_spinning

COMMANDS: dict[str, tuple[str, str]] = {
    'demo': ('seg_ros.cli.demo', 'segment a rendered drive, or your bag, with the real node'),
    'segment': ('seg_ros.cli.segment', 'segment images, folders and videos, without ROS'),
    'replay': ('seg_ros.cli.replay', 'play a bag through the real node and record what it says'),
    'make-bag': ('seg_ros.cli.make_bag', 'make a bag from a folder of images'),
    'make-images': ('seg_ros.cli.make_images', 'take images out of a bag, to label them'),
    'show-data': ('seg_ros.cli.show_data', 'say what is in a data set, check it, draw it, copy it'),
    'evaluate': ('seg_ros.cli.evaluate', 'measure accuracy on a data set'),
    'train': ('seg_ros.cli.train', 'train a network from a recipe'),
    'fit-codes': ('seg_ros.cli.fit_codes', 'give a model binary codes for segments'),
    'evaluate-segments': ('seg_ros.cli.evaluate_segments', 'compare segments with those people drew'),
    'match': ('seg_ros.cli.match', 'find segments of two images or bags that look alike'),
    'visualize': ('seg_ros.cli.visualize', 'show what units respond to, and what embeddings tell apart'),
    'compare': ('seg_ros.cli.compare', 'compare models: accuracy, size, speed, memory'),
    'prune': ('seg_ros.cli.prune', 'take channels or blocks out of a network'),
    'quantize': ('seg_ros.cli.quantize', 'bring a network to fewer bits'),
    'share': ('seg_ros.cli.share', 'let the weights of a network share a few values'),
    'compress': ('seg_ros.cli.compress', 'run a recipe of such steps'),
    'info': ('seg_ros.cli.info', 'say what is in a model file'),
    'params': ('seg_ros.cli.params', "print the node's parameters"),
}
"""Subcommand -> module with ``add_arguments(parser)`` and ``run(arguments)``, and its help."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        Exit code: 0, or 1 for an error that is the input's, with one line that says what to do.
    """
    limit_thread_spinning()
    keep_freed_memory()
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

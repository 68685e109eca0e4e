"""The command ``seg_ros``: each subcommand is a module that is imported only when it is used.

Some of these modules import heavy packages inside ``run``, so that ``seg_ros COMMAND --help`` is fast.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from seg_ros import __version__
from seg_ros.errors import SegRosError
from seg_ros.inference.memory import keep_freed_memory
from seg_ros.inference.process import limit_thread_spinning

COMMANDS: dict[str, tuple[str, str]] = {
    'demo': ('seg_ros.cli.demo', 'segment a rendered drive, or your bag, with the real node'),
    'segment': ('seg_ros.cli.segment', 'segment images, folders and videos, without ROS'),
    'replay': ('seg_ros.cli.replay', 'play a bag through the real node and record its results'),
    'make-bag': ('seg_ros.cli.make_bag', 'make a bag from a folder of images'),
    'make-images': ('seg_ros.cli.make_images', 'extract images from a bag, for labelling'),
    'show-data': ('seg_ros.cli.show_data', 'count, check, draw and copy a data set'),
    'evaluate': ('seg_ros.cli.evaluate', 'measure accuracy on a data set'),
    'calibrate': ('seg_ros.cli.calibrate', 'fit the confidence of a model to its share of right pixels'),
    'evaluate-bag': ('seg_ros.cli.evaluate_bag', 'judge models on your own bags'),
    'train': ('seg_ros.cli.train', 'train a network by a recipe'),
    'fit-codes': ('seg_ros.cli.fit_codes', 'add binary codes for segments to a model'),
    'fit-embeddings': ('seg_ros.cli.fit_embeddings', 'learn embeddings from segments without classes'),
    'evaluate-segments': ('seg_ros.cli.evaluate_segments', 'compare segments with segments drawn by people'),
    'evaluate-filter': (
        'seg_ros.cli.evaluate_filter',
        'compare the embedding filter with colours and a dense CRF',
    ),
    'match': ('seg_ros.cli.match', 'find similar segments in two images or bags'),
    'visualize': ('seg_ros.cli.visualize', 'draw the units of a layer, or the embeddings'),
    'bench': ('seg_ros.cli.bench', 'measure the speed of a model on this computer'),
    'compare': ('seg_ros.cli.compare', 'compare models: accuracy, size, speed, memory'),
    'prune': ('seg_ros.cli.prune', 'remove channels or blocks from a network'),
    'quantize': ('seg_ros.cli.quantize', 'reduce the number of bits of a network'),
    'share': ('seg_ros.cli.share', 'reduce the weights of a network to a few shared values'),
    'export': (
        'seg_ros.cli.export',
        'make a model file with the ONNX graph of a model, which runs without torch',
    ),
    'import': ('seg_ros.cli.import_model', 'make a model file of an ONNX network or of public weights'),
    'compress': ('seg_ros.cli.compress', 'run a recipe of compression steps'),
    'info': ('seg_ros.cli.info', 'print the content of a model file'),
    'backends': ('seg_ros.cli.backends', 'print or forget the measured times of backends'),
    'security-policy': ('seg_ros.cli.security_policy', 'print an SROS 2 policy for the node'),
    'params': ('seg_ros.cli.params', "print the node's parameters"),
}
"""Subcommand -> module with ``add_arguments(parser)`` and ``run(arguments)``, and the help."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        Exit code: 0 = success; 1 = error in the input, explained on stderr; 130 = interrupted.
    """
    limit_thread_spinning()
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    words = list(sys.argv[1:] if words is None else words)
    try:
        return _run(words)
    except SegRosError as err:
        print(f'seg_ros: {err}', file=sys.stderr)
        return 1
    except ModuleNotFoundError as err:
        if (err.name or '').partition('.')[0] != 'torch':
            raise
        print("seg_ros: this needs torch, which is missing: pip install 'seg_ros[torch]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output, such as head, has read enough
        sys.stdout = Path(os.devnull).open('w')  # noqa: SIM115 - Python flushes it when it ends
        return 0
    except OSError as err:
        print(f'seg_ros: {err}', file=sys.stderr)
        sys.stdout = Path(os.devnull).open('w')  # noqa: SIM115 - what is left cannot be written either
        return 1


def _run(words: list[str]) -> int:
    """Run a command; its output is written when this returns, or argparse ends the program."""
    try:
        arguments = _parser(words).parse_args(words)
        return int(arguments.run(arguments))
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Make the parser; only the module of the subcommand in ``words`` is imported."""
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
            command.set_defaults(run=module.run, words=list(words))
    return parser


if __name__ == '__main__':
    sys.exit(main())

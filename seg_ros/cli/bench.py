"""``seg_ros bench``: speed of a model on this computer, against plain PyTorch and plain ONNX Runtime."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seg_ros.cli.options import MODEL_FILE, add_device, add_json
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.settings import Settings

_SIZES, _CAMERAS = (0.5, 1.0, 1.5), (1, 2, 4)
_ROUNDS, _FRAMES = 9, 5
_QUICK_SIZES, _QUICK_CAMERAS, _QUICK_ROUNDS, _QUICK_FRAMES = (1.0,), (1, 2), 2, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'model',
        nargs='?',
        default=Settings.model,
        metavar='MODEL',
        help=f'{MODEL_FILE} (default: %(default)s)',
    )
    parser.add_argument(
        '--sizes',
        type=float,
        nargs='+',
        metavar='FACTOR',
        help="factors of the size of the model's input (default: 0.5 1 1.5)",
    )
    parser.add_argument(
        '--threads',
        type=int,
        nargs='+',
        metavar='N',
        help='numbers of CPU threads (default: powers of two up to the number of cores, and that number)',
    )
    parser.add_argument(
        '--backend',
        choices=('auto', *BACKENDS),
        default='auto',
        help='inference backend of all parts but the first, which takes all; auto = the fastest '
        '(default: %(default)s)',
    )
    add_device(parser)
    add_json(parser)
    parser.add_argument('--plot', type=Path, metavar='OUT', help='picture of the figures (PNG, SVG or PDF)')
    parser.add_argument('--markdown', type=Path, metavar='OUT', help='Markdown file for the tables')
    parser.add_argument(
        '--quick',
        action='store_true',
        help='few rounds, one size; without torch_compile and without a start with empty caches',
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the figures; 2 if there is no such model."""
    from seg_ros._numba import n_cores
    from seg_ros.errors import ModelFileError, ParameterError, UnknownNameError
    from seg_ros.evaluation.figures import write_json
    from seg_ros.evaluation.performance.run import Bench, BenchPlan
    from seg_ros.inference.backends.backend import choose_device
    from seg_ros.reports.bench_plot import check_plot, plot_report
    from seg_ros.reports.bench_tables import report_as_markdown, report_as_text

    quick = arguments.quick
    threads = sorted(set(arguments.threads or _powers_of_two(n_cores())))
    sizes = sorted(set(arguments.sizes or (_QUICK_SIZES if quick else _SIZES)))
    if not 1 <= threads[0] <= threads[-1] <= n_cores():
        raise ParameterError(f'--threads {threads}: this process may use 1 to {n_cores()} threads')
    if sizes[0] <= 0:
        raise ParameterError(f'--sizes {sizes[0]}: expected factors above 0')
    if arguments.plot:
        check_plot(arguments.plot)
    plan = BenchPlan(
        Settings(model=arguments.model, backend=arguments.backend, device=choose_device(arguments.device)),
        tuple(sizes),
        tuple(threads),
        _QUICK_CAMERAS if quick else _CAMERAS,
        _QUICK_ROUNDS if quick else _ROUNDS,
        _QUICK_FRAMES if quick else _FRAMES,
        quick,
    )
    try:
        bench = Bench(plan)
    except (ModelFileError, UnknownNameError) as err:
        print(f'seg_ros: {err}', file=sys.stderr)
        return 2
    report = bench.measure()
    print(report_as_text(report))
    write_json(arguments.json, report.as_json())
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(report_as_markdown(report) + '\n', encoding='utf-8')
    if arguments.plot:
        plot_report(arguments.plot, report)
    return 0


def _powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... below a number, and the number."""
    return [*(1 << k for k in range(most.bit_length()) if 1 << k < most), most]

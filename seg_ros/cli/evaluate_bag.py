"""``seg_ros evaluate-bag``: judge models on your own bags."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seg_ros.cli.options import (
    MODEL_FILE,
    add_model_arguments,
    add_output,
    add_topic,
    check_at_least,
    settings_from,
)
from seg_ros.errors import ParameterError, SegRosError
from seg_ros.quantization.levels import QUANTIZATIONS

if TYPE_CHECKING:
    from seg_ros.bag_evaluation.results import LiveEntry, Results
    from seg_ros.bag_evaluation.run import Outcome, Request, Workers
    from seg_ros.bag_evaluation.systems import System, SystemFailure

BELOW_LIMIT = 2
"""Exit code if a figure does not keep its limit."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'bags', nargs='+', type=Path, metavar='BAG', help='bag: a folder, or a .mcap or .db3 file'
    )
    add_topic(parser)
    add_output(parser, 'FOLDER', 'folder for the results', default=Path('evaluation'))
    parser.add_argument(
        '--models',
        nargs='+',
        default=['lite_camvid_int8'],
        metavar='MODEL',
        help=f'{MODEL_FILE} (default: lite_camvid_int8)',
    )
    parser.add_argument(
        '--levels',
        type=_words,
        default=[],
        metavar='LEVEL,...',
        help=f'levels of quantization of each model: {", ".join(QUANTIZATIONS)} (default: its own)',
    )
    _add_comparison(parser)
    _add_limits(parser)
    _add_scale(parser)
    add_model_arguments(parser, without=('model', 'quantization'))


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('comparison')
    labels = group.add_mutually_exclusive_group()
    labels.add_argument('--labels-topic', metavar='TOPIC', help='topic of the true labels, in the same bag')
    labels.add_argument(
        '--labels',
        type=Path,
        metavar='DIR',
        help='folder of true label images, named as make-images names images, by stamp, or by position',
    )
    group.add_argument(
        '--reference',
        metavar='MODEL',
        help='model whose labels the others are compared with (default without labels: the first of several)',
    )
    group.add_argument(
        '--baseline', type=Path, metavar='JSON', help='results.json of an earlier evaluation, to compare with'
    )
    group.add_argument(
        '--live', action='store_true', help='play each bag through the real node too: ages, drops, memory'
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'limits', f'exit code {BELOW_LIMIT} if a figure does not keep its limit'
    )
    for option, sense in (('--fail-below', 'at least'), ('--fail-above', 'at most')):
        group.add_argument(
            option,
            nargs='+',
            action='extend',
            default=[],
            metavar='FIGURE=NUMBER',
            help=f'figure that must be {sense} a number, such as '
            + ('mean_iou=0.6' if option == '--fail-below' else 'latency_p99_ms=50'),
        )
    group.add_argument('--junit', type=Path, metavar='XML', help='JUnit file of the limits')


def _add_scale(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('work and outputs')
    group.add_argument(
        '--workers', type=int, default=0, metavar='N', help='number of worker processes on this computer'
    )
    group.add_argument('--scheduler', default='', metavar='ADDRESS', help='running Dask scheduler to use')
    group.add_argument(
        '--no-annotate', action='store_true', help='write no annotated bags, which hold images and results'
    )
    group.add_argument(
        '--select',
        type=int,
        default=0,
        metavar='N',
        help='write the N frames that are most worth labelling, with draft labels',
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, and write results, report, annotated bags and selected frames."""
    from seg_ros.bag_evaluation.run import evaluate
    from seg_ros.bag_evaluation.thresholds import parse_limits
    from seg_ros.bag_evaluation.workers import PARTS_PER_TASK

    check_at_least(arguments, workers=0, select=0)
    below = parse_limits(arguments.fail_below, '--fail-below')
    above = parse_limits(arguments.fail_above, '--fail-above')
    _check(arguments)
    request, failures = _request(arguments)
    try:
        with _workers(arguments) as workers:
            group = PARTS_PER_TASK if arguments.workers or arguments.scheduler else 0
            outcome = evaluate(request, workers, group=group)
        outcome.failures += failures
        results = _finish(arguments, outcome, below, above)
    except KeyboardInterrupt:
        print(f'interrupted; the same command goes on where it ended: {request.folder}', file=sys.stderr)
        return 130
    _print(results, arguments.output)
    if not all(entry.passed for entry in results.thresholds):
        return BELOW_LIMIT
    return 1 if results.failures else 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse early what would fail after the evaluation."""
    from seg_ros.bag_evaluation.outputs import SELECTION
    from seg_ros.bag_evaluation.results import read_results

    if arguments.workers and arguments.scheduler:
        raise ParameterError('--workers and --scheduler exclude each other; give one of them')
    if arguments.live:
        from seg_ros.replay.live import import_replay

        import_replay()
    if arguments.baseline:
        read_results(arguments.baseline)
    if arguments.select and any((arguments.output / SELECTION / 'images').glob('*')):
        raise ParameterError(
            f'{arguments.output / SELECTION} has frames already, whose labels may be yours; '
            'move it away, or choose another -o'
        )


def _request(arguments: argparse.Namespace) -> tuple[Request, list[SystemFailure]]:
    from seg_ros.bag_evaluation.run import Request
    from seg_ros.bag_evaluation.systems import find_systems
    from seg_ros.bag_evaluation.truth import LabelSource

    settings = settings_from(arguments)
    systems, failures = find_systems(arguments.models, arguments.levels, settings)
    labels = LabelSource(arguments.labels_topic or '', arguments.labels)
    reference = None
    if arguments.reference:
        (reference,), _ = find_systems([arguments.reference], [], settings)
        find_systems([arguments.models[0], arguments.reference], [], settings)  # equal classes
    elif not labels.topic and labels.folder is None and len(systems) > 1:
        reference = systems[0]
    folder = arguments.output / 'parts'
    request = Request(tuple(arguments.bags), arguments.topic, labels, tuple(systems), reference, folder)
    return request, failures


@contextmanager
def _workers(arguments: argparse.Namespace) -> Iterator[Workers]:
    from seg_ros.bag_evaluation.run import HERE
    from seg_ros.bag_evaluation.workers import dask_workers

    if arguments.workers or arguments.scheduler:
        with dask_workers(arguments.workers, arguments.scheduler) as workers:
            yield workers
    else:
        yield HERE


def _finish(
    arguments: argparse.Namespace,
    outcome: Outcome,
    below: dict[str, float],
    above: dict[str, float],
) -> Results:
    """Sum up, and write all outputs."""
    from msgspec.structs import replace

    from seg_ros.bag_evaluation.baseline import compare_with_baseline
    from seg_ros.bag_evaluation.judge import judge
    from seg_ros.bag_evaluation.outputs import shown_system, write_outputs
    from seg_ros.bag_evaluation.results import write_results
    from seg_ros.bag_evaluation.thresholds import check_limits, write_junit
    from seg_ros.reports.bag_report import write_bag_report

    request = outcome.request
    results = judge(request, outcome, ['seg_ros', *arguments.words])
    if arguments.live:
        results = _live(arguments, outcome, results)
    if arguments.baseline:
        results = replace(results, baseline=compare_with_baseline(results, arguments.baseline))
    results = replace(results, thresholds=check_limits(results, below, above))
    write_results(arguments.output / 'results.json', results)
    if arguments.junit:
        write_junit(arguments.junit, results)
    gallery = write_outputs(
        request, outcome, arguments.output, annotate=not arguments.no_annotate, n_selected=arguments.select
    )
    drawn = shown_system(request)
    page = arguments.output / 'report.html'
    write_bag_report(page, results.as_json(), gallery, drawn.classes, drawn.name)
    return results


def _live(arguments: argparse.Namespace, outcome: Outcome, results: Results) -> Results:
    """Results with those of the real node; a system that cannot be replayed is a failure."""
    from msgspec.structs import replace

    from seg_ros.bag_evaluation.results import FailureEntry

    systems = {system.name: system for system in outcome.request.systems}
    entries, failures = [], list(results.failures)
    for entry in results.systems:
        try:
            live = _live_entry(arguments.output / 'live', outcome, systems[entry.name])
        except SegRosError as err:
            live = None
            failures.append(FailureEntry(system=f'{entry.name} live', bag='', reason=str(err)))
        entries.append(replace(entry, live=live))
    return replace(results, systems=entries, failures=failures)


def _live_entry(folder: Path, outcome: Outcome, system: System) -> LiveEntry:
    from seg_ros.bag_evaluation.results import LiveEntry, Percentiles
    from seg_ros.replay.live import LiveMeasures, evaluate_live
    from seg_ros.replay.options import ReplayOptions

    measures = []
    for bag in outcome.bags:
        recording = folder / f'{bag.name}-{system.name.replace(" ", "_")}.mcap'
        path, topic = bag.frames.path, bag.frames.topic
        measures.append(
            evaluate_live(path, recording, system.settings, ReplayOptions(), topic=topic, overwrite=True)
        )
    total = LiveMeasures.total(measures)
    return LiveEntry(
        frames_in=total.frames_in,
        frames_out=total.frames_out,
        age_ms=Percentiles(**total.age_ms) if total.age_ms else None,
        drops=total.drops,
        cpu_cores=total.resources.cpu_cores if total.resources else None,
        peak_memory_mb=total.resources.peak_memory_mb if total.resources else None,
    )


def _print(results: Results, folder: Path) -> None:
    """Print the verdict and a table of the systems."""
    from seg_ros.bag_evaluation.tables import as_text

    print(as_text(results))
    print(f'\n{folder / "report.html"}')


def _words(text: str) -> list[str]:
    return [word for word in text.split(',') if word]

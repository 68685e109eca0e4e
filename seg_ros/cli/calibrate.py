"""``seg_ros calibrate``: make the confidence of a model the share of pixels that are right."""

import argparse
from dataclasses import replace

from seg_ros.cli.options import add_measuring, add_model_output, measuring_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_measuring(parser)
    add_model_output(
        parser, 'model file to write, with the temperature (default: measure alone)', required=False
    )


def run(arguments: argparse.Namespace) -> int:
    """Fit, print, and write."""
    from seg_ros.evaluation.figures import write_json
    from seg_ros.evaluation.temperature import measure_calibration
    from seg_ros.modelfile.file import load_model, save_model
    from seg_ros.modelfile.metadata import with_figures

    segmenter, dataset, translation = measuring_from(arguments)
    found = measure_calibration(segmenter, dataset, translation)
    print(f'temperature {found.temperature:.3f}')
    print(
        f'expected calibration error: {found.error_before:.2%} at 1, {found.error_after:.2%} with '
        'a temperature fitted on the other half of the images'
    )
    print('confidence_threshold  wrong pixels removed  right pixels removed')
    for row in found.thresholds():
        print(f'{row.threshold:20.2f}  {row.wrong_removed:20.1%}  {row.right_removed:20.1%}')
    write_json(arguments.json, {**segmenter.as_json(), **found.as_json()})
    if arguments.output:
        model, where = load_model(segmenter.model.path), f'{arguments.dataset} {arguments.split}'
        metadata = replace(model.metadata, temperature=round(found.temperature, 4))
        metadata = with_figures(metadata, calibration_error={where: round(found.error_after, 4)})
        save_model(arguments.output, model.network, metadata, model.golden, model.codes, model.embeddings)
        print(f'written: {arguments.output}')
    return 0

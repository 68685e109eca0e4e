"""Options of every command that runs a model: parameters of seg_ros.inference.settings, by the same names."""

import argparse

from seg_ros.inference.parameter import field_of
from seg_ros.inference.settings import BY_NAME, MODEL_PARAMETERS, Settings, check


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--model``, ``--quantization``, ... with defaults, choices and help of the parameters."""
    group = parser.add_argument_group('model')
    for name in MODEL_PARAMETERS:
        parameter = BY_NAME[name]
        constraint = f' [{parameter.constraint}]' if parameter.constraint and not parameter.choices else ''
        option = f'--{field_of(name).replace("_", "-")}'
        if parameter.default is False:
            group.add_argument(option, action='store_true', help=parameter.doc)
            continue
        group.add_argument(
            option,
            type=type(parameter.default),
            default=parameter.default,
            choices=parameter.choices,
            metavar=None if parameter.choices else field_of(name).rpartition('_')[2].upper(),
            help=f'{parameter.doc}{constraint} (default: %(default)s)',
        )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings that were given, with defaults for all other parameters.

    Raises:
        ParameterError: a value is out of its range.
    """
    return Settings.from_values(
        {name: check(name, getattr(arguments, field_of(name))) for name in MODEL_PARAMETERS}
    )

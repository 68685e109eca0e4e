"""Report on a compressed model."""

from collections.abc import Callable

from seg_ros.compression.cost_target import example_of
from seg_ros.modelfile.file import Model
from seg_ros.networks.graph.cost import count_macs

_ROWS: dict[str, Callable[[Model], str]] = {
    'level': lambda model: model.metadata.quantization,
    'bytes': lambda model: f'{model.n_bytes:,}',
    'parameters': lambda model: f'{model.n_parameters:,}',
    'MACs': lambda model: f'{count_macs(model.network, example_of(model)):,}',
}


def compare_sizes(before: Model, after: Model) -> str:
    """Table of level, bytes, parameters and multiply-accumulates of two models, which are not changed.

    Args:
        before: Original model.
        after: Compressed model.

    Returns:
        Lines of text.
    """
    lines = [f'{before.path} -> {after.path}']
    lines += [f'  {name:11}{value(before):>16} -> {value(after):>14}' for name, value in _ROWS.items()]
    removed = (after.metadata.pruned or {}).get('removed')
    if removed:
        lines.append(f'  without    {", ".join(removed)}')
    return '\n'.join(lines)

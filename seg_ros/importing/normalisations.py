"""Common normalisations by name, and the guess of one from the first operations of a graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from seg_ros.errors import ParameterError, UnknownNameError
from seg_ros.networks.normalisation import Normalisation

_CAFFE_BGR = (103.939, 116.779, 123.68)

NORMALISATIONS: dict[str, Normalisation] = {
    'imagenet': Normalisation(),
    'unit': Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    'signed': Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    'raw': Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    'caffe': Normalisation(
        (_CAFFE_BGR[0] / 255, _CAFFE_BGR[1] / 255, _CAFFE_BGR[2] / 255), (1 / 255, 1 / 255, 1 / 255), 'bgr'
    ),
}
"""Common normalisations.

``imagenet``: mean and deviation of ImageNet; ``unit``: 0..1; ``signed``: -1..1; ``raw``: 0..255; ``caffe``:
0..255 without the mean of ImageNet, blue first.
"""

_PASSED = ('Identity', 'Cast', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Pad', 'Resize', 'Upsample')
_AFFINE = ('Add', 'Sub', 'Mul', 'Div')
_LARGE, _SMALL = 2.0, 0.05


def named_normalisation(text: str, channel_order: str | None) -> Normalisation:
    """Normalisation from an option.

    Args:
        text: Name in NORMALISATIONS, or three means and three deviations on the scale 0..1, as in
            ``0.5,0.5,0.5/0.25,0.25,0.25``.
        channel_order: 'rgb' or 'bgr'; None = that of the name, else 'rgb'.

    Raises:
        ParameterError: The numbers are not six.
        UnknownNameError: The name is unknown.
        ModelFileError: A deviation is not above 0.
    """
    if '/' not in text:
        if text not in NORMALISATIONS:
            raise UnknownNameError('normalisation', text, [*NORMALISATIONS, 'MEAN,MEAN,MEAN/STD,STD,STD'])
        found = NORMALISATIONS[text]
    else:
        try:
            mean, std = ([float(number) for number in part.split(',')] for part in text.split('/'))
            found = Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
            if (len(mean), len(std)) != (3, 3):
                raise ValueError('other numbers of values')
        except (ValueError, IndexError) as err:
            raise ParameterError(
                f"normalisation is '{text}'; expected a name, one of {', '.join(NORMALISATIONS)}, or three "
                'means and three deviations, as in 0.5,0.5,0.5/0.25,0.25,0.25'
            ) from err
    return replace(found, channel_order=channel_order) if channel_order else found


def guess_normalisation(model: Any, name: str, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Guess the normalisation that a graph expects in front of it.

    Args:
        model: The ``ModelProto``.
        name: Name of its input.
        dtype: Dtype of the input.

    Returns:
        Name in NORMALISATIONS, and the reason in words.
    """
    if dtype.kind in 'ui':
        return 'raw', f'the input is {dtype}'
    found = _first_affine(model, name)
    if found is None:
        return 'imagenet', 'the graph has no normalisation of its own'
    kind, values = found
    size = float(np.abs(values).max(initial=0.0))
    if (kind in ('Add', 'Sub') and size > _LARGE) or (kind == 'Mul' and 0 < size < _SMALL):
        return 'raw', f'the graph begins with {kind} {size:.4g}'
    if kind == 'Div' and size > 1 / _SMALL:
        return 'raw', f'the graph begins with {kind} {size:.4g}'
    return 'unit', f'the graph begins with {kind} {size:.4g}'


def _first_affine(model: Any, name: str) -> tuple[str, Any] | None:
    """The first addition or multiplication of the input with constants: its kind, and the constants."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == 'Constant':
            for attribute in node.attribute:
                if attribute.name == 'value':
                    constants[node.output[0]] = attribute.t
    for node in model.graph.node:  # in order of computation
        if name not in node.input:
            continue
        if node.op_type in _AFFINE:
            other = [value for value in node.input if value != name]
            if other and other[0] in constants:
                return node.op_type, numpy_helper.to_array(constants[other[0]])
            return None
        if node.op_type not in _PASSED:
            return None
        name = node.output[0]
    return None

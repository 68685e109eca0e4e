"""Graphs rewritten for OpenVINO give what they gave before, and run as they should."""

import io
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from seg_ros.inference.backends import openvino_engine
from seg_ros.inference.backends.openvino_graph import FOLDED, fold, prefer_vectors, sum_in_blocks

if find_spec('openvino') is None:
    pytest.skip('openvino not installed', allow_module_level=True)

openvino = openvino_engine.import_openvino()
ops = openvino.opset13
CORE = openvino_engine._core()
HEIGHT, WIDTH, CHANNELS = 5, 7, 6
OPTIONS = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': '1'}


STEP = 8 / 255


def rounded(values: Any) -> Any:
    """As before an 8-bit layer, from -4 to 4."""
    limits = [np.float32(limit) for limit in (-4, 4, -4, 4)]
    return ops.fake_quantize(values, *limits, 256)


def decoder(
    *,
    mode: str = 'nearest',
    places: str = 'asymmetric',
    factor: int = 2,
    other: tuple[int, ...] | None = None,
    is_dynamic: bool = False,
    comes_first: bool = True,
) -> Any:
    """A map, enlarged, and another one that is added; then rounded, as in an 8-bit network."""
    size = HEIGHT * factor, WIDTH * factor
    shape = [1, CHANNELS, -1 if is_dynamic else HEIGHT, WIDTH]
    small = ops.parameter(shape, np.float32, name='small')
    large = ops.parameter(other or (1, CHANNELS, *size), np.float32, name='large')
    repeated = ops.interpolate(
        small,
        np.array(size),
        mode,
        'sizes',
        coordinate_transformation_mode=places,
        nearest_mode='floor',
        axes=np.array([2, 3]),
    )
    both = (repeated, large) if comes_first else (large, repeated)
    return openvino.Model([rounded(ops.add(*both))], [small, large], 'decoder')


def answer(model: Any, seed: int = 0) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(seed)
    inputs = [random.normal(size=tuple(value.shape)).astype(np.float32) for value in model.inputs]
    result: npt.NDArray[np.float32] = CORE.compile_model(model, 'CPU', OPTIONS)(inputs)[0]
    return result


@pytest.mark.parametrize('comes_first', [True, False])
def test_sums_in_blocks_are_rounded_to_the_same_steps(comes_first: bool) -> None:
    model = decoder(comes_first=comes_first)
    before = answer(model)
    assert sum_in_blocks(openvino, model) == 1
    assert 'Interpolate' not in {node.get_type_name() for node in model.get_ordered_ops()}
    after = answer(model)
    assert after.shape == before.shape == (1, CHANNELS, 2 * HEIGHT, 2 * WIDTH)
    assert np.array_equal(np.rint((after + 4) / STEP), np.rint((before + 4) / STEP))
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize(
    'other',
    [
        {'mode': 'linear'},
        {'places': 'half_pixel'},  # which is shifted if places are rounded down
        {'factor': 3},
        {'other': (1, CHANNELS, 1, 1)},
        {'is_dynamic': True},
    ],
    ids=repr,
)
def test_other_sums_stay(other: dict[str, Any]) -> None:
    model = decoder(**other)
    assert sum_in_blocks(openvino, model) == 0
    assert 'Interpolate' in {node.get_type_name() for node in model.get_ordered_ops()}


def convolutions() -> Any:
    """8-bit convolutions of 3 and of 64 channels, and 4 values for each pixel at the end."""
    random = np.random.default_rng(0)
    x = image = ops.parameter([1, 3, 32, 32], np.float32, name='images')
    for n_in, n_out in ((3, 64), (64, 8)):
        steps = ops.convert(random.integers(-127, 128, (n_out, n_in, 3, 3)).astype(np.int8), np.float32)
        weights = ops.multiply(steps, np.full((n_out, 1, 1, 1), 0.01, np.float32))
        pads = [1, 1]
        x = ops.convolution(rounded(x), weights, [1, 1], pads, pads, [1, 1])
        x.set_friendly_name(f'of {n_in}')
    last = ops.depth_to_space(x, 'blocks_first', 2)
    last.output(0).get_tensor().set_names({'scores'})
    return openvino.Model([last], [image], 'convolutions')


def kinds(compiled: Any) -> list[str]:
    """How the engine computes each convolution, in order."""
    nodes = compiled.get_runtime_model().get_ordered_ops()
    kinds_of_all = [node.get_rt_info() for node in nodes]
    return [
        info['primitiveType'].astype(str)
        for info in kinds_of_all
        if 'Convolution' in info['layerType'].astype(str)
    ]


def test_few_channels_are_computed_without_tiles() -> None:
    plain = convolutions()
    model = prefer_vectors(openvino, CORE, convolutions())
    assert np.array_equal(answer(model), answer(plain))
    assert model.output('scores').get_names() == {'scores'}
    before = kinds(CORE.compile_model(plain, 'CPU', OPTIONS))
    compiled = CORE.compile_model(model, 'CPU', OPTIONS)
    content = compiled.export_model()
    content = content if isinstance(content, bytes) else content.getvalue()
    kept = CORE.import_model(io.BytesIO(content), 'CPU', OPTIONS)
    assert len(before) == 2
    if not all('amx' in kind for kind in before):
        pytest.skip('this processor has no tiles')
    for few, many in (kinds(compiled), kinds(kept)):
        assert 'amx' not in few
        assert 'amx' in many


def test_names_of_folded_scores_stay() -> None:
    model = convolutions()
    fold(openvino, model, 'scores')
    model = prefer_vectors(openvino, CORE, model)
    assert model.output('scores').get_names() == {'scores', FOLDED}
    assert tuple(model.output('scores').shape) == (1, 8, 32, 32)


def last_layer(weights: Any, bias: Any = None) -> Any:
    """A model that ends in a convolution to blocks of 2x2 pixels."""
    images = ops.parameter((1, weights.get_output_shape(0)[1], 4, 6), np.float32, name='images')
    values = ops.convolution(images, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    values = values if bias is None else ops.add(values, bias)
    scores = ops.depth_to_space(values, 'blocks_first', 2)
    scores.output(0).get_tensor().set_names({'scores'})
    return openvino.Model([scores.output(0)], [images])


RANDOM = np.random.default_rng(3)
FLOATS = ops.constant(RANDOM.normal(size=(20, 3, 1, 1)).astype(np.float32))
UPPER = ops.constant(RANDOM.uniform(1, 2, (20, 1, 1, 1)).astype(np.float32))
BIAS = ops.constant(RANDOM.normal(size=(1, 20, 1, 1)).astype(np.float32))


SQUARE = ops.constant(RANDOM.normal(size=(20, 20, 1, 1)).astype(np.float32))


def in_eight_bits() -> Any:
    """Integers with a zero point and a step for each channel, as a quantised network has them."""
    random = np.random.default_rng(4)
    steps = ops.convert(ops.constant(random.integers(-127, 128, (20, 3, 1, 1), np.int8)), 'f32')
    zero = ops.convert(ops.constant(random.integers(-3, 4, 20, np.int8)), 'f32')
    scale = ops.constant(random.uniform(0.01, 0.1, 20).astype(np.float32))
    shape = np.array([20, 1, 1, 1])
    shifted = ops.subtract(steps, ops.reshape(zero, shape, special_zero=False))
    return ops.multiply(shifted, ops.reshape(scale, shape, special_zero=False))


@pytest.mark.parametrize(
    'make',
    [
        lambda: last_layer(FLOATS),
        lambda: last_layer(FLOATS, BIAS),
        lambda: last_layer(ops.convert(ops.constant(FLOATS.data.astype(np.float16)), 'f32'), BIAS),
        lambda: last_layer(FLOATS, ops.constant(np.float32(0.5))),
        lambda: last_layer(in_eight_bits(), BIAS),
        lambda: last_layer(SQUARE, ops.reshape(BIAS, np.array([20, 1, 1]), special_zero=False)),
        lambda: last_layer(ops.fake_quantize(FLOATS, np.float32(-1), UPPER, np.float32(-1), UPPER, 255)),
    ],
)
def test_folded_scores_are_the_same_scores(make: Callable[[], Any]) -> None:
    images = RANDOM.normal(size=make().input(0).shape).astype(np.float32)
    plain = CORE.compile_model(make(), 'CPU', OPTIONS)(images)[0]
    model = make()
    fold(openvino, model, 'scores')
    assert model.output('scores').get_names() == {'scores', FOLDED}
    unsorted = CORE.compile_model(model, 'CPU', OPTIONS)(images)[0]
    sorted_ = unsorted.reshape(5, 2, 2, 4, 6).transpose(0, 3, 1, 4, 2).reshape(1, 5, 8, 12)
    np.testing.assert_allclose(sorted_, plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    'weights',
    [
        ops.relu(FLOATS),
        ops.multiply(FLOATS, ops.constant(np.ones((1, 3, 1, 1), np.float32))),
        ops.multiply(SQUARE, ops.constant(np.ones((1, 20, 1, 1), np.float32))),
        ops.convert(
            openvino.op.Constant(openvino.Type.bf16, openvino.Shape([20, 3, 1, 1]), [1.5] * 60), 'f32'
        ),
        ops.convert(openvino.op.Constant(openvino.Type.i4, openvino.Shape([20, 3, 1, 1]), [3] * 60), 'f32'),
    ],
    ids=['another operation', 'factors of inputs', 'of as many', 'bfloat16', '4 bits'],
)
def test_a_last_layer_that_is_not_known_stays(weights: Any) -> None:
    model = last_layer(weights)
    fold(openvino, model, 'scores')
    assert model.output('scores').get_names() == {'scores'}
    assert tuple(model.output('scores').shape) == (1, 5, 8, 12)


def test_without_a_folder_for_temporary_files_the_model_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'absent'))
    model = convolutions()
    assert prefer_vectors(openvino, CORE, model) is model

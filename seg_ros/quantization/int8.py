"""Conversion of a trained float network to 8-bit integers, and training for it.

Weights are rounded by output channel. The range of activations is measured on calibration images.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seg_ros.errors import CalibrationError, UnknownNameError
from seg_ros.networks.graph.trace import trace_network
from seg_ros.networks.layers import Float32Conv2d
from seg_ros.quantization.batch_norm_folding import canonical_batch_norms, find_pairs
from seg_ros.quantization.int8_layers import QuantizedConv2d, Rounding, affine
from seg_ros.quantization.weight_sharing import (
    along,
    bits_of,
    output_axis,
    round_weights,
    to_steps,
    weighted_layers,
)

Range = tuple[float, float]

_SAMPLE = 16384
"""Maximum number of values of a layer that are sampled per batch."""
_PERCENTILE = 0.9999
_CANDIDATES = 40
_WHOLE = 1e-3
"""Maximum distance of a step from a whole number, due to float arithmetic."""


def quantizable(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The layers that can compute in 8 bits, by name; all other layers stay in float.

    Transposed convolutions stay in float because no integer kernels exist for them. Rewritten as a
    convolution and a shuffle, they are slower in integers than in float (docs/performance.md).
    """
    return {
        name: module
        for name, module in network.named_modules()
        if type(module) in (nn.Conv2d, Float32Conv2d)  # subclasses may do more than convolve
    }


def _min_max(values: Tensor, low: float, high: float) -> Range:
    """The whole range of values."""
    return low, high


def _percentile(values: Tensor, low: float, high: float) -> Range:
    """The range without one value in ten thousand at each end."""
    ordered = values.sort().values
    last = len(ordered) - 1
    return float(ordered[round((1 - _PERCENTILE) * last)]), float(ordered[round(_PERCENTILE * last)])


def _least_squares(values: Tensor, low: float, high: float) -> Range:
    """The fraction of the range with the least squared error of rounding and clipping."""
    best, least = (low, high), float('inf')
    for fraction in torch.linspace(0.2, 1.0, _CANDIDATES).tolist():
        scale, zero_point = affine(fraction * low, fraction * high)
        steps = (values / scale).round().add(zero_point).clamp(0, 255)
        error = float(((steps - zero_point) * scale - values).square().mean())
        if error < least:
            best, least = (fraction * low, fraction * high), error
    return best


CALIBRATIONS: dict[str, Callable[[Tensor, float, float], Range]] = {
    'minmax': _min_max,
    'percentile': _percentile,
    'mse': _least_squares,
}
"""Calibration methods: a sample of a layer's inputs, their minimum and maximum -> range."""


def calibrate(
    network: nn.Module,
    batches: Iterable[Tensor],
    run: Callable[[Tensor], object] | None = None,
    *,
    method: str = 'mse',
    seed: int = 0,
) -> dict[str, Range]:
    """Measure the range of the inputs of each layer that can be quantised.

    Args:
        network: Network in evaluation mode.
        batches: Inputs of ``run``.
        run: Runs the network on a batch; None = ``network`` itself.
        method: Name in :data:`CALIBRATIONS`.
        seed: Seed of the sample of values.

    Returns:
        Name of the layer -> minimum and maximum.

    Raises:
        CalibrationError: There were no batches, or values that are not finite.
        UnknownNameError: The method is unknown.
    """
    if method not in CALIBRATIONS:
        raise UnknownNameError('calibration method', method, sorted(CALIBRATIONS))
    layers = quantizable(network)
    samples: dict[str, list[Tensor]] = {name: [] for name in layers}
    extremes: dict[str, Range] = {}
    generator = torch.Generator().manual_seed(seed)

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].detach().float().flatten()
            low, high = (float(v) for v in values.aminmax())
            so_far = extremes.get(name, (low, high))
            extremes[name] = (min(low, so_far[0]), max(high, so_far[1]))
            if len(values) > _SAMPLE:
                kept = torch.randint(len(values), (_SAMPLE,), generator=generator)
                values = values[kept.to(values.device)]
            samples[name].append(values.cpu())

        return hook

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            for batch in batches:
                (run or network)(batch)
    finally:
        for handle in hooks:
            handle.remove()
    _check_extremes(layers, extremes)
    return {name: CALIBRATIONS[method](torch.cat(samples[name]), *extremes[name]) for name in layers}


def _check_extremes(layers: Iterable[str], extremes: Mapping[str, Range]) -> None:
    """Refuse layers that never ran or got values that are not finite."""
    unreached = [name for name in layers if name not in extremes]
    if unreached:
        raise CalibrationError(f'layer {unreached[0]} was never run; expected one calibration image or more')
    broken = [name for name, (low, high) in extremes.items() if not (abs(low) + abs(high)) < float('inf')]
    if broken:
        raise CalibrationError(
            f'layer {broken[0]} got values that are not finite; check weights and calibration images'
        )


def weight_steps(weight: Tensor, n_bits: int = 8, axis: int = 0) -> tuple[Tensor, Tensor]:
    """Round a weight to whole steps, with a scale for each output channel.

    Weights that are whole steps already, as from a file of that level, get exactly these steps back.

    Args:
        weight: Weight, float.
        n_bits: Number of bits of a step, 2..8.
        axis: Axis of the output channels.

    Returns:
        Steps, int8 of the shape of ``weight``, and scales, (C,) float32.
    """
    _, scale = round_weights(weight, n_bits, axis=axis)
    rows = weight.detach().float().movedim(axis, 0).reshape(weight.shape[axis], -1)
    largest = rows.abs().amax(1)
    last = 2 ** (n_bits - 1) - 1
    for step in range(last, last // 2, -1):  # that the largest weight of a channel may have
        candidate = torch.where(largest > 0, largest / step, 1.0)
        steps = rows / candidate[:, None]
        fits = ((steps - steps.round()).abs().amax(1) < _WHOLE) & (steps.abs().amax(1) < last + 0.5)
        scale = torch.where(fits, candidate, scale)
    return to_steps(weight, scale, n_bits, axis), scale


def rounded(network: nn.Module, n_bits: int) -> nn.Module:
    """Round the weights of all convolutions and linear layers to whole steps, in place; they stay float.

    With fewer than 8 bits they are clipped for the least squared error. Depthwise convolutions keep at least
    :data:`seg_ros.quantization.weight_sharing.DEPTHWISE_BITS`.
    """
    for _, module in weighted_layers(network):
        axis, layer_bits = output_axis(module), bits_of(module, n_bits)
        steps, scale = weight_steps(module.weight, layer_bits, axis)
        if not torch.equal(steps * along(scale, steps.ndim, axis), module.weight):
            clipping = 'absmax' if layer_bits == 8 else 'mse'
            steps, scale = round_weights(module.weight, layer_bits, axis=axis, clipping=clipping)
        module.weight.data = steps * along(scale, steps.ndim, axis)
    return network


def fold_batch_norms(network: nn.Module, example: Tensor) -> nn.Module:
    """Fold normalisations into the convolutions that they alone read; Identity takes their place.

    Args:
        network: Network in evaluation mode, changed in place and returned.
        example: (B, 3, H, W) float input of any small size.
    """
    pairs = find_pairs(network, example)
    canonical_batch_norms(network, pairs)
    for convolution_name, norm_name in pairs:
        convolution, norm = network.get_submodule(convolution_name), network.get_submodule(norm_name)
        convolution.bias = nn.Parameter(norm.bias.detach().clone())  # type: ignore[operator]
        _put(network, norm_name, nn.Identity())
    return network


def quantize(network: nn.Module, ranges: Mapping[str, Range], example: Tensor) -> nn.Module:
    """A copy of a network whose convolutions compute in 8 bits.

    ReLU outputs are quantised once, right after the ReLU, for all their readers. Compilers then let the
    convolution before the ReLU write integers, and sums of branches read them.

    Args:
        network: Float network in evaluation mode.
        ranges: Range of the inputs of each layer that :func:`quantizable` returns.
        example: (B, 3, H, W) float input of any small size.

    Raises:
        CalibrationError: A layer has no range.
    """
    layers = quantizable(network)
    missing = sorted(layers.keys() - ranges.keys())
    if missing:
        raise CalibrationError(
            f'the calibration record has no range for {len(missing)} layers, such as {missing[0]}; '
            'expected one for each convolution: calibrate again'
        )
    result = fold_batch_norms(copy.deepcopy(network).eval(), example)
    sources = _rounded_sources(result, example)
    for name, layer in quantizable(result).items():
        rounding = None if name in sources else Rounding(*ranges[name])
        _put(result, name, QuantizedConv2d(layer, *weight_steps(layer.weight), rounding))
    for source in set(sources.values()):
        range_ = next(ranges[name] for name in layers if sources.get(name) == source)
        _put(result, source, nn.Sequential(result.get_submodule(source), Rounding(*range_)))
    return result


def _rounded_sources(network: nn.Module, example: Tensor) -> dict[str, str]:
    """Name of each convolution that reads the result of a ReLU -> name of that ReLU."""
    calls = trace_network(network, example).calls
    repeated = {name for name, count in Counter(call.name for call in calls).items() if count > 1}
    modules, sources = dict(network.named_modules()), {}
    relu_of: dict[int, str] = {}
    for call in calls:
        if isinstance(modules[call.name], (nn.ReLU, nn.ReLU6)) and call.name not in repeated:
            relu_of[id(call.outputs[0])] = call.name
        elif isinstance(modules[call.name], nn.Conv2d) and id(call.inputs[0]) in relu_of:
            sources[call.name] = relu_of[id(call.inputs[0])]
    return sources


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a sub-module."""
    parent, _, last = name.rpartition('.')
    setattr(network.get_submodule(parent), last, module)


def fake_quantize(
    network: nn.Module, ranges: Mapping[str, Range] | None = None, n_bits: int = 8
) -> nn.Module:
    """Let a network learn as if it computed in whole steps, in place (Jacob et al., section 3).

    The forward pass rounds weights by output channel and inputs of layers to their range. Gradients pass
    straight through. ``seg_ros.modelfile.packed.plain_copy`` returns the learned weights.

    Args:
        network: Float network that is not fake-quantized yet.
        ranges: Ranges of activations by layer, from :func:`calibrate`; None = activations stay float.
        n_bits: Number of bits of a weight, 2..8; depthwise convolutions have more, as in :func:`rounded`.
    """
    for name, layer in weighted_layers(network):
        rounding = _RoundedWeight(bits_of(layer, n_bits), output_axis(layer))
        parametrize.register_parametrization(layer, 'weight', rounding)
        if ranges is not None and name in ranges:
            layer.register_forward_pre_hook(_RoundedInput(*ranges[name]))
    return network


def stop_rounding_inputs(network: nn.Module) -> None:
    """Stop the rounding of activations by :func:`fake_quantize`, in place."""
    for module in network.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, _RoundedInput):
                del module._forward_pre_hooks[key]


class _RoundedWeight(nn.Module):
    """Parametrisation: weights rounded to steps, with the gradient of unrounded weights."""

    def __init__(self, n_bits: int, axis: int) -> None:
        super().__init__()
        self.last, self.axis = 2 ** (n_bits - 1) - 1, axis

    def forward(self, weight: Tensor) -> Tensor:
        others = [d for d in range(weight.ndim) if d != self.axis]
        scale = (weight.detach().abs().amax(others, keepdim=True) / self.last).clamp(min=1e-12)
        stepped: Tensor = weight + ((weight / scale).round() * scale - weight).detach()
        return stepped


class _RoundedInput:
    """A hook that rounds the input of a layer to 8 bits."""

    def __init__(self, low: float, high: float) -> None:
        self.scale, self.zero_point = affine(low, high)

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        whole = torch.fake_quantize_per_tensor_affine(inputs[0].float(), self.scale, self.zero_point, 0, 255)
        return (whole,)

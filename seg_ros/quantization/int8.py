"""From a trained float network to one that computes in 8 bits, and to one that learns to.

Weights are rounded by output channel; what range activations have is measured on calibration images.
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
"""Values of one layer that are kept of an image."""
_PERCENTILE = 0.9999
_CANDIDATES = 40
_WHOLE = 1e-3
"""How far from a whole number a step may be, of float arithmetic."""


def quantizable(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The layers that can compute in 8 bits, by name; all others stay in float.

    Transposed convolutions are among the others: there are no integer kernels for them, and as a convolution
    with more channels and a shuffle they take longer in integers than in float (docs/performance.md).
    """
    return {
        name: module
        for name, module in network.named_modules()
        if type(module) in (nn.Conv2d, Float32Conv2d)  # others may do more than convolve
    }


# ----------------------------------------------------------------------------------------------- activations


def _min_max(values: Tensor, low: float, high: float) -> Range:
    """Everything that was seen."""
    return low, high


def _percentile(values: Tensor, low: float, high: float) -> Range:
    """All but one in ten thousand at each end."""
    ordered = values.sort().values
    last = len(ordered) - 1
    return float(ordered[round((1 - _PERCENTILE) * last)]), float(ordered[round(_PERCENTILE * last)])


def _least_squares(values: Tensor, low: float, high: float) -> Range:
    """The share of the range at which rounding and clipping together err least."""
    best, least = (low, high), float('inf')
    for share in torch.linspace(0.2, 1.0, _CANDIDATES).tolist():
        scale, zero_point = affine(share * low, share * high)
        steps = (values / scale).round().add(zero_point).clamp(0, 255)
        error = float(((steps - zero_point) * scale - values).square().mean())
        if error < least:
            best, least = (share * low, share * high), error
    return best


CALIBRATIONS: dict[str, Callable[[Tensor, float, float], Range]] = {
    'minmax': _min_max,
    'percentile': _percentile,
    'mse': _least_squares,
}
"""Ways from the values that a layer was given, a sample and their extremes, to a range."""


def calibrate(
    network: nn.Module,
    batches: Iterable[Tensor],
    run: Callable[[Tensor], object] | None = None,
    *,
    method: str = 'mse',
    seed: int = 0,
) -> dict[str, Range]:
    """Range of what comes into each layer that can be quantised.

    Args:
        network: in evaluation mode.
        batches: what ``run`` takes.
        run: runs the network on a batch, ``network`` itself where None.
        method: name in :data:`CALIBRATIONS`.
        seed: of which values are kept.

    Returns:
        Name of the layer -> smallest and largest value.

    Raises:
        CalibrationError: there were no batches, or values that are not finite.
        UnknownNameError: there is no such method.
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
    silent = [name for name in layers if name not in extremes]
    if silent:
        raise CalibrationError(f'layer {silent[0]} was never reached; expected one calibration image or more')
    broken = [name for name, (low, high) in extremes.items() if not (abs(low) + abs(high)) < float('inf')]
    if broken:
        raise CalibrationError(f'layer {broken[0]} was given values that are not finite')
    return {name: CALIBRATIONS[method](torch.cat(samples[name]), *extremes[name]) for name in layers}


# --------------------------------------------------------------------------------------------------- weights


def weight_steps(weight: Tensor, n_bits: int = 8, axis: int = 0) -> tuple[Tensor, Tensor]:
    """Whole steps and the scale of each output channel.

    Weights that are whole steps already, as those of a file of that level are, get exactly these steps back.

    Args:
        weight: float.
        n_bits: 2..8.
        axis: of output channels.

    Returns:
        int8, the shape of ``weight``; (C,) float32.
    """
    _, scale = round_weights(weight, n_bits, axis=axis)
    rows = weight.detach().float().movedim(axis, 0).reshape(weight.shape[axis], -1)
    largest = rows.abs().amax(1)
    last = 2 ** (n_bits - 1) - 1
    for step in range(last, last // 2, -1):  # that the largest weight of a channel may be
        candidate = torch.where(largest > 0, largest / step, 1.0)
        steps = rows / candidate[:, None]
        fits = ((steps - steps.round()).abs().amax(1) < _WHOLE) & (steps.abs().amax(1) < last + 0.5)
        scale = torch.where(fits, candidate, scale)
    return to_steps(weight, scale, n_bits, axis), scale


def rounded(network: nn.Module, n_bits: int) -> nn.Module:
    """Round the weights of all convolutions and linear layers to whole steps, in place; they stay float.

    Fewer than 8 bits clip where that errs least. Depthwise convolutions have
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
    """Give convolutions the scale and shift of the normalisation that alone reads them; Identity stays there.

    Args:
        network: in evaluation mode; changed in place, and returned.
        example: (B, 3, H, W) float, small.
    """
    pairs = find_pairs(network, example)
    canonical_batch_norms(network, pairs)
    for convolution_name, norm_name in pairs:
        convolution, norm = network.get_submodule(convolution_name), network.get_submodule(norm_name)
        convolution.bias = nn.Parameter(norm.bias.detach().clone())  # type: ignore[operator]
        _put(network, norm_name, nn.Identity())
    return network


def quantize(network: nn.Module, ranges: Mapping[str, Range], example: Tensor) -> nn.Module:
    """A copy whose convolutions compute in 8 bits.

    What a ReLU gives to a convolution is rounded behind the ReLU, for all who read it: then compilers let the
    convolution before it write integers, and a sum of branches reads them.

    Args:
        network: float, in evaluation mode.
        ranges: of what comes into each layer that :func:`quantizable` names.
        example: (B, 3, H, W) float, small.

    Raises:
        CalibrationError: a layer has no range.
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
    """Name of each convolution that reads what a ReLU gives -> name of that ReLU."""
    calls = trace_network(network, example).calls
    often = {name for name, count in Counter(call.name for call in calls).items() if count > 1}
    modules, sources = dict(network.named_modules()), {}
    given: dict[int, str] = {}
    for call in calls:
        if isinstance(modules[call.name], (nn.ReLU, nn.ReLU6)) and call.name not in often:
            given[id(call.outputs[0])] = call.name
        elif isinstance(modules[call.name], nn.Conv2d) and id(call.inputs[0]) in given:
            sources[call.name] = given[id(call.inputs[0])]
    return sources


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition('.')
    setattr(network.get_submodule(parent), last, module)


# -------------------------------------------------------------------------------------------------- learning


def fake_quantize(
    network: nn.Module, ranges: Mapping[str, Range] | None = None, n_bits: int = 8
) -> nn.Module:
    """Let a network learn as if it computed in whole steps, in place: see Jacob et al., section 3.

    The forward pass rounds weights by output channel, and what comes into a layer to its range; gradients
    pass straight through. ``seg_ros.modelfile.packed.plain_copy`` gives the weights that it learnt.

    Args:
        network: float, not pretending yet.
        ranges: of activations; None: they stay float.
        n_bits: of weights, 2..8; depthwise convolutions have more, as in :func:`rounded`.
    """
    for name, layer in weighted_layers(network):
        rounding = _Rounding(bits_of(layer, n_bits), output_axis(layer))
        parametrize.register_parametrization(layer, 'weight', rounding)
        if ranges is not None and name in ranges:
            layer.register_forward_pre_hook(_RoundedInput(*ranges[name]))
    return network


def stop_rounding_inputs(network: nn.Module) -> None:
    """Let activations be what they are again, in place."""
    for module in network.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, _RoundedInput):
                del module._forward_pre_hooks[key]


class _Rounding(nn.Module):
    """Weights as they will be after rounding; the gradient is that of no rounding."""

    def __init__(self, n_bits: int, axis: int) -> None:
        super().__init__()
        self.last, self.axis = 2 ** (n_bits - 1) - 1, axis

    def forward(self, weight: Tensor) -> Tensor:
        others = [d for d in range(weight.ndim) if d != self.axis]
        scale = (weight.detach().abs().amax(others, keepdim=True) / self.last).clamp(min=1e-12)
        stepped: Tensor = weight + ((weight / scale).round() * scale - weight).detach()
        return stepped


class _RoundedInput:
    """A hook that rounds what a layer is given to 8 bits."""

    def __init__(self, low: float, high: float) -> None:
        self.scale, self.zero_point = affine(low, high)

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        whole = torch.fake_quantize_per_tensor_affine(inputs[0].float(), self.scale, self.zero_point, 0, 255)
        return (whole,)

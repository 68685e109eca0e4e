"""Makes a model file of public weights of a network that this package has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_ros.classes import ClassSet
from seg_ros.errors import ModelFileError, look_up
from seg_ros.importing.layouts import LAYOUTS, Converted, Weights
from seg_ros.importing.normalisations import named_normalisation
from seg_ros.importing.onnx_import import Imported, golden_candidates
from seg_ros.importing.weights_file import COUNT, read_weights
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.content import check_values
from seg_ros.modelfile.file import save_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.precision import network_at
from seg_ros.networks.registry import MODELS
from seg_ros.training.golden_record import N_SCENES, choose_scenes, make_golden
from seg_ros.userfiles.reading import shown_path

OWN = 'the names of seg_ros'
_INPUT_SIZE = (360, 480)


@dataclass(frozen=True)
class WeightChoices:
    """Choices of the user.

    Attributes:
        arguments: Keyword arguments of the network, beside those that the layout finds.
        normalisation: Name or numbers; None = that of the layout.
        channel_order: 'rgb' or 'bgr'; None = that of the normalisation.
        size: (height, width) of the input in pixels; None = 480x360.
        golden: Images for the golden record; none = rendered ones.
        licence: Licence of the weights.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    normalisation: str | None = None
    channel_order: str | None = None
    size: tuple[int, int] | None = None
    golden: tuple[Path, ...] = ()
    licence: str = ''


def import_weights(
    path: Path, target: Path, network: str, classes: ClassSet, choices: WeightChoices
) -> Imported:
    """Import public weights in PyTorch layout.

    Args:
        path: Path of the weights, a file of torch.save or safetensors.
        target: Path of the model file to write.
        network: Name in seg_ros.networks.registry.MODELS.
        classes: Classes, in order of the channels.
        choices: Choices of the user.

    Raises:
        ModelFileError: The weights are of no known layout of the network, or some would not be used.
        UnknownNameError: The network or the normalisation is unknown.
    """
    look_up(MODELS, network, 'network')
    weights = read_weights(path)
    source, converted = _converted(path, weights, network, len(classes), choices.arguments)
    name = choices.normalisation or converted.normalisation
    metadata = ModelMetadata(
        architecture=network,
        classes=classes,
        input_size=choices.size or _INPUT_SIZE,
        normalisation=named_normalisation(name, choices.channel_order),
        arguments={**converted.arguments, **choices.arguments},
        training={
            'data': f'unknown; imported from {path.name}',
            'imported': {
                'file': path.name,
                'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
                'layout': source,
            },
        },
        licence=choices.licence,
    )
    built = _filled(path, metadata, converted)
    images = golden_candidates(choices.golden)[:N_SCENES] if choices.golden else None
    computed = network_at(built, metadata, 'fp32')
    scenes = choose_scenes(computed, metadata.input_size) if images is None else images
    save_model(target, built, metadata, make_golden(computed, scenes, metadata.input_size))
    segmenter = Segmenter.load(Settings(model=str(target.resolve()), backend='torch'))
    guessed = '' if choices.normalisation else f' (of {source}; --normalisation overrides it)'
    facts = {
        'network': f'{network}, {segmenter.model.n_parameters} parameters',
        'layout': source,
        'tensors': f'{len(converted.used)} used, none left',
        'normalisation': f'{name}{guessed}, {metadata.normalisation.channel_order}',
        'golden record': f'{len(scenes)} images, {segmenter.agreement:.1%} reproduced',
        'written': f'{target} ({target.stat().st_size} bytes)',
    }
    return Imported(facts, converted.notes)


def _converted(
    path: Path, weights: Weights, network: str, n_classes: int, arguments: dict[str, Any]
) -> tuple[str, Converted]:
    """Source of the layout of weights, and the weights in that of this package.

    Raises:
        ModelFileError: No layout fits; the message has the reason of each.
    """
    reasons = []
    for source, convert in {OWN: None, **LAYOUTS.get(network, {})}.items():
        try:
            converted = (
                convert(weights, n_classes) if convert else _own(weights, network, n_classes, arguments)
            )
        except ModelFileError as err:
            reasons.append(f'{source}: {err}')
            continue
        left = sorted(weights.keys() - converted.used)
        if not left:
            return source, converted
        reasons.append(f'{source}: {len(left)} tensors would not be used: {", ".join(left[:5])}')
    raise ModelFileError(
        f'{shown_path(path)} has no known layout of {network} for {n_classes} classes: {"; ".join(reasons)}. '
        'Export the network to ONNX, and import that file instead'
    )


def _own(weights: Weights, network: str, n_classes: int, arguments: dict[str, Any]) -> Converted:
    """Weights that have the names of this package."""
    with torch.device('meta'):
        own = MODELS[network](n_classes, **arguments).state_dict()
    for name, value in own.items():
        found = tuple(weights[name].shape) if name in weights else 'missing'
        if not name.endswith(COUNT) and found != tuple(value.shape):
            raise ModelFileError(f'{name} is {found}; expected {tuple(value.shape)}')
    state = {name: weights[name] for name in own if name in weights}
    return Converted({}, state, set(state))


def _filled(path: Path, metadata: ModelMetadata, converted: Converted) -> nn.Module:
    """The network with the weights, float32, in evaluation mode.

    Raises:
        ModelFileError: A value is not finite.
    """
    network = metadata.build().float()
    own = network.state_dict()
    state = {name: converted.state.get(name, value) for name, value in own.items()}
    try:
        for name, value in state.items():
            check_values(name, value)
    except ModelFileError as err:
        raise ModelFileError(f'{shown_path(path)}: {err}') from err
    network.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()})
    return network.eval()

"""Parameters of the node, each stated once: type, default, range, choices, unit, description, time of change.

Every field of :class:`Settings` is a parameter, and :data:`PARAMETERS` is read from the fields. The node
declares that table. ``config/seg_ros.param.yaml``, the node reference and the options of the commands are
generated from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Annotated, Any

from msgspec import Meta

from seg_ros import schema
from seg_ros.errors import ParameterError
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.parameter import (
    Choices,
    Mutability,
    OrZero,
    Parameter,
    PhysicalUnit,
    Scope,
    Value,
    field_of,
)
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.segments.registry import MERGES, SUPERPIXELS

RELOAD, UNCONFIGURED, NEVER = Mutability.RELOAD, Mutability.UNCONFIGURED, Mutability.NEVER
MODEL, OR_ZERO = Scope.MODEL, OrZero(True)


@dataclass(frozen=True)
class Settings:
    """Values of all parameters. Dots in their names are underscores here.

    Raises:
        ParameterError: A value is refused by :func:`check`.
    """

    model: Annotated[
        str, Meta(description='Model file: a path, or the name of a shipped model.'), RELOAD, MODEL
    ] = 'lite_camvid_int8'
    quantization: Annotated[
        str,
        Choices(('auto', *QUANTIZATIONS)),
        Meta(
            description='Numerical precision; auto = that of the model file, or fp32 where nothing runs it. '
            'seg_ros info lists what a file gives.'
        ),
        RELOAD,
        MODEL,
    ] = 'auto'
    backend: Annotated[
        str,
        Choices(('auto', *BACKENDS)),
        Meta(
            description='Inference backend; auto = openvino on x86 if it is installed, else the fastest of '
            'those available, by timing them.'
        ),
        RELOAD,
        MODEL,
    ] = 'auto'
    device: Annotated[
        str,
        Meta(description='Device: auto, cpu or cuda:N; auto = the first GPU, or the CPU without one.'),
        RELOAD,
        MODEL,
    ] = 'auto'
    n_threads: Annotated[
        int,
        Meta(
            ge=0,
            le=256,
            description='Number of CPU threads for network, labels, segments and filter; '
            '0 = one thread per core.',
        ),
        RELOAD,
        MODEL,
    ] = 0
    input_height: Annotated[
        int,
        Meta(ge=0, le=4096, description='Height of the network input; 0 = the setting in the model file.'),
        PhysicalUnit('px'),
        RELOAD,
        MODEL,
    ] = 0
    input_width: Annotated[
        int,
        Meta(ge=0, le=4096, description='Width of the network input; 0 = the setting in the model file.'),
        PhysicalUnit('px'),
        RELOAD,
        MODEL,
    ] = 0
    image_transport: Annotated[
        str,
        Choices(('raw', 'compressed')),
        Meta(description='Subscribed topic: raw = image; compressed = image/compressed (JPEG or PNG).'),
        UNCONFIGURED,
    ] = 'raw'
    input_reliability: Annotated[
        str,
        Choices(('auto', 'best_effort', 'reliable')),
        Meta(description='Reliability of the subscription; auto = reliable if all publishers offer it.'),
        UNCONFIGURED,
    ] = 'auto'
    camera_bit_depth: Annotated[
        int,
        Meta(
            ge=8,
            le=16,
            description='Number of bits that the camera uses of 16-bit samples; 0 = found by the images.',
        ),
        OR_ZERO,
    ] = 0
    max_age_ms: Annotated[
        float,
        Meta(
            ge=0,
            le=3.6e6,
            description='Maximum age of a frame by its stamp; older frames are dropped before and after '
            'inference; 0 = no limit.',
        ),
        PhysicalUnit('ms'),
    ] = 0.0
    latency_budget_ms: Annotated[
        float,
        Meta(
            ge=1,
            le=60_000,
            description='Maximum time from the arrival of a frame to its results; a slower node lowers its '
            'quality step by step; 0 = no limit.',
        ),
        OR_ZERO,
        PhysicalUnit('ms'),
    ] = 0.0
    max_rate_hz: Annotated[
        float,
        Meta(
            ge=0.01,
            le=1000,
            description='Maximum rate of processed frames; others are skipped; 0 = no limit.',
        ),
        OR_ZERO,
        PhysicalUnit('Hz'),
    ] = 0.0
    confidence_threshold: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description='Minimum confidence of a labelled pixel; pixels below it become 255, unlabelled.',
        ),
        MODEL,
    ] = 0.0
    overlay_opacity: Annotated[
        float,
        Meta(ge=0, le=1, description='Opacity of the class colours in the overlay; 0 = the image alone.'),
    ] = 0.5
    overlay_legend: Annotated[
        bool, Meta(description='Whether the overlay has a legend of the classes in the image.')
    ] = True
    embedding_filter_enabled: Annotated[
        bool,
        Meta(
            description='Whether probabilities are averaged over pixels with similar embeddings, which '
            'sharpens object edges; needs a model with embeddings.'
        ),
        RELOAD,
        MODEL,
    ] = False
    embedding_filter_window: Annotated[
        int,
        Meta(
            ge=3,
            le=99,
            description='Width and height of the filter window in embeddings, odd; 0 = the setting in the '
            'model file.',
        ),
        OR_ZERO,
        RELOAD,
        MODEL,
    ] = 0
    embedding_filter_iterations: Annotated[
        int,
        Meta(ge=0, le=50, description='Number of filter iterations; 0 = the setting in the model file.'),
        MODEL,
    ] = 0
    embedding_filter_hardness: Annotated[
        float,
        Meta(
            ge=0.001,
            le=1000,
            description="Decay of a pixel's weight with embedding distance; 0 = the setting in the model "
            'file.',
        ),
        OR_ZERO,
        MODEL,
    ] = 0.0
    embedding_filter_averages: Annotated[
        str,
        Choices(('auto', 'probabilities', 'scores')),
        Meta(
            description='Values that the filter averages: probabilities, or scores as in the paper; auto = '
            'the setting in the model file.'
        ),
        RELOAD,
        MODEL,
    ] = 'auto'
    segments_refinement: Annotated[
        float,
        Meta(
            ge=0,
            le=1000,
            description="Weight of a segment's mean scores against the scores of a pixel when labels are "
            'computed; 0 = none; needs a model with codes.',
        ),
        MODEL,
    ] = 0.0
    segments_superpixels: Annotated[
        str,
        Choices(('auto', *SUPERPIXELS)),
        Meta(description='Superpixel algorithm; auto = the setting in the model file.'),
        MODEL,
    ] = 'auto'
    segments_region_size: Annotated[
        int,
        Meta(
            ge=2,
            le=256,
            description='Size of a superpixel in the network input; 0 = the setting in the model file.',
        ),
        PhysicalUnit('px'),
        OR_ZERO,
        MODEL,
    ] = 0
    segments_merge: Annotated[
        str,
        Choices(tuple(MERGES)),
        Meta(
            description='Rule for merging superpixels: alike merges the two most similar neighbours, again '
            'and again; components merges all similar neighbours at once.'
        ),
        MODEL,
    ] = 'alike'
    segments_merge_limit: Annotated[
        float,
        Meta(
            ge=-1,
            le=1,
            description='Maximum fraction of differing bits for merging adjacent segments; -1 = the setting '
            'in the model file.',
        ),
        MODEL,
    ] = -1.0
    segments_max_count: Annotated[
        int,
        Meta(ge=1, le=65535, description='Maximum number of segments in a message; the largest are kept.'),
    ] = 500
    segments_history: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000_000,
            description='Number of codes that /seg_ros/find_similar searches; the oldest are dropped first.',
        ),
        UNCONFIGURED,
    ] = 20000
    model_folders: Annotated[
        str,
        Meta(
            description='Further folders, separated by colons, from which a running node loads model files; '
            'see the page on robots.',
        ),
        NEVER,
    ] = ''
    diagnostics_period_s: Annotated[
        float, Meta(ge=0.1, le=60, description='Time between diagnostics.'), PhysicalUnit('s'), NEVER
    ] = 1.0
    autostart: Annotated[
        bool,
        Meta(description='Whether the node configures and activates itself, without a lifecycle manager.'),
        NEVER,
    ] = False

    def __post_init__(self) -> None:
        for parameter in PARAMETERS:
            value = check(parameter.name, getattr(self, parameter.field))
            object.__setattr__(self, parameter.field, value)

    def loads_like(self, other: 'Settings') -> bool:
        """Whether both load the same model in the same way: all parameters of change RELOAD are equal."""
        return all(getattr(self, field) == getattr(other, field) for field in _OF_LOADING)

    def with_loading_of(self, other: 'Settings') -> 'Settings':
        """These settings with the RELOAD parameters of others."""
        return replace(self, **{field: getattr(other, field) for field in _OF_LOADING})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> 'Settings':
        """Settings from parameter values by name; parameters that are not given have their defaults.

        Raises:
            ParameterError: A name is unknown, or a value is refused by :func:`check`.
        """
        return cls(**{field_of(name): check(name, value) for name, value in values.items()})


PARAMETERS: tuple[Parameter, ...] = tuple(
    Parameter.of_field(field.name, field.default, schema.field_types(Settings)[field.name])
    for field in fields(Settings)
)
"""All parameters, in the order of the fields of :class:`Settings`."""

BY_NAME: dict[str, Parameter] = {p.name: p for p in PARAMETERS}

_OF_LOADING = tuple(p.field for p in PARAMETERS if p.change is Mutability.RELOAD)

MODEL_PARAMETERS = tuple(p.name for p in PARAMETERS if p.scope is Scope.MODEL)
"""Names of the parameters of every command that runs a model."""


def check(name: str, value: Any) -> Any:
    """The value of a parameter if it is accepted; an int becomes a float where the parameter is a float.

    Raises:
        ParameterError: The name is unknown, or the value has the wrong type or is out of range.
    """
    parameter = BY_NAME.get(name)
    if parameter is None:
        near = get_close_matches(name, BY_NAME, 1)
        advice = f"did you mean '{near[0]}'?" if near else f'known: {", ".join(BY_NAME)}'
        raise ParameterError(f"unknown parameter '{name}'; {advice}")
    value = schema.check_value(type(parameter.default), value, name, ParameterError)
    if parameter.choices and value not in parameter.choices:
        raise ParameterError(f"{name} is '{value}'; expected one of {', '.join(parameter.choices)}")
    low, high = parameter.minimum, parameter.maximum
    in_range = low is None or high is None or low <= value <= high
    if not in_range and not (parameter.zero_too and value == 0):
        raise ParameterError(f'{name} is {schema.shown(value)}; expected {parameter.constraint}')
    return value


def parameters_from(settings: Settings) -> dict[str, Value]:
    """Values of the parameters in MODEL_PARAMETERS, by name."""
    return {name: getattr(settings, field_of(name)) for name in MODEL_PARAMETERS}

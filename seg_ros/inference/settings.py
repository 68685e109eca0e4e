"""Every parameter of the node, once: default, meaning, unit, range, choices, and when it may change.

The node declares what stands here, ``config/seg_ros.param.yaml`` and the README's table are generated from it
(``seg_ros params``), and :func:`check` is the one place that refuses a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from seg_ros.errors import ParameterError
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.segments.segments import MERGES
from seg_ros.segments.superpixels import SUPERPIXELS

Value = bool | int | float | str


class Mutability(Enum):
    """When a new value is accepted."""

    ANY_TIME = 'any time'
    UNCONFIGURED = 'before configure'
    NEVER = 'only at start'


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: snake_case.
        default: its type is the parameter's.
        doc: a sentence or two.
        unit: of the value, empty for none.
        minimum: smallest value allowed, None for no range.
        maximum: largest value allowed.
        zero_too: whether 0, which then has a meaning of its own, is allowed below the minimum.
        choices: the strings allowed, None for any.
        change: when a new value is accepted.
    """

    name: str
    default: Value
    doc: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    zero_too: bool = False
    choices: tuple[str, ...] | None = None
    change: Mutability = Mutability.ANY_TIME

    @property
    def constraint(self) -> str:
        """Range, choices and unit in words, as descriptors and the README show them."""
        parts = []
        if self.choices:
            parts.append(' | '.join(self.choices))
        if self.minimum is not None:
            parts.append(f'{"0, " if self.zero_too else ""}{self.minimum:g} .. {self.maximum:g}')
        return ' '.join([*parts, self.unit]).strip()


PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        'model',
        'lite_camvid',
        'Model file: a path, or the name of a shipped model.',
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'quantization',
        'auto',
        "Numerical precision; auto is the model file's own level.",
        choices=('auto', *QUANTIZATIONS),
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'backend',
        'auto',
        'What runs the network; auto measures those that this computer has and takes the fastest.',
        choices=('auto', *BACKENDS),
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'device',
        'auto',
        'auto, cpu, or cuda:N; auto is the first GPU where there is one.',
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'n_threads',
        0,
        'CPU threads for the network; 0 is one a core.',
        minimum=0,
        maximum=256,
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'input_height',
        0,
        "Height of the network's input; 0 is the model's own.",
        unit='px',
        minimum=0,
        maximum=4096,
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'input_width',
        0,
        "Width of the network's input; 0 is the model's own.",
        unit='px',
        minimum=0,
        maximum=4096,
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'image_transport',
        'raw',
        'raw subscribes to image; compressed to <image>/compressed (JPEG or PNG).',
        choices=('raw', 'compressed'),
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'input_reliability',
        'auto',
        'Reliability asked of the camera; auto asks what all its publishers offer.',
        choices=('auto', 'best_effort', 'reliable'),
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'max_age_ms',
        0.0,
        'Frames whose stamp is older are dropped before and after inference; 0 keeps all.',
        unit='ms',
        minimum=0.0,
        maximum=3.6e6,
    ),
    Parameter(
        'max_rate_hz',
        0.0,
        'Frames beyond this rate are skipped; 0 is as fast as they come.',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter(
        'confidence_threshold',
        0.0,
        'Pixels less confident than this become 255, unlabelled; 0 labels every pixel.',
        minimum=0.0,
        maximum=1.0,
    ),
    Parameter(
        'overlay_opacity',
        0.5,
        'How strongly the overlay covers the image with the class colours.',
        minimum=0.0,
        maximum=1.0,
    ),
    Parameter('overlay_legend', True, 'Whether the overlay names the classes in sight.'),
    Parameter(
        'embedding_filter.enabled',
        False,
        'Whether probabilities are averaged over pixels whose learned embeddings are alike, which follows '
        "objects' edges; needs a model with embeddings.",
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'embedding_filter.window',
        0,
        "Width and height of the filter's window in embeddings, odd; 0 is the model's own.",
        minimum=3,
        maximum=99,
        zero_too=True,
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'embedding_filter.iterations',
        0,
        "How often the filter is applied; 0 is the model's own.",
        minimum=0,
        maximum=50,
    ),
    Parameter(
        'embedding_filter.hardness',
        0.0,
        "How fast a pixel's weight falls with the distance of its embedding; 0 is the model's own.",
        minimum=0.001,
        maximum=1000.0,
        zero_too=True,
    ),
    Parameter(
        'segments.refinement',
        0.0,
        "Weight of a segment's mean scores against a pixel's own in labels; needs a model with codes.",
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter(
        'segments.superpixels',
        'auto',
        "What segments are made of; auto is the model's own.",
        choices=('auto', *SUPERPIXELS),
    ),
    Parameter(
        'segments.region_size',
        0,
        "Size of a superpixel in the network's input; 0 is the model's own.",
        unit='px',
        minimum=2,
        maximum=256,
        zero_too=True,
    ),
    Parameter(
        'segments.merge',
        'alike',
        'How superpixels become segments: alike joins the two that are most alike, again and again; '
        'components joins all that touch and are alike at once.',
        choices=tuple(MERGES),
    ),
    Parameter(
        'segments.merge_limit',
        -1.0,
        "Share of bits up to which touching segments are joined; -1 is the model's own.",
        minimum=-1.0,
        maximum=1.0,
    ),
    Parameter(
        'segments.max_count',
        500,
        'Segments in a message; the largest are kept, the others counted.',
        minimum=1,
        maximum=65535,
    ),
    Parameter(
        'segments.history',
        20000,
        'Codes that ~/find_similar searches; the oldest frames are forgotten first.',
        minimum=1,
        maximum=10_000_000,
        change=Mutability.UNCONFIGURED,
    ),
    Parameter(
        'diagnostics_period_s',
        1.0,
        'Time between diagnostics.',
        unit='s',
        minimum=0.1,
        maximum=60.0,
        change=Mutability.NEVER,
    ),
    Parameter(
        'autostart',
        False,
        'Configure and activate at start, without a lifecycle manager.',
        change=Mutability.NEVER,
    ),
)

BY_NAME: dict[str, Parameter] = {p.name: p for p in PARAMETERS}


@dataclass
class Settings:
    """Values of all parameters, dots in their names as underscores; see PARAMETERS for their meaning."""

    model: str = 'lite_camvid'
    quantization: str = 'auto'
    backend: str = 'auto'
    device: str = 'auto'
    n_threads: int = 0
    input_height: int = 0
    input_width: int = 0
    image_transport: str = 'raw'
    input_reliability: str = 'auto'
    max_age_ms: float = 0.0
    max_rate_hz: float = 0.0
    confidence_threshold: float = 0.0
    overlay_opacity: float = 0.5
    overlay_legend: bool = True
    embedding_filter_enabled: bool = False
    embedding_filter_window: int = 0
    embedding_filter_iterations: int = 0
    embedding_filter_hardness: float = 0.0
    segments_refinement: float = 0.0
    segments_superpixels: str = 'auto'
    segments_region_size: int = 0
    segments_merge: str = 'alike'
    segments_merge_limit: float = -1.0
    segments_max_count: int = 500
    segments_history: int = 20000
    diagnostics_period_s: float = 1.0
    autostart: bool = False

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> 'Settings':
        """Defaults, with ``values`` instead where given.

        Raises:
            ParameterError: a name is unknown or a value is refused by :func:`check`.
        """
        return cls(**{field_of(name): check(name, value) for name, value in values.items()})


def field_of(name: str) -> str:
    """The attribute of :class:`Settings` that holds a parameter."""
    return name.replace('.', '_')


def check(name: str, value: Any) -> Any:
    """The value if the parameter accepts it (an int where a float is due becomes one).

    Raises:
        ParameterError: naming what came and what is accepted.
    """
    if name not in BY_NAME:
        raise ParameterError(f"unknown parameter '{name}'; known: {', '.join(BY_NAME)}")
    parameter = BY_NAME[name]
    kind = type(parameter.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ParameterError(f'{name} is {value!r}; expected a {kind.__name__}')
    if parameter.choices and value not in parameter.choices:
        raise ParameterError(f"{name} is '{value}'; expected one of {', '.join(parameter.choices)}")
    low, high = parameter.minimum, parameter.maximum
    in_range = low is None or high is None or low <= float(value) <= high  # NaN is in no range
    if not in_range and not (parameter.zero_too and value == 0):
        raise ParameterError(f'{name} is {value}; expected {parameter.constraint}')
    return value


MODEL_PARAMETERS = (
    'model',
    'quantization',
    'backend',
    'device',
    'confidence_threshold',
    'input_height',
    'input_width',
    'n_threads',
    'embedding_filter.enabled',
    'embedding_filter.window',
    'embedding_filter.iterations',
    'embedding_filter.hardness',
    'segments.refinement',
    'segments.superpixels',
    'segments.region_size',
    'segments.merge',
    'segments.merge_limit',
)
"""Parameters that concern the model and not the node."""


def parameters_from(settings: Settings) -> dict[str, bool | int | float | str]:
    """Those values as a node takes them."""
    return {name: getattr(settings, field_of(name)) for name in MODEL_PARAMETERS}

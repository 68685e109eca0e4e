"""The parameters in seg_ros.inference.settings as ROS parameters: declared, described, refused if wrong."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from seg_ros import schema
from seg_ros.errors import ParameterError
from seg_ros.inference.model_folders import allowed_folders, check_folder
from seg_ros.inference.parameter import Mutability, Parameter, field_of
from seg_ros.inference.settings import BY_NAME, PARAMETERS, Settings, check

_FOREIGN_PREFIXES = ('qos_overrides.', 'use_sim_time', 'start_type_description_service')
"""Prefixes of parameters that rclpy declares."""

_TEXT_LIMIT, _NAME_LIMIT = 4096, 100
"""Maximum lengths of a text (a path: PATH_MAX of Linux), and of a name that is compared with known ones."""

_ROS_TYPES = {
    bool: RosParameter.Type.BOOL,
    int: RosParameter.Type.INTEGER,
    float: RosParameter.Type.DOUBLE,
    str: RosParameter.Type.STRING,
}


class LiveParameters:
    """Declares all parameters on a node and keeps their values.

    While the node runs, ``model`` can be set to files in the allowed folders only: those of the shipped
    models, of the model given at start, and of the parameter ``model_folders``.

    Args:
        node: Node that gets the parameters.
        state: Returns the lifecycle state of the node, e.g. 'active'.
        on_change: Called after values have changed, in the thread that serves the node.

    Attributes:
        settings: Values of the parameters; replaced, never modified, so that another thread may read them at
            any time.

    Raises:
        ParameterError: The node was started with a value that is refused.
    """

    def __init__(self, node: Node, state: Callable[[], str], on_change: Callable[[], None]) -> None:
        self._node, self._state, self._on_change = node, state, on_change
        self.settings = Settings.from_values({p.name: _declare(node, p) for p in PARAMETERS})
        self._folders = allowed_folders(self.settings)
        # After the declarations: a refusal in this callback would hide their more precise reasons.
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._apply)

    def accepted(self, parameter: Any) -> Any:
        """A parameter to be set, with a whole number made a float, or a float without fraction made whole.

        Args:
            parameter: ``rclpy.parameter.Parameter``.

        Raises:
            ParameterError: The type is wrong, or no parameter has this name; rclpy's own refusals
                give numbers of types, and no names.
        """
        known = BY_NAME.get(parameter.name)
        if known is None:
            self._check_foreign(parameter)
            return parameter
        kind, value = type(known.default), parameter.value
        if kind is int and type(value) is float and value.is_integer():
            value = int(value)
        value = schema.check_value(kind, value, parameter.name, ParameterError)
        return RosParameter(parameter.name, _ROS_TYPES[kind], value)

    def _check_foreign(self, parameter: Any) -> None:
        """Refuse an unknown name, and another type of a parameter that rclpy has declared."""
        name = parameter.name
        if not name or not self._node.has_parameter(name):
            meant = _nearest(name)
            hint = f"did you mean '{meant}'?" if meant else 'see seg_ros params'
            raise ParameterError(f'parameter {schema.shown(name)} does not exist; {hint}')
        declared = self._node.get_parameter(name).type_
        if parameter.type_ not in (declared, RosParameter.Type.NOT_SET):
            expected, came = declared.name.lower(), parameter.type_.name.lower()
            raise ParameterError(f'{name} is of type {came}; expected {expected}')

    def restore_loading(self, settings: Settings) -> None:
        """Set the parameters that decide about loading back to the values that a running model has."""
        restored = [p for p in PARAMETERS if getattr(self.settings, p.field) != getattr(settings, p.field)]
        values = [(p.name, getattr(settings, p.field)) for p in restored if p.change is Mutability.RELOAD]
        self._node.set_parameters([RosParameter(name, value=value) for name, value in values])

    def _judge(self, parameters: list[Any]) -> SetParametersResult:
        try:
            for parameter in parameters:
                if parameter.name in BY_NAME:
                    self._check(parameter.name, parameter.value)
        except ParameterError as err:
            return SetParametersResult(successful=False, reason=str(err))
        return SetParametersResult(successful=True)

    def _check(self, name: str, value: Any) -> None:
        is_new = _checked(name, value) != getattr(self.settings, field_of(name))
        if name == 'model' and is_new:
            check_folder(value, self._folders)
        state = self._state()
        if is_new and BY_NAME[name].change is Mutability.UNCONFIGURED and state != 'unconfigured':
            raise ParameterError(
                f'{name} can change only before configure, but the node is {state}: clean up first '
                '(lifecycle transitions deactivate, cleanup), set it, and configure again'
            )

    def _apply(self, parameters: list[Any]) -> None:
        values = {field_of(p.name): check(p.name, p.value) for p in parameters if p.name in BY_NAME}
        if values:
            self.settings = replace(self.settings, **values)
            self._on_change()


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Descriptor of a parameter: meaning, range, choices and mutability, as tools show them."""
    described = ParameterDescriptor(
        name=parameter.name,
        type=_ROS_TYPES[type(parameter.default)].value,
        description=f'{parameter.doc} Unit: {parameter.unit or "none"}. May change {parameter.change.value}.',
        additional_constraints=parameter.constraint,
        read_only=parameter.change is Mutability.NEVER,
    )
    if parameter.minimum is not None and parameter.maximum is not None:
        # A ROS range cannot exclude the values between 0 and the minimum; check() does.
        low, high = 0.0 if parameter.zero_too else parameter.minimum, parameter.maximum
        if type(parameter.default) is float:
            described.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        else:
            described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return described


def unknown_overrides(node: Node) -> dict[str, str]:
    """Unknown parameters given at start -> the closest known name, or ''."""
    # rclpy does not offer these publicly.
    given: Iterable[str] = getattr(node, '_parameter_overrides', ())
    unknown = [name for name in given if name not in BY_NAME and not name.startswith(_FOREIGN_PREFIXES)]
    return {name: _nearest(name) for name in unknown}


def _nearest(name: str) -> str:
    """The known name closest to a misspelt one; '' if there is none."""
    return next(iter(get_close_matches(name[:_NAME_LIMIT], BY_NAME, 1)), '')


def _checked(name: str, value: Any) -> Any:
    """A value as :func:`check` gives it; a text must be short and in one line, since it goes to the log.

    Raises:
        ParameterError: The value is refused.
    """
    if isinstance(value, str) and len(value) > _TEXT_LIMIT:
        raise ParameterError(f'{name} has {len(value)} characters; expected {_TEXT_LIMIT} at most')
    if isinstance(value, str) and not schema.is_plain_text(value):
        raise ParameterError(
            f'{name} is {schema.shown(value)}; expected no line breaks or control characters'
        )
    return check(name, value)


def _declare(node: Node, parameter: Parameter) -> Any:
    """Declare a parameter and return its value from file, command line or default."""
    # Whole numbers are accepted for floats, since a YAML file may say 50 instead of 50.0.
    probe = ParameterDescriptor(dynamic_typing=True)
    given: Any = node.declare_parameter(parameter.name, parameter.default, probe).value
    node.undeclare_parameter(parameter.name)
    value = _checked(parameter.name, given)
    try:
        node.declare_parameter(parameter.name, value, descriptor(parameter), ignore_override=True)
    except ParameterException as err:
        raise ParameterError(f'{parameter.name} cannot be declared: {err}') from err
    return value

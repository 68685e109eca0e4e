"""Guards of the node's services: no request ends the node, and none keeps it busy for long.

rclpy lets an exception of a service out of the executor, which ends the node. A parameter of a type that does
not exist is enough: ``Parameter.from_parameter_msg`` raises ValueError.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import ParameterType, SetParametersResult
from rclpy.node import Node

from seg_ros.errors import ParameterError
from seg_ros.schema import shown

MOST_ENTRIES = 1000
"""Maximum number of parameters, or of their names, in one request; the node has about 40."""

_TYPE_HASH = re.compile(r'RIHS[0-9]{2}_[0-9a-f]{64}')
"""Hash of a type as REP 2011 writes it."""

_THROTTLE_S = 5.0
_TYPES = range(ParameterType.PARAMETER_NOT_SET, ParameterType.PARAMETER_STRING_ARRAY + 1)

Serve = Callable[[Any, Any], Any]


def guard_services(node: Node) -> None:
    """Guard the services that a node has now; call it once, when rclpy has made its own."""
    for service in node.services:
        service.callback = guarded(node, service.callback)


def guarded(node: Node, serve: Serve) -> Serve:
    """A callback of a service that answers every request.

    Args:
        node: Node that serves; bad requests go to its log.
        serve: Callback to guard, a function or a coroutine function.

    Returns:
        A coroutine function. It refuses requests that are too large or malformed, and those that raise.
    """

    async def answer(request: Any, response: Any) -> Any:
        try:
            check_request(request)
            answered = serve(request, response)
            return await answered if inspect.isawaitable(answered) else answered
        except ParameterError as err:
            reason = str(err)
        except Exception as err:
            if not node.context.ok():  # a signal has shut rclpy down during this request
                raise
            reason = f'the request failed: {type(err).__name__}: {shown(str(err))}'
        node.get_logger().warning(
            f'{type(request).__name__} is refused: {reason}', throttle_duration_sec=_THROTTLE_S
        )
        return refusal(request, reason)

    return answer


def check_request(request: Any) -> None:
    """Check the size of a request about parameters and the types in it, and the form of a type hash.

    Raises:
        ParameterError: There are too many entries, a type does not exist, or a hash is malformed.
    """
    for field in ('parameters', 'names', 'prefixes'):
        n_entries = len(getattr(request, field, ()))
        if n_entries > MOST_ENTRIES:
            raise ParameterError(f'{n_entries} {field} in one request; expected {MOST_ENTRIES} at most')
    type_hash = getattr(request, 'type_hash', None)
    if type_hash is not None and not _TYPE_HASH.fullmatch(type_hash):
        # rcl writes it to the log as it comes, with its line breaks.
        raise ParameterError(f'type hash {shown(type_hash)}; expected RIHS01_ and 64 hexadecimal digits')
    for parameter in getattr(request, 'parameters', ()):
        if parameter.value.type not in _TYPES:
            raise ParameterError(
                f'parameter {shown(parameter.name)} has type {parameter.value.type}; expected a number of '
                f'rcl_interfaces/msg/ParameterType, {_TYPES[0]} to {_TYPES[-1]}'
            )


def refusal(request: Any, reason: str) -> Any:
    """The response that refuses a request: empty, with the reason where it has a place for it.

    Args:
        request: Request of any service.
        reason: Reason in one line.
    """
    response = _response_type(request)()
    refused = SetParametersResult(successful=False, reason=reason)
    if hasattr(response, 'results'):
        response.results = [refused] * len(request.parameters)
    elif isinstance(getattr(response, 'result', None), SetParametersResult):
        response.result = refused
    for field in ('message', 'failure_reason'):
        if hasattr(response, field):
            setattr(response, field, reason)
    return response


def _response_type(request: Any) -> Any:
    """Response class of a request: rosidl gives both in one module."""
    module = inspect.getmodule(type(request))
    return getattr(module, type(request).__name__.replace('_Request', '_Response'))

"""The security policy against the endpoints that a running node really has, as another node sees them."""

import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from seg_ros.cli.main import main
from seg_ros.errors import ParameterError
from seg_ros.resources import resource
from seg_ros.ros.messages import label_info_type
from seg_ros.ros.security_policy import Deployment, security_policy

SHIPPED = 'config/seg_ros.policy.xml'


def allowed(policy: str) -> dict[str, set[str]]:
    """Action -> full names, expanded as sros2 does it."""
    (profile,) = ET.fromstring(policy).iter('profile')
    namespace, node = profile.get('ns', ''), profile.get('node', '')
    found: dict[str, set[str]] = {}
    for rule in profile:
        ((action, verdict),) = rule.attrib.items()
        assert verdict == 'ALLOW'
        assert action not in found
        names = [expanded(str(entry.text), namespace.rstrip('/'), node) for entry in rule]
        assert len(set(names)) == len(names)
        found[action] = set(names)
    return found


def expanded(name: str, namespace: str, node: str) -> str:
    if name.startswith('~/'):
        return f'{namespace}/{node}/{name[2:]}'
    return name if name.startswith('/') else f'{namespace}/{name}'


def endpoints(robot: Any, name: str, namespace: str) -> dict[str, set[str]]:
    """Action -> full names of what the node has, by discovery."""
    asks = {
        'publish': robot.peer.get_publisher_names_and_types_by_node,
        'subscribe': robot.peer.get_subscriber_names_and_types_by_node,
        'reply': robot.peer.get_service_names_and_types_by_node,
        'request': robot.peer.get_client_names_and_types_by_node,
    }
    return {action: {topic for topic, _ in ask(name, namespace)} for action, ask in asks.items()}


@pytest.mark.parametrize(
    ('deployment', 'parameters'),
    [
        (Deployment(image='/camera/image_raw'), {}),
        (
            Deployment(
                namespace='/front', name='eye', image='image', image_transport='compressed', use_sim_time=True
            ),
            {'image_transport': 'compressed', 'use_sim_time': True},
        ),
    ],
    ids=['launch file', 'simulation'],
)
def test_the_policy_allows_what_an_active_node_has_and_no_more(
    robot: Any, coded_model_file: Path, deployment: Deployment, parameters: dict[str, Any]
) -> None:
    full = f'{deployment.full_namespace.rstrip("/")}/{deployment.name}'
    remap = (f'__ns:={deployment.full_namespace}', f'__node:={deployment.name}', f'image:={deployment.image}')
    node = robot.start(model=str(coded_model_file), remap=remap, **parameters)
    assert node.get_fully_qualified_name() == full
    robot.wait(lambda: node.trigger_configure().name == 'SUCCESS', 60)
    node.trigger_activate()
    policy = allowed(security_policy(deployment))
    policy['request'] = set()
    if label_info_type() is None:
        policy['publish'].remove(f'{full}/label_info')

    def seen() -> dict[str, set[str]]:
        return endpoints(robot, deployment.name, deployment.full_namespace)

    end = time.monotonic() + 10
    while seen() != policy and time.monotonic() < end:
        robot.spin_for(0.1)
    assert seen() == policy


def test_the_bond_is_allowed_where_it_is_asked_for() -> None:
    with_bond = allowed(security_policy(Deployment(namespace='front', bond=True)))
    without = allowed(security_policy(Deployment(namespace='front')))
    assert with_bond['publish'] - without['publish'] == {'/front/bond'}
    assert with_bond['subscribe'] - without['subscribe'] == {'/front/bond'}


def test_the_shipped_policy_is_that_of_the_launch_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['security-policy']) == 0
    assert capsys.readouterr().out == resource(SHIPPED).read_text()


def test_the_enclave_is_the_name_of_the_node_or_as_asked() -> None:
    for deployment, path in [
        (Deployment(), '/seg_ros'),
        (Deployment(namespace='a/b'), '/a/b/seg_ros'),
        (Deployment(enclave='robot/eyes'), '/robot/eyes'),
    ]:
        (enclave,) = ET.fromstring(security_policy(deployment)).iter('enclave')
        assert enclave.get('path') == path


@pytest.mark.parametrize('field', ['name', 'namespace', 'image', 'enclave'])
@pytest.mark.parametrize('text', ['a b', '*', 'x<y>', 'a//b', 'a\n', '1a', 'a/*'])
def test_names_that_would_allow_more_are_refused(field: str, text: str) -> None:
    """Policies have wildcards; a name must stand for itself alone."""
    with pytest.raises(ParameterError, match=field):
        Deployment(**{field: text})

"""``seg_ros security-policy``: prints an SROS 2 policy with the topics and services of the node alone."""

from __future__ import annotations

import argparse

from seg_ros.ros.endpoints import CAMERA


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--namespace', default='/', help='namespace of the node (default: %(default)s)')
    parser.add_argument('--name', default='seg_ros', help='name of the node (default: %(default)s)')
    parser.add_argument(
        '--image',
        default='/camera/image_raw',
        help='topic of the raw images, as for the launch file (default: %(default)s)',
    )
    parser.add_argument(
        '--image-transport',
        choices=CAMERA,
        default='raw',
        help='the parameter image_transport: which of the topics is subscribed to (default: %(default)s)',
    )
    parser.add_argument(
        '--use-sim-time', action='store_true', help='allow /clock too, for simulations and bags'
    )
    parser.add_argument('--bond', action='store_true', help="allow the bond with nav2's lifecycle manager")
    parser.add_argument(
        '--enclave', default='', help='enclave of the process (default: full name of the node)'
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the policy."""
    from seg_ros.ros.security_policy import Deployment, security_policy

    deployment = Deployment(
        namespace=arguments.namespace,
        name=arguments.name,
        image=arguments.image,
        image_transport=arguments.image_transport,
        use_sim_time=arguments.use_sim_time,
        bond=arguments.bond,
        enclave=arguments.enclave,
    )
    print(security_policy(deployment), end='')
    return 0

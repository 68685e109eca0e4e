"""Counted operations of the networks that are timed."""

import logging
from pathlib import Path

from seg_ros.errors import SegRosError
from seg_ros.evaluation.performance.contestants import ENET_CLASSES, ENET_SIZE
from seg_ros.inference.settings import Settings

log = logging.getLogger(__name__)


def macs_of(settings: Settings, input_size: tuple[int, int]) -> int | None:
    """Number of multiply-accumulate operations of a model's network, without codes and embeddings.

    Args:
        settings: Settings that name the model.
        input_size: (height, width) of the network's input in pixels.

    Returns:
        The number; None for an imported graph, or without torch.
    """
    try:
        import torch

        from seg_ros.modelfile.file import load_model
        from seg_ros.networks.graph.cost import network_cost

        model = load_model(settings.model)
        if model.metadata.is_graph:
            return None
        return network_cost(model.network, torch.zeros(1, 3, *input_size)).n_macs
    except (ImportError, SegRosError) as err:
        log.info('the operations of %s are not counted: %s', Path(settings.model).stem, err)
        return None


def enet_macs() -> int | None:
    """Number of multiply-accumulate operations of the plain ENet; None without torch."""
    try:
        import torch

        from seg_ros.networks.graph.cost import network_cost
        from seg_ros.networks.registry import MODELS

        return network_cost(MODELS['enet'](ENET_CLASSES).eval(), torch.zeros(1, 3, *ENET_SIZE)).n_macs
    except ImportError:
        return None

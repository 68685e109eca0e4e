"""Each layer changed alone, against networks that were changed by hand."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.errors import ParameterError
from seg_ros.evaluation.sensitivity import measure_sensitivity
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.resources import resource

SIZE = (48, 64)
CLASSES = ClassSet.from_yaml(resource('config/labels/squares.yaml'))
GOLDEN = Golden(np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 16), np.uint8))


class Halved:
    """Squares at half their size with a void border."""

    def __init__(self, n_images: int) -> None:
        self._squares = SquaresDataset(None, 'test', n_images=max(n_images, 1))
        self.classes, self.names = self._squares.classes, self._squares.names[:n_images]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image, labels = (part[::5, ::5].copy() for part in self._squares[index])
        labels[:2] = 255
        return image, labels


@pytest.fixture
def model() -> Model:
    torch.manual_seed(1)
    metadata = ModelMetadata('segnet_small', CLASSES, SIZE, arguments={'width': 4, 'kernel': 3})
    network = metadata.build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 2)
            nn.init.normal_(module.bias)
    return Model(metadata, network, GOLDEN, Path('tiny.safetensors'), '', 0)


def loss_of(network: nn.Module, dataset: Halved, model: Model) -> float:
    norm = model.metadata.normalisation
    total, n = 0.0, 0
    for index in range(len(dataset)):
        image, labels = dataset[index]
        x = (torch.from_numpy(image).double() / 255 - torch.tensor(norm.mean)) / torch.tensor(norm.std)
        with torch.no_grad():
            log_probs = F.log_softmax(network(x.permute(2, 0, 1)[None].float()), 1)[0]
        for k in range(2):
            total -= float(log_probs[k][torch.from_numpy(labels == k)].sum())
        n += int((labels != 255).sum())
    return total / n


def test_effects_are_those_of_changing_a_copy(model: Model) -> None:
    dataset, state = Halved(3), copy.deepcopy(model.network.state_dict())
    result = measure_sensitivity(model, dataset, 'cpu', bits=(8, 2), fractions=(0.5,))
    assert result.n_images == 3
    assert result.loss == pytest.approx(loss_of(model.network, dataset, model), rel=1e-4)
    assert all(torch.equal(value, state[name]) for name, value in model.network.state_dict().items())

    convolutions = [n for n, m in model.network.named_modules() if isinstance(m, nn.Conv2d)]
    assert [(e.layer, e.n_bits) for e in result.effects if e.n_bits] == [
        (name, n_bits) for name in convolutions for n_bits in (8, 2)
    ]
    by_key = {(e.layer, e.n_bits or e.removed): e for e in result.effects}

    name = convolutions[1]
    rounded = copy.deepcopy(model.network)
    weight = rounded.get_submodule(name).weight.data
    scale = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    weight.copy_((weight / scale).round() * scale)
    expected = loss_of(rounded, dataset, model) - result.loss
    assert by_key[name, 8].loss == pytest.approx(expected, abs=2e-3)
    assert abs(by_key[name, 2].loss) > 5 * abs(by_key[name, 8].loss)

    # Half of the first layer's four channels. Their places of maxima go to the channels of the decoder that
    # are unpooled last, so the kernels of both say which matter least; two convolutions read them.
    cut = copy.deepcopy(model.network)
    first, second, third, fourth = (cut.get_submodule(name).weight.data for name in convolutions[:4])
    assert third.shape[1] == fourth.shape[1] == len(first) == 4
    magnitude = first.abs().mean((1, 2, 3)) + third.abs().mean((1, 2, 3))
    least = magnitude.argsort()[:2]
    second[:, least] = fourth[:, least] = 0
    expected = loss_of(cut, dataset, model) - result.loss
    assert by_key[convolutions[0], 0.5].loss == pytest.approx(expected, abs=1e-4)
    assert expected != pytest.approx(0, abs=1e-3)


def test_mean_iou_falls_where_labels_are_what_the_network_says(model: Model) -> None:
    class Believed(Halved):
        def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
            image, _ = super().__getitem__(index)
            norm = model.metadata.normalisation
            x = (torch.from_numpy(image).float() / 255 - torch.tensor(norm.mean)) / torch.tensor(norm.std)
            with torch.no_grad():
                return image, model.network(x.permute(2, 0, 1)[None])[0].argmax(0).byte().numpy()

    result = measure_sensitivity(model, Believed(2), 'cpu', bits=(2,), fractions=(0.5,))
    assert result.mean_iou == pytest.approx(1, abs=1e-3)  # float32 decides ties
    assert all(effect.mean_iou <= 0 for effect in result.effects)
    assert min(effect.mean_iou for effect in result.effects) < -0.01
    assert len(result.as_json()['effects']) == len(result.effects)


def test_what_is_wrong_is_told(model: Model) -> None:
    with pytest.raises(ParameterError, match='0 images'):
        measure_sensitivity(model, Halved(0), 'cpu')
    with pytest.raises(ParameterError, match=r'within 0\.\.1'):
        measure_sensitivity(model, Halved(1), 'cpu', fractions=(1.0,))
    with pytest.raises(ParameterError, match=r'2\.\.8'):
        measure_sensitivity(model, Halved(1), 'cpu', bits=(1,))

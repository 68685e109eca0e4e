import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_images_are_normalised_in_the_order_of_the_network(order: str) -> None:
    images = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    got = ImageNetwork(nn.Identity(), Normalisation(MEAN, STD, order))(images)
    colours = images.flip(3) if order == 'bgr' else images
    expected = (colours / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(got, expected.permute(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def test_scores_are_float32_at_any_precision() -> None:
    network = ImageNetwork(nn.Conv2d(3, 2, 1), Normalisation(), torch.bfloat16)
    assert network.network.weight.dtype == torch.bfloat16
    assert network(torch.zeros(1, 4, 4, 3, dtype=torch.uint8)).dtype == torch.float32


def test_an_encoder_returns_its_last_map() -> None:
    class Encoder(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x, x[..., ::2, ::2]]

    assert ImageNetwork(Encoder(), Normalisation())(torch.zeros(1, 4, 6, 3)).shape == (1, 3, 2, 3)


@pytest.mark.parametrize(
    'values',
    [
        {'mean': (0.0, 0.0)},
        {'mean': (0.0, float('nan'), 0.0)},
        {'std': (1.0, 0.0, 1.0)},
        {'std': (1.0, 1.0, -1.0)},
        {'channel_order': 'gbr'},
    ],
)
def test_impossible_normalisation_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ModelFileError):
        Normalisation(**values)

"""The published codes: ITQ of the last map, and components of equal codes, against a slow search."""

import cv2
import numpy as np
import torch
from torch import nn

from seg_ros.evaluation.published_codes import PublishedCodes, unit_columns
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.segments.slic import slic


def make_frames() -> FrameNetwork:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 10, 1))
    images = ImageNetwork(network, Normalisation()).eval()
    layer = BinaryLayer([6, 10], 16)
    return FrameNetwork(images, has_scores=False, codes=layer, taps=['1', '2']).eval()


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (5, 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (72, 60), interpolation=cv2.INTER_NEAREST)


def test_columns_have_unit_length_and_are_those_of_the_taps() -> None:
    frames, image = make_frames(), picture(0)
    shallow, deep = unit_columns(frames, image)
    assert (shallow.shape, deep.shape) == ((30, 36, 6), (30, 36, 10))
    np.testing.assert_allclose(np.linalg.norm(deep, axis=2), 1, atol=1e-5)
    with torch.no_grad():
        want = frames.maps(torch.from_numpy(image)[None])[1][0].numpy()
    np.testing.assert_allclose(deep, (want / np.linalg.norm(want, axis=0)).transpose(1, 2, 0), atol=1e-5)


def test_segments_are_components_of_equal_codes() -> None:
    frames = make_frames()
    published = PublishedCodes.fit(frames, [picture(seed) for seed in range(4)])
    assert (published.itq.n_bits, published.n_images) == (8, 4)
    image = picture(9)
    superpixels, columns = slic(image, region_size=6), unit_columns(frames, image)[-1]
    codes = published.codes(columns, superpixels)
    full = cv2.resize(columns, (72, 60), interpolation=cv2.INTER_LINEAR)  # the same places as the kernel's
    for region in range(0, superpixels.n, 7):
        mean = full[superpixels.ids == region].mean(0, dtype=np.float64)
        code = int(codes[region])
        bits = [(code >> k) & 1 for k in range(8)]
        rotated = published.itq.transform(mean[None])[0]
        clear = np.abs(rotated) > 1e-2
        assert (np.array(bits)[clear] == (rotated > 0)[clear]).all()
    ids = published.segments(columns, superpixels)
    n_slow = 0
    for code in np.unique(codes):
        mask = (codes == code)[superpixels.ids].astype(np.uint8)
        n, parts = cv2.connectedComponents(mask, connectivity=4)
        n_slow += n - 1
        for part in range(1, n):
            assert len(np.unique(ids[parts == part])) == 1
    assert ids.max() + 1 == n_slow < superpixels.n

"""Fitting of binary layers: the pooling that gradients flow through, what is learned, and the command."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seg_ros.cli.main import main
from seg_ros.datasets.segmented import SegmentFolder
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.registry import MODELS
from seg_ros.networks.squeezenet import SqueezeNetFeatures
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.regions import connected_parts, find_borders, region_means
from seg_ros.segments.slic import slic
from seg_ros.training.coded_model import DEFAULT_TAPS
from seg_ros.training.fit_codes import CodeTuner, FineTuning, _targets, fit_itq, pooling_matrix

TAPS = {'features.1': 64, 'features.4': 128}


def patches(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of four noisy patches, and which is which."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((60, 76), np.int32)
    row, column = rng.integers(20, 40), rng.integers(25, 50)
    truth[row:] += 1
    truth[:, column:] += 2
    colours = rng.integers(30, 220, (4, 3))
    noise = rng.normal(0, 12, (60, 76, 3))
    return np.clip(colours[truth] + noise, 0, 255).astype(np.uint8), truth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('images', 'regions'):
        (tmp_path / name).mkdir()
    for seed in range(6):
        image, truth = patches(seed)
        cv2.imwrite(str(tmp_path / f'images/{seed}.png'), image[..., ::-1])
        cv2.imwrite(str(tmp_path / f'regions/{seed}.png'), (truth + 1).astype(np.uint8))
    return tmp_path


def make_frames(n_bits: int = 16) -> FrameNetwork:
    torch.manual_seed(0)
    images = ImageNetwork(SqueezeNetFeatures(), Normalisation()).eval()
    layer = BinaryLayer(list(TAPS.values()), n_bits, has_colour=True)
    return FrameNetwork(images, has_scores=False, codes=layer, taps=list(TAPS)).eval()


def test_the_matrix_pools_as_the_kernel_does() -> None:
    rng = np.random.default_rng(0)
    regions = connected_parts(rng.integers(0, 3, (23, 31)).astype(np.int32))
    values = rng.standard_normal((6, 8, 5)).astype(np.float32)
    matrix = pooling_matrix(regions, 6, 8)
    got = torch.sparse.mm(matrix, torch.from_numpy(values).reshape(48, 5))
    np.testing.assert_allclose(got.numpy(), region_means(values, regions), atol=1e-4)


def test_training_sees_what_running_sees() -> None:
    frames, (image, _) = make_frames(), patches(1)
    tuner = CodeTuner(frames, [[(image, [])]], FineTuning())  # type: ignore[list-item]
    regions = slic(image, region_size=8)
    with torch.no_grad():
        got = tuner._means(image, regions).numpy()
        logits = frames(torch.from_numpy(image)[None])['codes'][0]
    assert frames.codes is not None
    want = CodePooling.of(frames.codes).means(logits, lab_planes(image), regions)
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_targets_are_shares_of_annotations() -> None:
    regions = connected_parts(np.array([[0, 0, 1, 1, 2, 2]], np.int32))
    annotations = [np.array([[0, 0, 0, 0, 1, 1]], np.int32), np.array([[0, 0, 1, 1, 1, -1]], np.int32)]
    pairs = np.array([[0, 1], [1, 2]], np.int32)
    target, weight = _targets(regions, annotations, pairs, FineTuning(balance=0.0, separation=2.0))
    assert target.tolist() == [0.5, 0.5]
    assert weight.tolist() == [2.0, 2.0]
    void = [np.full((1, 6), -1, np.int32)]
    assert _targets(regions, void, pairs, FineTuning())[1].tolist() == [0.0, 0.0]


def test_itq_then_learning_tells_patches_apart(folder: Path) -> None:
    frames, data = make_frames(), SegmentFolder(folder, 'train')
    assert frames.codes is not None
    fit_itq(frames, [data[index][0] for index in range(len(data))])
    settings = FineTuning(epochs=8, region_sizes=(8,), learning_rate=1e-2, scales=(1.0, 1.0))
    losses = list(CodeTuner(frames, [data], settings).run())
    assert losses[-1] < 0.7 * losses[0]
    image, truth = patches(99)
    regions = slic(image, region_size=8)
    with torch.no_grad():
        logits = frames(torch.from_numpy(image)[None])['codes'][0]
    bits = CodePooling.of(frames.codes).means(logits, lab_planes(image), regions) > 0
    inside = np.array([np.bincount(truth[regions.ids == k]).argmax() for k in range(regions.n)])
    pairs = find_borders(regions).pairs
    unlike = (bits[pairs[:, 0]] != bits[pairs[:, 1]]).mean(1)
    across = inside[pairs[:, 0]] != inside[pairs[:, 1]]
    assert unlike[across].mean() > 2 * unlike[~across].mean()


def test_the_command_writes_a_model_that_runs(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / 'free.safetensors'
    words = ['fit-codes', 'folder', '--data', str(folder), '--encoder', 'squeezenet', '--bits', '16']
    words += ['--epochs', '1', '--input-size', '64', '80', '--region-size', '8', '-o', str(output)]
    assert main(words) == 0
    segmenter = Segmenter.load(Settings(model=str(output), backend='torch'))
    assert segmenter.agreement == 1
    prediction = segmenter(patches(3)[0], segments=True)
    assert (prediction.labels == 255).all()
    segments = prediction.segments
    assert segments is not None
    assert segments.codes.shape == (segments.n, 2)
    assert len(segmenter.codebook) == 64


def test_a_model_keeps_its_classes(folder: Path, tmp_path: Path, model_file: Path) -> None:
    output = tmp_path / 'coded.safetensors'
    words = ['fit-codes', 'folder', '--data', str(folder), '--model', str(model_file), '--bits', '32']
    assert main([*words, '--epochs', '0', '-o', str(output)]) == 0
    image = patches(5)[0]
    plain, coded = (Segmenter.load(Settings(model=str(f), backend='torch')) for f in (model_file, output))
    prediction = coded(image, segments=True)
    assert np.array_equal(plain(image).labels, prediction.labels)
    assert prediction.segments is not None
    assert set(prediction.segments.class_ids) <= set(range(11))
    refined = coded(image, segments=True, refinement=1000.0)
    assert refined.segments is not None
    one_class = refined.segments.class_ids[refined.segments.regions.ids]
    assert (refined.labels == one_class).mean() > 0.97  # but for interpolation along their edges


def test_embeddings_stay_unless_the_network_learns(
    folder: Path, tmp_path: Path, embedded_model_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / 'coded.safetensors'
    words = ['fit-codes', 'folder', '--data', str(folder), '--model', str(embedded_model_file)]
    assert main([*words, '--epochs', '0', '-o', str(output)]) == 0
    assert not caplog.records
    settings = {'backend': 'torch', 'embedding_filter_enabled': True}
    plain, coded = (
        Segmenter.load(Settings(model=str(f), **settings))  # type: ignore[arg-type]
        for f in (embedded_model_file, output)
    )
    assert coded.agreement == 1
    prediction = coded(patches(5)[0], segments=True)
    assert prediction.segments is not None
    assert np.array_equal(plain(patches(5)[0]).labels, prediction.labels)

    assert main([*words, '--epochs', '1', '--encoder-learning-rate', '1e-9', '-o', str(output)]) == 0
    assert 'embeddings are left out' in caplog.text
    assert load_model(output).embeddings is None


@pytest.mark.parametrize('level', ['bf16', 'fp16'])
def test_a_network_of_half_precision_keeps_it(
    folder: Path, tmp_path: Path, model_file: Path, level: str
) -> None:
    rounded, output = tmp_path / 'rounded.safetensors', tmp_path / 'coded.safetensors'
    assert main(['quantize', str(model_file), '--level', level, '-o', str(rounded)]) == 0
    words = ['fit-codes', 'folder', '--data', str(folder), '--model', str(rounded), '--bits', '32']
    assert main([*words, '--epochs', '0', '-o', str(output)]) == 0
    before, after = load_model(rounded), load_model(output)
    state = after.network.state_dict()
    for name, value in before.network.state_dict().items():
        assert state[name].dtype == value.dtype, name
        assert torch.equal(state[name], value), name
    segmenter = Segmenter.load(Settings(model=str(output), backend='torch'))
    assert segmenter.agreement > 0.99
    assert segmenter(patches(3)[0], segments=True).segments is not None


def test_rounded_weights_stay(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('onnxruntime')
    rounded, output = tmp_path / 'int8.safetensors', tmp_path / 'coded.safetensors'
    street = ['--dataset', 'rendered', '--images', '4', '--options', '{n_drives: 4, n_frames: 1}']
    assert main(['quantize', str(model_file), '--level', 'int8', *street, '-o', str(rounded)]) == 0
    words = ['fit-codes', 'folder', '--data', str(folder), '--model', str(rounded), '--bits', '32']
    assert main([*words, '--epochs', '1', '-o', str(output)]) == 0
    before, after = load_model(rounded), load_model(output)
    for name, value in before.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[name], value), name
    segmenter = Segmenter.load(Settings(model=str(output), backend='onnxruntime'))
    assert segmenter.quantization == 'int8'
    assert segmenter.agreement > 0.97
    assert segmenter(patches(3)[0], segments=True).segments is not None
    learning = ['--epochs', '1', '--encoder-learning-rate', '1e-4', '-o', str(output)]
    assert main([*words, *learning]) == 1
    assert 'rounded to int8' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--encoder', 'squeezenet', '--bits', '12'], r'8\.\.256'),
        (['--encoder', 'squeezenet', '--taps', 'features.99'], 'features.99'),
        (['--encoder', 'squeezenet', '--encoder-version', '9'], 'known: 1.0, 1.1'),
        (['--encoder', 'squeezenet', '--encoder-weights', 'missing.pth'], 'missing.pth'),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    end = ['--epochs', '0', '-o', str(tmp_path / 'x.safetensors')]
    assert main(['fit-codes', 'folder', '--data', str(folder), *words, *end]) == 1
    import re

    assert re.search(message, capsys.readouterr().err)


def test_itq_needs_images_alone(folder: Path, tmp_path: Path, model_file: Path) -> None:
    for name, images in (('flat', folder / 'images'), ('whole', folder)):
        words = ['fit-codes', 'folder', '--data', str(images), '--model', str(model_file), '--bits', '16']
        assert main([*words, '--epochs', '0', '-o', str(tmp_path / f'{name}.safetensors')]) == 0
    flat, whole = (load_model(tmp_path / f'{name}.safetensors').codes for name in ('flat', 'whole'))
    assert flat is not None
    assert whole is not None
    for one, other in zip(flat.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_itq_learns_from_a_folder_of_images_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No labels, no sub-folders; and ``info`` tells maps that no ReLU has seen."""
    output = tmp_path / 'itq.safetensors'
    words = ['fit-codes', 'folder', '--data', str(folder / 'images'), '--encoder', 'squeezenet']
    words += ['--taps', 'features.0', 'features.1', '--bits', '8', '--epochs', '0', '--without-colour']
    assert main([*words, '--input-size', '64', '80', '-o', str(output)]) == 0
    assert main(['info', str(output)]) == 0
    assert '8 bits from features.0 (not rectified), features.1; slic' in capsys.readouterr().out


@pytest.mark.parametrize('name', sorted(set(DEFAULT_TAPS) & set(MODELS)))
def test_default_taps_give_maps_from_fine_to_coarse(name: str) -> None:
    frames = FrameNetwork(ImageNetwork(MODELS[name](11), Normalisation()), taps=DEFAULT_TAPS[name]).eval()
    with torch.no_grad():
        heights = [maps.shape[-2] for maps in frames.maps(torch.zeros(1, 128, 128, 3, dtype=torch.uint8))]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] >= 64

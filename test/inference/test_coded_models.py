"""Models with codes: files, every backend, and what a code belongs to."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seg_ros.errors import ModelFileError, SelfCheckError, UnavailableError
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.description import METADATA_KEY
from seg_ros.modelfile.file import load_model
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.colour import colour_moments, lab_planes
from seg_ros.segments.hamming import unpack
from seg_ros.segments.regions import Regions, connected_parts
from seg_ros.synthetic import RenderedDrive

IMAGE = RenderedDrive(9, 2, 96, 128)[1][0]


def load(path: Path, **settings: object) -> Segmenter:
    return Segmenter.load(Settings(model=str(path), device='cpu', **{'backend': 'torch', **settings}))


@pytest.mark.parametrize('name', BACKENDS)
def test_every_backend_gives_the_codes(name: str, coded_model_file: Path) -> None:
    obstacle = BACKENDS[name].why_not('cpu', 'float32')
    if obstacle:
        pytest.skip(f'{name} {obstacle}')
    want = load(coded_model_file)
    got = load(coded_model_file, backend=name)
    assert got.agreement > 0.99
    assert got.codebook == want.codebook
    one, other = (p(IMAGE, segments=True).segments for p in (want, got))
    assert one is not None
    assert other is not None
    assert (one.regions.ids == other.regions.ids).mean() > 0.95
    assert (unpack(one.codes[:3]) == unpack(other.codes[:3])).mean() > 0.97


def test_a_code_is_pooled_over_its_pixels(coded_model_file: Path) -> None:
    """As the messages define it, pixel by pixel: the slow way."""
    segmenter = load(coded_model_file)
    code_pooling = segmenter.code_pooling
    assert code_pooling is not None
    assert code_pooling.colour is not None
    logits = segmenter.backend(IMAGE.copy()[None])['codes'][0]
    planes_of_bits = torch.as_tensor(logits).permute(2, 0, 1)
    wide = torch.nn.functional.interpolate(planes_of_bits[None], (96, 128), mode='bilinear')[0]
    planes = lab_planes(IMAGE)
    every_pixel = Regions(np.arange(96 * 128, dtype=np.int32).reshape(96, 128), 96 * 128)
    per_pixel = wide.flatten(1).T.numpy() + colour_moments(planes, every_pixel) @ code_pooling.colour
    regions = connected_parts(
        np.random.default_rng(0).integers(0, 2, (6, 8)).astype(np.int32).repeat(16, 0).repeat(16, 1)
    )
    want = np.stack([per_pixel[regions.ids.ravel() == k].mean(0) for k in range(regions.n)])
    np.testing.assert_allclose(code_pooling.means(logits, planes, regions), want, atol=2e-3)


def test_the_codebook_is_all_that_decides(coded_model_file: Path, tmp_path: Path) -> None:
    model = load_model(coded_model_file)
    book = model.codebook((96, 128))
    assert book == load_model(coded_model_file).codebook((96, 128))
    assert book != model.codebook((96, 160))
    other = load_model(coded_model_file)
    assert other.codes is not None
    with torch.no_grad():
        other.codes.bias[0] += 1e-3
    assert book != other.codebook((96, 128))
    codes = dataclasses.replace(model.metadata.codes, region_size=99)  # type: ignore[type-var]
    described = dataclasses.replace(model.metadata, codes=codes)
    assert book == dataclasses.replace(model, metadata=described).codebook((96, 128))


def tampered(source: Path, target: Path, change: str) -> Path:
    from safetensors import safe_open

    with safe_open(source, 'pt') as file:
        metadata = {METADATA_KEY: file.metadata()[METADATA_KEY]}  # without the digest
    tensors = load_file(source)
    if change == 'bits':
        tensors['golden.codes'] ^= 0xFF
    elif change == 'shape':
        tensors['golden.codes'] = tensors['golden.codes'][:, :3].contiguous()
    elif change == 'missing':
        del tensors['codes.bias']
    elif change == 'taps':
        metadata = {METADATA_KEY: metadata[METADATA_KEY].replace('"stage1": 64', '"stage1": 65')}
    elif change == 'huge':
        metadata = {METADATA_KEY: metadata[METADATA_KEY].replace('"stage1": 64', '"stage1": 99999999999')}
    elif change == 'limit':
        metadata = {METADATA_KEY: metadata[METADATA_KEY].replace('"merge_limit": 0.1', '"merge_limit": 7')}
    save_file(tensors, target, metadata=metadata)
    return target


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ('bits', SelfCheckError, 'golden bits'),
        ('shape', SelfCheckError, 'of shape'),
        ('missing', ModelFileError, 'codes.bias'),
        ('taps', ModelFileError, 'codes.project'),
        ('huge', ModelFileError, 'taps'),
        ('limit', ModelFileError, 'merge_limit.* 7'),
    ],
)
def test_a_damaged_codebook_is_refused(
    coded_model_file: Path, tmp_path: Path, change: str, error: type[Exception], message: str
) -> None:
    path = tampered(coded_model_file, tmp_path / 'x.safetensors', change)
    with pytest.raises(error, match=message):
        load(path)


def test_segments_need_codes(model_file: Path) -> None:
    with pytest.raises(UnavailableError, match='fit-codes'):
        load(model_file)(IMAGE, segments=True)


def test_segments_of_another_size_keep_their_order(coded_model_file: Path) -> None:
    segments = load(coded_model_file)(IMAGE, segments=True).segments
    assert segments is not None
    for size in ((192, 256), (17, 23), (1, 1)):
        resized = segments.resized(*size)
        sizes = np.bincount(resized.regions.ids.ravel(), minlength=resized.n)
        assert resized.regions.ids.shape == size
        assert sizes.min() > 0
        assert (np.diff(sizes) <= 0).all()
        assert len(resized.codes) == len(resized.class_ids) == resized.n
    double = segments.resized(192, 256)
    np.testing.assert_array_equal(double.regions.ids[::2, ::2], segments.regions.ids)


def test_a_coder_without_colour_reads_the_maps_alone() -> None:
    code_pooling = CodePooling(8, None)
    logits = np.ones((4, 4, 8), np.float32)
    regions = Regions(np.zeros((8, 8), np.int32), 1)
    assert code_pooling.means(logits, np.zeros((3, 8, 8), np.float32), regions).tolist() == [[1.0] * 8]


def test_the_shipped_model_without_classes_runs() -> None:
    segmenter = Segmenter.load(Settings(model='segments', backend='torch', device='cpu'))
    assert segmenter.agreement > 0.99
    prediction = segmenter(RenderedDrive(9, 2, 240, 320)[1][0], segments=True, confidence=True)
    assert prediction.segments is not None
    assert 2 < prediction.segments.n < 200
    assert (prediction.labels == 255).all()
    assert prediction.confidence is not None
    assert not prediction.confidence.any()


def test_refining_averages_a_pixel_and_its_segment(coded_model_file: Path) -> None:
    segmenter = load(coded_model_file)
    segments = segmenter(IMAGE, segments=True).segments
    assert segments is not None
    scores = np.asarray(segmenter.backend(IMAGE.copy()[None])['scores'][0])
    refined = np.asarray(segments.refine(scores, 2.0))
    mask = segments.regions.ids == 1
    own = scores[:, mask]
    np.testing.assert_allclose(refined[:, mask], (own + 2 * own.mean(1, keepdims=True)) / 3, atol=1e-3)


def test_refining_makes_a_model_no_surer(coded_model_file: Path) -> None:
    """A segment of equal pixels keeps the confidence that each of them has."""
    segmenter = load(coded_model_file)
    segments = segmenter(IMAGE, segments=True).segments
    assert segments is not None
    scores = np.random.default_rng(0).normal(size=(3, 1, 1)).astype(np.float32)
    even = np.broadcast_to(scores, (3, *segments.regions.shape)).copy()
    alike = dataclasses.replace(segments, scores=np.broadcast_to(scores[:, 0, 0], (segments.n, 3)).copy())
    for weight in (0.5, 1000.0):
        np.testing.assert_allclose(np.asarray(alike.refine(even, weight)), even, rtol=1e-5)

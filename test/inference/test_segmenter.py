import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from seg_ros.errors import (
    ImageError,
    ModelFileError,
    ParameterError,
    SelfCheckError,
    UnavailableError,
    UnknownNameError,
)
from seg_ros.inference.backends import select
from seg_ros.inference.backends.measured import all_measured
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.backends.torch_compiled import CompiledBackend
from seg_ros.inference.options import FrameOptions
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model, save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.precision import frame_network
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.resources import resource
from seg_ros.synthetic import RenderedDrive
from seg_ros.training.golden_record import label_image

DRIVE = RenderedDrive(5, 4, 120, 200)


def settings(model_file: Path, **values: object) -> Settings:
    return Settings.from_values({'model': str(model_file), 'backend': 'torch', 'device': 'cpu', **values})


def test_prediction_is_what_the_steps_give_by_hand(model_file: Path) -> None:
    segmenter = Segmenter.load(settings(model_file))
    model = load_model(model_file)
    image = DRIVE[0][0]
    prediction = segmenter(image, confidence=True)
    # The whole way in torch; its stretching and that of OpenCV agree within a grey level.
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    x = F.interpolate(x, (96, 128), mode='bilinear').round() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        probs = F.interpolate(model.network((x - mean) / std), (120, 200), mode='bilinear').softmax(1)
    assert prediction.labels.shape == prediction.confidence.shape == (120, 200)
    assert (prediction.labels == probs[0].argmax(0).numpy()).mean() > 0.98
    assert np.abs(prediction.confidence / 255 - probs[0].max(0)[0].numpy()).mean() < 0.01
    assert len(np.unique(prediction.labels)) > 3


@pytest.mark.parametrize('backend', BACKENDS)
def test_backends_agree(model_file: Path, backend: str) -> None:
    obstacle = BACKENDS[backend].why_not('cpu', 'float32')
    if obstacle:
        pytest.skip(f'{backend} {obstacle}')
    reference, other = (
        Segmenter.load(settings(model_file)),
        Segmenter.load(settings(model_file, backend=backend)),
    )
    assert other.agreement > 0.999
    for index in range(len(DRIVE)):
        image = DRIVE[index][0]
        assert (reference(image).labels == other(image).labels).mean() > 0.999


def test_compiled_networks_take_only_what_they_were_compiled_for() -> None:
    obstacle = CompiledBackend.why_not('cpu', 'float32')
    if obstacle:
        pytest.skip(f'torch_compile {obstacle}')
    network = FrameNetwork(ImageNetwork(torch.nn.Conv2d(3, 2, 3), Normalisation())).eval()
    backend = CompiledBackend(NetworkSource.of(network), (20, 30), 'cpu', 0)
    images = np.zeros((1, 20, 30, 3), np.uint8)
    assert backend(images)['scores'].shape == (1, 2, 18, 28)
    turned = np.zeros((1, 30, 20, 3), np.uint8).transpose(0, 2, 1, 3)
    for wrong in (images[:, :19], images.repeat(2, 0), images[0], images.astype(np.float32), turned):
        with pytest.raises(ImageError, match='which the network was built for'):
            backend(wrong)


@pytest.mark.parametrize(
    'backend',  # compiling the network twice takes a minute and a half
    [pytest.param(key, marks=pytest.mark.slow if key == 'torch_compile' else ()) for key in BACKENDS],
)
def test_embeddings_sharpen_labels_where_they_are_asked_to(embedded_model_file: Path, backend: str) -> None:
    obstacle = BACKENDS[backend].why_not('cpu', 'float32')
    if obstacle:
        pytest.skip(f'{backend} {obstacle}')
    on = {'embedding_filter.enabled': True, 'embedding_filter.iterations': 7}
    plain = Segmenter.load(settings(embedded_model_file, backend=backend))
    filtered = Segmenter.load(settings(embedded_model_file, backend=backend, **on))
    assert filtered.agreement > 0.999
    model = load_model(embedded_model_file)
    frames = frame_network(model, 'fp32', with_embeddings=True)
    by_hand = FilteredNetwork(frames, 5, 7).eval()
    image = DRIVE[0][0]
    expected = label_image(by_hand, image, (96, 128))
    prediction = filtered(image)
    assert (prediction.labels == expected).mean() > 0.999
    assert prediction.times.filter_ms > 0
    without = filtered(image, filter=False)
    np.testing.assert_array_equal(without.labels, plain(image).labels)
    assert (plain(image).labels == label_image(by_hand.frames.network, image, (96, 128))).mean() > 0.999
    assert plain(image).times.filter_ms == without.times.filter_ms == 0
    assert (plain(image).labels != expected).mean() > 0.001


def test_a_filter_asked_of_a_model_that_has_none(model_file: Path) -> None:
    with pytest.raises(UnavailableError, match=r'has no embeddings, .*; shipped models that have: '):
        Segmenter.load(settings(model_file, **{'embedding_filter.enabled': True}))


@pytest.mark.parametrize(('window', 'said'), [(25, 'at most 23.*24x32'), (4, 'odd')])
def test_windows_that_do_not_fit(embedded_model_file: Path, window: int, said: str) -> None:
    values = {'embedding_filter.enabled': True, 'embedding_filter.window': window}
    with pytest.raises(ParameterError, match=said):
        Segmenter.load(settings(embedded_model_file, **values))


def test_a_size_that_embeddings_do_not_divide(embedded_model_file: Path) -> None:
    values = {'embedding_filter.enabled': True, 'input_height': 90, 'input_width': 128}
    with pytest.raises(
        ParameterError, match=r'90x128 pixels; .* multiples of 4: set input_height and input_width'
    ):
        Segmenter.load(settings(embedded_model_file, **values))


def test_a_window_that_fits_where_the_models_own_does_not() -> None:
    small = Settings(
        model='lite_camvid',
        backend='torch',
        input_height=64,
        input_width=64,
        embedding_filter_enabled=True,
        embedding_filter_window=3,
    )
    assert Segmenter.load(small)(np.zeros((48, 64, 3), np.uint8)).labels.shape == (48, 64)
    with pytest.raises(ParameterError, match=r'a window of 9; .* at most 7'):
        Segmenter.load(dataclasses.replace(small, embedding_filter_window=0))


def test_damaged_embeddings_are_found(embedded_model_file: Path, tmp_path: Path) -> None:
    model = load_model(embedded_model_file)
    assert model.embeddings is not None
    torch.nn.init.zeros_(model.embeddings.embed.weight)
    path = tmp_path / 'damaged.safetensors'
    save_model(path, model.network, model.metadata, model.golden, embeddings=model.embeddings)
    assert Segmenter.load(settings(path)).agreement > 0.99
    with pytest.raises(SelfCheckError, match='recorded label'):
        Segmenter.load(settings(path, **{'embedding_filter.enabled': True}))


def test_compiled_networks_of_one_process_stay_apart() -> None:
    obstacle = CompiledBackend.why_not('cpu', 'float32')
    if obstacle:
        pytest.skip(f'torch_compile {obstacle}')
    images = np.random.default_rng(0).integers(0, 255, (1, 20, 30, 3), np.uint8)
    backends, expected = [], []
    for n_classes in (2, 2, 5):
        layers = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, n_classes, 3)
        network = FrameNetwork(ImageNetwork(torch.nn.Sequential(*layers), Normalisation())).eval()
        with torch.no_grad():
            expected.append(network(torch.from_numpy(images))['scores'].numpy())
        backends.append(CompiledBackend(NetworkSource.of(network), (20, 30), 'cpu', 1))
    first = [backend(images)['scores'] for backend in backends]
    for again in range(2):
        for backend, want, before in zip(backends, expected, first, strict=True):
            got = backend(images)['scores']
            np.testing.assert_allclose(got, want, rtol=1.3e-6, atol=1e-5)
            assert np.array_equal(got, before), again  # nor has it been compiled anew, or not at all


@pytest.mark.parametrize('level', ['int8', 'int4', 'shared-4'])
def test_levels_that_a_float_file_does_not_give_are_refused(model_file: Path, level: str) -> None:
    with pytest.raises(
        UnavailableError, match=f'{level} cannot be derived .* possible: auto, fp32, bf16, fp16'
    ):
        Segmenter.load(settings(model_file, quantization=level))


@pytest.mark.parametrize('level', [k for k, q in QUANTIZATIONS.items() if q.packed_as is None])
def test_levels_derived_from_float_agree(model_file: Path, level: str) -> None:
    reference, other = (
        Segmenter.load(settings(model_file)),
        Segmenter.load(settings(model_file, quantization=level)),
    )
    assert other.quantization == level
    assert (reference(DRIVE[1][0]).labels == other(DRIVE[1][0]).labels).mean() > 0.95


def test_nothing_about_a_segmenter_changes(model_file: Path) -> None:
    segmenter = Segmenter.load(settings(model_file))
    with pytest.raises(dataclasses.FrozenInstanceError):
        segmenter.options = FrameOptions(confidence_threshold=1.0)  # type: ignore[misc]
    before = dict(vars(segmenter))
    image = DRIVE[0][0]
    first = segmenter(image)
    segmenter(image, FrameOptions(confidence=True, confidence_threshold=1.0))
    assert vars(segmenter) == before
    np.testing.assert_array_equal(segmenter(image).labels, first.labels)
    assert first.times.network_ms > 0
    assert first.times.segments_ms == 0


def test_options_are_checked_like_parameters(model_file: Path) -> None:
    segmenter = Segmenter.load(settings(model_file, confidence_threshold=0.5))
    assert segmenter.options.confidence_threshold == 0.5
    image = DRIVE[0][0]
    with pytest.raises(ParameterError, match=r'confidence_threshold.*1\.5'):
        segmenter(image, confidence_threshold=1.5)
    with pytest.raises(TypeError, match='nonsense'):
        segmenter(image, nonsense=True)
    with pytest.raises(UnavailableError, match='fit-codes'):
        segmenter(image, segments=True)


def test_a_model_is_loaded_by_name_path_or_settings(model_file: Path) -> None:
    by_settings = Segmenter.load(settings(model_file))
    by_path = Segmenter.load(model_file)
    assert by_path.model.digest == by_settings.model.digest
    assert load_model('enet_camvid').path == resource('models/enet_camvid.safetensors')


def test_the_remembered_backend_depends_on_embeddings(
    embedded_model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ('torch_compile', 'onnxruntime'):
        monkeypatch.setitem(BACKENDS, name, BACKENDS['torch'])
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    for enabled in (False, True):
        Segmenter.load(settings(embedded_model_file, backend='auto', **{'embedding_filter.enabled': enabled}))
    assert len(list((tmp_path / 'seg_ros' / 'backends').iterdir())) == 2


def test_auto_takes_one_of_the_available_backends(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(
        BACKENDS, 'torch_compile', BACKENDS['torch']
    )  # compiling takes long and is tested above
    monkeypatch.setattr(select, '_BESIDE', {})  # OpenVINO may be installed
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    segmenter = Segmenter.load(settings(model_file, backend='auto', device='auto'))
    (measured,) = all_measured()
    assert measured.backend == segmenter.backend_name
    assert set(measured.times) >= {'torch', 'torch_compile'}
    assert measured.subject.model == model_file.stem


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (37, 51), (480, 640), (2160, 3840)])
def test_any_size_gives_labels_of_that_size(model_file: Path, height: int, width: int) -> None:
    segmenter = Segmenter.load(settings(model_file))
    assert segmenter(np.zeros((height, width, 3), np.uint8)).labels.shape == (height, width)


def test_read_only_and_padded_views_are_fine(model_file: Path) -> None:
    segmenter = Segmenter.load(settings(model_file))
    image = np.random.default_rng(0).integers(0, 255, (96, 140, 3), np.uint8)
    view = image[:, :128]
    view.flags.writeable = False
    np.testing.assert_array_equal(segmenter(view).labels, segmenter(view.copy()).labels)


def test_threshold_unlabels_what_is_unsure(model_file: Path) -> None:
    segmenter = Segmenter.load(settings(model_file))
    image = DRIVE[2][0]
    sure = segmenter(image, confidence=True)
    labels = segmenter(image, confidence_threshold=float(np.median(sure.confidence)) / 255).labels
    unlabelled = labels == 255
    assert 0.2 < unlabelled.mean() < 0.8
    np.testing.assert_array_equal(labels[~unlabelled], sure.labels[~unlabelled])
    assert sure.confidence[unlabelled].max() <= sure.confidence[~unlabelled].min() + 1


@pytest.mark.parametrize(
    'break_it',
    [
        lambda d: dataclasses.replace(d, normalisation=Normalisation(channel_order='bgr')),
        lambda d: dataclasses.replace(d, normalisation=Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
        lambda d: dataclasses.replace(d, normalisation=Normalisation(std=(0.5, 0.5, 0.5))),
    ],
    ids=['channels', 'mean', 'std'],
)
def test_wrong_normalisation_is_refused(model_file: Path, tmp_path: Path, break_it: object) -> None:
    model = load_model(model_file)
    save_model(tmp_path / 'broken.safetensors', model.network, break_it(model.metadata), model.golden)
    with pytest.raises(SelfCheckError, match='golden pixels on backend torch'):
        Segmenter.load(settings(tmp_path / 'broken.safetensors'))


def test_damaged_weights_are_refused(model_file: Path, tmp_path: Path) -> None:
    model = load_model(model_file)
    with torch.no_grad():
        model.network.stage2[3].extension[4].weight *= -3
    save_model(tmp_path / 'broken.safetensors', model.network, model.metadata, model.golden)
    with pytest.raises(SelfCheckError):
        Segmenter.load(settings(tmp_path / 'broken.safetensors'))


def test_other_input_size_is_taken(model_file: Path) -> None:
    segmenter = Segmenter.load(settings(model_file, input_height=64, input_width=96))
    assert segmenter.input_size == (64, 96)
    assert segmenter(DRIVE[0][0]).labels.shape == (120, 200)
    with pytest.raises(ParameterError, match='16x128'):
        Segmenter.load(settings(model_file, input_height=16))


def test_what_cannot_be_had_is_refused_with_what_can(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match='available: auto, cpu'):
        Segmenter.load(settings(model_file, device='cuda:99'))
    with pytest.raises(
        UnavailableError,
        match="onnxruntime' with bf16 on cpu: runs fp32 and int8 only; available: auto, torch",
    ):
        Segmenter.load(settings(model_file, backend='onnxruntime', quantization='bf16'))
    with pytest.raises(ParameterError, match='int3'):
        settings(model_file, quantization='int3')
    with pytest.raises(UnknownNameError, match='unknown model'):
        Segmenter.load(Settings(model='no_such_model'))
    with pytest.raises(ModelFileError, match='does not exist'):
        Segmenter.load(Settings(model=str(tmp_path / 'missing.safetensors')))


def test_level_that_cannot_be_derived_is_refused(model_file: Path, tmp_path: Path) -> None:
    model = load_model(model_file)
    half = dataclasses.replace(model.metadata, quantization='fp16')
    save_model(tmp_path / 'half.safetensors', model.network.half(), half, model.golden)
    assert Segmenter.load(settings(tmp_path / 'half.safetensors')).quantization == 'fp16'
    with pytest.raises(UnavailableError, match='holds fp16; possible: auto, fp16'):
        Segmenter.load(settings(tmp_path / 'half.safetensors', quantization='bf16'))


def test_normalisation_in_the_network_equals_the_formula() -> None:
    normalisation = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 'bgr')
    image = np.random.default_rng(1).integers(0, 256, (1, 4, 5, 3), np.uint8)
    got = ImageNetwork(torch.nn.Identity(), normalisation)(torch.from_numpy(image)).numpy()
    for channel, source in enumerate((2, 1, 0)):
        want = (image[..., source] / 255 - normalisation.mean[channel]) / normalisation.std[channel]
        np.testing.assert_allclose(got[:, channel], want, atol=1e-5)


def test_golden_record_is_bounded() -> None:
    with pytest.raises(ModelFileError, match=r'expected 1\.\.32768'):
        Golden(np.zeros((4, 60, 80, 3), np.uint8), np.zeros((4, 60, 80), np.uint8))

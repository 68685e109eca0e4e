"""Levels derived from a file: judged by margins, while faults and damage are still refused."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_ros.arrays import Maps, UInt8Array
from seg_ros.errors import SelfCheckError, UnavailableError
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.self_check import check_golden
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model, save_model
from seg_ros.modelfile.find import shipped_models
from seg_ros.modelfile.levels import choose_quantization, possible_levels
from seg_ros.networks.normalisation import Normalisation
from seg_ros.quantization.levels import QUANTIZATIONS

DERIVED = [
    ('lite_camvid', 'bf16'),
    pytest.param('segnet_camvid_int8', 'bf16', marks=pytest.mark.slow),
    pytest.param('segnet_camvid_int8', 'fp16', marks=pytest.mark.slow),
]
"""Levels that give 96 to 97 % of the recorded labels, on any processor."""


def load(model: str | Path, level: str, **values: Any) -> Segmenter:
    return Segmenter.load(Settings(str(model), quantization=level, backend='torch', device='cpu', **values))


@pytest.mark.parametrize(('name', 'level'), DERIVED)
def test_nearly_tied_pixels_do_not_make_a_derived_level_a_damaged_file(name: str, level: str) -> None:
    assert 0.9 < load(name, level).agreement < 0.999


def test_codes_and_filtered_labels_of_derived_levels() -> None:
    assert load('lite_camvid', 'bf16', embedding_filter_enabled=True).agreement > 0.9
    assert load('segments', 'bf16').agreement > 0.9


@pytest.mark.parametrize(
    'normalisation',
    [
        Normalisation((0.498,) * 3, (0.502,) * 3, 'bgr'),
        Normalisation((0.0,) * 3, (1.0,) * 3),
        Normalisation(),
    ],
    ids=['channels', '0..1', 'imagenet'],
)
@pytest.mark.parametrize('level', ['bf16', pytest.param('fp16', marks=pytest.mark.slow)])
def test_a_wrong_normalisation_is_refused_at_a_derived_level(
    tmp_path: Path, normalisation: Normalisation, level: str
) -> None:
    model = load_model('lite_camvid')
    wrong = dataclasses.replace(model.metadata, normalisation=normalisation)
    path = tmp_path / 'wrong.safetensors'
    save_model(path, model.network, wrong, model.golden, model.codes, model.embeddings)
    with pytest.raises(SelfCheckError, match='recorded label'):
        load(path, level)


@pytest.mark.parametrize('fraction', [0.045, 0.5])
def test_an_altered_record_is_refused_at_a_derived_level(tmp_path: Path, fraction: float) -> None:
    model = load_model('lite_camvid')
    labels = model.golden.labels.copy()
    labels[:, : round(fraction * labels.shape[1])] = 5
    altered = dataclasses.replace(model.golden, labels=labels)
    path = tmp_path / 'altered.safetensors'
    save_model(path, model.network, model.metadata, altered, model.codes, model.embeddings)
    with pytest.raises(SelfCheckError, match='recorded label'):
        load(path, 'bf16')


def test_a_backend_that_shifts_scores_is_refused_at_a_derived_level() -> None:
    segmenter = load('lite_camvid', 'bf16')

    def shifted(images: UInt8Array, wanted: object = None) -> dict[str, Maps]:
        answers = segmenter.backend(images)
        return answers | {'scores': np.roll(answers['scores'], 9, axis=-1)}

    with pytest.raises(SelfCheckError, match='backend is broken'):
        check_golden(dataclasses.replace(segmenter, backend=shifted))


def test_a_backend_that_changes_some_bits_of_codes_is_refused_at_a_derived_level() -> None:
    segmenter = load('segments', 'bf16')

    def inverted(images: UInt8Array, wanted: object = None) -> dict[str, Maps]:
        answers = segmenter.backend(images)
        codes = np.array(answers['codes'])
        codes[..., :20] *= -1
        return answers | {'codes': codes}

    with pytest.raises(SelfCheckError, match='golden bits'):
        check_golden(dataclasses.replace(segmenter, backend=inverted))


def test_a_level_that_the_file_cannot_give_is_refused_at_load() -> None:
    with pytest.raises(UnavailableError, match='possible: auto, fp32'):
        load('enet_camvid', 'int8')


@pytest.mark.parametrize('path', shipped_models(), ids=lambda path: path.stem)
def test_levels_that_a_file_cannot_give_name_the_command_that_makes_them(path: Path) -> None:
    model = load_model(path)
    for level in QUANTIZATIONS.keys() - set(possible_levels(model)):
        bits = level.removeprefix('shared-')
        command = f'quantize --level {level}' if bits == level else f'share --bits {bits}'
        with pytest.raises(UnavailableError, match=rf'possible: auto, fp32.*{command} '):
            choose_quantization(model, level)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize('isa', ['AVX2', 'AVX512_CORE', 'AVX512_CORE_BF16', 'DEFAULT'])
@pytest.mark.parametrize('path', shipped_models(), ids=lambda path: path.stem)
def test_every_shipped_model_at_every_level_on_other_processors(path: Path, isa: str, tmp_path: Path) -> None:
    """On instruction sets of other processors, as far as this one has them."""
    program = (
        'import sys\n'
        'from seg_ros.inference.segmenter import Segmenter\n'
        'from seg_ros.inference.settings import Settings\n'
        'for level, backend in (word.split(":") for word in sys.argv[2:]):\n'
        '    segmenter = Segmenter.load(Settings(sys.argv[1], quantization=level, backend=backend))\n'
        '    print(level, backend, segmenter.agreement)\n'
    )
    wanted = [
        f'{level}:{name}'
        for level in possible_levels(load_model(path))
        for name, backend in BACKENDS.items()
        if backend.why_not('cpu', QUANTIZATIONS[level].computes_in) is None
    ]
    capability = {'AVX2': 'avx2'}.get(isa)
    environment = {
        **os.environ,
        'ONEDNN_MAX_CPU_ISA': isa,
        'XDG_CACHE_HOME': str(tmp_path),
        **({'ATEN_CPU_CAPABILITY': capability} if capability else {}),
    }
    done = subprocess.run(
        [sys.executable, '-c', program, path.stem, *wanted], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    agreements = [float(line.split()[2]) for line in done.stdout.splitlines()]
    assert len(agreements) == len(wanted)
    assert np.min(agreements) > 0.9

"""Makes a model file of an ONNX file: finds out what the graph takes and gives, wires it, and checks it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import ParameterError
from seg_ros.images.files import read_image
from seg_ros.images.resize import resize_image
from seg_ros.importing.graph_input import GraphInput, find_input, only_input
from seg_ros.importing.graph_output import GraphOutput, find_output, scores_before
from seg_ros.importing.normalisations import guess_normalisation, named_normalisation
from seg_ros.importing.onnx_file import OnnxFile, read_onnx, session_of
from seg_ros.importing.wiring import wired
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.served_model import SMALLEST_INPUT
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.onnx_scan import scan_graph
from seg_ros.networks.graph_names import GRAPH_INPUT, GRAPH_OUTPUT, ONNX
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.onnx_graph import OnnxGraph
from seg_ros.training.golden_record import GOLDEN_SIZE, N_SCENES, candidate_scenes
from seg_ros.userfiles.reading import shown_path

_N_LABELLED = 8


@dataclass(frozen=True)
class OnnxChoices:
    """Choices of the user; None = found or guessed.

    Attributes:
        normalisation: Name or numbers, see ``named_normalisation``.
        channel_order: 'rgb' or 'bgr'.
        layout: 'nchw' or 'nhwc'.
        size: (height, width) of the input in pixels.
        output: Name of the tensor with the result.
        meaning: One of ``graph_output.MEANINGS``.
        golden: Images for the golden record.
        licence: Licence of the weights.
    """

    normalisation: str | None = None
    channel_order: str | None = None
    layout: str | None = None
    size: tuple[int, int] | None = None
    output: str | None = None
    meaning: str | None = None
    golden: Sequence[Path] = ()
    licence: str = ''


@dataclass(frozen=True)
class Imported:
    """Result of an import.

    Attributes:
        facts: Found, guessed and checked facts, in words, by name.
        warnings: Warnings in words.
    """

    facts: dict[str, str]
    warnings: list[str] = field(default_factory=list)


def import_onnx(
    path: Path,
    target: Path,
    classes: ClassSet,
    choices: OnnxChoices = OnnxChoices(),
) -> Imported:
    """Import an ONNX file.

    Args:
        path: Path of the ONNX file.
        target: Path of the model file to write.
        classes: Classes of the network, in order of its channels or labels.
        choices: Choices of the user.

    Returns:
        What was found, for people to read.

    Raises:
        ModelFileError: The graph cannot work; the message says what came, what was expected and what to do.
        ParameterError, UnknownNameError: A choice is wrong.
        ImageError: A golden image cannot be read.
        UnavailableError: A package is missing.
    """
    file = read_onnx(path)
    normalisation, told = _normalisation(file, choices)
    scenes = golden_candidates(choices.golden)
    if choices.output and choices.output not in [spec.name for spec in file.outputs]:
        file.add_output(choices.output)
    graph_input = find_input(file, scenes[0], normalisation, choices.layout, choices.size)
    _check_size(file, graph_input)
    output = find_output(
        file, graph_input.outputs, graph_input.size, len(classes), choices.output, choices.meaning
    )
    content = wired(file, graph_input, output, normalisation, len(classes))
    metadata = ModelMetadata(
        architecture=ONNX,
        classes=classes,
        input_size=graph_input.size,
        normalisation=normalisation,
        training=_origin(path, file, output),
        licence=choices.licence,
    )
    golden = _golden(content, path, scenes, metadata)
    save_model(target, OnnxGraph(content), metadata, golden)
    segmenter = Segmenter.load(Settings(model=str(target.resolve()), backend='onnxruntime'))
    facts = {
        'input': _input_told(graph_input, choices),
        'normalisation': told,
        'output': str(output),
        'other outputs': ', '.join(name for name in graph_input.outputs if name != output.name),
        'graph': _graph_told(content),
        'golden record': f'{len(golden.images)} {"given" if len(choices.golden) else "rendered"} images, '
        f'{segmenter.agreement:.1%} reproduced',
        'written': f'{target} ({target.stat().st_size} bytes)',
    }
    return Imported({k: v for k, v in facts.items() if v}, _warnings(file, output, golden, choices))


def golden_candidates(paths: Sequence[Path]) -> UInt8Array:
    """Images for a golden record, (N, 54, 72, 3) uint8 RGB: those of files and folders, else rendered ones.

    Raises:
        ImageError: An image cannot be read.
        ParameterError: A folder has no image.
    """
    if not paths:
        return _spread(candidate_scenes())
    files: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        if not inside:
            raise ParameterError(f'--golden: {shown_path(path)} is empty; expected images')
        files += inside
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(len(files), _N_LABELLED)).astype(int)]
    return np.stack([resize_image(read_image(file), *GOLDEN_SIZE) for file in chosen])


def _spread(images: UInt8Array) -> UInt8Array:
    chosen: UInt8Array = images[np.linspace(0, len(images) - 1, _N_LABELLED).astype(int)]
    return chosen


def _normalisation(file: OnnxFile, choices: OnnxChoices) -> tuple[Normalisation, str]:
    """The normalisation, and where it comes from in words."""
    spec = only_input(file)
    dtype = spec.dtype or np.dtype(np.float32)
    if choices.normalisation is None:
        name, reason = guess_normalisation(file.model, spec.name, dtype)
        told = f'{name} (guessed: {reason}; --normalisation overrides it)'
    else:
        name = told = choices.normalisation
    found = named_normalisation(name, choices.channel_order)
    if dtype.kind in 'ui' and (any(found.mean) or not np.allclose(found.std, 1 / 255)):
        raise ParameterError(
            f'normalisation is {name}, and the input {spec} takes whole numbers; expected raw: leave '
            '--normalisation out'
        )
    return found, f'{told}, {found.channel_order}'


def _check_size(file: OnnxFile, graph_input: GraphInput) -> None:
    if min(graph_input.size) < SMALLEST_INPUT:
        height, width = graph_input.size
        raise ParameterError(
            f'{shown_path(file.path)} takes images of {width}x{height} pixels; expected {SMALLEST_INPUT} or '
            'more each way'
        )


def _origin(path: Path, file: OnnxFile, output: GraphOutput) -> dict[str, Any]:
    """Record of the import, for readers of the model file."""
    model = file.model
    return {
        'data': f'unknown; imported from {path.name}',
        'imported': {
            'file': path.name,
            'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
            'producer': f'{model.producer_name} {model.producer_version}'.strip()[:200],
            'opset': file.opset,
            'input': file.inputs[0].name[:200],
            'output': output.name[:200],
            'meaning': output.meaning,
        },
    }


def _golden(content: bytes, path: Path, scenes: UInt8Array, metadata: ModelMetadata) -> Golden:
    """The scenes with most classes, with the labels that the graph gives for them."""
    session = session_of(content, path)
    found = []
    for scene in scenes:
        resized = np.ascontiguousarray(resize_image(scene, *metadata.input_size))
        scores = session.run([GRAPH_OUTPUT], {GRAPH_INPUT: resized[None]})[0]
        found.append(argmax_labels(scores[0], *GOLDEN_SIZE).labels)
    labels = np.stack(found)
    n_classes = [-len(np.unique(image)) for image in labels]
    chosen = np.argsort(n_classes, kind='stable')[:N_SCENES]
    return Golden(scenes[chosen], labels[chosen])


def _input_told(graph_input: GraphInput, choices: OnnxChoices) -> str:
    height, width = graph_input.size
    size = f'{width}x{height}'
    if graph_input.is_free:
        size += ' of any size' + ('' if choices.size else ' (chosen; --input-size overrides it)')
    return f'{graph_input.spec}, {graph_input.layout.upper()}, {size}'


def _graph_told(content: bytes) -> str:
    facts = scan_graph(content)
    return f'opset {facts.opset}, {facts.n_nodes} operations, {facts.n_weights} weights'


def _warnings(file: OnnxFile, output: GraphOutput, golden: Golden, choices: OnnxChoices) -> list[str]:
    found = []
    names = np.unique(golden.labels)
    if len(names) == 1:
        found.append(
            f'every pixel of the golden images has label {names[0]}: look at the overlay of your own images, '
            'and compare --normalisation, --channel-order and --meaning with the training of the network'
        )
    scores = scores_before(file, output) if output.meaning == 'labels' else ''
    if scores:
        found.append(
            f"labels have no confidence; --graph-output '{scores}' takes the scores that they come from"
        )
    if not choices.golden:
        found.append('the golden record has rendered streets; --golden takes images of your own')
    return found

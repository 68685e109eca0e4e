import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper as h
from onnx_graphs import BRIGHT, HEIGHT, LIMIT, WIDTH, Kind, expected, graph, inside, picture

from seg_ros.classes import ClassSet
from seg_ros.cli.main import main
from seg_ros.errors import BackendError, ModelFileError, ParameterError, SegRosError, UnavailableError
from seg_ros.importing.onnx_import import Imported, OnnxChoices, import_onnx
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.onnx_scan import scan_graph

Save = Callable[..., Path]
RAW = {'mean': (0.0, 0.0), 'std': (1 / 255, 1 / 255)}
SIZE = {'size': (HEIGHT, WIDTH)}

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'nchw': ({}, {}),
    'half float': ({'dtype': 'float16'}, {}),
    'nhwc, free size, opset 9': ({'nhwc': True, 'is_free': True, 'opset': 9}, SIZE),
    'free size, opset 21': ({'is_free': True, 'opset': 21}, SIZE),
    'uint8, nhwc': ({'nhwc': True, 'dtype': 'uint8', **RAW}, {}),
    'no batch, opset 11': ({'has_batch': False, 'opset': 11}, {}),
    'coarse, opset 17': ({'coarse': True, 'opset': 17}, {}),
    'softmax, nhwc': ({'ending': 'softmax', 'nhwc': True}, {}),
    'pixels in one axis': ({'ending': 'flat'}, {}),
    'labels, opset 9': ({'ending': 'labels', 'opset': 9}, {}),
    'labels, opset 18': ({'ending': 'labels', 'opset': 18, 'coarse': True}, {}),
    'labels as floats': ({'ending': 'float_labels'}, {}),
    'blue first': ({'bgr': True}, {'channel_order': 'bgr'}),
    'signed': ({'mean': (0.5, 0.5), 'std': (0.5, 0.5)}, {'normalisation': 'signed'}),
    'numbers': ({'mean': (0.3, 0.4), 'std': (0.2, 0.1)}, {'normalisation': '0.3,0.4,0/0.2,0.1,1'}),
    'names of ours': ({'names': ('scores', 'images')}, {}),
}


def imported(path: Path, target: Path, class_file: Path, **choices: Any) -> Imported:
    return import_onnx(path, target, ClassSet.from_yaml(class_file), OnnxChoices(**choices))


def loaded(target: Path, **values: Any) -> Segmenter:
    return Segmenter.load(Settings(model=str(target), device='cpu', **values))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / 'mine.safetensors'


@pytest.mark.parametrize('name', KINDS)
def test_labels_are_those_that_the_graph_was_made_for(
    name: str, saved: Save, target: Path, class_file: Path
) -> None:
    how, choices = KINDS[name]
    imported(saved(**how), target, class_file, **choices)
    segmenter = loaded(target)
    assert segmenter.backend_name in ('onnxruntime', 'openvino')
    assert segmenter.agreement > 0.99
    labels = segmenter(picture()).labels
    assert labels.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(inside(labels), inside(expected()))


def test_confidence_is_the_probability_of_the_graph(saved: Save, target: Path, class_file: Path) -> None:
    for ending in ('scores', 'softmax'):
        imported(saved(ending=ending), target, class_file)
        confidence = loaded(target)(picture(), confidence=True).confidence
        assert confidence is not None
        bright, limit, black = ((v / 255 - 0.485) / 0.229 for v in (BRIGHT, LIMIT, 0))
        want = np.exp(bright) / np.exp([bright, limit, black]).sum()
        assert abs(confidence[10, 10] / 255 - want) < 0.01


@pytest.mark.parametrize('is_share', [False, True])
def test_one_channel_is_the_second_of_two_classes(
    is_share: bool, saved: Save, target: Path, class_file: Path
) -> None:
    class_file.write_text('\n'.join(class_file.read_text().splitlines()[:3]))
    nodes = [h.make_node('Conv', ['x', 'w', 'b'], ['s'])]
    nodes += [h.make_node('Sigmoid', ['s'], ['y'])] if is_share else []
    weights = {'w': np.float32([4 * 255, 0, 0]).reshape(1, 3, 1, 1) / 100, 'b': np.float32([-6])}
    made = h.make_graph(
        nodes,
        'g',
        [h.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [h.make_tensor_value_info('y' if is_share else 's', onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    path = saved(h.make_model(made, opset_imports=[h.make_opsetid('', 12)], ir_version=7))
    imported(path, target, class_file, normalisation='unit')
    prediction = loaded(target)(picture(), confidence=True)
    np.testing.assert_array_equal(inside(prediction.labels), inside(expected() == 0))
    assert prediction.confidence is not None
    # score of red: 4 * 200 / 100 - 6 = 2; of the dim red: 4 * 100 / 100 - 6 = -2
    for place in ((10, 10), (50, 80)):
        assert abs(prediction.confidence[place] / 255 - 1 / (1 + np.exp(-2))) < 0.01


def test_labels_without_a_class_are_unlabelled(saved: Save, target: Path, class_file: Path) -> None:
    made = graph(Kind(ending='labels'))
    made.graph.node[-1].input[0] = 'shifted'
    last = made.graph.node[-2].output[0]
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1, 255]), 'table'))
    made.graph.node.insert(len(made.graph.node) - 1, h.make_node('Gather', ['table', last], ['shifted']))
    imported(saved(made), target, class_file)
    want = np.where(expected() == 2, 255, expected())
    np.testing.assert_array_equal(inside(loaded(target)(picture()).labels), inside(want))


def test_an_output_is_chosen_and_others_are_told(saved: Save, target: Path, class_file: Path) -> None:
    made = graph(Kind(ending='labels'))
    for name, kind in (('t1', 1), ('t0', 1)):  # scores, and the image
        made.graph.output.append(h.make_tensor_value_info(name, kind, None))
    facts = imported(saved(made), target, class_file).facts
    assert facts['output'].startswith("'t1': scores of 3 channels")
    assert facts['other outputs'] == 'output, t0'
    again = imported(saved(ending='labels'), target, class_file)
    assert 'labels' in again.facts['output']
    assert any("--graph-output 't1'" in warning for warning in again.warnings)
    inner = imported(saved(ending='labels'), target, class_file, output='t1')
    assert 'scores of 3 channels' in inner.facts['output']
    np.testing.assert_array_equal(inside(loaded(target)(picture()).labels), inside(expected()))


def test_weights_in_another_file_are_embedded(saved: Save, target: Path, class_file: Path) -> None:
    path = saved()
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location='w.bin', size_threshold=0)
    imported(path, target, class_file)
    path.with_name('w.bin').unlink()
    np.testing.assert_array_equal(inside(loaded(target)(picture()).labels), inside(expected()))
    with pytest.raises(ModelFileError, match=r'w\.bin.*put that file'):
        imported(path, target, class_file)


def test_golden_images_are_the_users(saved: Save, target: Path, class_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'golden'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), picture()[..., ::-1])
    told = imported(saved(), target, class_file, golden=[folder])
    assert 'given' in told.facts['golden record']
    assert not told.warnings
    golden = load_model(target).golden
    assert set(np.unique(golden.labels)) == {0, 1, 2}
    assert golden.images[0, 5, 5].tolist() == [BRIGHT, 0, 0]


def _two_inputs() -> Any:
    made = graph(Kind())
    made.graph.input.append(h.make_tensor_value_info('other', 1, [1]))
    return made


def _one_channel() -> Any:
    made = graph(Kind())
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    return made


def _classifier() -> Any:
    made = graph(Kind())
    made.graph.node[-1].op_type = 'GlobalAveragePool'
    return made


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    'inputs': (_two_inputs, {}, r"2 inputs.*'other'.*expected 1"),
    'channels': (_one_channel, {}, r'\(1, 1, 64, 96\).*3 channels'),
    'no map': (_classifier, {}, r'\(1, 3, 1, 1\).*3 classes'),
    'size': (lambda: graph(Kind()), {'size': (32, 32)}, '32x32'),
    'whole numbers': (lambda: graph(Kind(dtype='uint8', **RAW)), {'normalisation': 'unit'}, 'raw'),
    'name': (lambda: graph(Kind()), {'output': 'nonsense'}, "'nonsense'.*'output'"),
    'normalisation': (lambda: graph(Kind()), {'normalisation': '1,2/3'}, 'imagenet, unit'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_graphs_that_cannot_work_are_refused_in_one_line(
    name: str, saved: Save, target: Path, class_file: Path
) -> None:
    make, choices, words = REFUSED[name]
    with pytest.raises(SegRosError, match=words) as caught:
        imported(saved(make()), target, class_file, **choices)
    assert '\n' not in str(caught.value)
    assert not target.exists()


def test_other_numbers_of_classes_are_refused(saved: Save, target: Path, class_file: Path) -> None:
    class_file.write_text('\n'.join(class_file.read_text().splitlines()[:3]))
    with pytest.raises(ModelFileError, match=r'class file with .*3'):
        imported(saved(), target, class_file)
    with pytest.raises(ModelFileError, match=r'labels 0\.\.2'):
        imported(saved(ending='labels'), target, class_file, golden=[])


def test_damaged_files_are_refused(saved: Save, target: Path, class_file: Path) -> None:
    path = saved()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelFileError, match='not an ONNX file'):
        imported(path, target, class_file)
    with pytest.raises(ModelFileError, match='cannot be read'):
        imported(path.with_name('none.onnx'), target, class_file)


def test_features_of_pytorch_are_refused(saved: Save, target: Path, class_file: Path, tmp_path: Path) -> None:
    imported(saved(), target, class_file)
    with pytest.raises(UnavailableError, match='imported ONNX graph'):
        loaded(target, backend='torch')
    with pytest.raises(UnavailableError, match='quantization int8 needs a network of PyTorch'):
        loaded(target, quantization='int8')
    with pytest.raises(UnavailableError, match='no codes'):
        loaded(target, segments_refinement=0.5)
    with pytest.raises(ParameterError, match=f'{HEIGHT}x{WIDTH} alone'):
        loaded(target, input_height=128)
    imported(saved(is_free=True), target, class_file)
    assert loaded(target, input_height=2 * HEIGHT, input_width=2 * WIDTH)(picture()).labels[10, 10] == 0


@pytest.mark.parametrize('command', ['quantize', 'share', 'prune', 'visualize'])
def test_commands_of_pytorch_say_so(
    command: str, saved: Save, target: Path, class_file: Path, tmp_path: Path, capsys: Any
) -> None:
    imported(saved(), target, class_file)
    data = ['--dataset', 'rendered', '--options', '{n_drives: 1, n_frames: 1}', '--images', '1']
    words = {
        'quantize': data,
        'share': data,
        'prune': [*data, '--limit', '1'],
        'visualize': ['--layer', 'x', '--dataset', 'rendered', '--limit', '1'],
    }[command]
    assert main([command, str(target), *words, '-o', str(tmp_path / 'out.safetensors')]) == 1
    assert 'imported ONNX graph' in capsys.readouterr().err


def test_a_model_file_with_a_graph_is_scanned(saved: Save, target: Path, class_file: Path) -> None:
    imported(saved(is_free=True), target, class_file, **SIZE)
    model = load_model(target)
    assert model.graph is not None
    assert model.graph.opset == 13
    assert model.graph.input_size is None
    assert model.n_parameters == 9 + 3 + 2 * 3  # the convolution, and the normalisation
    content = model.network.content  # type: ignore[operator]
    outside = onnx.load_from_string(content)
    outside.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ModelFileError, match='another file'):
        scan_graph(outside.SerializeToString())
    for length in range(0, len(content), 37):  # no other error
        with pytest.raises(ModelFileError):
            scan_graph(content[:length])


def test_from_the_file_to_figures(
    saved: Save, target: Path, class_file: Path, tmp_path: Path, capsys: Any
) -> None:
    """import, info, segment and evaluate, by their commands, on a picture of known labels."""
    data, out = tmp_path / 'data', tmp_path / 'out'
    for name, image in (('images', picture()[..., ::-1]), ('labels', expected())):
        (data / name / 'val').mkdir(parents=True)
        cv2.imwrite(str(data / name / 'val' / 'a.png'), image)
    path = saved(nhwc=True, dtype='uint8', **RAW)
    assert (
        main(['import', str(path), '--classes', str(class_file), '-o', str(target), '--licence', 'MIT']) == 0
    )
    assert 'guessed: the input is uint8' in capsys.readouterr().out
    assert main(['info', str(target)]) == 0
    assert 'onnx, 12 parameters' in (told := capsys.readouterr().out)
    assert 'red, green, rest' in told
    model = ['--model', str(target), '--device', 'cpu']
    assert main(['segment', str(data / 'images'), '-o', str(out), '--labels', *model]) == 0
    (labels,) = out.rglob('*.png')
    np.testing.assert_array_equal(cv2.imread(str(labels), cv2.IMREAD_UNCHANGED), expected())
    figures = tmp_path / 'figures.json'
    words = ['--data', str(data), '--classes', str(class_file), '--json', str(figures)]
    assert main(['evaluate', 'folder', *words, *model]) == 0
    assert json.loads(figures.read_text())['mean_iou'] == 1


def test_a_backend_error_names_the_backend(saved: Save, target: Path, class_file: Path) -> None:
    """A free size that the network cannot take is an error of the frame, not of the process."""
    made = graph(Kind(is_free=True, coarse=True))
    shape = onnx.numpy_helper.from_array(np.array([1, 3, HEIGHT // 2, WIDTH // 2], np.int64), 'baked')
    made.graph.initializer.append(shape)
    last = made.graph.node[-1]
    last.op_type = 'Reshape'
    last.input.append('baked')
    imported(saved(made), target, class_file, **SIZE)
    with pytest.raises((BackendError, UnavailableError), match='onnxruntime'):
        loaded(target, backend='onnxruntime', input_height=2 * HEIGHT)

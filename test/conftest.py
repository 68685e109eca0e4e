import os
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from seg_ros._caches import library_folder
from seg_ros.classes import ClassSet
from seg_ros.cli.main import main
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.file import save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.resources import resource
from seg_ros.ros.dds import local_domain, profile_variable, reserved_domain
from seg_ros.synthetic import RenderedDrive

# Tests reach neither a robot on the same network nor another test run on this computer.
reservation = ExitStack()
os.environ.update(local_domain(reservation.enter_context(reserved_domain())))
# A process reads its profile once, with its first node, so all tests need the same one.
os.environ[profile_variable(os.environ)] = str(Path(__file__).with_name('fastdds.xml'))

# Tests with a cache folder of their own do not compile everything anew.
for variable, name in (('NUMBA_CACHE_DIR', 'numba'), ('TORCHINDUCTOR_CACHE_DIR', 'inductor')):
    if folder := library_folder(variable, name):
        os.environ[variable] = str(folder)


ABSENT = """
import importlib.util
import sys

ABSENT = ('torch', 'safetensors', 'onnx', 'onnxscript')
find_spec = importlib.util.find_spec


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ABSENT:
            raise ModuleNotFoundError(f'No module named {name}', name=name)


sys.meta_path.insert(0, Absent())
importlib.util.find_spec = lambda name, *rest: None if name in ABSENT else find_spec(name, *rest)
"""
"""A module sitecustomize that makes packages seem missing."""


def pytest_unconfigure() -> None:
    reservation.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get('SEG_ROS_SLOW') != '1':
        for item in items:
            if item.get_closest_marker('slow'):
                item.add_marker(pytest.mark.skip(reason='slow: set SEG_ROS_SLOW=1 to run it'))


@pytest.fixture(scope='session')
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ENet for 128 x 96 pixels that has looked at one street for a few seconds."""
    drive = RenderedDrive(1, 8, 96, 128)
    frames, truth = (
        torch.from_numpy(np.stack(part)) for part in zip(*(drive[i] for i in range(8)), strict=True)
    )
    torch.manual_seed(3)
    classes = ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))
    metadata = ModelMetadata('enet', classes, (96, 128), licence='CC0-1.0, a test')
    network = metadata.build()
    images = ImageNetwork(network, metadata.normalisation)
    optimizer = torch.optim.Adam(network.parameters(), 0.005)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for so small a network
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(images(frames), truth.long(), ignore_index=255).backward()
        optimizer.step()
    torch.set_num_threads(n_threads)
    images.eval()
    small = RenderedDrive(2, 2, 54, 72)
    golden = np.stack([small[index][0] for index in range(2)])
    labels = []
    with torch.no_grad():
        for image in golden:
            scores = images(torch.from_numpy(resize_image(image, 96, 128))[None])
            labels.append(F.interpolate(scores, (54, 72), mode='bilinear')[0].argmax(0).byte().numpy())
    path = tmp_path_factory.mktemp('models') / 'tiny.safetensors'
    save_model(path, network, metadata, Golden(golden, np.stack(labels)))
    return path


@pytest.fixture(scope='session')
def coded_model_file(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """The same ENet with codes of 32 bits, learned from a street."""
    folder = tmp_path_factory.mktemp('street')
    drive = RenderedDrive(3, 4, 96, 128)
    for name in ('images', 'regions'):
        (folder / name).mkdir()
    for index in range(4):
        image, labels = drive[index]
        cv2.imwrite(str(folder / f'images/{index}.png'), image[..., ::-1])
        cv2.imwrite(str(folder / f'regions/{index}.png'), labels + 1)
    output = tmp_path_factory.mktemp('models') / 'coded.safetensors'
    words = ['fit-codes', 'folder', '--data', str(folder), '--model', str(model_file), '--bits', '32']
    assert main([*words, '--epochs', '1', '--region-size', '8', '-o', str(output)]) == 0
    return output


@pytest.fixture(scope='session')
def embedded_model_file(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """The same ENet with embeddings, learned alone from a street."""
    folder = tmp_path_factory.mktemp('embedded')
    street = {'n_drives': 4, 'n_frames': 1, 'height': 96, 'width': 128}
    recipe = {
        'model': 'enet',
        'input_size': [96, 128],
        'train': [{'dataset': 'rendered', 'options': street}],
        'augment': {'crop': [96, 128]},
        'embeddings': {
            'taps': ['initial', 'stage4'],
            'alone': True,
            'dimensions': 8,
            'stride': 4,
            'window': 5,
            'iterations': 2,
            'hardness': 2.0,
        },
        'init': str(model_file),
        'epochs': 8,
        'batch_size': 2,
        'learning_rate': 0.01,
        'precision': 'fp32',
        'workers': 0,
        'ema': 0.0,
    }
    (folder / 'recipe.yaml').write_text(yaml.safe_dump(recipe))
    assert main(['train', str(folder / 'recipe.yaml'), '-o', str(folder), '--threads', '1']) == 0
    return folder / 'last.safetensors'


@pytest.fixture(scope='session')
def data_folder() -> Path:
    """The folder with real data sets."""
    if 'SEG_ROS_DATA' not in os.environ:
        pytest.skip(
            'needs real data: set SEG_ROS_DATA to the folder that holds camvid/, bags/, ford_dashcam/'
        )
    return Path(os.environ['SEG_ROS_DATA'])


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """Variables of processes in which torch is not installed, and no cache is filled."""
    folder = tmp_path / 'without_torch'
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(ABSENT)
    return {**os.environ, 'PYTHONPATH': str(folder), 'XDG_CACHE_HOME': str(tmp_path / 'cache')}

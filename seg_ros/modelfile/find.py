"""Model names and paths."""

from pathlib import Path

from seg_ros.errors import UnavailableError, UnknownNameError
from seg_ros.resources import resource


def find_model(name: str) -> Path:
    """The file behind a path or the name of a shipped model; may not exist."""
    if '/' in name or name.endswith('.safetensors'):
        return Path(name).expanduser()
    try:
        return resource(f'models/{name}.safetensors')
    except UnavailableError:
        shipped = sorted(path.stem for path in resource('models').glob('*.safetensors'))
        raise UnknownNameError('model', name, shipped) from None

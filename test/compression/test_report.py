from pathlib import Path

import torch

from seg_ros.compression.report import compare_sizes
from seg_ros.modelfile.file import load_model


def test_report_changes_no_loaded_model(model_file: Path) -> None:
    before, after = load_model(model_file), load_model(model_file)
    for model in (before, after):
        model.network.half()
    expected = {name: value.clone() for name, value in before.network.state_dict().items()}
    assert 'MACs' in compare_sizes(before, after)
    found = before.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == value.dtype for name, value in expected.items())
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert before.network.initial.conv.weight.dtype == torch.float16

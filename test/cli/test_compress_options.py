from pathlib import Path

import pytest
import torch

from seg_ros.cli.compress_options import report
from seg_ros.modelfile.file import load_model


def test_report_changes_no_loaded_model(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = load_model(model_file), load_model(model_file)
    for model in (before, after):
        model.network.half()
    expected = {name: value.clone() for name, value in before.network.state_dict().items()}
    report(before, after)
    assert 'MACs' in capsys.readouterr().out
    found = before.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == value.dtype for name, value in expected.items())
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert before.network.initial.conv.weight.dtype == torch.float16

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def _one_thread() -> Iterator[None]:
    """Busy machines make short parallel sections slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""Every test starts from the same seed and with an empty parameter store."""

import pyro
import pytest
import torch


@pytest.fixture(autouse=True)
def fresh_start():
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()

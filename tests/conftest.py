"""Every test starts from the same seed and with an empty parameter store."""

import pyro
import pytest
import torch

# Tests run side by side, one on each core, and their tensors are small.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_start():
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()

"""What all tests share: a cache of their own, and few threads."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Stores that tests make lie in a temporary folder, shared by the tests of one process."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ECGCLIP_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("WANDB_SILENT", "true")
    yield
    patch.undo()

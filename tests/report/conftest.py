"""Runs that the tests of pages share: made once, copied by whoever changes them."""

from pathlib import Path

import pytest

OTHER_TIME = "2026-11-27_10-00-00"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with pictures."""
    from tests.report.run_folder import make_run

    return make_run(tmp_path_factory.mktemp("yamada_taro"))


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worse model on the same records, evaluated on the test alone."""
    from tests.report.run_folder import make_run

    return make_run(tmp_path_factory.mktemp("other"), noise=1.6, seed=1, time=OTHER_TIME, splits=("test",), pictures=0)

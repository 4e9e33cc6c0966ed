"""Names of towers, losses and commands: built-in, or an import path."""

import sys
from collections import OrderedDict
from pathlib import Path

import pytest

from ecgclip.errors import UserError
from ecgclip.naming import find, unknown

BUILTIN = {"infonce": 1, "sigmoid": 2}


def test_a_built_in_name() -> None:
    assert find("loss", "sigmoid", BUILTIN) == 2


def test_an_import_path() -> None:
    assert find("loss", "collections.OrderedDict", BUILTIN) is OrderedDict


@pytest.mark.parametrize(
    ("name", "near"), [("infonse", "did you mean 'infonce'? "), ("Sigmoid", "did you mean 'sigmoid'? "), ("triplet", ""), ("", "")]
)
def test_an_unknown_name_is_answered_with_the_nearest_and_all(name: str, near: str) -> None:
    with pytest.raises(UserError) as error:
        find("loss", name, BUILTIN)
    assert str(error.value) == f"loss {name!r} does not exist: {near}known are infonce, sigmoid"
    assert str(unknown("loss", name, ["sigmoid", "infonce"])) == str(error.value)


@pytest.mark.parametrize("name", ["no_such_package.Loss", "collections.NoSuchThing", "collections.", "json.nothing.Loss"])
def test_an_import_path_that_leads_nowhere_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match="cannot be imported") as error:
        find("loss", name, BUILTIN)
    assert "\n" not in str(error.value) and "infonce, sigmoid" in str(error.value) and name in str(error.value)


def test_a_name_out_of_a_file_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_module.py").write_text("Loss = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="'hostile_module.Loss' does not exist"):
        find("loss", "hostile_module.Loss", BUILTIN, imports=False)
    assert "hostile_module" not in sys.modules
    assert find("loss", "hostile_module.Loss", BUILTIN) == 1
    assert find("loss", "infonce", BUILTIN, imports=False) == 1

import subprocess
import sys
from pathlib import Path

import pytest

from ecgclip.errors import UserError
from ecgclip.paths import cache_dir, cache_key
from ecgclip.privacy import patient_key


@pytest.mark.parametrize("written", ["123", "00123", " 123 ", "123.0", "００１２３", "\u3000123\t"])
def test_one_patient_has_one_key_however_the_number_was_typed(written: str) -> None:
    assert patient_key(written, "salt") == patient_key("123", "salt")


def test_other_patients_and_other_salts_have_other_keys() -> None:
    keys = {patient_key(raw, salt) for raw in ("123", "124", "1230", "0", "A123", "123.5") for salt in ("a", "b", "a" * 200)}
    assert len(keys) == 18
    assert not any(key == "123" or len(key) != 24 for key in keys)


@pytest.mark.parametrize(("raw", "salt", "says"), [("", "s", "number is empty"), ("  ", "s", "number is empty"), ("1", "", "salt")])
def test_empty_numbers_and_salts_are_refused(raw: str, salt: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        patient_key(raw, salt)


def test_cache_key_is_the_same_in_another_process() -> None:
    values = {"labels": frozenset("abcdefgh"), "path": Path("x") / "y", "rate": 100.0}
    code = f"from pathlib import Path, PosixPath; from ecgclip.paths import cache_key; print(cache_key(**{values!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert cache_key(**values) == other
    assert cache_key(**values) == cache_key(**dict(reversed(values.items())))
    assert cache_key(**values | {"rate": 500.0}) != other


def test_cache_key_refuses_what_has_no_stable_text() -> None:
    with pytest.raises(TypeError, match="object has no stable text"):
        cache_key(what=object())


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("ECGCLIP_CACHE")
    monkeypatch.chdir(tmp_path)
    assert cache_dir() == tmp_path / "cache"

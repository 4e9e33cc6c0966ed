"""Text towers that train: any encoder or decoder of transformers, small and built here, or pre-trained and the user's."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers.language_model import is_decoder, load_encoder, pool
from ecgclip.towers.tokenizer import MAX_TOKENS, japanese_tokenizer
from ecgclip.towers.tuning import add_lora, merged_state, tune_last

POOLINGS = ("words", "mean", "cls", "last_token")
WORD_STD = 0.3  # Of the small BERT's word vectors; then two names of the catalogue have a cosine of 0.1 on average.


class TextTower(nn.Module):
    """An encoder or decoder of ``transformers`` and a pooling over its tokens, all of which trains, or a part.

    Args:
        model: ``ecgclip`` builds a small BERT over the shipped Japanese vocabulary, with random weights; any other value is a
            Hugging Face id (``tohoku-nlp/bert-base-japanese-v3``) or a local folder, loaded with its weights.
        pooling: ``words``, the mean over the tokens of a text without the special one on either end; ``mean`` over all; ``cls``,
            the first one; ``last_token``; None for ``last_token`` with a decoder, where no other has seen the whole text, and
            ``words`` with an encoder: what all texts share makes their vectors alike, so ``words`` tells them apart from the first
            step on.
        hidden_size: Width of the small BERT; a loaded model has its own.
        layers: Layers of the small BERT.
        heads: Attention heads of the small BERT.
        dropout: Dropout of the small BERT.
        tune_layers: Train only the last so many layers, and the norm after them; None to train all.
        lora_rank: Train only low-rank additions to all linear layers, of this rank; 0 for none. Wants the package ``peft``.
        config: Configuration of the encoder as a plain dictionary, to build it without its weights (an artefact brings its own).

    Attributes:
        features: Length of the output vector.

    Raises:
        UserError: When ``model`` is neither ``ecgclip`` nor a model that can be found here, for another value of ``pooling``, for a
            ``hidden_size`` that ``heads`` does not divide, for layers that are not there, or for both ways to train a part.
    """

    def __init__(
        self,
        model: str = "ecgclip",
        pooling: str | None = None,
        hidden_size: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        tune_layers: int | None = None,
        lora_rank: int = 0,
        config: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        if pooling is not None and pooling not in POOLINGS:
            raise UserError(f"text tower: pooling {pooling!r} is not one of {', '.join(POOLINGS)}")
        if lora_rank < 0 or (lora_rank and tune_layers is not None):
            raise UserError(f"text tower: lora_rank {lora_rank} and tune_layers {tune_layers}: give one of them, and no negative rank")
        if config is not None:
            settings = dict(config)
            self.encoder = AutoModel.from_config(AutoConfig.for_model(str(settings.pop("model_type")), **settings))
        elif model == "ecgclip":
            self.encoder = _small_bert(hidden_size, layers, heads, dropout)
        else:
            self.encoder = load_encoder(model)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # Its output is not used here, and DDP refuses parameters without a gradient.
        # As stored it may be half precision, and it comes in evaluation mode, in which its dropout would stay off in training.
        self.encoder.float().train()
        # For texts of a dozen tokens the plain form of attention trains twice as fast on a CPU as the one that saves memory.
        self.encoder.set_attn_implementation("eager")
        self.features = int(self.encoder.config.hidden_size)
        self._settings = self.encoder.config.to_diff_dict() | {"model_type": self.encoder.config.model_type}
        self.pooling = pooling or ("last_token" if is_decoder(self.encoder.config) else "words")
        self.lora_rank = lora_rank
        if tune_layers is not None:
            tune_last(self.encoder, tune_layers)
        if lora_rank:
            self.encoder = add_lora(self.encoder, lora_rank)

    def encoder_config(self) -> dict[str, object]:
        """Return the encoder's configuration as plain values, enough to build it again without its weights."""
        return dict(self._settings)

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the weights that fit a tower built from :meth:`encoder_config`, under that tower's names."""
        state = merged_state(self.encoder) if self.lora_rank else self.encoder.state_dict()
        return {f"encoder.{name}": values for name, values in state.items()}

    def forward(self, texts: Mapping[str, Tensor]) -> Tensor:
        """Encode texts.

        Args:
            texts: ``input_ids`` and ``attention_mask``, each ``(U, L)`` int64.

        Returns:
            ``(U, features)`` float.
        """
        states: Tensor = self.encoder(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"]).last_hidden_state
        return pool(states, texts["attention_mask"], self.pooling)


def _small_bert(hidden_size: int, layers: int, heads: int, dropout: float) -> nn.Module:
    from transformers import BertConfig, BertModel

    if hidden_size % heads:
        raise UserError(f"text tower: hidden_size {hidden_size} must be a multiple of heads {heads}")
    config = BertConfig(
        # One vocabulary entry more or less would shift the embedding table, so its size comes from the file itself.
        vocab_size=len(japanese_tokenizer()),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden_size,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=MAX_TOKENS,
    )
    encoder = BertModel(config, add_pooling_layer=False)
    # BERT's own 0.02 is the size of the position vectors too: all names would begin with a cosine of 0.9 to each other.
    nn.init.normal_(encoder.embeddings.word_embeddings.weight, std=WORD_STD)
    return encoder


def class_vectors(prompt_vectors: Tensor, prompt_label: Tensor, n_labels: int) -> Tensor:
    """Average each label's prompts on the sphere (CLIP, arXiv 2103.00020, section 3.1.4).

    Args:
        prompt_vectors: ``(P, D)`` float; any length, each is normalised first.
        prompt_label: ``(P,)`` int64, the label that each prompt belongs to.
        n_labels: Number of labels ``L``.

    Returns:
        ``(L, D)`` float32 (float64 for float64), of length 1.

    Raises:
        UserError: If a label has no prompt.
    """
    missing = torch.bincount(prompt_label, minlength=n_labels) == 0
    if bool(missing.any()):
        raise UserError(
            f"label {int(missing.nonzero()[0])} of the catalogue (counted from 0) has no prompt: give it at least one under prompts"
        )
    vectors = prompt_vectors if prompt_vectors.dtype == torch.float64 else prompt_vectors.float()
    total = vectors.new_zeros(n_labels, vectors.shape[1]).index_add(0, prompt_label, F.normalize(vectors, dim=1))
    return F.normalize(total, dim=1)  # The mean and the sum point the same way.

"""Japanese text towers: any BERT-like encoder of transformers, small and built here, or pre-trained and the user's."""

from collections.abc import Mapping

from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers.tokenizer import japanese_tokenizer


class TextTower(nn.Module):
    """An encoder of ``transformers`` and a pooling over its tokens.

    Args:
        model: ``ecgclip`` builds a small BERT over the shipped Japanese vocabulary, with random weights; any other value is a
            Hugging Face id (``tohoku-nlp/bert-base-japanese-v3``) or a local folder, loaded with its weights.
        pooling: ``mean`` over the tokens of a text, or ``cls``, the first token.
        hidden_size: Width of the small BERT; a loaded model has its own.
        layers: Layers of the small BERT.
        heads: Attention heads of the small BERT.
        dropout: Dropout of the small BERT.
        config: Configuration of the encoder as a plain dictionary, to build it without its weights (an artefact brings its own).

    Attributes:
        features: Length of the output vector.

    Raises:
        UserError: When ``model`` is neither ``ecgclip`` nor a model that can be found here, for another value of ``pooling``, or
            for a ``hidden_size`` that ``heads`` does not divide.
    """

    def __init__(
        self,
        model: str = "ecgclip",
        pooling: str = "mean",
        hidden_size: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        config: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel, BertConfig, BertModel

        if pooling not in ("mean", "cls"):
            raise UserError(f"text tower: pooling {pooling!r} is not one of mean, cls")
        self.pooling = pooling
        if config is not None:
            settings = dict(config)
            self.encoder = AutoModel.from_config(AutoConfig.for_model(str(settings.pop("model_type")), **settings))
        elif model == "ecgclip":
            if hidden_size % heads:
                raise UserError(f"text tower: hidden_size {hidden_size} must be a multiple of heads {heads}")
            # One vocabulary entry more or less would shift the embedding table, so its size comes from the file itself.
            vocabulary = len(japanese_tokenizer(model))
            self.encoder = BertModel(
                BertConfig(
                    vocab_size=vocabulary,
                    hidden_size=hidden_size,
                    num_hidden_layers=layers,
                    num_attention_heads=heads,
                    intermediate_size=4 * hidden_size,
                    hidden_dropout_prob=dropout,
                    attention_probs_dropout_prob=dropout,
                    max_position_embeddings=128,
                ),
                add_pooling_layer=False,
            )
        else:
            try:
                self.encoder = AutoModel.from_pretrained(model, trust_remote_code=False)
            except (OSError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(
                    f"text tower: cannot load {model!r} ({reason}): give a local folder, or a Hugging Face id with the network on"
                ) from error
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # Its output is not used here, and DDP refuses parameters without a gradient.
        # As stored it may be half precision, and it comes in evaluation mode, in which its dropout would stay off in training.
        self.encoder.float().train()
        self.features = int(self.encoder.config.hidden_size)

    def encoder_config(self) -> dict[str, object]:
        """Return the encoder's configuration as plain values, enough to build it again without its weights."""
        return self.encoder.config.to_diff_dict() | {"model_type": self.encoder.config.model_type}

    def forward(self, texts: Mapping[str, Tensor]) -> Tensor:
        """Encode texts.

        Args:
            texts: ``input_ids`` and ``attention_mask``, each ``(U, L)`` int64.

        Returns:
            ``(U, features)`` float.
        """
        states: Tensor = self.encoder(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"]).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        mask = texts["attention_mask"].unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(1) / mask.sum(1)

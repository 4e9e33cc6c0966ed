"""Losses that judge: each ECG against each text as a question of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.losses.contrast import Contrast
from ecgclip.losses.pairs import Pairs


class _Sigmoid(Contrast):
    """Binary cross entropy of ``z_ij = scale * cos_ij + bias + tau * log-odds of text j``; the scale and the bias are learned."""

    def __init__(self, temperature: float = 0.1, bias: float = -5.0, logit_adjustment: float = 0.0, hard_negatives: float = 0.0) -> None:
        super().__init__(temperature=temperature, learn_temperature=True, logit_adjustment=logit_adjustment, hard_negatives=hard_negatives)
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def each(self, pairs: Pairs, targets: Tensor) -> Tensor:
        """Return the cross entropy of each pair with its target in [0, 1], ``(B, U)``."""
        similarities = self.similarities(pairs)
        logits = similarities + self.bias
        if self.logit_adjustment:
            logits = logits + self.logit_adjustment * self.prior(pairs).logit(eps=1e-6)
        each = self.judge(logits, targets, pairs)
        if self.hard_negatives:
            each = each * self.log_weights(similarities, pairs.known & (targets == 0)).exp()
        return each

    def judge(self, logits: Tensor, targets: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of each logit, ``(B, U)``."""
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


class SigLIP(_Sigmoid):
    """Each ECG against each text as a yes-or-no question (SigLIP, arXiv 2303.15343, equation 1 and section 3.2).

    Summed over the texts of which it is known whether they describe the ECG, averaged over ECGs. A text that describes several
    ECGs is a positive of each.

    Args:
        temperature: Where the scale ``1 / temperature`` starts; it is learned and clamped at 100.
        bias: Where the bias starts. SigLIP takes -10 for one positive among thousands; -5 suits a few among a hundred.
        logit_adjustment: See :class:`ecgclip.losses.contrast.Contrast`. Start the bias near 0 with it: the log-odds take its part.
        hard_negatives: See there.

    Raises:
        UserError: For a number out of its range.

    """

    name = "siglip"

    def loss(self, pairs: Pairs) -> Tensor:
        """Return the loss of a batch with all its parts in one place."""
        return (self.each(pairs, pairs.positives.float()) * pairs.known).sum() / len(pairs.ecg)


class JaccardSigLIP(_Sigmoid):
    """SigLIP with a graded answer: how much of an ECG's findings and a text's are the same.

    The idea of arXiv 2602.10553 (a sigmoid loss with Jaccard scores); the formula is ours:
    ``J_ij = |A_i & B_j| / |A_i | B_j|`` over the ECG's labels ``A`` and the text's ``B``,
    ``L = 1/B sum_ij -[J_ij log sigmoid(z_ij) + (1 - J_ij) log sigmoid(-z_ij)]``. Equal sets have J = 1, sets with nothing in common
    J = 0. A pair of two empty sets says nothing and is left out, like one that is unknown.

    Args:
        temperature: Where the scale ``1 / temperature`` starts; it is learned and clamped at 100.
        bias: Where the bias starts.
        logit_adjustment: See :class:`ecgclip.losses.contrast.Contrast`.
        hard_negatives: See there; the negatives are the pairs with nothing in common.

    Raises:
        UserError: For a number out of its range, or when the batch does not say which labels its ECGs and texts have.

    """

    name = "jaccard_siglip"

    def loss(self, pairs: Pairs) -> Tensor:
        """Return the loss of a batch with all its parts in one place."""
        ecg, text = self.required(pairs, "labels").float(), self.required(pairs, "text_labels").float()
        common = ecg @ text.T
        either = ecg.sum(1, keepdim=True) + text.sum(1) - common
        counted = pairs.known & (either > 0)
        each = self.each(pairs._replace(known=counted), common / either.clamp(min=1))
        return (each * counted).sum() / len(pairs.ecg)


class LabelPrompt(_Sigmoid):
    """A multi-label classifier whose classes are texts: each ECG against the name of every label, in every step.

    ``L = sum_ij w_j [...] / n`` over the ``n`` known pairs, with ``z_ij = scale * cos_ij + b + tau * log-odds_j``. What sets it
    apart from ``siglip``: it takes the texts of single labels only; each label has an offset of its own, its log-odds in the
    training records, so that before training it predicts the prevalences (as in RetinaNet, arXiv 1708.02002, section 4.1)
    and the cosines need not spend themselves on how frequent a label is (tau = 1 is the Bayes-consistent adjustment of
    arXiv 2007.07314); it counts pairs, not ECGs, so that a label known of few ECGs is not diluted; and rare labels can be given weight.
    The ranking of ECGs within a label, and an evaluation by cosine, know nothing of the offsets.

    Args:
        temperature: Where the scale ``1 / temperature`` starts; it is learned and clamped at 100.
        bias: Where ``b`` starts.
        logit_adjustment: tau; see :class:`ecgclip.losses.contrast.Contrast`. With ``balance`` it is neutral at ``1 - balance``.
        hard_negatives: See there; the negatives are the labels that an ECG does not have.
        balance: Positives of label ``j`` weigh ``(1 / odds_j) ** balance``: 0 equally, 1 as much as all its negatives together.
        focal: gamma, pairs weigh ``(1 - p) ** gamma`` with ``p`` the probability given to the right answer (arXiv 1708.02002,
            equation 4); 0 equally.

    Raises:
        UserError: For a number out of its range, or texts that do not name one label each.

    """

    name = "label_prompt"

    def __init__(
        self,
        temperature: float = 0.1,
        bias: float = 0.0,
        logit_adjustment: float = 1.0,
        hard_negatives: float = 0.0,
        balance: float = 0.0,
        focal: float = 0.0,
    ) -> None:
        super().__init__(temperature=temperature, bias=bias, logit_adjustment=logit_adjustment, hard_negatives=hard_negatives)
        self.check("balance", balance)
        self.check("focal", focal)
        self.balance, self.focal = balance, focal

    def loss(self, pairs: Pairs) -> Tensor:
        """Return the loss of a batch with all its parts in one place."""
        named = self.required(pairs, "text_labels").sum(1)
        if not bool((named == 1).all()):
            raise UserError(
                f"loss label_prompt takes texts of one label each, and here a text names {int(named[named != 1][0])}: "
                "set --data.caption label, or take --model.loss siglip"
            )
        each = self.each(pairs, pairs.positives.float())
        return (each * pairs.known).sum() / pairs.known.sum().clamp(min=1)

    def judge(self, logits: Tensor, targets: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of each logit, with the weights of rare labels and of hard pairs."""
        each = super().judge(logits, targets, pairs)
        if self.focal:
            # Not 0, where the slope of a power below 1 is infinite.
            each = each * (-torch.expm1(-each)).clamp(min=1e-12) ** self.focal
        if self.balance:
            odds = self.required(pairs, "prior", " with balance above 0").float().logit(eps=1e-6)
            each = each * torch.where(pairs.positives, (-self.balance * odds).exp(), 1.0)
        return each

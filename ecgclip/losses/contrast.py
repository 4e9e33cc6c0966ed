"""What the losses share: the scale of the similarities, logit adjustment for a long tail, and hard negatives."""

import math
from abc import ABC, abstractmethod
from numbers import Real

import torch
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.losses.pairs import Pairs, gather_pairs

MAX_LOG_SCALE = math.log(100)  # CLIP (arXiv 2103.00020, section 2.5) clamps the scale of the logits here.


class Contrast(nn.Module, ABC):
    """A loss over the pairs of a batch, whose subclasses say how: :meth:`loss`.

    The options mean the same in every loss, and at 0 leave the plain loss:

    ``logit_adjustment``, tau (Menon et al., arXiv 2007.07314, equation 10): while training, ``tau * log prior_u`` is added to the logit
    of text ``u`` in the softmax over texts, and ``tau * log(prior_u / (1 - prior_u))`` to its logit in a sigmoid. A frequent text then
    owes a part of its logit to its frequency, and the cosine, all that an evaluation reads, has to separate the rare ones too. In
    the softmax over ECGs it is one number for all candidates, and cancels.

    ``hard_negatives``, beta (Robinson et al., arXiv 2010.04592, section 3; between images and texts: arXiv 2301.02280): the
    negatives ``j`` of an anchor ``i`` weigh ``w_ij = n_i exp(beta s_ij) / sum_k exp(beta s_ik)``, the sum over its ``n_i`` negatives
    and ``s`` the scaled similarity. Their mean is 1. They are constants: the weight of a pair is no way to lower the loss.

    Args:
        temperature: Where the scale ``1 / temperature`` starts.
        learn_temperature: Learn the logarithm of the scale; else it stays.
        logit_adjustment: tau, at least 0; needs ``Pairs.prior``.
        hard_negatives: beta, at least 0.

    Raises:
        UserError: For a number out of its range.

    """

    name = "loss"

    def __init__(self, *, temperature: float, learn_temperature: bool, logit_adjustment: float, hard_negatives: float) -> None:
        super().__init__()
        self.check("temperature", temperature, above=True)
        self.check("logit_adjustment", logit_adjustment)
        self.check("hard_negatives", hard_negatives)
        self.logit_adjustment, self.hard_negatives = logit_adjustment, hard_negatives
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)

    def check(self, argument: str, value: float, *, above: bool = False) -> None:
        """Refuse what is no finite number of at least 0, or ``above`` it."""
        is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or value < 0 or (above and value == 0):
            raise UserError(f"loss {self.name}: {argument} {value!r} must be a number {'above 0' if above else 'of at least 0'}")

    @property
    def scale(self) -> Tensor:
        """The factor on the cosine similarities, at most 100.

        The parameter itself is held below the bound: beyond it, it would get no gradient, and could never come back.
        """
        self.log_scale.data.clamp_(max=MAX_LOG_SCALE)
        return self.log_scale.exp()

    def forward(self, pairs: Pairs) -> Tensor:
        """Return the loss of the batch of all processes, a scalar in float32."""
        pairs = gather_pairs(pairs)
        # bf16 has 8 bits: similarities times 100 need more.
        with torch.autocast(pairs.ecg.device.type, enabled=False):
            return self.loss(pairs._replace(ecg=pairs.ecg.float(), text=pairs.text.float()))

    @abstractmethod
    def loss(self, pairs: Pairs) -> Tensor:
        """Return the loss of a batch with all its parts in one place, in float32."""

    def similarities(self, pairs: Pairs) -> Tensor:
        """Return the scaled similarities, ``(B, U)``."""
        return self.scale * pairs.ecg @ pairs.text.T

    def log_weights(self, logits: Tensor, negatives: Tensor) -> Tensor:
        """Return the logarithms of the weights of each row's negatives, zero elsewhere and without gradient; ``(B, U)`` each."""
        beta = (self.hard_negatives * logits.detach()).masked_fill(~negatives, -math.inf)
        # A row without negatives is NaN here, and left out there.
        return torch.where(negatives, beta.log_softmax(1) + negatives.sum(1, keepdim=True).log(), 0.0)

    def required(self, pairs: Pairs, field: str, why: str = "") -> Tensor:
        """Return an optional field of the batch, which this loss cannot do without."""
        value: Tensor | None = getattr(pairs, field)
        if value is None:
            raise UserError(f"loss {self.name}{why} needs Pairs.{field}, which this batch lacks: take a data module that supplies it")
        return value

    def prior(self, pairs: Pairs) -> Tensor:
        """Return the share of the training records that each text describes, ``(U,)``."""
        return self.required(pairs, "prior", " with logit_adjustment above 0").float()

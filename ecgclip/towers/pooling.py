"""From a sequence of vectors to one: what every ECG tower ends with."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError

POOLINGS = ("mean_max", "attention", "mean")
HEAD = 64  # Channels of an attention head, as in CLIP.


class Pooling(nn.Module):
    """Reduce a sequence to one vector.

    Args:
        name: ``mean_max``, the mean (what is always there), then the maximum (what happens once), as in the PTB-XL benchmark
            (Strodthoff et al. 2020, doi:10.1109/JBHI.2020.3022989); ``attention``, in the spirit of CLIP's (arXiv 2103.00020, section
            2.4): a learned query, the same for every record, looks for what matters; ``mean``.
        channels: Channels of the sequence.

    Attributes:
        features: Length of the output: ``2 * channels`` for ``mean_max``, otherwise ``channels``.

    Raises:
        UserError: For another name.
    """

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        if name not in POOLINGS:
            raise UserError(f"ecg tower: pooling {name!r} is not one of {', '.join(POOLINGS)}")
        self.name = name
        self.features = 2 * channels if name == "mean_max" else channels
        if name == "attention":
            self.heads = next(heads for heads in range(max(1, channels // HEAD), 0, -1) if channels % heads == 0)
            self.norm = nn.LayerNorm(channels)
            self.query = nn.Parameter(torch.randn(self.heads, 1, channels // self.heads))
            # A bias of the keys adds the same to every score of a query, which the softmax takes away again.
            self.key = nn.Linear(channels, channels, bias=False)
            self.value = nn.Linear(channels, channels)
            self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool over time.

        Args:
            x: ``(B, T, channels)`` float.
            present: ``(B, T)`` bool, the places that count, at least one per row; None for all.

        Returns:
            ``(B, features)``.
        """
        if self.name == "attention":
            return self._attend(x, present)
        if present is None:
            mean = x.mean(1)
        else:
            weights = present.to(x.dtype)
            mean = torch.einsum("btc,bt->bc", x, weights / weights.sum(1, keepdim=True))
        if self.name == "mean":
            return mean
        highest = (x if present is None else x.masked_fill(~present.unsqueeze(-1), -torch.inf)).amax(1)
        return torch.cat((mean.to(highest.dtype), highest), dim=1)

    def _attend(self, x: Tensor, present: Tensor | None) -> Tensor:
        batch, _, channels = x.shape
        x = self.norm(x)
        key, value = (layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.key, self.value))
        query = self.query.to(key.dtype).expand(batch, -1, -1, -1)
        mask = None if present is None else present[:, None, None, :]
        pooled: Tensor = self.output(F.scaled_dot_product_attention(query, key, value, attn_mask=mask).reshape(batch, channels))
        return pooled

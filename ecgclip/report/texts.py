"""How far apart the labels of a catalogue lie for a text tower, before anything is trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.drawing import plot_similarity
from ecgclip.evaluation.texts import TextSpread, text_spread
from ecgclip.labels import Catalogue
from ecgclip.model import build
from ecgclip.towers import TEXT_TOWERS, FrozenTextTower, class_vectors
from ecgclip.towers.frozen import CENTRES
from ecgclip.towers.text_table import open_text_input, text_input
from ecgclip.towers.tokenizer import tokenize_texts


@torch.inference_mode()
def label_texts(catalogue: Catalogue, text_tower: str, text_tower_args: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Return the labels as a text tower sees them, in each of the forms that matter.

    Args:
        catalogue: ``L`` labels.
        text_tower: As in :class:`ecgclip.model.ECGCLIP`.
        text_tower_args: The same.

    Returns:
        Name of the form to ``(L, D)`` vectors, the normalised mean over each label's prompts: for a frozen tower the language model's
        own and those after each way to centre them, for a trainable one those of the untrained tower.
    """
    tower = build("text tower", text_tower, TEXT_TOWERS, dict(text_tower_args or {})).eval()
    prompts = [(row, prompt) for row, label in enumerate(catalogue) for prompt in label.prompts]
    rows = torch.tensor([row for row, _ in prompts])
    source = open_text_input(text_input(text_tower, text_tower_args), catalogue.texts)
    texts = tokenize_texts(source, [prompt for _, prompt in prompts])
    if not isinstance(tower, FrozenTextTower):
        return {"before training": class_vectors(tower(texts), rows, len(catalogue))}
    found = {}
    for centre in CENTRES:
        form = FrozenTextTower(centre=centre, shrinkage=tower.shrinkage)
        form.take_statistics(tokenize_texts(source, catalogue.texts)["vectors"])
        name = {"none": "as read", "mean": "centre: mean", "whiten": f"centre: whiten, shrinkage {tower.shrinkage:g}"}[centre]
        name += " (in use)" if centre == tower.centre else ""
        found[name] = class_vectors(form.centred(texts["vectors"]), rows, len(catalogue))
    return found


def texts_table(spreads: Mapping[str, TextSpread], catalogue: Catalogue) -> str:
    """Return the lines for the terminal: a row of figures for each form, then the nearest pairs of the form in use."""
    lines = [f"{'cosine of two labels':40}{'mean':>8}{'lowest':>8}{'highest':>9}{'effective rank':>16}"]
    for name, spread in spreads.items():
        figures = f"{spread.mean:8.3f}{spread.lowest:8.3f}{spread.highest:9.3f}"
        lines.append(f"  {name:38}{figures}{spread.effective_rank:10.1f} of {len(catalogue)}")
    for name, spread in spreads.items():
        lines += ["", f"nearest, {name}:"]
        lines += [f"  {cosine:+.3f}  {catalogue.labels[i].ja} | {catalogue.labels[j].ja}" for i, j, cosine in spread.nearest]
        if spread.warning:
            lines.append(f"  WARNING: {spread.warning}")
    return "\n".join(lines)


def plot_texts(vectors: Mapping[str, Tensor], catalogue: Catalogue, path: Path) -> Path:
    """Draw the cosines between all labels, a map for each form.

    Args:
        vectors: Name of the form to ``(L, D)``, see :func:`label_texts`.
        catalogue: ``L`` labels.
        path: Where to, ``.png``; missing folders are made.

    Returns:
        ``path``.
    """
    units = {name: F.normalize(rows.float(), dim=1) for name, rows in vectors.items()}
    return plot_similarity({name: (unit @ unit.T).numpy() for name, unit in units.items()}, [label.ja for label in catalogue], path)


def report_texts(catalogue: Catalogue, text_tower: str, text_tower_args: Mapping[str, Any] | None, path: Path) -> str:
    """Measure, draw the map, and return the lines for the terminal."""
    vectors = label_texts(catalogue, text_tower, text_tower_args)
    spreads = {name: text_spread(rows) for name, rows in vectors.items()}
    return f"{texts_table(spreads, catalogue)}\n\nmap: {plot_texts(vectors, catalogue, path)}"

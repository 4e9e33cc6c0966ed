"""ECG and text towers by name.

An ECG tower maps ``(B, 12, T)`` mV and a ``(B, 12)`` lead mask (or None) to ``(B, features)``, says ``features`` as an attribute, and takes
plain values as arguments, so that a checkpoint, an artefact and an untrained baseline can build it anew.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from ecgclip.towers.frozen import FrozenTextTower
from ecgclip.towers.resnet1d import ResNet1d
from ecgclip.towers.s4d import S4D
from ecgclip.towers.text import TextTower, class_vectors
from ecgclip.towers.vit1d import ViT1d
from ecgclip.towers.xresnet1d import XResNet1d

ECG_TOWERS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(ResNet1d, depth=18),
    "resnet34": partial(ResNet1d, depth=34),
    "resnet50": partial(ResNet1d, depth=50),
    "xresnet18": partial(XResNet1d, depth=18),
    "xresnet34": partial(XResNet1d, depth=34),
    # Equally wide in all stages, as in the PTB-XL benchmark.
    "xresnet50": partial(XResNet1d, depth=50, growth=1.0),
    "xresnet101": partial(XResNet1d, depth=101, growth=1.0),
    "vit": ViT1d,
    "s4d": S4D,
}
TEXT_TOWERS: dict[str, Callable[..., nn.Module]] = {"bert": TextTower, "frozen": FrozenTextTower}

__all__ = [
    "ECG_TOWERS",
    "S4D",
    "TEXT_TOWERS",
    "FrozenTextTower",
    "ResNet1d",
    "TextTower",
    "ViT1d",
    "XResNet1d",
    "class_vectors",
]

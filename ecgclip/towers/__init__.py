"""ECG and text towers by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from ecgclip.towers.frozen import FrozenTextTower
from ecgclip.towers.resnet1d import ResNet1d
from ecgclip.towers.text import TextTower, class_vectors

ECG_TOWERS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(ResNet1d, depth=18),
    "resnet34": partial(ResNet1d, depth=34),
}
TEXT_TOWERS: dict[str, Callable[..., nn.Module]] = {"bert": TextTower, "frozen": FrozenTextTower}

__all__ = ["ECG_TOWERS", "TEXT_TOWERS", "FrozenTextTower", "ResNet1d", "TextTower", "class_vectors"]

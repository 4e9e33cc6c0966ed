"""A callback that ends its process the hard way, as a power cut would."""

import os
import signal

from lightning.pytorch import Callback


class Kill(Callback):
    """Send SIGKILL in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

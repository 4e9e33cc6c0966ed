"""Averaged weights: the formula, and that evaluation, checkpoint and artefact all have the average."""

import pytest
import torch
from safetensors.torch import load_file

from ecgclip.callbacks import AveragedWeights
from tests.running import averaged, fit, metrics

NAME = "ecg_encoder.projection.weight"


def test_equals_its_formula():
    model = torch.nn.Linear(3, 2)
    callback = AveragedWeights(decay=0.5)
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True, **callback._kwargs)
    expected = None
    for n in range(8):
        torch.nn.init.normal_(model.weight)
        average.update_parameters(model)
        # The first update is the weights themselves.
        d = min(0.5, (1 + n) / (10 + n))
        expected = model.weight.detach().clone() if expected is None else d * expected + (1 - d) * model.weight.detach()
    torch.testing.assert_close(average.module.weight, expected)


def test_evaluation_checkpoint_and_artefact_have_the_average(tmp_path):
    run = fit(tmp_path, averaged(tmp_path), "--trainer.max_epochs=2")
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    mean, last = checkpoint["state_dict"][NAME], checkpoint["current_model_state"][NAME]
    assert not torch.allclose(mean, last)
    torch.testing.assert_close(load_file(run / "artefact" / "model.safetensors")[NAME], mean)
    # What the training evaluated after its last epoch is what the closing evaluation found, and what the file gives again.
    curve = (run / "metrics.csv").read_text().splitlines()
    column = curve[0].split(",").index("val/zero_shot/all/auroc_macro")
    seen = [float(line.split(",")[column]) for line in curve[1:] if line.split(",")[column]]
    assert seen[-1] == pytest.approx(metrics(run)["val/zero_shot/all/auroc_macro"], abs=1e-6)
    assert seen[-1] == pytest.approx(seen[-2], abs=1e-6)

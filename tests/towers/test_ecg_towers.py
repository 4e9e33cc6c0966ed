"""What every ECG tower owes to the model around it: any length, every parameter learning, bf16, missing leads, plain arguments."""

import inspect
import json
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers import ECG_TOWERS
from ecgclip.towers.measure import measure_tower

NARROW: dict[str, dict[str, Any]] = {"vit": {"width": 24, "depth": 2}, "s4d": {"width": 16, "depth": 2}}
EVERY = [(name, pooling) for name in ECG_TOWERS for pooling in ("mean_max", "attention", "mean")]


def ecgs(batch: int = 4, length: int = 250) -> Tensor:
    return torch.randn(batch, 12, length, generator=torch.Generator().manual_seed(1))


def tower(name: str, **arguments: Any) -> nn.Module:
    """A narrow tower past its start, where residual blocks multiply by zero and norms by one."""
    torch.manual_seed(0)
    made = ECG_TOWERS[name](**(NARROW.get(name, {"width": 8}) | arguments))
    for norm in (module for module in made.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.0)
        nn.init.normal_(norm.bias, std=0.1)
        # Not the statistics of four records of noise: deep down they hardly differ, and dividing by that is all rounding.
        nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return made


def fitted(name: str) -> nn.Module:
    """A tower whose norms have seen these records, so that what differs between them comes through to the end."""
    made = tower(name)
    for norm in (module for module in made.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = None  # The average over all batches, of which there is one.
        norm.reset_running_stats()
    with torch.no_grad():
        made(ecgs())
    return made.eval()


@pytest.mark.parametrize("name", ECG_TOWERS)
@pytest.mark.parametrize("length", [17, 250, 999, 5000])
def test_any_length(name: str, length: int) -> None:
    made = tower(name).eval()
    with torch.inference_mode():
        vectors = made(ecgs(2, length))
    assert vectors.shape == (2, made.features)
    assert vectors.isfinite().all()


@pytest.mark.parametrize(("name", "pooling"), EVERY)
def test_every_parameter_learns(name: str, pooling: str) -> None:
    # As it is made: a parameter without a gradient stops DistributedDataParallel at the second step.
    torch.manual_seed(0)
    made = ECG_TOWERS[name](**NARROW.get(name, {"width": 8}), pooling=pooling).double()
    before = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    optimizer = torch.optim.SGD(made.parameters(), lr=0.01)
    aim = torch.randn(4, made.features, dtype=torch.float64)
    # Two steps: each residual block starts as its shortcut, and only then do its convolutions get a gradient.
    for number in range(2):
        optimizer.zero_grad()
        F.mse_loss(made(ecgs().double(), torch.ones(4, 12, dtype=torch.bool)), aim).backward()
        if number == 0:
            assert [name for name, parameter in made.named_parameters() if parameter.grad is None] == []
        optimizer.step()
    assert [name for name, parameter in made.named_parameters() if torch.equal(parameter, before[name])] == []


@pytest.mark.parametrize(("name", "pooling"), EVERY)
def test_bf16_autocast_is_close_to_fp32(name: str, pooling: str) -> None:
    made = tower(name, pooling=pooling).eval()
    mask = torch.ones(4, 12, dtype=torch.bool)
    mask[0, 6:] = False
    ecg = ecgs() * mask.unsqueeze(-1)
    exact = made(ecg, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = made(ecg, mask)
    assert F.cosine_similarity(exact, rough.float()).min() > 0.999
    assert (rough.float() - exact).norm() < 0.03 * exact.norm()
    aim = torch.randn(exact.shape, generator=torch.Generator().manual_seed(2))
    gradients = []
    for output in (exact, rough.float()):
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad((output * aim).sum(), list(made.parameters()))]))
    assert gradients[1].isfinite().all()
    assert F.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize("name", ECG_TOWERS)
def test_a_record_is_read_alone(name: str) -> None:
    made, mask = tower(name).eval(), torch.ones(4, 12, dtype=torch.bool)
    mask[2, 3:] = False
    ecg = ecgs() * mask.unsqueeze(-1)
    torch.testing.assert_close(made(ecg, mask)[2:3], made(ecg[2:3], mask[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ECG_TOWERS)
def test_amplitude_is_not_normalised_away(name: str) -> None:
    made = fitted(name)
    whole, half = made(ecgs()), made(0.5 * ecgs())
    assert (whole - half).norm() > 0.03 * whole.norm()


@pytest.mark.parametrize("name", ECG_TOWERS)
def test_leads_are_told_apart(name: str) -> None:
    made = fitted(name)
    whole, swapped = made(ecgs()), made(ecgs()[:, [1, 0, *range(2, 12)]])
    assert (whole - swapped).norm() > 0.01 * whole.norm()


@pytest.mark.parametrize("name", ECG_TOWERS)
def test_records_with_few_leads_or_none_have_finite_vectors_and_gradients(name: str) -> None:
    made = tower(name)
    mask = torch.zeros(4, 12, dtype=torch.bool)
    mask[0, :6] = mask[1, [0, 1, 7]] = mask[2, 1] = True
    vectors = made(ecgs() * mask.unsqueeze(-1), mask)
    vectors.square().sum().backward()
    assert vectors.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in made.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ECG_TOWERS)
def test_is_built_again_from_plain_arguments(name: str) -> None:
    arguments = json.loads(json.dumps(NARROW.get(name, {"width": 8}) | {"pooling": "attention"}))
    made, again = ECG_TOWERS[name](**arguments).eval(), ECG_TOWERS[name](**arguments).eval()
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again(ecgs()), made(ecgs()), rtol=0, atol=0)


@pytest.mark.parametrize("name", ECG_TOWERS)
def test_the_documentation_says_its_size(name: str) -> None:
    make = ECG_TOWERS[name]
    documentation = inspect.getdoc(getattr(make, "func", make)) or ""
    sizes = dict(re.findall(r"``(\w+)`` (\d[\d,]+)", documentation.split("Learned numbers:")[1].split(".")[0]))
    assert sizes[name] == f"{sum(parameter.numel() for parameter in make().parameters()):,}"
    assert "Good for:" in documentation


@pytest.mark.parametrize("name", ECG_TOWERS)
def test_an_unknown_pooling_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match="pooling 'max' is not one of mean_max, attention, mean") as error:
        tower(name, pooling="max")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["xresnet18", "vit", "s4d"])
@pytest.mark.parametrize("option", ["dropout", "drop_path"])
def test_regularisation_acts_in_training_only(name: str, option: str) -> None:
    made = tower(name, **{option: 0.5})
    assert not torch.equal(made(ecgs()), made(ecgs()))
    without = tower(name, **{option: 0.0})
    without.load_state_dict(made.state_dict())
    torch.testing.assert_close(made.eval()(ecgs()), without.eval()(ecgs()), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["xresnet18", "vit", "s4d"])
@pytest.mark.parametrize("option", ["dropout", "drop_path"])
def test_a_probability_out_of_range_is_one_line(name: str, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} 1.0 must be at least 0 and below 1") as error:
        tower(name, **{option: 1.0})
    assert "\n" not in str(error.value)


def test_measuring() -> None:
    found = measure_tower("xresnet18", batch=8, samples=100, seconds=0.0, width=16)
    assert found["parameters"] == sum(parameter.numel() for parameter in ECG_TOWERS["xresnet18"](width=16).parameters())
    assert (found["tower"], found["features"], found["threads"]) == ("xresnet18", 256, torch.get_num_threads())
    assert found["records_per_second"] > 0
    with pytest.raises(UserError, match="did you mean 'xresnet18'"):
        measure_tower("xresnet81")

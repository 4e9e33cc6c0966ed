"""The state space model against its own recurrence, one sample after the other in complex128."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers import S4D
from ecgclip.towers.s4d import ChannelDropout, CircularConvolution, DiagonalStateSpace


def system(channels: int = 3, state: int = 8, **arguments: Any) -> DiagonalStateSpace:
    torch.manual_seed(0)
    made = DiagonalStateSpace(channels, state, **arguments).double()
    nn.init.normal_(made.log_decay, mean=-0.5, std=0.3)  # All states alike would hide a wrong order of theirs.
    return made


def recurrent(made: DiagonalStateSpace, u: Tensor) -> Tensor:
    """The same system, state by state: ``(B, T, channels)``."""
    a = torch.complex(-made.log_decay.exp(), made.frequency).view(made.channels, -1)
    step = (made.log_step.exp() * made.time_scale)[:, None]
    a_bar = (step * a).exp()
    b_bar = (a_bar - 1) / a
    c = torch.complex(made.c[..., 0], made.c[..., 1])
    y = u * made.d
    state = torch.zeros(len(u), *a.shape, dtype=torch.complex128)
    for t in range(u.shape[1]):
        state = a_bar * state + b_bar * u[:, t, :, None]
        y[:, t] += 2 * (c[0] * state).sum(-1).real
    state = torch.zeros_like(state)
    for t in reversed(range(u.shape[1])):
        # What lies ahead of t has gone through the state before t itself does.
        y[:, t] += 2 * (c[1] * state).sum(-1).real
        state = a_bar * state + b_bar * u[:, t, :, None]
    return y


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 250, 257])
@pytest.mark.parametrize("time_scale", [1.0, 0.2])
def test_equals_the_recurrence(length: int, time_scale: float) -> None:
    made = system(time_scale=time_scale)
    u = torch.randn(2, length, 3, dtype=torch.float64)
    torch.testing.assert_close(made(u), recurrent(made, u), rtol=1e-5, atol=1e-8)


def test_gradients_equal_those_of_the_recurrence() -> None:
    made = system()
    u = torch.randn(2, 40, 3, dtype=torch.float64, requires_grad=True)
    aim = torch.randn(2, 40, 3, dtype=torch.float64)
    gradients = [torch.autograd.grad((y * aim).sum(), [u, *made.parameters()]) for y in (recurrent(made, u), made(u))]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-8)


def test_gradients_of_the_convolution_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    inputs = (torch.randn(2, 3, 5, dtype=torch.float64).requires_grad_(), torch.randn(3, 12, dtype=torch.float64).requires_grad_())
    assert torch.autograd.gradcheck(CircularConvolution.apply, inputs)


def test_looks_both_ways_to_the_ends_and_not_around_them() -> None:
    made, length = system(), 100
    u = torch.randn(1, length, 3, dtype=torch.float64, requires_grad=True)
    for place in (0, 50, 99):
        (gradient,) = torch.autograd.grad(made(u)[0, place].sum(), u)
        assert gradient.abs().sum(-1).all()
    with torch.no_grad():
        made.c[1] = 0
    (gradient,) = torch.autograd.grad(made(u)[0, 50].sum(), u)
    assert gradient[0, :51].abs().sum(-1).all() and gradient[0, 51:].abs().max() < 1e-12


def test_another_rate_is_read_by_the_same_kernel() -> None:
    # Held constant between samples, a signal at 100 Hz is also one at 500 Hz, and the system is in the same state at the same time.
    made, fine = system(), system(time_scale=0.2)
    u = torch.randn(2, 60, 3, dtype=torch.float64)
    torch.testing.assert_close(fine(u.repeat_interleave(5, dim=1))[:, 4::5], made(u), rtol=1e-8, atol=1e-10)


def smooth(rate: int) -> Tensor:
    time = torch.arange(0, 2.5, 1 / rate)
    waves = [torch.sin(2 * torch.pi * (0.7 + 0.3 * lead) * time + lead) for lead in range(12)]
    return torch.stack(waves).unsqueeze(0)


@pytest.mark.parametrize("prenorm", [True, False])
def test_the_tower_reads_500_hz_as_it_reads_100(prenorm: bool) -> None:
    torch.manual_seed(0)
    made = S4D(width=16, depth=2, prenorm=prenorm).eval()
    again = S4D(width=16, depth=2, prenorm=prenorm, time_scale=0.2).eval()
    again.load_state_dict(made.state_dict())
    expected = made(smooth(100))
    right, wrong = ((vectors - expected).norm() / expected.norm() for vectors in (again(smooth(500)), made(smooth(500))))
    assert right < 0.03 and wrong > 5 * right


@pytest.mark.parametrize("prenorm", [True, False])
def test_the_tower_is_made_of_the_recurrence(prenorm: bool) -> None:
    torch.manual_seed(0)
    made = S4D(width=8, depth=2, state=4, prenorm=prenorm).double().eval()
    ecg = torch.randn(2, 12, 50, dtype=torch.float64)

    def layer_norm(x: Tensor) -> Tensor:  # As made, norms have the weight 1 and the bias 0.
        return (x - x.mean(2, keepdim=True)) / (x.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()

    x = ecg.transpose(1, 2) @ made.encoder.weight.T + made.encoder.bias
    for block in made.blocks:
        y = recurrent(block.system, layer_norm(x) if prenorm else x)
        y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
        linear = block.mix[2]
        value, gate = (y @ linear.weight.T + linear.bias).chunk(2, dim=2)
        x = x + value * gate.sigmoid()
        x = x if prenorm else layer_norm(x)
    x = layer_norm(x) if prenorm else x
    torch.testing.assert_close(made(ecg), torch.cat((x.mean(1), x.max(1).values), dim=1), rtol=1e-5, atol=1e-7)


def test_computes_in_fp32_under_bf16_autocast() -> None:
    made = DiagonalStateSpace(3, 8)
    u = torch.randn(2, 250, 3, requires_grad=True)
    exact = made(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(u), exact)
        rough = made(u.bfloat16())
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).norm() < 0.01 * exact.norm()


def test_time_constants_are_vectors_so_that_weight_decay_lets_them_be() -> None:
    made = DiagonalStateSpace(3, 8)
    assert all(parameter.ndim == 1 for name, parameter in made.named_parameters() if name != "c")


def test_dropout_takes_whole_channels_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = ChannelDropout(0.25)(torch.ones(500, 7, 8))
    assert (dropped == dropped[:, :1]).all()
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 1 / 0.75])
    assert dropped.mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "found"), [({"state": 7}, "state 7 must be even"), ({"time_scale": 0.0}, "time_scale 0.0 must be above 0")]
)
def test_bad_arguments_are_one_line(arguments: dict[str, float], found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        S4D(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)

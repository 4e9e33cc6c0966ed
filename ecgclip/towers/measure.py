"""How large and how fast an ECG tower is."""

import time
from typing import Any

import torch

from ecgclip.naming import find
from ecgclip.towers import ECG_TOWERS


def measure_tower(
    name: str, *, batch: int = 64, samples: int = 250, seconds: float = 5.0, device: str = "cpu", **arguments: Any
) -> dict[str, Any]:
    """Measure a training step of an ECG tower by itself: forward, backward and AdamW, in bf16 autocast.

    Args:
        name: A key of ``ECG_TOWERS``, or an import path.
        batch: Records per step.
        samples: Length of a record; 250 are 2.5 s at 100 Hz.
        seconds: How long steps are repeated, after two that are not counted.
        device: Where it computes; on a CPU with the threads that torch has been given.
        **arguments: Of the tower.

    Returns:
        ``tower``, ``parameters``, ``features``, ``records_per_second`` of the fastest half of the steps (a step that another
        program disturbed says nothing about the tower) and ``threads``.

    Raises:
        UserError: For an unknown name.
    """
    torch.manual_seed(0)
    tower = find("ecg tower", name, ECG_TOWERS)(**arguments).to(device)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=1e-4)
    ecg = torch.randn(batch, 12, samples, device=device)
    mask = torch.ones(batch, 12, dtype=torch.bool, device=device)
    mask[: batch // 4, 6:] = False  # Some records lack leads, so that a tower that masks them has to.
    ecg *= mask.unsqueeze(-1)
    target = torch.randn(batch, int(tower.features), device=device)  # type: ignore[arg-type]

    def step() -> float:
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            vectors = tower(ecg, mask)
        torch.nn.functional.mse_loss(vectors.float(), target).backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    step(), step()
    taken: list[float] = []
    begin = time.perf_counter()
    while not taken or time.perf_counter() - begin < seconds:
        taken.append(step())
    fast = sorted(taken)[: (len(taken) + 1) // 2]
    return {
        "tower": name,
        "parameters": sum(parameter.numel() for parameter in tower.parameters()),
        "features": int(tower.features),  # type: ignore[arg-type]
        "records_per_second": batch * len(fast) / sum(fast),
        "threads": torch.get_num_threads(),
    }

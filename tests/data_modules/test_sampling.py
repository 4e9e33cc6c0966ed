"""Which records make up which batch: the same for any number of processes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules.sampling import Batches, Draw

numbers = st.integers(1, 90)
small = st.integers(1, 9)
worlds = st.integers(1, 5)
unhurried = settings(deadline=None)  # A busy machine is no mistake of the sampler's.


def all_ranks(count: int, batch_size: int, world_size: int, seed: int | None, epoch: int = 0) -> list[list[Draw]]:
    """The batches of every process."""
    processes = []
    for rank in range(world_size):
        sampler = Batches(1000 + np.arange(count), batch_size, rank=rank, world_size=world_size, seed=seed)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        processes.append(batches)
    return processes


def together(processes: list[list[Draw]]) -> list[list[int]]:
    """The rows of each global batch, in the order of ranks."""
    return [np.concatenate([draw.rows for draw in step]).tolist() for step in zip(*processes, strict=True)]


@unhurried
@given(steps=st.integers(1, 6), batch_size=small, world_size=worlds, rest=st.integers(0, 40), seed=st.integers(0, 99), epoch=small)
def test_training_batches_are_those_of_one_large_process(
    steps: int, batch_size: int, world_size: int, rest: int, seed: int, epoch: int
) -> None:
    count = steps * batch_size * world_size + rest % (batch_size * world_size)
    many = all_ranks(count, batch_size, world_size, seed, epoch)
    one = all_ranks(count, batch_size * world_size, 1, seed, epoch)
    assert together(many) == together(one)
    assert all(len(draw.rows) == batch_size for process in many for draw in process)
    assert [(draw.epoch, draw.step) for draw in many[-1]] == [(epoch, step) for step in range(steps)]
    seen = [row for batch in together(many) for row in batch]
    assert len(set(seen)) == len(seen) == steps * batch_size * world_size
    assert set(seen) <= set(range(1000, 1000 + count))


@unhurried
@given(count=numbers, batch_size=small, world_size=worlds, seed=st.integers(0, 99))
def test_processes_never_disagree_on_the_number_of_batches(count: int, batch_size: int, world_size: int, seed: int) -> None:
    for of in (seed, None):
        processes = all_ranks(count, batch_size, world_size, of)
        assert len({len(process) for process in processes}) == 1
        assert all(1 <= len(draw.rows) <= batch_size for process in processes for draw in process)
        # With a collective in each step, ranks of one step hold equally many.
        assert all(len({len(draw.rows) for draw in step}) == 1 for step in zip(*processes, strict=True))


@unhurried
@given(count=numbers, batch_size=small, world_size=worlds)
def test_evaluation_leaves_nothing_out_and_keeps_the_order(count: int, batch_size: int, world_size: int) -> None:
    rows = [row for batch in together(all_ranks(count, batch_size, world_size, None)) for row in batch]
    extra = len(rows) - count
    assert 0 <= extra < world_size
    assert rows == [*range(1000, 1000 + count), *[999 + count] * extra]


@unhurried
@given(count=st.integers(1, 8), world_size=worlds, seed=st.integers(0, 99))
def test_a_set_smaller_than_a_batch_is_one_batch(count: int, world_size: int, seed: int) -> None:
    (batch,) = together(all_ranks(count, 8, world_size, seed))
    assert set(batch) == set(range(1000, 1000 + count))
    assert len(batch) < count + world_size


def test_epochs_differ_and_an_epoch_replays() -> None:
    first, again, second, other_seed = (together(all_ranks(64, 4, 2, seed, epoch)) for seed, epoch in ((7, 0), (7, 0), (7, 1), (8, 0)))
    assert first == again
    assert first != second
    assert first != other_seed
    assert len({tuple(batch) for batch in first + second}) == 16


def test_a_resumed_epoch_is_that_of_a_run_without_a_break() -> None:
    whole = Batches(np.arange(64), 8, seed=3)
    rows = []
    for epoch in range(3):
        whole.set_epoch(epoch)
        rows.append([draw.rows.tolist() for draw in whole])
    resumed = Batches(np.arange(64), 8, seed=3)
    resumed.set_epoch(2)
    assert [draw.rows.tolist() for draw in resumed] == rows[2]


def test_each_epoch_leaves_another_remainder_out() -> None:
    left_out = set()
    for epoch in range(30):
        used = {row for batch in together(all_ranks(11, 4, 1, 0, epoch)) for row in batch}
        left_out.add(frozenset(range(1000, 1011)) - used)
    assert len(left_out) > 15
    assert frozenset().union(*left_out) == frozenset(range(1000, 1011))


@pytest.mark.parametrize("seed", [0, None])
def test_the_rows_given_are_not_changed(seed: int | None) -> None:
    rows = np.arange(20)
    list(Batches(rows, 3, seed=seed))
    assert rows.tolist() == list(range(20))

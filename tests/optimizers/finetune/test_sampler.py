"""Batches by length: every row once, in an order that the seed and the epoch decide."""

from hypothesis import given
from hypothesis import strategies as st

from optimizers.finetune.sampler import BucketSampler


@given(st.lists(st.integers(1, 500), max_size=200), st.integers(1, 16), st.integers(0, 5))
def test_every_row_appears_once(lengths, batch_size, epoch):
    sampler = BucketSampler(lengths, batch_size, seed=0)
    sampler.set_epoch(epoch)
    assert sorted(sampler) == list(range(len(lengths)))


def test_order_is_that_of_the_seed_and_epoch():
    first, second = (BucketSampler(range(100), 8, seed) for seed in (0, 1))
    assert list(first) == list(BucketSampler(range(100), 8, 0)) != list(second)
    before = list(first)
    first.set_epoch(1)
    assert list(first) != before


def test_batches_are_alike_in_length_and_not_in_order_of_it():
    lengths = [(i * 37) % 100 for i in range(800)]
    order = list(BucketSampler(lengths, 8, seed=0))
    batches = [[lengths[i] for i in order[start : start + 8]] for start in range(0, 800, 8)]
    assert sum(max(batch) - min(batch) for batch in batches) / len(batches) < 25
    means = [sum(batch) / 8 for batch in batches[:16]]
    assert means != sorted(means)

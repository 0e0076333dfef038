"""Batches of rows of similar length, in random order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler


class BucketSampler(Sampler[int]):
    """Orders rows so that each batch wastes little padding while batches of all lengths stay mixed.

    transformers' `group_by_length` sorts 50 batches at a time from long to short; where the length tells the kind of
    row (solve or decompose), the model then sees one kind for dozens of steps and forgets the other.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows in a batch.
        seed: With the epoch, decides the order: a resumed training sees what an uninterrupted one would have.
        window: Batches that are sorted together.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, window: int = 8) -> None:
        self.lengths, self.batch_size, self.seed, self.window = lengths, batch_size, seed, window
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}/{self.epoch}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        span = self.batch_size * self.window
        ordered = [i for start in range(0, len(order), span) for i in sorted(order[start : start + span], key=lambda i: self.lengths[i])]
        batches = [ordered[start : start + self.batch_size] for start in range(0, len(ordered), self.batch_size)]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        rng.shuffle(whole)
        yield from (i for batch in [*whole, *(b for b in batches if len(b) < self.batch_size)] for i in batch)

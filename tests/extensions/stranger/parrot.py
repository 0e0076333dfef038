"""A backend: text in, text out. This one says the same whatever the model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

from programs.lms.artifacts import Artifact
from programs.lms.backends.base import GenerateRequest, GenerateResult, More, OnResult


class Parrot:
    """See `programs.lms.backends.base.Backend`."""

    name = "parrot"

    def __init__(self, folder: Path | str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def generate(
        self, requests: Sequence[GenerateRequest], on_result: OnResult | None = None, more: More | None = None
    ) -> list[GenerateResult]:
        results = [self._answer(request) for request in requests]
        for index, result in enumerate(results):
            if on_result:
                on_result(index, result)
        return results

    def _answer(self, request: GenerateRequest) -> GenerateResult:
        decomposes = "Max subquestions" in request.prompt
        text = "Who is it?\nWhere is #1?" if decomposes else "Ann\nRome\nAnswer: Rome"
        tokens_in, tokens_out = (len(self.tokenizer(words)["input_ids"]) for words in (request.prompt, text))
        return GenerateResult(text, tokens_in, tokens_out)

    def close(self) -> None:
        pass


def load(model: Artifact | Path | str, device: str) -> Parrot:
    """See `programs.lms.backends.BACKENDS`."""
    return Parrot(model.folder if isinstance(model, Artifact) else model)

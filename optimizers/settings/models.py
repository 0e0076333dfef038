"""Which models: the sections `teacher`, `student`, `solver`, and wherever else a model is named."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from optimizers.settings.section import Section, read_text
from programs.lms.catalog import is_of_api
from programs.lms.model_strings import is_local

_OWN = ("model", "temperature", "max_tokens", "api_base", "timeout", "requests_per_minute", "batch", "adapter")


def read_options(value: Any) -> Any:
    """Options from texts that a command line gives, at any depth."""
    value = read_text(value)
    return {name: read_options(inner) for name, inner in value.items()} if isinstance(value, dict) else value


class ModelConfig(Section):
    """An LM: a model string of this package (`embedded/...`, `local/...`, `gguf/...`, `hf/...`) or of LiteLLM (`openai/...`)."""

    model: str
    """Model string, such as `embedded/teacher`, `local/<folder>` (a student, or a plain folder of `save_pretrained`), `gguf/<file>`,
    `hf/<organisation>/<name>` or `openai/gpt-4.1-mini`."""
    temperature: float | None = Field(None, ge=0)
    """Sampling temperature; by default 0 for models of this package, the provider's default for others."""
    max_tokens: int | None = Field(None, ge=1, json_schema_extra={"unit": "tokens"})
    """Length of a reply in tokens, at most. By default 256 for embedded models and those trained here, 512 for others of this process, 1024
    behind an API (none for a model of which `options` say how it thinks, and for OpenAI's reasoning models). A reply that reaches it is cut
    off; a model that thinks aloud in its replies needs some thousands."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server; by default the provider's. Keys come from the environment alone."""
    timeout: float | None = Field(None, gt=0, json_schema_extra={"unit": "seconds"})
    """Seconds that an API call may take; LiteLLM's default, if not given."""
    requests_per_minute: float | None = Field(None, gt=0, json_schema_extra={"unit": "requests a minute"})
    """Requests a minute to an API at most: calls wait for their turn, rather than fail by the provider's limit. Holds for all jobs, threads
    and processes on this machine that ask the same model at the same address, and for all nodes of the Ray cluster of a job; other machines
    are not seen. A call that a server refuses nevertheless (429) waits as long as its `Retry-After` says. No limit, if not given; none on
    batches, which are one request each."""
    batch: bool = False
    """Ask through the provider's batch API, at about half the price: the answers come within a day, and the same command takes up those of
    a batch that was under way when it was stopped. For `openai`, `azure`, `anthropic`, `gemini`, `mistral`, `xai`, and a server with an
    `api_base` that speaks OpenAI's batch protocol."""
    adapter: Literal["line", "line-terse", "chat", "json"] | None = None
    """Prompt format; by default the one that a model of this package was trained on, and `line` for others. `chat` and `json`
    are DSPy's own."""

    options: Annotated[dict[str, Any], BeforeValidator(read_options)] = Field(default_factory=dict)
    """Further options of `dspy.LM`, LiteLLM or the server, as JSON: `--teacher.options.min_p 0.05`, `--teacher.options.num_retries 5`,
    `--teacher.options.extra_body '{"top_k": 20}'`. Each is part of what tells one call from another."""

    @field_validator("options")
    @classmethod
    def _no_fields(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted({*value} & {*_OWN, "api_key", "cache", "n", "stream", "rollout_id"})
        if taken:
            own = [name for name in taken if name in _OWN]
            step = f"has a setting of its own, {own[0]}" if own else "is not for the configuration (keys come from the environment)"
            raise ValueError(f"The option {taken[0]!r} {step}; leave it out of the options.")
        return value

    @model_validator(mode="after")
    def _batches_of_apis(self) -> Self:
        if self.batch and is_local(self.model):
            raise ValueError(f"batch=true is of API models, and {self.model!r} runs in this process; leave it out.")
        return self

    @model_validator(mode="after")
    def _paced_apis(self) -> Self:
        if self.requests_per_minute is not None and is_local(self.model):
            raise ValueError(f"requests_per_minute={self.requests_per_minute:g} is of API models, and {self.model!r} runs in this process.")
        return self

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    def in_process(self) -> ModelConfig:
        """The same model as one of this process, for a student: a bare `org/name` is one of the Hugging Face hub.

        Raises:
            ValueError: The name is one of LiteLLM for a model behind an API.
        """
        if is_local(self.model):
            return self
        if is_of_api(self.model):
            raise ValueError(
                f"The student {self.model!r} is a model behind an API, and students are trained and run in this process: name a model "
                "such as 'embedded/base', 'gguf/<file>', 'local/<folder>' or 'hf/<org>/<name>' "
                f"('hf/{self.model}' if the hub has one of that name)."
            )
        return self.model_copy(update={"model": f"hf/{self.model}"})

    def lm_options(self, batches: bool = True) -> dict[str, Any]:
        """What `programs.lms.lm` takes beside the model string; without `batches` for what asks step by step, as each would take a day."""
        fields = self.model_dump(exclude={"model", "adapter", "options", "program", "batch"}, exclude_none=True)
        return {**fields, **({"batch": True} if self.batch and batches else {}), **self.options}


class TeacherConfig(ModelConfig):
    """The teacher's LM, and the prompts that it works with."""

    program: str | None = None
    """Path of a program that `compile` saved (`program.json`): its instructions and demos are used in the stages that were compiled. Or
    a `.jsonl` of few-shot examples for both stages: `question`, `subquestions`, and for the solver `sub_answers` and `answer`. If not
    given, the package's own prompts."""

"""Which models: the sections `teacher`, `student`, `solver`, and wherever else a model is named."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from optimizers.settings.section import Section
from programs.lms.model_strings import is_local


class ModelConfig(Section):
    """An LM: a model string of this package (`embedded/...`, `local/...`, `hf/...`) or of LiteLLM (`openai/...`)."""

    model: str
    """Model string, such as `embedded/teacher`, `local/<folder>`, `hf/<organisation>/<name>` or `openai/gpt-4.1-mini`."""
    temperature: float | None = Field(None, ge=0)
    """Sampling temperature; by default 0 for models of this package, the provider's default for others."""
    max_tokens: int | None = Field(None, ge=1)
    """Length of a reply in tokens, at most; by default 256 for models of this package, the provider's default for others."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server; by default the provider's. Keys come from the environment alone."""
    timeout: float | None = Field(None, gt=0)
    """Seconds that an API call may take; LiteLLM's default, if not given."""
    adapter: Literal["line", "line-terse", "chat"] | None = None
    """Prompt format; by default the one that a model of this package was trained on, and `line` for others."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    def in_process(self) -> ModelConfig:
        """The same model as one of this process, for a student: a bare `org/name` is one of the Hugging Face hub."""
        return self if is_local(self.model) else self.model_copy(update={"model": f"hf/{self.model}"})

    def options(self) -> dict[str, Any]:
        """What `programs.lms.lm` takes beside the model string."""
        return self.model_dump(exclude={"model", "adapter"}, exclude_none=True)


class TeacherConfig(ModelConfig):
    """The teacher's LM, and the prompts that it works with."""

    program: str | None = None
    """Path of a program that `compile` saved (`program.json`): its instructions and demos are used in the stages that were compiled. If
    not given, the package's own prompts."""

    def options(self) -> dict[str, Any]:
        """What `programs.lms.lm` takes beside the model string."""
        return {name: value for name, value in super().options().items() if name != "program"}

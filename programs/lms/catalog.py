"""A model string -> a `dspy.LM`: models in this process, and those of DSPy and LiteLLM."""

from __future__ import annotations

import os
from typing import Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from programs.lms.api_models import PatientLM, load_litellm
from programs.lms.batches.engine import AsyncBatchEngine, BatchEngine
from programs.lms.engine import AsyncLocalEngine, LocalEngine
from programs.lms.meant_models import meant
from programs.lms.model_strings import FORMS, check_local, is_local, pinned, resolve
from programs.lms.request_pace import check_pace
from programs.lms.servers import address_of

_KEYLESS = {"hosted_vllm", "ollama", "ollama_chat", "lm_studio", "llamafile", "vllm"}

_DEFAULTS: dict[str, Any] = {"cache": False, "num_retries": 0, "temperature": 0.0}

_TRAINED_MAX_TOKENS, _MAX_TOKENS = 256, 512
"""Length of a reply: models that were trained here write tersely; others reason before they answer, in some 100 to 400 tokens."""


def lm(model: str, **options: Any) -> dspy.LM:
    """The language model that `model` names; loads no weights.

    Args:
        model: `embedded/base`, `embedded/teacher`, `embedded/strict`, `local/<folder>` (an artifact, or a plain checkpoint as of
            `save_pretrained`), `local/<name>@<hash>`, `gguf/<file>`, `gguf/<name>@<hash>`, `hf/<organisation>/<name>`, which all run
            in this process; any other string goes to DSPy and LiteLLM.
        **options: Of `dspy.LM`, whose cache is off by default behind an `api_base`, also one of the environment; for models in this process
            also `backend` (of `programs.lms.backends.BACKENDS`) and `device` (`auto`, `cpu`, `cuda`, `mps`). `max_tokens` is 256 by
            default for models trained here and embedded ones, 512 for others in this process, 1024 behind an API. With `batch=True` an API
            is asked through its provider's batches: about half the price, and answers within a day; ask from many threads. With
            `requests_per_minute` calls of an API wait for their turn; see `programs.lms.api_models.PatientLM`.

    Raises:
        ValueError: A model that does not exist, names the valid forms; a provider whose batches are not known; a limit of requests that is
            no number above 0.
    """
    batch, pace = options.pop("batch", False), options.pop("requests_per_minute", None)
    check_pace(pace)
    if not is_local(model):
        _check_provider(model)
        if address_of(model, options):
            # DSPy's cache does not key the address, so another server's answers would pass for this one's.
            options.setdefault("cache", False)
        # A batch is one request, however much is asked in it.
        return PatientLM(model, **_in_batches(model, options)) if batch else PatientLM(model, requests_per_minute=pace, **options)
    if batch:
        raise ValueError(f"batch=True is of API models, and {model!r} runs in this process; leave it out.")
    if pace is not None:
        raise ValueError(f"requests_per_minute={pace} is of API models, and {model!r} runs in this process; leave it out.")
    engine_options = {key: options.pop(key) for key in ("backend", "device") if key in options}
    engine, async_engine = LocalEngine(**engine_options), AsyncLocalEngine(**engine_options)
    artifact = resolve(model)
    most = _TRAINED_MAX_TOKENS if artifact and artifact.adapter else _MAX_TOKENS
    return dspy.LM(pinned(model), engine=engine, async_engine=async_engine, **(_DEFAULTS | {"max_tokens": most} | options))


def _in_batches(model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of an LM that is asked in batches; its engines own its connection."""
    reach = {name: value for name, value in options.items() if name in CLIENT_KEYS}
    rest = {name: value for name, value in options.items() if name not in CLIENT_KEYS}
    return {**rest, "engine": BatchEngine(model, reach), "async_engine": AsyncBatchEngine(model, reach)}


def check_model(model: str) -> None:
    """Refuse a model string that names nothing, without loading, preparing or downloading anything.

    Args:
        model: As of `lm`; whether a Hugging Face model or an API has it is not asked.

    Raises:
        ValueError: Neither a model of this package, nor of the form of one on the hub, nor of a known provider.
    """
    if is_local(model):
        check_local(model)
    else:
        _check_provider(model)


def is_of_api(model: str) -> bool:
    """Whether a model string begins with the name of a provider of LiteLLM or DSPy, whatever models that has."""
    return not is_local(model) and model.partition("/")[0] in _declared() | {
        str(getattr(p, "value", p)) for p in load_litellm().provider_list
    }


def missing_key(model: str, api_base: str | None = None) -> str | None:
    """The environment variable that an API model needs and that is not set; None if nothing is missing.

    Args:
        model: A model string.
        api_base: The address of a server of your own, which needs no key of the provider.
    """
    if is_local(model) or api_base or model.partition("/")[0] in _KEYLESS:
        return None
    missing = _missing_variables(model)
    return next((name for name in missing if name.endswith("KEY")), missing[0] if missing else None)


def _missing_variables(model: str) -> list[str]:
    """What LiteLLM misses in the environment; it takes a variable that is set to nothing for one that is set."""
    litellm = load_litellm()
    empty = {name: os.environ.pop(name) for name, value in list(os.environ.items()) if name.endswith("_KEY") and not value}
    try:
        return litellm.validate_environment(model)["missing_keys"]
    finally:
        os.environ.update(empty)


def _declared() -> set[str]:
    """The names of the providers that DSPy's own client knows."""
    return {name for provider in dspy.lm15.registered_providers() for name in _provider_names(provider)}


def _check_provider(model: str) -> None:
    prefix, slash, rest = model.partition("/")
    if slash and rest and prefix in _declared():
        return
    litellm = load_litellm()
    try:
        litellm.get_llm_provider(model)
    except Exception:
        here = f"{prefix!r} is no provider, and there is no folder or file {model}" if slash else "it names no provider"
        raise ValueError(f"Unknown model {model!r}: {here}; expected {FORMS}.{meant(model)}") from None


def _provider_names(provider: Any) -> list[str]:
    definition = getattr(provider, "definition", provider)
    return [str(definition.id), *map(str, getattr(definition, "aliases", ()))]

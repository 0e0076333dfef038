"""What the command line says of an error: one message and the next step, never a traceback."""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path

from pydantic import ValidationError

# What these libraries raise is an error of a model, the network, a file or a database; for any other class the code is at fault.
_LIBRARIES = frozenset(
    {"dspy", "litellm", "openai", "httpx", "httpcore", "requests", "urllib3", "aiohttp", "huggingface_hub", "safetensors_rust",
     "safetensors", "tokenizers", "optuna", "sqlalchemy", "filelock"}
)  # fmt: skip

_BUILT_IN = (ValueError, OSError, RuntimeError, ImportError)

_STEPS = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a folder is needed there; choose another path",
    errno.EISDIR: "a file is needed there; choose another path",
    errno.EEXIST: "choose another path",
    errno.EACCES: "choose a path that you may read and write",
    errno.EPERM: "choose a path that you may read and write",
    errno.EROFS: "choose a path on a disk that can be written",
    errno.ENOSPC: "make room; the same command then continues",
    errno.EDQUOT: "make room; the same command then continues",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or choose a path on another disk; the same command then continues",
}

_LM_STEPS = {
    "LMTransportError": "Check that the server runs, its address (api_base) and the network.",
    "LMTimeoutError": "Give it more time (timeout), or ask fewer questions at a time (threads).",
    "LMAuthError": "Check the key in the environment.",
    "LMBillingError": "Check the account of the key.",
    "LMRateLimitError": "Wait, or ask fewer questions at a time (threads); the same command continues.",
    "LMInvalidRequestError": "Check the name of the model, and its settings.",
}

_LONGEST = 2000


def is_expected(error: BaseException) -> bool:
    """Whether it is an error of a setting, a file, the network or a model, which its message explains."""
    return isinstance(error, _BUILT_IN) or any(cls.__module__.partition(".")[0] in _LIBRARIES for cls in type(error).__mro__)


def message(error: BaseException) -> str:
    """What went wrong, and for files what to do; cut after 2,000 characters."""
    if isinstance(error, ValidationError):
        from optimizers.settings.explain import explain

        return explain(error)
    if type(error).__name__ == "StorageInternalError":
        return _of_storage(error)
    told = _of_file(error) if isinstance(error, OSError) and error.strerror else _of_model(error)
    told = told.strip() or type(error).__name__
    told = told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
    step = next((_LM_STEPS[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _LM_STEPS), None)
    return f"{told}{'' if told.endswith('.') else '.'} {step}" if step else told


def _of_model(error: BaseException) -> str:
    if not isinstance(getattr(error, "status", None), int):
        return str(error)
    from programs.lms.api_models import said_by

    return said_by(error)


def _of_storage(error: BaseException) -> str:
    """Optuna says of a database that is gone that its values may be too long; what the driver says stands in the cause."""
    cause = error.__cause__ or error
    told = " ".join(str(getattr(cause, "orig", None) or cause).split())
    return (
        f"The study's storage (study.storage) failed: {told[:_LONGEST]} Finished trials are in it, and training under way has its "
        "checkpoints; once the database is there again, the same command continues."
    )


def _of_file(error: OSError) -> str:
    where = f"{os.fspath(error.filename)}: " if isinstance(error.filename, str | os.PathLike) else ""
    step = _STEPS.get(error.errno or 0)
    return f"{where}{error.strerror}{f'; {step}' if step else ''}."


def log_unexpected(error: BaseException) -> str:
    """One line on a fault of the program, whose traceback goes to `errors.log` in the package's home.

    Returns:
        The error, where it was raised, and where the traceback is.
    """
    from programs.lms.artifacts import home

    at = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({Path(at[0].filename).name}, line {at[0].lineno})" if at else ""
    told = f"{type(error).__name__}: {error}{place}. This is a fault of the program; "
    path = home() / "errors.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="replace") as log:
            log.writelines(traceback.format_exception(error))
    except OSError:
        return f"{told}DIVIDE_OR_CONQUER_TRACEBACK=1 before the command shows where."
    return f"{told}the whole of it is at the end of {path}."

"""What a predictor must be like to be trained, and what its values look like in a row: checked before the teacher is paid."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import dspy
from dspy.adapters.utils import annotation_allows_none, serialize_for_json
from pydantic import TypeAdapter

from optimizers.labelling.values import classes_of, is_plain
from programs.adapter import ADAPTERS, LineAdapter, adapter_by_name
from programs.lms.checkpoints import has_chat_template
from programs.lms.model_strings import resolve

_MEDIA = (dspy.Image, dspy.Audio, dspy.File)


class RowError(ValueError):
    """A teacher's call that no row can be made of; the message says why."""


def check_adapter(name: str) -> dspy.Adapter:
    """The prompt format of a student.

    Raises:
        ValueError: One that cannot be trained.
    """
    if name not in ADAPTERS:
        raise ValueError(
            f"A student cannot be trained in the prompt format {name!r}; expected one of {sorted(ADAPTERS)}. Pass adapter='chat', and ask "
            "the student by dspy.ChatAdapter() too: dspy.configure(adapter=...), or dspy.context(adapter=...) around its calls."
        )
    return adapter_by_name(name)


def check_formats(targets: Iterable[str], adapter: str, formats: Mapping[str, Collection[str]]) -> None:
    """Refuse to train a student in another format than its program will ask it in.

    Args:
        targets: Names of predictors.
        adapter: Name of the format that the student would learn.
        formats: Predictor -> formats that the program sets for it while it runs (`dspy.context(adapter=...)` in `forward`).

    Raises:
        ValueError: They differ.
    """
    for name in targets:
        own = sorted(formats.get(name, ()))
        if own and adapter not in own:
            known = [one for one in own if one in ADAPTERS]
            then = (
                f"Pass adapter={known[0]!r}; what was labelled is on file"
                if known
                else f"No student can be trained in it: let the program set one of {sorted(ADAPTERS)}"
            )
            raise ValueError(
                f"The program asks {name!r} in the format {' and '.join(map(repr, own))}, which it sets itself while it runs, and its "
                f"student would learn {adapter!r}. {then}."
            )


def check_target(name: str, student: dspy.Predict, teacher: dspy.Predict, adapter: str, rewritten: bool = False) -> None:
    """Refuse a predictor of which no row could be made.

    Args:
        name: Of both predictors.
        student: Is trained.
        teacher: Labels.
        adapter: Name of the student's prompt format.
        rewritten: Whether a function of the user's makes the outputs, so that the teacher's need not have the same fields.

    Raises:
        ValueError: Fields that the teacher's has not, or of other types; or a field that the format cannot write.
    """
    written, signature, given = check_adapter(adapter), student.signature, teacher.signature
    pairs = [(signature.input_fields, given.input_fields), *([] if rewritten else [(signature.output_fields, given.output_fields)])]
    for wanted, there in pairs:
        for field, info in wanted.items():
            if field not in there:
                raise ValueError(
                    f"The teacher's predictor {name!r} ({given.signature}) has no {field!r}, which the student's ({signature.signature}) "
                    "has, so that no row could be made; give both the same fields."
                )
            if not _fits(there[field].annotation, info.annotation):
                raise ValueError(
                    f"{field!r} of predictor {name!r} is {info.annotation} in the student and {there[field].annotation} in the teacher; "
                    "give both the same type."
                )
    for field, info in signature.fields.items():
        if media := [cls.__name__ for cls in classes_of(info.annotation) if issubclass(cls, _MEDIA)]:
            raise ValueError(
                f"{field!r} of predictor {name!r} is a dspy.{media[0]}; students read and write text alone: choose other targets."
            )
    if isinstance(written, LineAdapter):
        _check_lists(name, signature, adapter)


def _check_lists(name: str, signature: type[dspy.Signature], adapter: str) -> None:
    for field, info in signature.output_fields.items():
        if get_origin(info.annotation) is list and get_args(info.annotation) not in ((), (str,), (Any,)):
            raise ValueError(
                f"{adapter!r} reads a list as lines of text, and {field!r} of {name!r} is {info.annotation}; pass adapter='chat'."
            )


def _fits(teacher: Any, student: Any) -> bool:
    """Whether values of the teacher's type can be values of the student's; each value is checked again in its row."""
    if student in (str, Any) or teacher is Any or teacher == student or teacher in get_args(student) or student in get_args(teacher):
        return True
    kinds = get_origin(teacher) or teacher, get_origin(student) or student
    if kinds[0] == kinds[1]:
        return True
    try:
        return TypeAdapter(teacher).json_schema() == TypeAdapter(student).json_schema()
    except Exception:
        return False


def chat(
    adapter: dspy.Adapter,
    signature: type[dspy.Signature],
    demos: list[Any],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    *,
    partial: bool = False,
) -> list[dict[str, str]]:
    """A row's messages: what the student is asked, and the reply that it learns to write.

    With `partial`, fields may be missing and are left out of the reply: a rewritten target can be the answer alone.

    Raises:
        RowError: An output is missing or of another type, the reply would not be read as what it stands for, or it is not all text.
    """
    partial = partial and bool(signature.output_fields.keys() & outputs.keys())
    left_out = signature.output_fields.keys() - outputs.keys() if partial else set()
    fields = {
        name: None if name in left_out else _declared(name, info.annotation, outputs) for name, info in signature.output_fields.items()
    }
    shown = signature
    if not isinstance(adapter, LineAdapter):
        # An optional field is left out of the reply: "None" would be read as that word.
        for name in (name for name, value in fields.items() if value is None):
            shown = shown.delete(name)
    texts = {name: _line_value(value) for name, value in fields.items()} if isinstance(adapter, LineAdapter) else fields
    try:
        asked = adapter.format(signature, list(demos), dict(inputs))
        reply = adapter.format_assistant_message_content(shown, texts)
    except Exception as error:
        raise RowError(f"{type(error).__name__}: {error}") from error
    if not all(isinstance(message["content"], str) for message in asked):
        raise RowError("its prompt is not all text")
    if not left_out:
        _check_reading(adapter, signature, fields, reply)
    return [*asked, {"role": "assistant", "content": reply}]


def _declared(name: str, annotation: Any, outputs: Mapping[str, Any]) -> Any:
    """An output as its field declares it."""
    if name not in outputs:
        raise RowError(f"{name!r} is missing")
    value = outputs[name]
    if value is None and not annotation_allows_none(annotation) and annotation is not Any:
        raise RowError(f"{name!r} is None")
    if annotation is str:
        return value if isinstance(value, str | list) else _text(value)
    if value is None or (isinstance(value, list) and is_plain(annotation) and (get_origin(annotation) or annotation) is list):
        return value
    for candidate in (value, serialize_for_json(value)):
        try:
            return TypeAdapter(annotation).validate_python(candidate)
        except Exception as error:
            wrong = error
    raise RowError(f"{name!r} is {value!r}, which is no {annotation}") from wrong


def _line_value(value: Any) -> Any:
    """A value as the line formats write it: text as it is, a list item by item, all else as DSPy writes it."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str) and type(value) is str:
        return value
    plain = serialize_for_json(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, dict | list) else str(plain)


def _check_reading(adapter: dspy.Adapter, signature: type[dspy.Signature], fields: Mapping[str, Any], reply: str) -> None:
    typed = [name for name, info in signature.output_fields.items() if info.annotation not in (str, list, list[str], Any)]
    if not typed:
        return
    try:
        read = adapter.parse(signature, reply)
    except Exception as error:
        raise RowError(f"its reply could not be read: {str(error).strip().splitlines()[0]}") from error
    for name in typed:
        if serialize_for_json(read[name]) != serialize_for_json(fields[name]):
            raise RowError(f"{name!r} is {fields[name]!r}, and would be read as {read[name]!r}")


def check_chat_template(model: str) -> None:
    """Refuse a model without a chat template, in which its rows could not be written.

    Args:
        model: Its model string.

    Raises:
        ValueError: It has none. A hub that cannot be reached says nothing.
    """
    try:
        artifact = resolve(model)
        has = (
            has_chat_template(artifact.folder) if artifact else not model.startswith("hf/") or _hub_has_template(model.removeprefix("hf/"))
        )
    except Exception:
        return
    if not has:
        raise ValueError(
            f"{model!r} has no chat template, so that no chat can be written for it: choose a model that is made for chats (its -Instruct "
            "version), or save its tokenizer with a chat_template."
        )


def _hub_has_template(name: str) -> bool:
    from huggingface_hub import file_exists, hf_hub_download

    repo, _, revision = name.partition("@")
    given = revision or None
    settings = json.loads(Path(hf_hub_download(repo, "tokenizer_config.json", revision=given)).read_text())
    return bool(settings.get("chat_template")) or any(
        file_exists(repo, name, revision=given) for name in ("chat_template.jinja", "chat_template.json")
    )

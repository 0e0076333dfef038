"""Which of the answers in an LM's reply is the one to the question, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Sequence

OTHER_LABELS = (
    r"(?:最终|正确|最后)?(?:的)?答案(?:是|为)?|答え|回答|antwort|r[ée]ponse|respuesta|risposta|resposta|odpowiedź|ответ|الإجابة|답"
)
"""`Answer` as a label in other languages."""

_HEADING = re.compile(
    r"^[ \t]*(?:[>#*_-][ \t]*)*(?:(?P<label>sub[- ]?question|q|question|step|part)[ #]*(?P<n>\d{1,2})\b"
    r"|(?P<main>(?:(?:main|original|final|new|next) )?question[*_ ]*[:：])"
    r"|(?P<number>\d{1,2})[.)][ \t]+(?![*_]*(?:(?:the|my|final|short|sub)[ -]+)*answer))",
    re.IGNORECASE | re.MULTILINE,
)
_BEHIND = re.compile(
    r"(?:\n[ \t]*[(*_#>\[]*|[.;]\s+[(*_]*|\s\()(?:brief |short |final )?(?:answer|explanation|reasoning|rationale"
    r"|justification|reason|note|solution|steps?|calculation|verification|proof|"
    r"sources?|references?|confidence|sub[- ]?questions?|sub[- ]?answers?|questions?|context|human|user|assistant"
    r"|解释|解釋|说明|erklärung|explication)"
    r"(?:[ #]*\d{1,2})?[*_ ]*(?:[:：]|\.\s|$).*",
    re.IGNORECASE | re.DOTALL,
)
_PROSE = re.compile(
    r"\n[ \t]*(?:\[\[ ##|<\||(?:because|this|that|since|so|therefore|to|we|i|in|the|let|here|as|if|note|however)\b(?=(?:\s+\S+){3})).*",
    re.IGNORECASE | re.DOTALL,
)
_LISTED = re.compile(r"\s*(?:[-*+•]|\(?\d{1,2}[.)])\s")
_CONCLUDES = re.compile(
    r"^(?!.*\b(?:not\b(?!.*\b(?:is|are|was|were|equals|be)\s+[$€£]?-?\d)"
    r"|cannot|can't|unknown|unclear|unable|need|check|recheck|verify|now let|let us|let's)\b)"
    r"(?:therefore|thus|hence|so|in total|in conclusion|finally|overall|altogether|as a result)\b"
    r"(?:[^*\n]*\*\*(?P<value>[^*\n]*[^*\s:])\*\*[^*\n]*"
    r"|,?[ \t]+(?:[^*\n]*\banswer:[ \t]*)?(?P<sentence>[^*\n?]*[^*\s:?][.!。]|(?<=answer: )[^*\n?]*[^*\s:?]))$",
    re.IGNORECASE,
)
_FIRST_LINE = re.compile(r"[*_ \t\n]*([^\n]*)")
_ALONE = re.compile(r"^\*\*(?P<value>[^*\n]*[^*\s:])\*\*[.]?$")


def main_answer(matches: Sequence[re.Match[str]], text: str) -> re.Match[str] | None:
    """Of the lines with an answer, the one to the question itself.

    It is the last one that does not belong to a subquestion, or else the last one. What a model asks itself after that,
    and answers, is not looked at; the last line of a reply that broke off in a repetition counts as the one before.

    Args:
        matches: The labels `Answer:` in the order of the text.
        text: The whole reply.
    """
    filled = [match for match in matches if _value(match, text)] or list(matches)
    found = list(_HEADING.finditer(text))
    counted = _count_answers(found, filled)
    headings = [match for match in found if counted or match["number"] is None]
    events = sorted([(m.start(), m, False) for m in headings] + [(m.start(), m, True) for m in filled], key=lambda event: event[0])
    main, owned, pending = None, None, False
    for _, match, is_answer in events:
        if not is_answer:
            if main is not None:
                break
            pending = match["main"] is None
        elif pending and "final" not in match[0].lower():
            owned, pending = match, False
        else:
            main = match if main is None or not _broke_off(main, match, text) else main
    return main or owned


def _value(match: re.Match[str], text: str) -> str:
    found = _FIRST_LINE.match(text, match.end())
    return found[1].strip() if found else ""


def _broke_off(before: re.Match[str], match: re.Match[str], text: str) -> bool:
    value, earlier = _value(match, text), _value(before, text)
    return value != earlier and earlier.startswith(value) and text[match.end() :].strip(" *_\n") == value


def _count_answers(headings: Sequence[re.Match[str]], answers: Sequence[re.Match[str]]) -> bool:
    """Whether numbers alone head subquestions with an answer each: then the first one has its own."""
    numbered = [match.start() for match in headings if match["number"]]
    return len(numbered) > 1 and any(numbered[0] < match.start() < numbered[1] for match in answers)


def without_rest(value: str) -> str:
    """An answer without what an LM wrote behind it: explanations, further questions, a paragraph of talk."""
    whole = value.strip()
    cut = _BEHIND.sub("", f"\n{whole}").strip() if not _BEHIND.match(f"\n{whole}") else whole
    first, *rest = re.split(r"\n[ \t]*\n", cut)
    kept = [first, *(part for part in rest if _LISTED.match(part) and (_LISTED.match(first) or first.endswith(":")))]
    return _PROSE.sub("", "\n".join(kept)).strip() or whole


def concluded(text: str) -> tuple[int, str] | None:
    """Where the last line begins, and what it concludes: what is bold in it, or else its sentence, if it is a whole one."""
    last = text.rstrip().rsplit("\n", 1)[-1]
    found = _ALONE.match(last.strip()) or _CONCLUDES.match(last.strip().lstrip("- "))
    if found is None:
        return None
    value = found["value"] or found["sentence"]
    return len(text.rstrip()) - len(last), value.rstrip(".")


def read_sub_answers(text: str) -> list[str] | None:
    """The numbered blocks of a solver's text, each in one line; None where it counts no blocks, or has a line for each."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    blocks: list[list[str]] = []
    for line in lines:
        found = _HEADING.match(line) or re.match(r"(?P<label>)(?P<n>)[*_]*(?P<number>\d{1,2})[.)][*_ ]+", line)
        if found and int(found["n"] or found["number"] or 0) == len(blocks) + 1:
            rest = line[found.end() :].strip()
            blocks.append([rest.lstrip("*_.):： ") if found["label"] else rest])
        elif blocks:
            blocks[-1].append(line)
    return [" ".join(part for part in block if part) for block in blocks] if blocks else None

"""Which of the answers in an LM's reply is the one to the question, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Sequence

from programs.replies import last_marked, said

OTHER_LABELS = (
    r"(?:最终|正确|最后)?(?:的)?答案(?:是|为)?|答|(?:最終的な)?答え(?:は)?|回答|(?:(?:die|endgültige) )*antwort(?: ist)?"
    r"|(?:la )?r[ée]ponse(?: finale)?(?: est)?|(?:la )?respuesta(?: final)?(?: es)?|(?:la )?risposta(?: finale)?|resposta(?: final)?"
    r"|odpowiedź|(?:итоговый |окончательный )?ответ|الإجابة(?: النهائية)?|उत्तर|답"
)
"""`Answer` as a label in other languages."""

_HEADING = re.compile(
    r"^[ \t]*(?:[>#*_-][ \t]*)*(?:(?P<label>sub[- ]?question|q|question|step|part)[ #]*(?P<n>\d{1,2})\b"
    r"|(?P<main>(?:(?:main|original|final|new|next|your) )?"
    r"(?:question|problem|exercise|example(?: \d{1,2})?|passage|context|input|user|human|task|instructions?)[*_ ]*(?:[:：]|$))"
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
    r"\n[ \t]*(?:\[\[ ##|<\||-{3,}|#{2,}|\[END"
    r"|(?:because|this|that|since|so|therefore|to|we|i|in|the|let|here|as|if|note|however)\b(?=(?:\s+\S+){3})).*",
    re.IGNORECASE | re.DOTALL,
)
_TAKES_BACK = re.compile(r"\b(?:wait|actually|correction|sorry|oops|my mistake|on second thought|let me (?:re-?)?check)\b", re.IGNORECASE)
_LISTED = re.compile(r"\s*(?:[-*+•]|\(?\d{1,2}[.)])\s")
_CONCLUDES = re.compile(
    r"^(?!.*\b(?:not\b(?!.*\b(?:is|are|was|were|equals|be)\s+[$€£]?-?\d)"
    r"|cannot|can't|unknown|unclear|unable|impossible|insufficient|not enough|need|check|recheck|verify|now let|let us|let's)\b)"
    r"(?:therefore|thus|hence|so|in total|in conclusion|finally|overall|altogether|as a result)\b"
    r"(?:[^*\n]*\*\*(?P<value>[^*\n]*[^*\s:])\*\*[^*\n]*"
    r"|,?[ \t]+(?:[^*\n]*\banswer:[ \t]*)?(?P<sentence>[^*\n?]*[^*\s:?][.!。]|(?<=answer: )[^*\n?]*[^*\s:?]))$",
    re.IGNORECASE,
)
_SHORT = 5
"""Words of an answer that stands alone."""
_SENTENCE_BELOW = re.compile(
    r"[ \t]*(?:\*\*)?[^\W\d_](?:[^\n]*\s){4,}[^\n]*[.!。]?(?:\*\*)?\s*(?:\n|$)|[ \t]*(?:[A-Z][a-z]+ ){1,2}?[a-z]*\s?[:：-] "
)
_SUBJECT = re.compile(r"\s+(?:was|is|are|were|has|had|have|did|does)\b|,? (?:hours?|days?|weeks?|months?|years?|minutes?),")
_FIRST_LINE = re.compile(r"[*_ \t\n]*([^\n]*)")
_HEADED = re.compile(
    r"^(?:[^\w\n|]{0,8}(?:final(?: result)?|result|conclusion|a|original question(?: answer)?|total(?: [\w ]{1,30})?)[*_ ]*[:：][*_ ]*"
    r"|[^\w\n|]{0,4}(?=total(?: [\w ]{1,30})? = )"
    r"|#{1,6}[^\w\n]*(?:conclusion|result|final result|(?:step \d: )?final answer)[*_: ]*\n+)(?P<value>\S[^\n]*)\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_LAST_SENTENCE = re.compile(r"(?<=[.!?。])\s+(?=[^\W\d_])")
_EQUALS = re.compile(r"(?:[^\W\d_]|\().*=\s*\**[$€£¥]?-?\d[\d,.]*\**(?:\s?%|\s[^\W\d]+){0,2}[.!。]\**$")
_EXPLAINED_BELOW = re.compile(
    r"\s*(?P<answer>[^\n?:]{2,150}?[^\s.!])[.!]\s+"
    r"(?:here['’]?s how|here is how|here is why|let me explain|explanation|reasoning|because)\b[^\n]{0,40}[:.]",
    re.IGNORECASE,
)
_NEXT_EXAMPLE = re.compile(r"\s*(?P<own>[^\n]{1,80})\n\s*")
_ALONE = re.compile(r"^\*\*(?P<value>[^*\n]*[^*\s:])\*\*[.]?$")


def main_answer(matches: Sequence[re.Match[str]], text: str) -> tuple[re.Match[str] | None, bool]:
    """Of the lines with an answer, the one to the question itself, and whether it is certainly that.

    It is the last one that does not belong to a subquestion, or else the last one. What a model asks itself after that,
    and answers, is not looked at; the last line of a reply that broke off in a repetition counts as the one before.

    Args:
        matches: The labels `Answer:` in the order of the text.
        text: The whole reply.
    """
    filled = [match for match in matches if _value(match, text)] or list(matches)
    found = list(_HEADING.finditer(text))
    counted = _count_answers(found, filled)
    headings = [match for match in found if counted or match["number"] is None or _value(match, text).rstrip("*_ ").endswith("?")]
    finals = sum("final" in match[0].lower() for match in filled)
    events = sorted([(m.start(), m, False) for m in headings] + [(m.start(), m, True) for m in filled], key=lambda event: event[0])
    main, owned, pending = None, None, False
    for _, match, is_answer in events:
        if not is_answer:
            if main is not None:
                break
            pending = match["main"] is None
        elif pending and (finals > 1 or "final" not in match[0].lower()):
            owned, pending = match, False
        else:
            main = match if main is None or not _broke_off(main, match, text) else main
            pending = False
    different = {_value(match, text) for match in filled}
    return main or owned, main is not None and (len(different) == 1 or "final" in main[0].lower())


def told_behind(text: str, sure: bool) -> str | None:
    """What a reply says behind the label of an answer that it means instead; None where nothing does.

    Args:
        text: All that follows the label.
        sure: Whether the label is certainly that of the question's own answer: then it is only taken back, or reasoned on to another.
    """
    own, _, below = text.lstrip(" *_\n").partition("\n")
    behind = _BEHIND.sub("", f"\n{below}").strip()
    taken_back = bool(_TAKES_BACK.search(behind))
    if not behind or (sure and not (taken_back or reasons(own))):
        return None
    # What is told anew may have a label in the line that takes the first back.
    return _meant(below if taken_back else behind)


def _meant(text: str) -> str | None:
    """The answer that a text tells, marks or concludes with."""
    told, marked = said("answer", text), last_marked(text)
    if told:
        return told[1]
    if marked:
        return marked[0] if marked[0].startswith("\\") else marked[1]
    conclusion = concluded(text)
    return conclusion[1] if conclusion else None


def reasons(text: str) -> bool:
    """Whether a text is a step on the way to an answer: a sentence, a calculation, or words that lead to what follows."""
    words = len(text.split())
    return text.endswith((":", "：")) or (words > 2 and "=" in text) or (words > 5 and text.rstrip("*_ ").endswith((".", "。")))


def _value(match: re.Match[str], text: str) -> str:
    found = _FIRST_LINE.match(text, match.end())
    return found[1].strip() if found else ""


def _broke_off(before: re.Match[str], match: re.Match[str], text: str) -> bool:
    value, earlier = _value(match, text), _value(before, text)
    is_piece = value != earlier and earlier.startswith(value) and text[match.end() :].strip(" *_\n") == value
    return is_piece and not _TAKES_BACK.search(text, before.end(), match.start())


def _count_answers(headings: Sequence[re.Match[str]], answers: Sequence[re.Match[str]]) -> bool:
    """Whether numbers alone head subquestions with an answer each: then the first one has its own."""
    numbered = [match.start() for match in headings if match["number"]]
    return len(numbered) > 1 and any(numbered[0] < match.start() < numbered[1] for match in answers)


def without_rest(value: str) -> str:
    """An answer without what an LM wrote behind it: explanations, further questions, a paragraph of talk."""
    whole = value.strip()
    cut = _BEHIND.sub("", f"\n{whole}").strip() if not _BEHIND.match(f"\n{whole}") else whole
    first, *rest = re.split(r"\n[ \t]*\n", cut)
    if rest and reasons(first) and not _LISTED.match(rest[0]):
        return _reasoned(first, rest)
    line, _, below = first.partition("\n")
    alone = len(line.split()) <= (2 if line.endswith(".") else _SHORT)
    first = line if below and alone and _SENTENCE_BELOW.match(below) else first
    kept = [first, *(part for part in rest if _LISTED.match(part) and (_LISTED.match(first) or first.endswith(":")))]
    return _PROSE.sub("", "\n".join(kept)).strip() or whole


def _reasoned(first: str, rest: Sequence[str]) -> str:
    """The answer of paragraphs that come to it by steps; all of them where none stands out."""
    text = "\n\n".join([first, *rest])
    last = rest[-1].strip()
    return _meant(text) or (last if len(last.split()) <= _SHORT and not reasons(last) else text)


def concluded(text: str) -> tuple[int, str] | None:
    """Where the last line begins, and what it concludes: what it is headed by `Result:`, bold in it, or its sentence, if a whole one."""
    last = text.rstrip().rsplit("\n", 1)[-1]
    headed = _HEADED.search(text)
    if headed:
        return headed.start(), headed["value"].strip()
    found = _ALONE.match(last.strip()) or _CONCLUDES.match(last.strip().lstrip("- "))
    if found is None:
        return None
    value = found["value"] or found["sentence"]
    if found["value"] and _SUBJECT.match(last, last.index(f"**{value}**") + len(value) + 4):
        value = last.strip(" -")
    return len(text.rstrip()) - len(last), value.rstrip(".")


def concluded_in_prose(text: str) -> tuple[int, str] | None:
    """What a paragraph comes to in its last sentence, by a word that concludes or an equation; or says first and then explains."""
    explained = _EXPLAINED_BELOW.match(text)
    if explained:
        return explained.start("answer"), explained["answer"]
    last = text.rstrip().rsplit("\n", 1)[-1]
    *before, sentence = _LAST_SENTENCE.split(last.strip())
    if _LISTED.match(last) or not before or not (_CONCLUDES.match(sentence) or _EQUALS.match(sentence)):
        return None
    return len(text.rstrip()) - len(sentence), sentence.rstrip(".")


def before_next_example(text: str) -> str:
    """A reply that is an answer alone, without the further examples that an LM invents behind it."""
    own = _NEXT_EXAMPLE.match(text)
    following = own and _HEADING.match(text, own.end())
    short = own and len(own["own"].split()) <= _SHORT and not own["own"].rstrip("*_ ").endswith((":", "：", "?"))
    return own["own"].strip() if own and following and following["main"] and short else text


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

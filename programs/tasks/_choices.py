"""Which option a reply chooses, for multiple choice questions.

"B", "(b)", "B) Rome", "Rome (B)", "The answer is B: ..."   ->  B
"A is too hot, so B is correct", "Die Antwort ist B"        ->  B
"A or B", "B) Paris" where B is Rome, "B is wrong"          ->  nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from programs.refusals import opens_with_refusal
from programs.tasks._entities import SHORT, is_question, is_taken_back_or_doubted
from programs.tasks._equality import canonical, equal_answers
from programs.tasks._numbers import after_correction, is_doubted_marker

_OPTION_LINE = re.compile(r"^\s*[(\[]?([A-Za-z]|[0-9]{1,2})\s*[).:\]]\s*(\S.*?)\s*$", re.MULTILINE)
_OPTION_INLINE = re.compile(r"[(\[]([A-Za-z]|[0-9]{1,2})[)\]]\s*(.+?)\s*(?=[(\[](?:[A-Za-z]|[0-9]{1,2})[)\]]|\Z)", re.DOTALL)
_OPTION_BARE = re.compile(r"(?<!\w)([A-Z])[).:]\s*(.+?)\s*(?=(?<!\w)[A-Z][).:]\s|\Z)", re.DOTALL)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX_TEXT = re.compile(r"\\(?:text|math)[a-z]{0,2}\s*\{([^{}]*)\}")
_WORDS_BETWEEN = r"""is|are|would|must|should|has|to|be|the|this|question|correct|right|best|final|option|choice|letter|number|answer
    |clearly|definitely|therefore|thus|ist|es|est|é|è"""
_LEAD_IN = re.compile(
    rf"""
    (?: \b(?: answers?|ans\.?(?!\w)|choice|selection|selected|correct|right|choose|select|pick|leaves
        |go(?:ing)?\ with|say|think|believe|it\ is|it['’]s
        |antwort|lösung|respuesta|resposta|réponse|risposta|ответ )(?!\w) | 答案|正解|选|選 )
    (?: [^\w?!.,;] | \b(?:{_WORDS_BETWEEN})(?!\w) | [是は为為项] )*
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CONCLUSION = re.compile(
    r"\b(?:so|thus|hence|therefore|consequently|clearly|not\s+[^.!?\n]{1,40}?\s+but(?:\s+rather)?)\b[,:]?\s*(?:(?:option|choice)\b)?",
    re.IGNORECASE,
)
_OPENING = re.compile(r"(?:[^\w-]|-\s)*(?:(?:option|choice|letter|number)\b)?", re.IGNORECASE)
_STATED = re.compile(r"(?:\b(?:is|are|was|were|ist|es|est|i\.e\.)(?!\w)|[=è])[:\s]*(?:(?:option|choice)\b)?", re.IGNORECASE)
_NEGATED = re.compile(
    r"(?:\b(?:not|never|cannot|nicht|avoid)|n['’]t)\s+(?:\w+\s+)?\Z|\b(?:least|worst|wrong|incorrect|false)\b[^.!?,;\n]{0,20}\Z",
    re.IGNORECASE,
)
_IF = re.compile(r"\bif\b[^.!?\n]*\Z", re.IGNORECASE)
_AFFIRMED = r"(?:is|are|was|(?:would|must|has to) be|(?:seems|appears)(?: to be)?)\s+(?:the\s+|a\s+)?(?:only\s+|most\s+|clearly\s+)?" + (
    r"(?:correct|right|true|best|answer|likely|appropriate|accurate)\b"
)
_GOES_ON = re.compile(rf"\s+(?:{_AFFIRMED}|(?:because|since|as|rather|instead|and|or|not|but)\b|[^\w\s])", re.IGNORECASE)
_ENDS = re.compile(r"[*_`\"'”’)\]}$]*\s*(?:[^\w\s]|\Z|\n)")
_ANSWERS = re.compile(r"\b(?:answer|choice|option)\s*(?:is|:|would)|\b(?:so|therefore|thus|hence|but|correct|choose|pick)\b", re.IGNORECASE)
_ABSTAINS = re.compile(r"\b(?:cannot|can['’]?t|not|unknown|none|neither|insufficient|impossible|unclear)\b|n['’]t\b", re.IGNORECASE)
"""In an option, such as "Cannot be determined": then a refusal may be the choice."""
_REASON = re.compile(r"\b(?:because|since|as|which|rather than|instead of|unlike)\b", re.IGNORECASE)
_BOTH = re.compile(r"\A\W*both\s+", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_NEW_SENTENCE = re.compile(r"[.!?](?=\s|\Z)|\n")


def options_in(text: str) -> dict[str, str]:
    """Label -> text of the options in a question; {} if there are no two in a row."""
    for pattern in (_OPTION_LINE, _OPTION_INLINE, _OPTION_BARE):
        found = {label.upper(): option for label, option in pattern.findall(text)}
        if len(found) > 1 and ({"A", "B"} <= set(found) or {"1", "2"} <= set(found)):
            return found
    return {}


def chosen_label(text: str, options: Mapping[str, str], question: str = "") -> str:
    """The label that a text chooses; empty if it chooses none or several.

    The last statement such as "the answer is" decides, else "B is correct", else what the text begins with, else what a
    sentence says to be the case.
    """
    boxed = _BOXED.findall(text)
    text = _LATEX_TEXT.sub(r"\1", boxed[-1] if boxed else text).strip()
    # A choice stands where a reply begins or ends, and each place is looked through for each option.
    text = f"{text[:2000]}\n{text[-6000:]}" if len(text) > 8000 else text
    # A label alone is the label, even where it is the text of another option.
    alone = canonical(text).upper()
    whole = alone if alone in options else _whole_option(text, options)
    if whole:
        return whole
    if _declines(text, options, question):
        return ""
    said = _opened_by_label(_labels_alone(text, options), options)
    corrected = after_correction(said)
    if corrected != said:
        return chosen_label(corrected, options, question)
    placed = (_label_at(said[at:], options) for at in _places(said, options, _asked(question)))
    return next(filter(None, placed), "") or _named(said, options, question)


def _declines(text: str, options: Mapping[str, str], question: str) -> bool:
    """Whether a text only says that it has no answer, behind a label or an option: "B. I cannot tell." Not where an option says so."""
    names = "|".join(re.escape(name) for name in sorted([*options, *options.values()], key=len, reverse=True))
    behind = re.sub(rf"\A\W*(?:{names})\W+", "", text, count=1, flags=re.IGNORECASE)
    if behind == text or _ANSWERS.search(behind) or any(map(_ABSTAINS.search, options.values())):
        return False
    return opens_with_refusal(behind, question)


def _named(said: str, options: Mapping[str, str], question: str) -> str:
    """The label of the only option that a short statement names at its end, or in front of words of the question."""
    if len(said.split()) > SHORT:
        return ""
    places = {label: found for label, option in options.items() if (found := _mention(label, option, said))}
    if len(places) != 1:
        return ""
    label, found = places.popitem()
    others = "|".join(re.escape(other) for other in options if other != label)
    # A capital "A" with a small letter behind it is the article.
    if re.search(rf"(?<![\w'’])(?:{others})(?![\w'’]|\s+[a-z])", said):
        return ""
    before, after = said[: found.start()], said[found.end() :]
    words, asked = canonical(before).split(), _asked(question)
    sentence = _WORD.findall(canonical(_NEW_SENTENCE.split(after)[0].split(",")[0]))
    if (
        len(words) < 2
        or is_question(said)
        or is_taken_back_or_doubted([word for word in words if word not in asked], canonical(after).split())
    ):
        return ""
    return label if asked.issuperset(sentence) else ""


def _asked(question: str) -> frozenset[str]:
    """The words of a question, as what it asks ("not found in RNA") is no denial in the reply."""
    return frozenset(canonical(question).split())


def _mention(label: str, option: str, said: str) -> re.Match[str] | None:
    return re.search(rf"\({label}\)|(?<![^\W_])(?<![$€£.-]){_pattern(option)}(?![^\W_]|%|[.,/-][0-9])", said, re.IGNORECASE)


def _whole_option(text: str, options: Mapping[str, str]) -> str:
    """The label of the only option that a text is, but for "both" in front."""
    found = [label for label, option in options.items() if _is_option(text, option)]
    return found[0] if len(found) == 1 else ""


def _is_option(text: str, option: str) -> bool:
    return equal_answers(text, option) or (bool(_BOTH.match(option)) and equal_answers(_BOTH.sub("", text), _BOTH.sub("", option)))


def _pattern(option: str) -> str:
    words = re.sub(r"\A(?:an?|the)\s+", "", option.strip(" .*"), flags=re.IGNORECASE).split()
    return r"(?:(?:an?|the)\s+)?" + r"\s+".join(map(re.escape, words))


def _labels_alone(text: str, options: Mapping[str, str]) -> str:
    """The text with "(B)" for "B) Rome" and "Rome (B)", as words of an option are no statement about it."""
    for label, option in options.items():
        name, words = f"(?:{label}|{label.lower()})", _pattern(option)
        text = re.sub(
            rf"(?<![^\W_])(?<!['’(\[])[(\[]?{name}[)\].:,*_\"'”\s–—-]{{1,8}}[(\[*_\"'“$]*(?i:{words})(?![^\W_]|[.,][0-9])[*_\"'”)\]$]*",
            f"({label})",
            text,
        )
        text = re.sub(
            rf"(?<!\w)(?i:{words})[*_\"'”]*,?\s+(?:(?:which\s+is\s+)?option\s+[(\[]?{name}[)\]]?|[(\[](?:option\s+)?{name}[)\]])(?!\w)",
            f"({label})",
            text,
        )
    return text


def _opened_by_label(text: str, options: Mapping[str, str]) -> str:
    """The text with "(B):" for the words of an option at its start, where a pause or "is" follows these."""
    for label, option in sorted(options.items(), key=lambda item: -len(item[1])):
        found = re.match(
            rf"[^\w(\[-]*(?:(?:it|in|on|at|by)\s+)?{_pattern(option)}[*_\"'”`$]*(?=[.,;:!\n](?![0-9])|\s*\Z|\s+(?:(?:is|are|was|because|since|as)\b|\(not\b))",
            text,
            re.I,
        )
        if found:
            return f"({label}): " + text[found.end() :].lstrip(" ,;:.!")
    return text


def _places(said: str, options: Mapping[str, str], asked: frozenset[str]) -> Iterator[int]:
    """Where a choice may stand, the strongest sign of one first; the last ones are enough, as each is looked at to the end."""
    for lead_in in list(_LEAD_IN.finditer(said))[:-21:-1]:
        before = said[max(lead_in.start() - 100, 0) : lead_in.start()]
        hypothetical = "would" in lead_in[0] and _IF.search(before)
        if not (is_doubted_marker(before) or _NEGATED.search(before) or hypothetical):
            yield lead_in.end()
    labels = "|".join(map(re.escape, options)) or "[A-Z]"
    affirmed = re.compile(rf"(?<![\w'’-])(?<!and )(?<!or )(?<!& )(?:{labels})(?=[)\]*_\"'”]*\s+{_AFFIRMED})")
    yield from [found.start() for found in affirmed.finditer(said)][:-21:-1]
    if not _lists_options(said):
        yield _OPENING.match(said).end()  # type: ignore[union-attr]
    for pattern in (_CONCLUSION, _STATED):
        for found in list(pattern.finditer(said))[:-21:-1]:
            clause = re.split(r"[,.;:\n]", said[max(found.start() - 200, 0) : found.start()])[-1]
            words = [word for word in canonical(clause).split() if word not in asked]
            if not (is_taken_back_or_doubted(words, []) or _NEGATED.search(clause)):
                yield found.end()


def _lists_options(said: str) -> bool:
    """Whether the text goes through the options line by line."""
    starts = re.findall(r"^\W*([A-Za-z]|[0-9]{1,2})\b\W", said[:5000], re.MULTILINE)
    return [start.upper() for start in starts[:2]] in (["A", "B"], ["1", "2"])


def _label_at(text: str, options: Mapping[str, str]) -> str:
    """The label that a text begins with, unless what follows takes it back or adds another."""
    text = _opened_by_label(text, options)
    found = re.match(r"[^\w?!]*(?<![-.,−])([A-Za-z]|[0-9]{1,2})(?![A-Za-z0-9_À-ɏ]|['’][A-Za-z]|[.,:][0-9]|[+#])", text)
    if not found:
        return ""
    label, after = found[1].upper(), text[found.end() :]
    if options and label not in options:
        return ""
    is_ended = _ENDS.match(after) or (after and after[0].isalpha())
    # An "A" or "a" with a word behind it is the article, but for some words.
    if not is_ended and not _GOES_ON.match(after):
        return ""
    return "" if _is_taken_back(label, after, options) else label


def _is_taken_back(label: str, after: str, options: Mapping[str, str]) -> bool:
    labels = "|".join(map(re.escape, options)) or "[A-Z]|[0-9]{1,2}"
    other = rf"(?:option\s+)?[*_(\[\"'“]*(?!{label}\b)(?:{labels})(?![\w'’])"
    if re.match(rf"[\W_]*(?:and\W+(?:maybe\W+)?)?{other}(?!\s+(?:is|are|was)\b)|[\W_]*or\b|[)\]*_\"'”]*\?", after):
        return True
    rest = re.sub(r"\A[\W_]+", "", after)
    if any(name != label and _is_option(part, option) for name, option in options.items() for part in (rest, rest.split("\n")[0])):
        return True
    if re.match(r"[)\]*_\"'”]*[.!]?[)\]*_\"'”]*(?:[.!]\s|\n)", after):
        return False
    end = _NEW_SENTENCE.search(after)
    clause = _REASON.split(after[: end.start()] if end else after)[0]
    clause = re.sub(rf"\b(?:and\s+)?not\s+{other}.*", "", clause, flags=re.DOTALL)
    return is_taken_back_or_doubted([], canonical(clause).split()) or bool(re.search(rf"(?<![\w'’-]){other}", clause))

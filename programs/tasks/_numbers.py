"""The final number of an answer, exactly.

"The answer is: **$1,234.50** per day."  ->  1234.5
"9 * 2 = 18\n\nSo she makes $18."         ->  18
"2 1/2", "\\frac{5}{2}", "2½"             ->  5/2
"minus three", "2 dozen", "1.2M"         ->  -3, 24, 1200000
"first 3, then 4"                        ->  None: no marked final answer
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from programs.tasks._number_words import SCALES, in_digits

SHORT = 20
"""A statement without a marker has at most so many words; then its only number is taken as the answer."""

_SIGNS = str.maketrans(dict.fromkeys("−‐‑‒–﹣－", "-") | {"—": " - ", "⁄": "/", "∕": "/", "÷": "/", "×": "*", "·": "*", "’": "'"})
_POWER_OF_UNIT = re.compile(r"(?<=(?:[a-z]\}|[a-z][a-z]))\s?\^\s?\{?[23]\}?(?![0-9.])")
_POWER = re.compile("(?<=[0-9])[²³¹⁰⁴-⁹]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_THIN_SPACE = re.compile("(?<=[0-9])[\u2009\u202f'’](?=[0-9]{3}(?![0-9]))")
_GROUPS_OF_NOUGHTS = re.compile(r"(?<![0-9.,])(?<![0-9.,] )[1-9][0-9]{0,2}(?: [0-9]{3})*(?: 000)+(?![0-9])")
_POWER_OF_TEN = re.compile(r"(?<=[0-9])\s?(?:\*|x|\\times)\s?10\s?\^\s?\{?(-?[0-9]{1,2})(?![0-9])\}?")
_RAISED_TEN = re.compile(r"(?<=[0-9])(\s?(?:\*|x|\\times)\s?10)(⁻?[²³¹⁰⁴-⁹]{1,2})")
_WHOLE_POWER = re.compile(r"(?<![\w.,/:^)}\]])([0-9]{1,4})\s?\^\s?(?:(-?[0-9]{1,2})(?![0-9^]|\.[0-9])|\{\s?(-?[0-9]{1,2})\s?\}(?!\^))")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s?([0-9])\s?([0-9])(?![0-9])")
_AND_A_HALF = re.compile(r"(?<=[0-9]) and (?:a|one) half\b", re.IGNORECASE)
_AFTER_HAN = re.compile("(?<=[\u3040-\u30ff\u4e00-\u9fff])(?=[-$€£¥]?[0-9])")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([0-9]{1,50})\}\s*\{([0-9]{1,50})\}", re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]{0,200})\}", re.IGNORECASE)
_LATEX_NOISE = re.compile(r"\\[,;!: ()\[\]]|\{,\}|\\(?=[$%£€])")
_EMPHASIS = re.compile(r"(?<!\w)_+|_+(?!\w)")
_BOLD = re.compile(r"\*\*([^*]{1,200})\*\*")
_BULLET = re.compile(r"[-+*•]\s+(?=\S)")
_STEP = re.compile(r"(?:[0-9]{1,2}[.)]\s+|\(?step\s+[0-9]{1,2}\)?\s*[:.)]\s*)(?=\S)", re.IGNORECASE)
_MINUS = re.compile(r"(?<![0-9)])(?<![0-9)]\s)(?:\b(?:minus|negative)\s+)(?=[$€£]?\s?\.?[0-9])", re.IGNORECASE)
_LOOSE_MINUS = re.compile(r"([=:(]\s*|\bis\s+)-\s+(?=[$€£]?\s?\.?[0-9])", re.IGNORECASE)
_CENTS = re.compile(r"(?:(\$\s?[0-9,]{1,30})|\b([0-9,]{1,30})\s+dollars?)\s+and\s+([0-9]{1,2})\s+cents?\b", re.IGNORECASE)
_MARKER = re.compile(r"####|\\(?:boxed|fbox)\s*\{?|(?<!sub[-_ ])\banswers?\s*[*\"')]{0,3}\s*(?::|=|is\b\s*:?|would be\b)", re.IGNORECASE)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|consequently|finally|total|altogether|in all|overall|result|final|conclusion|must be)\b|∴", re.IGNORECASE
)
_EQUATION = re.compile(r"=\s*[-$€£]?\s?[0-9]")
_IT_IS = re.compile(
    r"\b(?:it|that|this)(?: is| was| would be| should be| must be|['’]s)"
    r" (?:about |around |approximately |roughly |probably |likely )?[$€£]?\d",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[!?;}\n]|\.(?![0-9])")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_DENIAL = re.compile(
    r"\b(?:not|never|neither|nor|cannot|unlikely|hardly|doubtful|unlike)\b|n['’]t\b|(?<!no )(?<!without )\bdoubt\b"
    r"|\b(?:wrong|incorrect) to\b"
    r"|\b(?:any(?:thing| number)|everything|all) (?:but|except)\b|\b(?:wrong|incorrect) (?:answer|number|result|value)\b"
    r"|\b(?:nicht|no es|n['’]est pas|не)\b|不是|并非"
    r"|(?:[<>≤≥≠√]|\b(?:(?:more|less|fewer|greater|larger|smaller|higher|lower|other) than|over|under|above|below))\s*[$€£]?\Z",
    re.IGNORECASE,
)
_REFUTED = re.compile(
    r"""
    (?:\A[^\w\n]*(?:[^\W\d_]+\s+)? | \b(?:that|it|this|which)\s*) (?:\b(?:is|was|seems|looks|would\ be)|'s)
    (?: (?:n't|\s+not)\s+(?:the|right|correct|true|possible|it)\b
        | \s+(?:\w+ly\s+)?(?:wrong|incorrect|false|mistaken|impossible|too\s+(?:high|low|big|small|large|much|many|few))\b )
    | \A[^\w\n]*[<>≤≥≠]
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DOUBTED_MARKER = re.compile(
    r"(?:(?<!no )(?<!without )\bdoubt\b|(?:n't|\bnot)\s+(?:think|believe|say|sure|certain|know)\b|\bunlikely\b)[^.!?;:,\n]{0,40}\Z"
    r"|\b(?:wrong|incorrect|false)\s*\Z",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"""
    (?:\A|[.!?,;:)}\]\n-]) [\s*]{0,5} (?:(?:oh|no|hmm|ah|but|or|hold\ on)\b[\s,.!-]{0,5}){0,3}
    \b(?: (?:wait|actually|correction|sorry|oops|scratch\ that|on\ second\ thought|i\ mean|my\ mistake)\b | (?<=or\ )rather\b | (?<=no),)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_WRONG = re.compile(r"\b(?:wrong|incorrect|mistaken?|not (?:right|correct|true))\b", re.IGNORECASE)
_NOT_BUT = re.compile(r"\bnot\s+[$€£]?-?[0-9][0-9.,]*(?:\s+[^\W\d_]+)?,?\s+but\s+(?:rather\s+)?", re.IGNORECASE)
_NOT_ANOTHER = re.compile(
    r"(?<=\w|[%*$)])(?:,?\s+and|,)?\s+(?:not|rather than|instead of)\s+\*{0,2}[$€£]?-?[0-9][0-9.,]*"
    r"(?:\s+[^\W\d_]+){0,2}\*{0,2}(?=\s*(?:[.!]|\Z|\n))"
)
_REMARK = re.compile(r"(?<=\S)\s+\((?!or\b|maybe\b|perhaps\b|possibly\b|not\b|but\b)[^()]*\)", re.IGNORECASE)
_EXPLANATION = re.compile(r"\n\W*(?:explanation|reasoning|reason|here['’]?s|here is|because|calculation|steps?|solution)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;]\s+(?:and\s+)?(?:so|therefore|thus|hence)\b", re.IGNORECASE)
_SAYS = r"\b(?:is|are|was|were|equals|be)\s+(?:(?:exactly|only|just|then|therefore|thus)\s+)?"
_SAYS_NUMBER = re.compile(_SAYS + r"(?=[$€£]?-?\d)", re.IGNORECASE)
_ENDS_IN_NUMBER = re.compile(_SAYS + r"(?=[$€£]?-?\d\S*(?:\s+[^\W\d]+){0,4}\W*\Z)", re.IGNORECASE)
_CONDITION = re.compile(r"\b(?:if|when|unless|since|because|as|while|where|or|doubt\w*|wrong\w*|sure|suppose|assum\w*)\b", re.IGNORECASE)
_WHO_DO_NOT = re.compile(
    r"\b(?:who|that|which)\s+(?:\w+\s+){0,2}?(?:(?:do|does|did|are|is|were|was|can|could|will|have|has|had)\s+not|\w+n['’]t)\b", re.I
)
_UNFINISHED = re.compile(r"\s*(?:[+*^]\s*[b-z]\b|[+/=]\s*\Z)", re.IGNORECASE)
_OFFER = re.compile(
    r"(?<=[.!?\n])\s*\b(?:(?:would|do) you (?:like|want|need)|(?:shall|should|can|could|may) (?:i|we)|want me)\b[^.!?\n]*\?\s*\Z",
    re.IGNORECASE,
)
_REASON = re.compile(r"(?:\s+[^\W\d_]+){0,2}[\s,;:(-]+(?:because|since)\b", re.IGNORECASE)

# Digits are bounded, as longer numbers are no answer and would take a second to convert; the ends keep a match from
# being a piece of something else: a list "3,4", a date "3/4/2020", a clock time, a version.
_NUMBER = re.compile(
    r"""
    (?<![\w./:^{√]) (?<![0-9],)
    # A dash with a blank after it is a bullet or a pause, and one after a number an operator.
    (?P<sign>(?:(?<![0-9)]\s)[-+])?)
    (?P<currency> (?:us|usd)?\s?[$€£¥₹]\s? | usd\s )?
    (?P<inner_sign>-?)
    (?P<digits> (?: [0-9]{1,3}(?:,[0-9]{3}){1,30}+ | [0-9]{1,2}(?:,[0-9]{2}){1,20},[0-9]{3} | [0-9]{1,100}+ ) (?:\.[0-9]{1,100}+)?
        | \.[0-9]{1,100}+ )
    (?: (?:\s(?:and\s)?(?P<over>[0-9]{1,50}+))? / (?P<under>[0-9]{1,50}+) )?
    (?:e(?P<exponent>[-+]?[0-9]{1,2}+))?
    # A small "m" alone is metres, but an amount of money has none.
    (?P<scale> (?: \s?(?:k|bn|mn|mln) | (?-i:[MB]) | [\s-]?(?:dozen|hundred|thousand|million|billion|trillion)s?
        | (?(currency)\s?[mb]|(?!)) )\b )?
    (?! [0-9] | [.,/:][0-9] | \s?\^(?!\s?\{?\s?\\circ) | e[-+]?[0-9] )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LETTERS = {"k": 10**3, "m": 10**6, "mn": 10**6, "mln": 10**6, "b": 10**9, "bn": 10**9}
_GOES_ON = re.compile(
    r"[^\S\n]*(?:[-+*/x^=~,&]|\b(?:to|plus|minus|times|(?:less|more|fewer) than)\b"
    r"|(?:[^\W\d_]{1,20}[^\S\n])?\b(?:and|or)\b(?:[^\S\n](?:maybe|perhaps|possibly|even))?"
    r"|,[^\S\n]?or\b(?:[^\S\n](?:maybe|perhaps|possibly|even))?)[^\S\n]?[$€£]?[^\S\n]?[0-9(]",
    re.IGNORECASE,
)
_CALCULATES = re.compile(r"(?:[^\S\n]*[^\W\d_]+){1,2}[^\S\n]*[*/+-][^\S\n]*[$€£]?[0-9][^=\n]{0,60}=")
_SCALE_ASKED = re.compile(
    r"\b(?:how many|number of|in|many more|many fewer)\s+(?:full |whole )?(dozen|hundred|thousand|million|billion|trillion)s?\b",
    re.IGNORECASE,
)
_CURRENCIES = {"$": "usd us$ dollar dollars usd$", "€": "eur euro euros", "£": "gbp", "¥": "jpy yen", "₹": "inr rupee rupees"}
_UNITS = {name: sign for sign, names in _CURRENCIES.items() for name in [sign, *names.split()]}
_UNITS |= {"": "", "%": "%", "percent": "%", "per cent": "%"}


def number(text: str) -> Fraction | None:
    """The value of a text that is a number and nothing else, but for a unit or a currency sign."""
    found = list(_NUMBER.finditer(in_digits(_single(text))))
    return _value(found[0]) if len(found) == 1 else None


def quantity(text: str) -> tuple[Fraction, str] | None:
    """Value and unit (`$`, `%`, ...; "" for none) of a text that is wholly a number; None for any other.

    A number with a zero in front, such as "007", is a name and not a number.
    """
    plain = in_digits(_single(text)).strip("*`'\"“”‘’ \t")
    found = list(_NUMBER.finditer(plain)) if len(plain) <= 300 else []
    if len(found) != 1 or re.match("0[0-9]", found[0]["digits"]):
        return None
    before, after = plain[: found[0].start()], plain[found[0].end() :]
    units = {_UNITS.get(part.strip(" *.,;:!?()[]。！？、，").lower()) for part in (found[0]["currency"] or "", before, after)} - {""}
    value = _value(found[0])
    if None in units or len(units) > 1 or value is None:
        return None
    return value, str(next(iter(units), ""))


def asked_scale(question: str) -> str:
    """The scale that a question asks its answer in: "dozen" for "How many dozens of eggs?"; empty for most."""
    found = _SCALE_ASKED.search(question)
    return found[1].lower() if found else ""


def final_number(text: str, scale: str = "") -> Fraction | None:
    """The final answer in `text`, or None if no number is marked as that.

    Marked is what follows the last `####`, `\\boxed{`, `answer is` or `answer:`: the number at its start, at the end of an
    equation, or the only one of its sentence. Without these words it is the last statement with a number in it: the last
    line, or the last sentence of that line where it draws a conclusion ("so", "in total") or repeats the result of an
    equation before it. Of such a statement it is the end of the equation, the only bold number, or the only number of
    at most `SHORT` words. Not an answer: "3 or 4", "3 to 4", "not 3", "more than 3", "3 + 4", "1/0", a question.
    A percentage is the number before the sign; "2 thousand" is 2000, "2 dozen" 24, "eighteen" 18.

    Args:
        text: The answer, or a whole reply.
        scale: See `asked_scale`: with "dozen", "7 dozen" is 7.
    """
    if scale:
        text = re.sub(rf"\b{scale}s?\b", "units", text, flags=re.IGNORECASE)
    lines = _lines(text)
    whole = _NOT_ANOTHER.sub("", _OFFER.sub("", _NOT_BUT.sub("", "\n".join(lines))))
    correction = next(reversed(list(_CORRECTION.finditer(whole))), None)
    if correction:
        corrected = re.sub(r"\A[\s,.:;!*]*(?:-\s+)?", "", whole[correction.end() :])
        if _NUMBER.search(in_digits(corrected)):
            whole = corrected
        elif _WRONG.search(corrected):
            return None
    return _of_statements(_without_explanation(whole))


def tells_plainly(text: str) -> bool:
    """Whether a text marks a number as what it comes to: by a word, an equation, bold type, "it is", or by having nothing else."""
    if quantity(text) is not None:
        return True
    marks = (_MARKER, _CONCLUDES, _EQUATION, _BOLD, _IT_IS)
    return any(mark.search(text) for mark in marks) and final_number(text) is not None


def is_doubted_marker(before: str) -> bool:
    """Whether the words in front of "answer is" take it back, as in "I doubt that the answer is" and "the wrong answer is"."""
    return bool(_DOUBTED_MARKER.search(before[-100:]))


def after_correction(text: str) -> str:
    """What follows the last "No wait," or the like; the text as it is without one, or where nothing follows."""
    end = max((found.end() for found in _CORRECTION.finditer(text)), default=0)
    rest = text[end:].lstrip(" ,.:;!-")
    return rest if end and re.search(r"\w", rest) else text


def _of_statements(whole: str) -> Fraction | None:
    markers = list(_MARKER.finditer(whole))
    if not markers:
        return _of_last_line(whole.split("\n"))
    if is_doubted_marker(whole[: markers[-1].start()]):
        return None
    rest = whole[markers[-1].end() :]
    found = _of_clause(rest)
    return _of_last_line(rest.lstrip().split("\n")[1:]) if found is None else found


def _without_explanation(whole: str) -> str:
    """The first line alone where that is a number and the next one begins to explain it."""
    first = whole.split("\n")[0]
    return first if _EXPLANATION.match(whole, len(first)) and quantity(first) else whole


def _lines(text: str) -> list[str]:
    lines = [plain for line in re.split(r"[\r\n]+", text) if (plain := _plain(line)) and not plain.startswith("```")]
    if len(lines) == 1:
        return [_single(text)]
    steps = sum(bool(_STEP.match(line)) for line in lines) > 1
    lines = [_BULLET.sub("", line, count=1) if _BULLET.match(line) else line for line in lines]
    return [_STEP.sub("", line, count=1) if _STEP.match(line) and (steps or line[:1] not in "0123456789") else line for line in lines]


def _of_clause(rest: str) -> Fraction | None:
    if not _NUMBER.search(rest.lstrip().split("\n")[0]):
        first_line, separator, others = rest.lstrip().partition("\n")
        rest = in_digits(first_line) + separator + others
    first = _NUMBER.search(rest)
    if not first or _DENIAL.search(rest[: first.start()]):
        return None
    end = _SENTENCE_END.search(rest, first.end())
    if _REFUTED.search(rest[first.end() :].split("\n")[0]) or (end and end[0] == "?"):
        return None
    if not re.search(r"\w", rest[: first.start()]) and not (_GOES_ON.match(rest, first.end()) or _CALCULATES.match(rest, first.end())):
        return _value(first)
    clause = rest[: end.start()] if end else rest
    return _only(clause.rpartition("=")[2], at_start="=" in clause)


def _of_last_line(lines: list[str]) -> Fraction | None:
    last_line = next((digits for line in reversed(lines) if _NUMBER.search(digits := in_digits(line))), "")
    statements = [statement for statement in _SENTENCE.split(last_line) if re.search("[0-9]", statement)]
    if not statements:
        return None
    *before, last = statements
    found = _of_statement(last)
    if before and not ("=" in last or _CONCLUDES.search(last) or (found is not None and found == _last_result(before))):
        return None
    return found


def _of_statement(statement: str) -> Fraction | None:
    if statement.endswith("?") and re.search(r"[^\W\d_]", statement):
        return None
    first = _NUMBER.match(statement)
    if first and _REASON.match(statement, first.end()) and "=" not in statement and not _CONCLUDES.search(statement):
        return _value(first)
    bold = list(_BOLD.finditer(statement))
    if len(bold) == 1 and not _DENIAL.search(statement[: bold[0].start()]):
        found = _only(bold[0][1].rpartition("=")[2], at_start=True)
        if found is not None:
            return found
    final = statement.rpartition("=")[2]
    if len(final.split()) > SHORT:
        return None
    readings = (final, _REMARK.sub("", final), _CLAUSE.split(final)[-1], _predicate(final))
    return next((value for reading in readings if (value := _only(reading, at_start="=" in statement)) is not None), None)


def _predicate(statement: str) -> str:
    """What a sentence says that something is: "5 minutes" in "the time of the 10K race is 5 minutes"; empty for any other sentence."""
    found = _ENDS_IN_NUMBER.search(statement)
    if not found or len(_SAYS_NUMBER.findall(statement)) > 1:
        return ""
    before = _WHO_DO_NOT.sub("", statement[: found.start()])
    return "" if _CONDITION.search(before) or _DENIAL.search(before) else statement[found.end() :]


def _last_result(statements: list[str]) -> Fraction | None:
    equation = next((statement for statement in reversed(statements) if "=" in statement), "")
    return _only(equation.rpartition("=")[2], at_start=True)


def _only(text: str, at_start: bool = False) -> Fraction | None:
    text = in_digits(text)
    found = list(_NUMBER.finditer(text))
    # A digit outside of what was read, as in "3:30" or "1/2/3", is another number that could have been meant.
    if len(found) != 1 or re.search(r"(?<![^\W\d_])[0-9]", text[: found[0].start()] + " " + text[found[0].end() :]):
        return None
    before = text[: found[0].start()]
    after = text[found[0].end() :]
    if _DENIAL.search(before) or _REFUTED.search(after) or _UNFINISHED.match(after) or (at_start and re.search(r"\w", before)):
        return None
    return _value(found[0])


def _value(match: re.Match[str]) -> Fraction | None:
    over, under = match["over"], match["under"]
    value = Fraction(match["digits"].replace(",", ""))
    if under:
        # "50/50" and "10/10" are a chance and a mark.
        if not int(under) or (not over and value == int(under) != 1):
            return None
        value = value + Fraction(int(over), int(under)) if over else value / int(under)
    scale = (match["scale"] or "").strip(" -").lower()
    value *= Fraction(10) ** int(match["exponent"] or 0) * (_LETTERS.get(scale) or SCALES.get(scale.removesuffix("s"), 1))
    return -value if "-" in match["sign"] + match["inner_sign"] else value


def _single(text: str) -> str:
    """`_plain` of a text that stands alone, in which a dash in front is a sign and no bullet."""
    return re.sub(r"\A-\s+(?=[$€£]?\s?\.?[0-9])", "-", _plain(text))


def _power(found: re.Match[str]) -> str:
    base, exponent = int(found[1]), int(found[2] or found[3])
    if base == 0 and exponent < 0:
        return found[0]
    return str(base**exponent) if exponent >= 0 else f"1/{base**-exponent}"


def _plain(text: str) -> str:
    """ASCII digits and signs, without LaTeX and markdown, with single blanks."""
    text = " ".join(_THIN_SPACE.sub("", _POWER_OF_UNIT.sub("", text)).split())
    text = _VULGAR.sub(lambda sign: " " + unicodedata.normalize("NFKC", sign[0]), text).translate(_SIGNS)
    text = _RAISED_TEN.sub(lambda found: f"{found[1]}^{unicodedata.normalize('NFKC', found[2])}".translate(_SIGNS), text)
    # What else is raised may be a note ("18²"), and is no number here.
    text = _POWER.sub("^0", _WHOLE_POWER.sub(_power, _POWER_OF_TEN.sub(r"e\1", text)))
    text = _AFTER_HAN.sub(" ", _SHORT_FRACTION.sub(r" \1/\2", text))
    text = _AND_A_HALF.sub(" 1/2", _GROUPS_OF_NOUGHTS.sub(lambda found: found[0].replace(" ", ""), text))
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(sign, sign)) for sign in text)
    text = _LATEX_TEXT.sub(r" \1 ", _LATEX_FRACTION.sub(r" \1/\2", text))
    text = _EMPHASIS.sub(" ", _LATEX_NOISE.sub("", text))
    text = re.sub(r"(?<=[0-9])\s*/\s*(?=[0-9])", "/", text)
    text = _CENTS.sub(lambda found: f"{found[1] or '$' + found[2]}.{found[3]:0>2}", text)
    text = _LOOSE_MINUS.sub(r"\1-", _MINUS.sub("-", text))
    # A fraction was set off from a whole number before it; a sign before it must stay at it.
    return " ".join(re.sub(r"(?<=-)\s(?=[0-9]+/[0-9])", "", text).split())

"""Lists of questions as LMs write them: numbered, labelled, bold, with talk around them, with answers behind them, or as JSON."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from programs.item_marks import with_plain_marks
from programs.refusals import asks_its_user, is_error, refuses_a_task
from programs.replies import json_list, unbold

_NUMBER = r"(?:\d{1,2}|[ivx]{1,4})"
_LABEL = (
    r"subquestion \d{1,2}:"
    r"|(?:first|second|third|fourth|fifth|sixth|next|last|final) sub[- ]?question\b[*_ ]*[:：]"
)
_ITEM = re.compile(
    rf"^(?P<indent>\s*)(?:[>#]\s*)*[*_]{{0,3}}(?:"
    rf"(?:[-*+•–—·▪●]\s+|\(?\d{{1,2}}[.)]\s*)?[*_]*(?:{_LABEL})"
    r"|[-*+•–—·▪●]+\s+(?:\d{1,2}[.)]\s+)?"
    rf"|[(\[]\s*{_NUMBER}\s*[)\]]\s*"
    r"|\d{1,2}[):、．]\s*(?!\d)|\d{1,2}\.(?:\s+|(?=[^\W\d])|(?=[*_]))|\d{1,2}\s+[-–—]\s+(?=[^\W\d])"
    r"|\(?[a-h]\)\s+|[①-⑩]\s*"
    r")(?:[*_]*(?=\s|$)\s*)?",
    re.IGNORECASE,
)
_HASH = re.compile(r"^(\s*[*_]*)#(\d{1,2})[.):]?\s+(?=[^\W\d])")
_QUOTE = re.compile(r"^>+\s*")
_ENDS = "?？؟"
_LONGEST_QUESTION = 1000
"""Characters after which a next line no longer goes on with a question."""
_QUESTION_END = re.compile(
    rf"[{_ENDS}\u055e\u1367]|(?<=[か])[。．.]?\s*$|(?<=[\u0370-\u03ff])[;;]\s*$"
    # Thai asks by its words alone.
    "|ใคร|อะไร|เมื่อใด|เมื่อไ[รห]|ไหน|กี่|เท่า(?:ใด|ไ[รห])|อย่างไร|ยังไง|ทำไม|หรือไม่|ไหม|(?:คน|วัน|ปี|สิ่ง|ประเทศ|เมือง|เล่ม|ตัว|ข้อ|เพราะเหตุ)ใด"
)
_ASKS = re.compile(
    r"(?:(?:in|at|on|from|for|by|to|of) )?"
    r"(?:What|Which|Who|Whose|Whom|Where|When|Why|How|Is|Are|Was|Were|Do|Does|Did|Can|Could|Will)\b(?!.*\bof$)"
)
_TAIL = re.compile(rf"[{_ENDS}](?P<close>[\"'”’»）)\]*_`]*)(?P<tail>[^{_ENDS}]*)$")
_VERBS = (
    "add|analy[sz]e|apply|assess|break down|calculate|check|choose|collect|combine|compare|compute|confirm|consider|convert|count"
    "|decide|deduce|deduct|define|derive|determine|discover|divide|double|establish|estimate|evaluate|examine|express|extract"
    "|figure out|find|gather|get|halve|identify|infer|investigate|list|locate|look (?:up|for)|measure|multiply|name|obtain|plug in"
    "|rank|recall|research|retrieve|round (?:up|down|off|the)|search|select|set up|simplify|solve|state|substitute|subtract|sum"
    "|take|tell|translate|triple|use|verify|work (?:out|backwards?)|write down"
)
_TASK = re.compile(
    r"(?:(?:then|next|now|first|second|third|finally|and)\b,?\s+)?"
    rf"(?:(?:{_VERBS})"
    r"|berechne|bestimme|finde|ermittle|vergleiche|calcula|calcule[rz]?|détermine[rz]?|trouve[rz]?|encuentra|halla|determina"
    r"|найти|найдите|вычислить|вычислите|определить|определите|посчитать|посчитайте)\b(?=.*\w{2}.*\w)"
    r"|(?:计算|計算|求出?|找出|确定|確定|列出)",
    re.IGNORECASE,
)
_LOOSE_TASK = re.compile(
    rf"(?:(?:then|next|now|first|second|third|finally|and)\b,?\s+)?(?:(?:we|you|i) (?:need|have|want|must|should) (?:to )?(?:{_VERBS})"
    r"|(?:add|assess|calculat|combin|comput|compar|convert|count|determin|divid|doubl|establish|estimat|evaluat|find|halv|identify|multiply"
    r"|obtain|solv|subtract|sum|work)(?:n|r|t|d|m)?ing)\b(?=.*\w{2}.*\w)",
    re.IGNORECASE,
)
_BARE_QUESTION = re.compile(
    r"(?:given [^,?]{3,80}, )?(?:(?:in|at|on|from|for|by|to|of|with|during)\s+(?=wh|how))?"
    r"(?:what|what['’]s|which|who|whose|whom|where|when|why"
    r"|how (?:many|much|old|long|far|tall|often|big|large|is|are|was|were|do|does|did|can))\s+(?:\S+\s+){2,}"
    r"|(?:is|are|was|were|do|does|did|has|have|can|will) (?:the|there|it|he|she|they|(?-i:[#A-Z]\w*))\s+(?:\S+\s+)+[^\s.]+$",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(
    r"(?<![-+*/×÷=^\w])(?<![-+*/×÷=^] )(?P<sum>[($€£]*\d[\d\s.,%$€£()]{0,80}(?:[-+*/×÷·^]|(?<=\d )x(?= \d))"
    r"(?:[\d\s.,%$€£()+*/×÷·^-]|(?<=\d )x(?= \d)){0,200})=.*$"
)
# In "x → 0" and "H2 + O2 -> H2O" the arrow is a part of what is asked.
_ARROW = re.compile(r"(?<!\b[A-Za-z])(?<!\b[A-Za-z] )(?<![A-Za-z]\d)(?<![A-Za-z]\d )\s*(?:->|→|⇒|=>|⟶|—>)\s*.*$")
_LEAD = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|yes|absolutely|here|the (?:first|next|following)\b|to (?:answer|solve|find|determine)\b|let|"
    r"we (?:can|need|must)\b|(?:the )?(?:sub[- ]?)?questions?\b|decomposition\b|breaking\b)[^?？؟:：]*[:：]\s*(?=\S)",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r"^(?:(?:would|do|shall|should|may|can|could) (?:you|i|we) (?:please )?(?:like|want|need|prefer|go|continue|proceed|solve|answer|help"
    r"|provide|clarify|explain|specify|share|rephrase|confirm|give me)\b"
    r"|(?:i['’]m |i am )?sorry\b|feel free\b|ready to\b|how (?:can|may) i (?:help|assist)\b"
    r"|why\s*\?|hmm\b|please (?:clarify|provide|specify)\b"
    r"|(?:how about|what (?:else )?(?:can|may|could|should) i|what now|what else\s*\?|anything else|(?:want to )?try (?:again|another)"
    r"|(?:and )?what (?:is it|do you want|would you like))\b"
    r"|(?:what|which|who|where)\b[^?]{0,60}\b(?:do|did) you (?:mean|need|refer|want)\b"
    r"|¿?(?:könn(?:en|te[nst]*) (?:sie|du)|kann ich (?:ihnen|dir)|wie kann ich|möchten sie|möchtest du"
    r"|welche\w* [^?]{0,40}(?:meinen sie|meinst du)"
    r"|pouvez[- ]vous|pourriez[- ]vous|puis-je|comment puis-je|voulez-vous|souhaitez-vous"
    r"|(?:me )?(?:puede[s]?|podría[s]?) (?:usted )?(?:\w+me|darme|dar|aclarar|proporcionar|especificar)"
    r"|(?:en qué|cómo) (?:más )?(?:te |le |lo )?pued"
    r"|hay algo más|te gustaría|le gustaría|quieres que|desea que)"
    r"|[您你](?:能|可以|可否|想|需要|希望)|(?:请问)?(?:还)?有(?:什么|其他|别的)[^？?]{0,12}[帮幫]|他に(?:何か)?|何かお手伝い"
    r"|(?:let me know|is there anything|does (?:this|that) (?:help|make|look|work)|need (?:any|more)|sounds good"
    r"|any (?:other|more|further)\b))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?؟])\s+(?=\W*[^\W_a-z])|(?<=[。！？])(?=[^\s\"”’」』)）])")
_PAGE = re.compile(r"\s*(?:```\w*\s*)?<(?:!doctype html|html|head)\b", re.IGNORECASE)
_LONGEST_PAGE = 20_000
_TAG = re.compile(r"<[^<>]{1,500}>")
_ASKED_ABOUT = 500
"""Characters at the beginning of a line that tell whether it refuses."""
_FEW_WORDS, _FEW_SIGNS = 3, 5
_CHOICE = re.compile(r"(?:or|and|oder|und|ou|et|o|y)\b", re.IGNORECASE)
_BRACKETS = re.compile(r"(?:```\w*\s*)?(?:\w+\s*=\s*)?\[\s*(?P<inner>[^\[\]]+?)\s*,?\s*\]")
_NEXT_ASKED = re.compile(rf"(?<=[{_ENDS}])[\"'”’]?\s*[,;；，、]\s*(?=[\"'“‘]?[^\W\d_a-z]|\d{{1,2}}[.)])")
_OTHERS = re.compile(
    r"^[#*\s]*(?:(?:next|new|another|your) )?"
    r"(?:question|problem|context|passage|input|example(?: \d{1,2})?|user|human|task|instructions?)[*_ ]*(?:[:：]|$)",
    re.IGNORECASE,
)
_SOLVES = re.compile(
    r"^[#*\s]*(?:to solve|(?:the )?(?:solutions?|explanations?|steps?|answers?|calculations?|reasoning))\b[^?？:：]{0,40}[:：]?[*_ ]*$",
    re.IGNORECASE,
)
_REVISED = re.compile(
    r"\b(?:correct(?:ed)?|revised|updated|improved|refined|better)\b.{0,20}\b(?:list|(?:sub[- ]?)?questions|decomposition|version|set)\b"
    r"[^?？]{0,40}[:：][*_ ]*$",
    re.IGNORECASE,
)
_RESTATED = re.compile(r"^[*_#>\s]*(?:the )?(?:original |main |given |initial )?question[*_ ]*[:：][*_ ]*", re.IGNORECASE)
_ANSWER = re.compile(
    r"^[*_#>\s-]*(?:(?:sub[- ]?|final |short )?answers?|a|reasoning|explanation|solution)\s*\d{0,2}[*_ ]*[:：=]", re.IGNORECASE
)
_NAMED = re.compile(r"^(?:sub[-_ ]?question|question|q)\s*[:：]\s*(?=\S)", re.IGNORECASE)
_WRAPPED = re.compile(r"([*_`])([^*_`\s].*[^*_`\s])\1")
_TITLE = re.compile(r"^(?:\*\*(?P<a>[^*?？؟]{1,60})\*\*\s*[:：–-]\s*|\*\*[^*?？؟]{1,60}[:：]\s*\*\*\s*)")
_CONDITION = re.compile(
    r"\s*\((?:in|where|if|assum\w+|given|rounded?|use|using|as|of|from|for|not|excluding|including|per|with|without|before|after)\b",
    re.IGNORECASE,
)
_INLINE = re.compile(rf"(?:^|(?<=[{_ENDS}:：]))\s*\(?(\d{{1,2}})[.)、]\s*(?=[^\W\d]|[\"'“*])")
_QUOTED = re.compile(r"[\"“]([^\"“”]+[?？؟.])[\"”],?")
_TEXT_IN_QUOTES = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_BROKEN_OFF = re.compile(r"\s*[^\W\d_a-z]\S*(?:\s+\S+){3,}[\w,]\s*\Z")
"""A line that begins as a sentence does, and ends as none: an LM that keeps to a width goes on in the next one."""
_ASKS_ANEW = re.compile(r"\s*(?:what|which|who|whose|whom|where|when|why|how)\b")
_OPT_OUT = re.compile(
    r"no (?:further |more |additional )?(?:decomposition|sub[- ]?questions?|break(?:ing )?[- ]?down)(?: steps?)?\b"
    r"|\bneeds? no\b.{0,20}\bdecomposition"
    r"|\b(?:no need|not? (?:necessary|needed|required|possible)) to (?:decompose|break)\b|cannot be (?:broken down|decomposed)\b"
    r"|\bsingle[- ]step question\b|decomposition (?:is )?(?:not|un)[- ]?(?:needed|necessary|required)|(?:does not|doesn't) (?:need"
    r"|require) (?:any )?(?:decomposition|sub)"
    r"|^\W*(?:n/a|none|none (?:is |are )?(?:needed|necessary|required)|not applicable|not (?:needed|necessary))\W*$"
    r"|\b(?:does not|doesn't|need not|needn't) (?:need |have |require )?(?:to )?be (?:decomposed|broken|split|divided)\b"
    r"|\bkeine? (?:weitere )?(?:zerlegung|aufteilung|aufgliederung|teilfragen?|unterfragen?)\b"
    r"|\bnicht (?:weiter )?(?:zerlegt|aufgeteilt|unterteilt)\b"
    r"|\baucune (?:décomposition|sous-question)|\bpas (?:besoin|nécessaire|nécessité)\b.{0,20}\bdécompos"
    r"|\bdécomposition (?:n'est pas|inutile)"
    r"|\b(?:ninguna|sin|no (?!puedo|podemos)(?:hay |es |hace |requiere |necesita )?(?:necesari[oa] |falta )?)"
    r"[^.]{0,12}\b(?:descomp|subpreguntas)"
    r"|\bnessuna (?:scomposizione|sottodomanda)|\bnon (?:è necessari[oa]|serve|occorre|richiede)[^.]{0,12}\bscompo"
    r"|(?:декомпози|разбиени|разбивать|подвопрос)[^.]{0,12}не (?:требу|нуж)"
    r"|не (?:требу|нуж)[^.]{0,20}(?:декомпози|разбиени|разбивать|подвопрос)"
    r"|(?:لا|غير) (?:حاجة|يحتاج|داعي|ضروري|يلزم).{0,16}(?:تقسيم|تجزئة|تفكيك|تحليل)"
    r"|(?:无需|不需要?|無需|不必)(?:进行|進行|再)?(?:分解|拆分)|分解(?:は|する必要は|の必要は)?(?:不要|必要(?:ありません|ない)|ありません|ない)",
    re.IGNORECASE,
)


def is_question(line: str) -> bool:
    """Whether a line asks: by a question mark of any script, or by か at its end."""
    return bool(_QUESTION_END.search(line)) and not _ASIDE.match(line) and not _only_talks(line[:_LONGEST_QUESTION])


def refuses(line: str) -> bool:
    """Whether a line says that nothing can be asked, or is an error's, and leads to no list: "I cannot decompose this question."."""
    return not opts_out(line) and not line.endswith((":", "：")) and not is_question(line) and refuses_a_task(line[:_ASKED_ABOUT])


def apart(line: str, alone: bool) -> list[str]:
    """The questions of a line where all its sentences ask, each by itself; else the line.

    "Who asked 'Why?' in it?" is one question, and so is "Who is older? Ann or Bob?".

    Args:
        line: A line of a decomposition.
        alone: Whether no other line asks. Of several, one with two questions, of which the second hangs on the first, is one step.
    """
    parts = _SENTENCE_END.split(line)
    if len(parts) < (2 if alone else 3) or not all(map(_asks_alone, parts)):
        return [line]
    return [part for part in parts if is_question(part)] or [line]


def is_task(line: str) -> bool:
    """Whether a line tells to find something out, as LMs write it in place of a question, or asks without a mark."""
    return bool(_TASK.match(line) or _BARE_QUESTION.match(line)) and not line.endswith((":", "："))


def tells_loosely(line: str) -> bool:
    """Whether a line says what is to be found without telling to, "We need to find ...": in a list of such lines that is a task."""
    return bool(_LOOSE_TASK.match(line))


def opts_out(line: str) -> bool:
    """Whether a line says that there is nothing to decompose."""
    return bool(_OPT_OUT.search(line))


def without_answer(line: str) -> str:
    """A subquestion without the answer that an LM wrote behind it, which the solver is to find itself."""
    if is_question(line):
        tail = _TAIL.search(line)
        answered = tail and tail["tail"].strip() and not _CONDITION.match(tail["tail"]) and not _in_quotes(line, tail.start())
        return unbold(line[: tail.end("close")]) if tail and answered else line
    line = _ARROW.sub("", line).rstrip()
    return _ARITHMETIC.sub(lambda found: found["sum"].rstrip(), line)


def _only_talks(line: str) -> bool:
    """Whether a line refuses before it asks, or asks but whether to go on: "Unfortunately I cannot. Which passage do you mean?"."""
    parts = _SENTENCE_END.split(line)
    asking = [part for part in parts if _QUESTION_END.search(part)]
    if refuses_a_task(parts[0][:_ASKED_ABOUT]) and (parts[0] not in asking or not is_error(parts[0])):
        return True
    return len(parts) > 1 and bool(asking) and all(map(_ASIDE.match, asking))


def _asks_alone(part: str) -> bool:
    """Whether a sentence is a whole question, of words enough to be understood without the one before it."""
    text = part.rstrip("*_` ")
    if not text.endswith(("?", "？", "؟", "か。")) or _in_quotes(text, len(text) - 1):
        return False
    if not text.isascii() and " " not in text:
        return len(text) > _FEW_SIGNS
    words = len(text.split())
    return not _CHOICE.match(text) and (words > _FEW_WORDS or (words == _FEW_WORDS and bool(_ASKS.match(text))))


def _in_quotes(line: str, place: int) -> bool:
    before = line[: place + 1]
    return before.count('"') % 2 == 1 or any(before.count(a) > before.count(b) for a, b in ("“”", "()", "（）", "«»", "「」"))


def unique(lines: Iterable[str]) -> list[str]:
    """The lines, each once, whatever their case, spaces and last stop."""
    found: dict[str, str] = {}
    for line in lines:
        found.setdefault(" ".join(line.casefold().split()).rstrip(" .?？؟!"), line)
    return list(found.values())


def read_questions(text: str) -> list[str]:
    """The lines of a decomposer's reply: the items of its list; all its lines, where none of them is marked as an item.

    Of a list that is marked, lines between the items are dropped, unless they go on with one. Of JSON that was cut off,
    the whole texts are given. What an LM asks its user is no part of any decomposition.
    """
    if asks_its_user(text):
        return []
    if _PAGE.match(text) and ("<li" not in text or is_error(_TAG.sub(" ", text[:_LONGEST_PAGE]))):
        return []
    listed = json_list(text) or _broken_list(text)
    if listed is None and re.match(r"\s*(?:```\w*\s*)?(?:\{[^\[\n]*)?\[\s*[\"{]", text):
        listed = _whole_texts(text)
    if listed is not None:
        return read_items(listed)
    lines = _until_others(_last_version(_lines(text)))
    items = _marked(lines)
    unmarked = [line for line in lines if not _ITEM.match(line) and is_question(line.strip())]
    if len(items) >= len(unmarked) and any(is_question(item) or is_task(item) for item in items):
        return items
    return _bare(lines)


def read_items(listed: Iterable[str]) -> list[str]:
    """The items of a list that JSON holds, without the marks before them; one of several lines is a list itself."""
    return [item for line in _with_numbers(one_a_line(listed)) if (item := _ITEM.sub("", _plain_mark(line)).strip())]


def one_a_line(listed: Iterable[str]) -> list[str]:
    """The items of a list, with those of a list that stands in one of them."""
    return [part for item in listed for part in (read_questions(item) if "\n" in item else [item])]


def asks_itself_another(text: str) -> bool:
    """Whether an LM goes on after its list with a question of its own."""
    lines = _lines(text)
    return len(_until_others(lines)) < len(lines)


def _lines(text: str) -> list[str]:
    lines = [part for line in with_plain_marks(text) if not line.strip().startswith("```") for part in _parts(line)]
    return _with_numbers(lines)


def _plain_mark(line: str) -> str:
    return next(iter(with_plain_marks(line)), "")


def _broken_list(text: str) -> list[str] | None:
    """The texts of a list in brackets whose quotation marks are not those of JSON, or do not tell where a text ends."""
    found = _BRACKETS.fullmatch(text.strip().removesuffix("```").strip())
    if found is None:
        return None
    inner = found["inner"].strip()
    quoted = inner[:1] in "\"'“‘" and inner[-1:] in "\"'”’"
    parts = re.split(r"[\"'”’]\s*,\s*[\"'“‘]", inner[1:-1]) if quoted else _NEXT_ASKED.split(inner)
    whole = quoted and len(parts) == 1 and "\n" in inner
    return [part.strip() for part in parts] if any(map(is_question, parts)) and not whole else None


def _last_version(lines: list[str]) -> list[str]:
    """The lines behind the announcement of a corrected list, where there is one."""
    for at in range(len(lines) - 1, 0, -1):
        if _REVISED.search(lines[at]) and all(any(map(is_question, part)) for part in (lines[:at], lines[at + 1 :])):
            return lines[at + 1 :]
    return lines


def _until_others(lines: list[str]) -> list[str]:
    """The lines before another question that the LM asks itself, and before its own solution."""
    asked = 0
    for at, line in enumerate(lines):
        if asked and (_OTHERS.match(line) or (_SOLVES.match(line) and not any(map(is_question, lines[at:])))):
            return lines[:at]
        item = _ITEM.sub("", line).strip()
        asked += bool(item) and not _RESTATED.match(line) and (is_question(item) or (item != line.strip() and is_task(item)))
    return lines


def _with_numbers(lines: list[str]) -> list[str]:
    """The lines with numbers for the letters, Roman numbers or signs that they count by: one letter alone may be an initial."""
    lines = _with_signs(lines)
    for series in (("I", "II", "III", "IV", "V", "VI"), ("i", "ii", "iii", "iv", "v", "vi"), tuple("ABCDEF"), tuple("abcdef")):
        mark = re.compile(rf"^(\s*[*_]*)({'|'.join(series)})([.)]\s)")
        found = [match and match[2] for match in map(mark.match, lines)]
        if [letter for letter in found if letter][:2] == list(series[:2]):
            numbers = [letter and str(series.index(letter) + 1) for letter in found]
            return [mark.sub(rf"\g<1>{number}\g<3>", line) if number else line for number, line in zip(numbers, lines, strict=True)]
    return lines


def _with_signs(lines: list[str]) -> list[str]:
    """The lines with numbers for the signs "#1", "#2" that they count by, which else stand for answers to earlier ones."""
    found, count = [], 0
    for line in lines:
        mark = _HASH.match(line)
        if not count and not mark and is_question(line):
            return lines
        count += bool(mark and int(mark[2]) == count + 1)
        found.append(f"{mark[1]}{mark[2]}. {line[mark.end() :]}" if mark and int(mark[2]) == count else line)
    return found


def _whole_texts(text: str) -> list[str] | None:
    """The texts of a JSON list that has no end."""
    listed = [found for found in _TEXT_IN_QUOTES.findall(text[text.index("[") :]) if " " in found or is_question(found)]
    return listed or None


def _parts(line: str) -> list[str]:
    """The items of a list that stands on one line, or the line."""
    asked = [line] if "[" in line else _NEXT_ASKED.split(line)
    if len(asked) > 1:
        return [part.strip(' "“”') for part in asked]
    found = list(_INLINE.finditer(line))
    if len(found) < 2 or [int(match[1]) for match in found] != list(range(1, len(found) + 1)):
        return [line]
    starts = [0, *(match.start() for match in found if match.start()), len(line)]
    return [line[a:b].strip() for a, b in itertools.pairwise(starts)]


def _marked(lines: list[str]) -> list[str]:
    """The items with a mark before them, and what goes on with one on the next line."""
    items: list[str] = []
    deeper: int | None = None
    open_item = False
    above: re.Match[str] | None = None
    for line in lines:
        mark = _ITEM.match(line)
        if not line.strip():
            # A label that stands alone has its question under it, be it after a blank line.
            open_item = open_item and bool(items) and not items[-1]
            continue
        if mark is None:
            text = line.strip()
            if open_item and _ASKS.match(text) and is_question(text):
                items[-1], open_item = _clean(text), False
            elif open_item and not _ANSWER.match(text) and not text.startswith(("**", "#", "\\[")):
                items[-1] = _clean(f"{items[-1]} {text}")
                open_item = len(items[-1]) < _LONGEST_QUESTION and not (_finished(items[-1]) or text.endswith((":", ".")))
            continue
        deeper = len(mark["indent"]) if deeper is None else deeper
        item = _clean(line[mark.end() :])
        if _ANSWER.match(item) or (len(mark["indent"]) > deeper and not is_question(item)):
            open_item = False
            continue
        if above and items and _is_heading(above, mark) and is_question(item) and not is_question(items[-1]):
            items.pop()
        items.append(item)
        open_item, above = not _finished(item), mark
    return [item for item in items if item]


def _is_heading(above: re.Match[str], mark: re.Match[str]) -> bool:
    """Whether the item above another, by the marks of both, stands over it: what it tells to do is what the other asks."""
    return len(above["indent"]) < len(mark["indent"]) or ("#" in above[0] and "#" not in mark[0])


def _finished(item: str) -> bool:
    return bool(item) and (is_question(item) or item.endswith((".", "。", ":", "!")))


def _clean(item: str) -> str:
    """An item without bold type, and without a title before its question."""
    item = _NAMED.sub("", item.strip())
    wrapped = _WRAPPED.fullmatch(item)
    item = wrapped[2] if wrapped else item
    quoted = _QUOTED.fullmatch(item)
    item = quoted[1] if quoted else item
    if item.count("**") % 2:
        item = item.replace("**", "", 1) if item.endswith("**") or item.startswith("**") else item
    item = unbold(item.strip(" _") if item.endswith("_") and item.startswith("_") else item)
    titled = _TITLE.sub("", item)
    return unbold(titled if titled and (is_question(titled) or is_task(titled)) else item)


def _unwrapped(lines: list[str]) -> list[str]:
    """The lines, with those that go on in the middle of a sentence at the end of the line before."""
    whole: list[str] = []
    for line in lines:
        if whole and _BROKEN_OFF.match(whole[-1]) and line.strip()[:1].islower() and not _ASKS_ANEW.match(line):
            whole[-1] = f"{whole[-1].rstrip()} {line.strip()}"
        else:
            whole.append(line)
    return whole


def _bare(lines: list[str]) -> list[str]:
    """The lines of a reply without marks; what is no question in it is dropped only where it might pass for one."""
    lines = _unwrapped(lines)
    asked = [line for line in lines if is_question(line.strip())]
    restated = [line for line in asked if _RESTATED.match(line)]
    skipped = restated if len(restated) == 1 < len(asked) else []
    plain = [_RESTATED.sub("", _QUOTE.sub("", line.strip())) for line in lines if line not in skipped]
    kept = [item for line in plain if (item := _clean(_ITEM.sub("", line))) and not _ANSWER.match(item)]
    if kept:
        kept[0] = _LEAD.sub("", kept[0]) if is_question(kept[0]) else kept[0]
    if any(is_question(line) and not line.endswith(":") for line in kept):
        return [line for line in kept if is_question(line) or not is_task(line)]
    return kept

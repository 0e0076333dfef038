"""Answers in sentences: LLMs repeat the question around its answer, most of all where they were not told a format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from programs.refusals import opens_with_refusal
from programs.tasks._entities import compare, tokens
from programs.tasks._equality import equal_answers

_LONGEST = 40
"""Words of a reply that is a sentence or two, and no reasoning."""
_REPEATED = 0.5
"""Share of the question's own words that a sentence which answers it repeats."""
_EXPLAINS = 3
"""Words that a sentence behind an answer has at least, which is then not another answer."""

_LEAD_IN = re.compile(
    r"\A\W*(?:(?:based on|according to|given|from|as (?:stated|mentioned|told) in)\b[^,.]{0,80},|(?:so|thus|hence|therefore),?\s)\s*",
    re.IGNORECASE,
)
_AFFIRMS = re.compile(r"\A\W*(?:yes|sure|certainly|of course)[,!]\s+", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[^\W\d_]{2})(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!](?=\s+[A-Z])")
_BEHIND = re.compile(r", (?:who|whose|which|where|whereas|while|because|since|followed by|not)\b.*", re.IGNORECASE)
_WEEKDAYS = re.compile(r"\b((?:mon|tues|wednes|thurs|fri|satur|sun)day)s\b", re.IGNORECASE)
_MARKS = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")
_ENDING = re.compile(r"(?<=\w{3})(?:ers|er|es|s|ed|ing|e)\Z")
_COPULAS = frozenset("is are was were be called named ist sind war heißt est sont était s'appelle es son era llama è sono".split())
_PLACES = frozenset("in on at every each".split())
_SMALL = _COPULAS | frozenset(
    """been being has have had do does did can of in on at to for from by with and or that this these those which who whom whose what when
    where how there it its so therefore thus hence than one every each located found takes place""".split()
)
_OTHERWISE_ENGLISH = frozenset(("son", "war"))
"""Copulas of other languages that are nouns in English: "James' son won" does not tell James."""
_ENGLISH = re.compile(r"\b(?:the|is|are|who|what|which|did|does)\b", re.IGNORECASE)
_ASKED_KIND = re.compile(r"\b(?:[Ww]hich|[Ww]hat|[Ww]hose)\s+(?:[A-Z]\w*\s+)?([^\W\d_]+)")
_ASKS_THE_OBJECT = re.compile(r"\b(?:do|does|did)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:not|never|no)\b|n['’]t\b", re.IGNORECASE)
_YES_OR_NO = re.compile(r"\W*(yes|no|true|false|ja|nein|oui|non|s[íi])(?:[*_\"']*[,;:!–—-]|[.]?\Z|[.](?=\s+[A-Z]))", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"\b(?:let us|let['’]s|we|i|you|first|next|cannot|can['’]?t|could not|unable|impossible|insufficient|not enough|unclear|unknown|sorry"
    r"|(?:not|n['’]t) (?:\w+ )?(?:in|given|stated|mentioned|provided|specified|possible|contain|mention|state|specify|provide|say|tell))\b",
    re.IGNORECASE,
)


def is_told(answer: str, gold: str, question: str) -> bool:
    """Whether a short answer tells `gold` in a sentence that repeats the question, and nothing else that could be the answer.

    The gold stands first and alone ("No, she is not.", "Hassan. He manages Greta."); or the answer has all words of the question, and
    its last sentence begins or ends with the gold where the question asks for it, and has no other words than the question, the
    sentences before, and small ones: "The capital of Portugal is Lisbon.", "Ann leads the Lyon office. Lyon sells valves.". "Mondays"
    are Monday.

    It rather takes a right answer for wrong than the reverse: it knows no word but those of the question, so that "Ghent has them in
    stock" does not answer "Which warehouse stores the pipes?". What `compare` does not take for named is not told: it is denied,
    doubted, or joined to another.

    Args:
        answer: What was answered.
        gold: An accepted answer. Where all its words stand in the question, the sentence has to begin with it, as an end repeats the
            question: "Which is cheaper, A or B?", "B is cheaper than A."
        question: What was asked.
    """
    wanted = tokens(gold)
    one_day = _WEEKDAYS.sub(r"\1", answer)
    if not wanted or declines(answer, gold, question) or not compare(one_day, gold, question).accuracy:
        return False
    if one_day != answer and equal_answers(one_day, gold):
        return True
    text = _LEAD_IN.sub("", " ".join(_MARKS.sub("", one_day).split()))
    sentences = _SENTENCE_END.split(text if _YES_OR_NO.match(gold) else _AFFIRMS.sub("", text))
    return _stands_first(sentences, wanted) or (_repeats_all(sentences, question) and _is_in_last(sentences, wanted, question))


def declines(answer: str, gold: str, question: str) -> bool:
    """Whether an answer to a question of yes or no only says that it has none: "No, I cannot tell.", "Yes, I need more information."."""
    if not _YES_OR_NO.match(gold):
        return False
    text = _LEAD_IN.sub("", " ".join(_MARKS.sub("", answer).split()))
    head = _YES_OR_NO.match(text)
    return opens_with_refusal(text[head.end() :] if head else text, question)


def answers_in_a_sentence(reply: str, question: str) -> bool:
    """Whether a reply without a label is an answer all the same: it repeats the question, adds to it, and does not plan or refuse."""
    text = _LEAD_IN.sub("", reply.strip())
    asked, said = (Counter(_stem(word) for word in tokens(part) if word not in _SMALL) for part in (question, text))
    if "\n" in text or not text.endswith((".", "!", "。")) or len(text.split()) > _LONGEST or _NO_ANSWER.search(text):
        return False
    return len(asked.keys() & said.keys()) >= max(2, _REPEATED * len(asked)) and not said <= asked


def _stands_first(sentences: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the answer begins with the wanted words alone, and explains them behind."""
    head = _YES_OR_NO.match(sentences[0]) if len(wanted) == 1 else None
    first = head[1] if head else sentences[0]
    return tokens(first) == list(wanted) and (bool(head) or len(tokens(" ".join(sentences[1:]))) >= _EXPLAINS)


def _repeats_all(sentences: Sequence[str], question: str) -> bool:
    """Whether an answer has every word of the question but for the kind of thing that it asks for, and denies if that does."""
    text = " ".join(sentences)
    question = question.replace(" of the week", "")
    left = _stems(word for word in tokens(question) if word not in _SMALL) - _kinds(question)
    return left <= _stems(tokens(text)) and bool(_DENIES.search(text)) == bool(_DENIES.search(question))


def _is_in_last(sentences: Sequence[str], wanted: Sequence[str], question: str) -> bool:
    """Whether the last sentence begins or ends with the wanted words, as what the question asks for, and has no unknown word."""
    *before, last = sentences
    last = _BEHIND.sub("", last)
    asked, words, size = _stems(tokens(question)), tokens(last), len(wanted)
    kinds = _kinds(question)
    if len(words) > size and _stem(words[-1]) in kinds:
        words = words[:-1]
    begins, ends = words[:size] == list(wanted), words[-size:] == list(wanted)
    others = words[size:] if begins else words[:-size]
    known = asked | _stems(tokens(" ".join(before))) | (_SMALL - _OTHERWISE_ENGLISH if _ENGLISH.search(question) else _SMALL)
    if any(word not in known and _stem(word) not in known for word in others) or _is_of_a_longer_name(last, wanted, question):
        return False
    if begins:
        return _is_subject(others, question)
    named = others[:-1] if others and _stem(others[-1]) in kinds else others
    return ends and not set(map(_stem, wanted)) <= asked and _is_asked_for(named[-1:], question)


def _is_subject(behind: Sequence[str], question: str) -> bool:
    """Whether a gold with these words behind it does what the question asks about: "Who replaced Ann?" is not "Bob was replaced by Ann"."""
    return not _ASKS_THE_OBJECT.search(question) and ("by" not in behind or "by" in tokens(question))


def _is_asked_for(before: Sequence[str], question: str) -> bool:
    """Whether a gold behind this word is what is asked for: "Who follows Ann?" is not "Ann follows Bob" nor "Ann is the heir of Bob"."""
    word = next(iter(before), "")
    asks_the_object = bool(_ASKS_THE_OBJECT.search(question))
    if word in _COPULAS | _PLACES:
        return True
    if word == "by":
        return not asks_the_object
    if word in _SMALL:
        return bool(re.search(rf"\b{word}(?:\W*\Z|\s+(?:whom|which|what|who)\b)", question, re.IGNORECASE))
    return asks_the_object


def _is_of_a_longer_name(sentence: str, wanted: Sequence[str], question: str) -> bool:
    """Whether a word with a capital, that is none of the question, stands before the gold within a sentence, as in "South Sudan"."""
    name = r"\W+".join(map(re.escape, wanted))
    before = re.findall(rf"(?<=\w )([A-Z][\w'-]*)\s+(?i:{name})\b", sentence)
    return any(not re.search(rf"\b{re.escape(word)}\b", question) for word in before)


def _kinds(question: str) -> set[str]:
    """What kind of thing is asked for: the city of "in which city"."""
    return _stems(kind.lower() for kind in _ASKED_KIND.findall(question) if kind.lower() not in _SMALL)


def _stem(word: str) -> str:
    shorter = _ENDING.sub("", word)
    return word if shorter == word else _stem(shorter)


def _stems(words: Iterable[str]) -> set[str]:
    return set(map(_stem, words))

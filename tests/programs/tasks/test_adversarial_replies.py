"""Each scorer on about 200 replies that try it: templates of right and of wrong replies, filled with several references.

`{r}` is the reference, `{o}` another answer of the same kind.
"""

# ruff: noqa: E501
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import dspy

from programs.tasks.base import Task
from programs.tasks.registry import load_task

AMBIGUOUS = {
    ("contains", "{r}, {o}"): "as in 'Paris, France' or 'Paris, Rome': only knowledge of the world tells a list from a place in a place",
    ("bamboogle", "{r}, {o}"): "as above",
    ("drop", "{r}, {o}"): "names, numbers and dates have commas too, so that spans are not split at them",
    ("number", "maybe {r}"): "a hedge in front of the only number still commits to it; 'I doubt it is {r}' does not",
    ("number", "- {r}"): "alone, a dash with a blank is read as a minus, and in a list as a bullet",
    ("number", "at least {r}"): "a bound may be the answer: 'she needs at least 18 boxes' tells how many she needs",
    ("number", "at most {r}"): "as above",
    ("number", "up to {r}"): "as above",
    ("number", "18!"): "an exclamation mark far more often than a factorial",
    ("number", "≈ 18?"): "a question mark behind a bare answer is a tone; 'Is it 18?' is a question",
    ("multiple_choice", "{l}?"): "as above",
    ("drop", "{r}?"): "as above",
    ("drop", "The answer is {r}?"): "the official rule drops punctuation",
    ("drop", "“{r}”"): "the official rule drops ASCII punctuation alone, and its figures are to be comparable",
    ("drop", "{r}。"): "as above",
    ("contains", "{o}. No, {r}"): "without the comma 'no Paris' denies what 'No, Paris' says",
}
"""Template -> why no verdict is asked for."""

NUMBERS = [("18", "17"), ("1,234.5", "88"), ("-3", "12"), ("0.5", "4"), ("120", "7")]
NUMBER_RIGHT = [
    "{r}", "{r}.", " {r}\n", "**{r}**", "*{r}*", "__{r}__", "`{r}`", "#### {r}", "### Answer: {r}", "## Final answer\n{r}",
    "\\boxed{{{r}}}", "$\\boxed{{{r}}}$", "\\( {r} \\)", "\\[ x = {r} \\]", "$x = {r}$", "<answer>{r}</answer>", "<ANSWER> {r} </ANSWER>",
    "3 + 4 = 7, and so on.\n<answer>{r}</answer>", "<answer>{r}</answer>\nThis is because 3 and 4 make 7.",
    "<answer>\\boxed{{{r}}}</answer>", "<final_answer>{r}</final_answer>", '{{"answer": "{r}"}}', '{{"reasoning": "3 + 4 = 7", "answer": "{r}"}}',
    "```\n{r}\n```", '```json\n{{"answer": "{r}"}}\n```', "The answer is {r}.", "Answer: {r} apples", "Answer: **{r}**", "**Answer:** {r}",
    "{r} dollars", "{r}%", "{r} percent", "${r}", "So she has {r} left.", "With 5 boxes of 7 to start with, the answer is {r}.",
    "{o}. No wait, {r}", "{o}, no wait, {r}", "The answer is {o}. No wait, the answer is {r}.", "The answer is {o}. Sorry, I mean {r}.",
    "The answer is {o}. Wait, that is wrong. The answer is {r}.", "Not {o} but {r}.",
    "{r}, because 9 and 3 make it.", "{r}, because 9*2={r}", "{r} (since 6 boxes hold 3 each)", "The answer is {r}, since 6 boxes hold 3 each.",
    "The answer is {r}. Would you like to know how much it is in 7 days?", "She makes {r} dollars. Would you like to know it for 7 days?",
    "She makes {r} dollars.\nShall I work it out for 7 days?", "She makes {r} dollars.\n\nQ: How many are there in 7 days?",
    "{r}\n\nQuestion: A man has 7 cows and 3 pigs. How many animals are these?\nAnswer: 10", "Final answer: {r}", "answer = {r}",
    "x = {r}", "There are 7 days, so 7 - 7 + {r} = {r}", "1. She has 5.\n2. She gets 6.\nThe answer is {r}", "Answer: {r}\nConfidence: high",
    "Wait, let me count.\nThe answer is {r}.", "The answer is {r}. Wait, let me check: 0 + {r} = {r}. Yes.",
]  # fmt: skip
NUMBER_WRONG = [
    "{o}", "{r} or {o}", "{o} or {r}", "either {r} or {o}", "between {o} and {r}", "between {r} and {o}", "{r} to {o}", "from {r} to {o}",
    "not {r}", "It isn't {r}.", "It can't be {r}", "I doubt it is {r}.", "I doubt that the answer is {r}.", "It is unlikely to be {r}.",
    "It is hardly {r}", "more than {r}", "less than {r}", "at least {r}", "at most {r}", "up to {r}", "no more than {r}", "over {r}", "under {r}",
    "{r}. No wait, {o}", "{r}, no wait, {o}", "The answer is {r}. No wait, {o}.", "The answer is {r}. Actually, it is {o}.",
    "The answer is {r}. No, {o}.", "The answer is {r}.\nOops, it should be {o}.", "\\boxed{{{r}}}. Correction: {o}", "#### {r}\nSorry, {o}.",
    "{r} is wrong", "{r} is incorrect.", "The answer is {r}? No.", "The answer is {r} is wrong.", "{r} is not the answer.", "Is it {r}?",
    "The answer is {r}?", "{r}, {o}", "{r} and {o}", "{r} + {o}", "{o} * {r}", "I cannot say.", "There is not enough information.", "", "   ",
    "<answer>{r}</answer> No wait, <answer>{o}</answer>", '{{"answer": "{o}", "other": "{r}"}}', "The answer is {o}, not {r}.", "{o}, not {r}",
    "The answer isn't {r}.", "The answer is anything but {r}.", "Unlike {r}, {o}", "{r} million", "The answer is {r} or {o}.",
    "The answer is {r}, or maybe {o}.", "The answer is {o} rather than {r}", "{r} out of {o}", "<answer>{r} or {o}</answer>",
    "<answer></answer>", '{{"answer": ""}}', "I don't think it is {r}", "The answer is {r}, but that is wrong.", "It would be wrong to say {r}",
    "The answer is {r} minus {o}", "It is never {r}.", "{o}\n\nQ: Is it {r}?", "The wrong answer is {r}.", "A wrong answer: {r}",
]  # fmt: skip
EIGHTEEN_RIGHT = [
    "eighteen", "Eighteen.", "The answer is eighteen.", "１８", "१८", "١٨", "18.0", "18.00", "$18.00", "36/2", "\\frac{36}{2}", "1.8e1",
    "18 eggs", "€18", "USD 18", "18 USD", "9 * 2 = 18", "18 km", "**18 km**",
]  # fmt: skip
EIGHTEEN_WRONG = [
    "eighteen or nineteen", "seventeen", "not eighteen", "eighty", "18/18", "1 8", "18:00", "2018", "0.18", "-18", "18k", "18/36", "1.18", "18-20",
    "18–20", "17-18", "١٧", "18.5", "18^2", "√18", "18!", "18 dozen", "≈ 18?", "18 < x", "x > 18", "x ≥ 18",
]  # fmt: skip

NAMES = [("Paris", "Rome"), ("New York City", "Boston"), ("Marie Curie", "Lise Meitner"), ("Zürich", "Bern")]
BARE = [
    "{r}", "{r}.", " {r}\n", "**{r}**", "*{r}*", "__{r}__", "`{r}`", '"{r}"', "“{r}”", "# {r}", "- {r}", "\\boxed{{{r}}}", "$\\boxed{{{r}}}$",
    "\\text{{{r}}}", "\\boxed{{\\text{{{r}}}}}", "<answer>{r}</answer>", "<answer>\n{r}\n</answer>", "<final_answer>{r}</final_answer>",
    '{{"answer": "{r}"}}', "```\n{r}\n```", '```json\n{{"answer": "{r}"}}\n```', "({r})", "{r}!", "the {r}", "{r}。",
]  # fmt: skip
SAID = [
    *BARE, "The answer is {r}.", "Answer: {r}", "**Answer:** {r}", "It is {r}.", "I think it is {r}.", "Final answer: **{r}**", "#### {r}",
    "It is {r}, because this follows.", "{o}. No wait, {r}", "{o}, no wait, {r}.", "The answer is {o}. Sorry, I mean {r}.", "Not {o} but {r}.",
    "No doubt it is {r}.", "It is {r}. Would you like to know more?", "<answer>{r}</answer>\nThis follows from the text.",
]  # fmt: skip
UNSAID = [
    "{o}", "{o}.", "**{o}**", "not {r}", "It is not {r}.", "It isn't {r}.", "I doubt it is {r}.", "I doubt that {r} is right.", "It is doubtful that it is {r}",
    "It is unlikely to be {r}.", "It is hardly {r}", "maybe {r}", "{r} or {o}", "{o} or {r}", "either {r} or {o}", "{r}. No wait, {o}", "{r}, no wait, {o}",
    "The answer is {r}. No wait, {o}.", "The answer is {r}. Actually, it is {o}.", "{r}. Sorry, I mean {o}", "{r}? No.", "{r} is wrong.", "{r} is incorrect.",
    "{r} is not the answer.", "{o}, not {r}", "{o} rather than {r}", "{o} instead of {r}", "anything but {r}", "everything except {r}", "I cannot say.", "",
    "I don't know.", "I don't think it is {r}", "<answer>{r}</answer> No wait, <answer>{o}</answer>", "<answer></answer>", '{{"answer": "{o}", "other": "{r}"}}',
    "{r} is false", "It would be wrong to say {r}", "Is it {r}?", "{r}, but that is wrong", "The wrong answer is {r}", "never {r}", "It can't be {r}",
    "x{r}", "{r}x", "{r}. Scratch that, {o}", "{r}. Oops, {o}", "{r}. On second thought, {o}", "It was thought to be {r}, but it is {o}",
]  # fmt: skip

CHOICE = "Which city is the capital of France?\nA) Rome\nB) Paris\nC) Bern\nD) Oslo"
CHOICES = [("A", "Rome", "C", "Bern"), ("B", "Paris", "D", "Oslo"), ("D", "Oslo", "A", "Rome")]
CHOICE_RIGHT = [
    "{l}", "({l})", "{l}.", "{l})", "**{l}**", "*{l}*", "`{l}`", "[{l}]", "{l}) {r}", "({l}) {r}", "{l}. {r}", "{l}: {r}", "**{l}) {r}**", "{r}", "{r}.", "**{r}**",
    "The answer is {l}.", "The answer is ({l}).", "Answer: {l}", "**Answer:** {l}", "**Answer: {l}**", "Option {l}", "option {l}.", "I choose {l}.",
    "The correct answer is {l}) {r}.", "The answer is {r}.", "\\boxed{{{l}}}", "$\\boxed{{\\text{{{l}}}}}$", "<answer>{l}</answer>", "<answer>{r}</answer>",
    '{{"answer": "{l}"}}', '{{"answer": "{r}"}}', "```\n{l}\n```", "{l}, because it is on the river.", "{l} - {r}", "#### {l}", "Final answer: {l}",
    "The answer is {m}. No wait, the answer is {l}.", "{m}. No wait, {l}", "Reasoning: long.\n<answer>{l}</answer>", "It is {l}.",
    "The answer is {l}. Would you like to know more?", "So the answer is {l}\n\nQuestion: Which is next?\nA) Kiev",
]  # fmt: skip
CHOICE_WRONG = [
    "{m}", "{o}", "{m}) {o}", "{l} or {m}", "{m} or {l}", "{l} and {m}", "{l}/{m}", "{l}, {m}", "not {l}", "Not {r}", "The answer is not {l}.", "{l}) {o}", "{m}) {r}",
    "The answer isn't {l}", "I doubt it is {l}.", "I doubt the answer is {l}.", "The answer is {l} or {m}.", "The answer is {l}. No wait, {m}.", "{l}. No wait, {m}",
    "The answer is {l}. No wait, the answer is {m}.", "{l} is wrong", "The answer is {l}? No.", "{l}?", "The answer is {l}?", "", "I cannot say.", "None", "Neither",
    "A, B, C, D", "The answer is {m}, not {l}.", "{m}, not {l}", "<answer>{m}</answer>", "<answer>{l}</answer> No wait, <answer>{m}</answer>", "\\boxed{{{m}}}",
    '{{"answer": "{m}", "other": "{l}"}}', "Any option but {l}", "The wrong answer is {l}.", "Option {l} is incorrect", "maybe {l}, maybe {m}", "E", "{l}{m}",
    "I don't think the answer is {l}", "{l}. I cannot answer this question.", "{r}. I am not able to tell.", "The answer is {l}, but that is wrong", "{l}. Actually, {m}.", "{l} is false",
]  # fmt: skip

SPANS_RIGHT = [
    "{r}; {o}", "{r}\n{o}", "1. {r}\n2. {o}", "1) {r}\n2) {o}", "- {r}\n- {o}", "* {r}\n* {o}", "• {r}\n• {o}", "{o}; {r}", "**{r}**; **{o}**", "Answer: {r}; {o}",
    "The answer is:\n1. {r}\n2. {o}", '["{r}", "{o}"]', "<answer>{r}; {o}</answer>", "```\n{r}\n{o}\n```", '{{"answer": ["{r}", "{o}"]}}', "{r};\n{o}",
    "{r}\n\n{o}\n\nNote: both are named.",
]  # fmt: skip
SPANS_WRONG = [
    "{r}",
    "{o}",
    "{r}; {r}",
    "1. {r}",
    "{r}; {o}; Berlin",
    "1. {r}\n2. Berlin",
    "{r} or {o}",
    "not {r}; not {o}",
    "",
    "<answer>{r}</answer>",
]


def wrong_verdicts(
    task: Task, name: str, right: Sequence[str], wrong: Sequence[str], references: Sequence[tuple[str, ...]], question: str = "q?"
) -> list[str]:
    """The replies that a scorer judges otherwise than they are."""
    found = []
    for reference, wanted, template, reply in _replies(name, right, wrong, references):
        example = dspy.Example(question=question, context="", answer=reference, id="1")
        if (task.score(example, dspy.Prediction(answer=reply)).value == 1.0) != wanted:
            found.append(f"{'refused' if wanted else 'ACCEPTED'} {reply!r} for {reference!r} ({template})")
    return found


def _replies(
    name: str, right: Sequence[str], wrong: Sequence[str], references: Sequence[tuple[str, ...]]
) -> Iterator[tuple[str, bool, str, str]]:
    for wanted, templates in ((True, right), (False, wrong)):
        for template in templates:
            if (name, template) in AMBIGUOUS:
                continue
            for reference in references:
                fields = dict(zip("rolm" if len(reference) == 2 else "lrmo", reference, strict=False))
                yield reference[0], wanted, template, template.format(**fields)


def of_own(folder: Path, scorer: str) -> Task:
    path = folder / "questions.jsonl"
    path.write_text(json.dumps({"question": "q?", "answer": "a"}) + "\n")
    return load_task("jsonl", path=str(path), scorer=scorer)


def verdicts_on_numbers(task: Task) -> list[str]:
    found = wrong_verdicts(task, "number", NUMBER_RIGHT, NUMBER_WRONG, NUMBERS)
    escaped = [[text.replace("{", "{{").replace("}", "}}") for text in texts] for texts in (EIGHTEEN_RIGHT, EIGHTEEN_WRONG)]
    found += wrong_verdicts(task, "number", *escaped, [("18", "17")])
    return found + wrong_verdicts(task, "number", [], ["50/50", "100/100", "fifty-fifty", "1 of 2", "11", "1st or 2nd"], [("1", "2")])


def test_exact(tmp_path: Path) -> None:
    assert not wrong_verdicts(of_own(tmp_path, "exact"), "exact", BARE, UNSAID, NAMES)


def test_number(tmp_path: Path) -> None:
    assert not verdicts_on_numbers(of_own(tmp_path, "number"))


def test_f1(tmp_path: Path) -> None:
    assert not wrong_verdicts(of_own(tmp_path, "f1"), "f1", BARE, UNSAID, NAMES)


def test_contains(tmp_path: Path) -> None:
    assert not wrong_verdicts(of_own(tmp_path, "contains"), "contains", SAID, UNSAID, NAMES)


def test_multiple_choice(tmp_path: Path) -> None:
    task = of_own(tmp_path, "multiple_choice")
    assert not wrong_verdicts(task, "multiple_choice", CHOICE_RIGHT, CHOICE_WRONG, CHOICES, CHOICE)


def test_gsm8k() -> None:
    assert not verdicts_on_numbers(load_task("gsm8k"))


def test_bamboogle() -> None:
    assert not wrong_verdicts(load_task("bamboogle"), "bamboogle", SAID, UNSAID, NAMES)


def test_multihop() -> None:
    assert not wrong_verdicts(load_task("multihop"), "multihop", BARE, UNSAID, NAMES)


def test_drop() -> None:
    task = load_task("drop")
    found = wrong_verdicts(task, "drop", [*BARE, "The answer is {r}.", "Answer: {r}", "1. {r}"], UNSAID, NAMES)
    found += wrong_verdicts(
        task, "drop", ["{r}", "**{r}**", "Answer: {r}", "<answer>{r}</answer>"], NUMBER_WRONG, [("18", "17"), ("120", "7")]
    )
    for reference, wanted, _, reply in _replies("drop", SPANS_RIGHT, SPANS_WRONG, NAMES):
        other = dict(NAMES)[reference]
        example = dspy.Example(question="q?", context="", answer=f"{reference}; {other}", answers=[[reference, other]], id="1")
        if (task.score(example, dspy.Prediction(answer=reply)).value == 1.0) != wanted:
            found.append(f"{'refused' if wanted else 'ACCEPTED'} {reply!r} for {reference}; {other}")
    assert not found

"""The paper's own results as data, to stand beside a run's: arXiv 2402.15000v3, tables 1, 3, 4, 6, 7, 8, 9 and 10.

They are of other models (GPT-3.5-Turbo as teacher, Vicuna-13B as student) on other data than most runs, so whoever shows
one marks it with `MARK`. Scores are in percent. Rows bear the names that conditions have here: the paper's GPT is `teacher`,
its Vicuna `student0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MARK = "the paper's: other models, other data (GPT-3.5, Vicuna-13B)"

_MEASURES = {"gsm8k": "GSM8K EM", "drop": "DROP F1", "bamboogle": "Bamboogle accuracy"}

_TWO = ("gsm8k", "drop")

_THREE = (*_TWO, "bamboogle")


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        number: Its number there.
        columns: Name of the measure by column; what stands before a colon in the key is the task that is tested.
        rows: Score in percent by row, then by column; a column that the paper leaves empty is not there.
        notes: What the table gives beside the score (costs, tokens), by row and column.
        caution: What to know before comparing.
    """

    number: int
    columns: Mapping[str, str]
    rows: Mapping[str, Mapping[str, float]]
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    caution: str = ""

    def columns_for(self, task: str | None) -> list[str]:
        """The columns of `task`, or all of them as a reference where the paper has not tested it in this table."""
        own = [column for column in self.columns if column.split(":")[0] == task]
        return own or list(self.columns)

    def cell(self, row: str, column: str) -> str:
        """Score and note as text; `-` where the paper has none."""
        if column not in self.rows.get(row, {}):
            return "-"
        note = self.notes.get(row, {}).get(column)
        return f"{self.rows[row][column]:.2f}" + (f" ({note})" if note else "")

    def heading(self, column: str) -> str:
        """The column's title, marked as the paper's."""
        return f"{self.columns[column]}, {MARK}"


def _by_task(tasks: tuple[str, ...], rows: Mapping[str, tuple[float, ...]]) -> dict[str, dict[str, float]]:
    return {name: dict(zip(tasks, scores, strict=True)) for name, scores in rows.items()}


def _costs(rows: Mapping[str, tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    return {name: {task: f"${cost}" for task, cost in zip(_THREE, costs, strict=True)} for name, costs in rows.items()}


# The single-stage prompt asks for at most five words on GSM8K and DROP only; on Bamboogle it is the plain one.
_TABLE_1 = _by_task(
    _THREE,
    {
        "teacher+teacher": (65.13, 55.73, 54.4),
        "student0+teacher": (62.93, 47.13, 48.8),
        "teacher+student0": (28.13, 21.29, 32.8),
        "student0+student0": (28.51, 20.90, 29.6),
        "S_D-T+teacher": (67.02, 55.19, 52.0),
        "teacher+S_E-T": (48.98, 13.37, 31.2),
        "S_D-R+teacher": (67.78, 57.97, 52.0),
        "teacher+S_E-A": (51.55, 20.34, 40.8),
    },
)

_SINGLE = {
    "single-stage-short": {"gsm8k": 20.32, "drop": 46.51},
    "single-stage": {"bamboogle": 49.6},
    "single-stage-short@student0": {"gsm8k": 9.40, "drop": 26.68},
    "single-stage@student0": {"bamboogle": 33.6},
}

_SINGLE_COSTS = {
    "single-stage-short": {"gsm8k": "$-/0.01", "drop": "$-/0.05"},
    "single-stage": {"bamboogle": "$-/7e-3"},
    "single-stage-short@student0": {"gsm8k": "$-/0.03", "drop": "$-/0.03"},
    "single-stage@student0": {"bamboogle": "$-/2e-3"},
}

_TABLE_1_COSTS = _costs(
    {
        "teacher+teacher": ("0.13/0.63", "0.73/0.96", "2e-3/9e-3"),
        "student0+teacher": ("0.02/0.67", "0.07/0.96", "1e-3/0.02"),
        "teacher+student0": ("0.13/0.07", "0.73/0.08", "2e-3/3e-3"),
        "student0+student0": ("0.02/0.08", "0.07/0.08", "1e-3/5e-3"),
        "S_D-T+teacher": ("0.01/0.62", "0.06/0.96", "1e-3/0.03"),
        "teacher+S_E-T": ("0.13/0.09", "0.73/0.06", "2e-3/2e-3"),
        "S_D-R+teacher": ("0.01/0.60", "0.06/1.11", "8e-5/7e-3"),
        "teacher+S_E-A": ("0.13/0.09", "0.73/0.04", "2e-3/2e-3"),
    }
)

TABLES: dict[int, PaperTable] = {
    1: PaperTable(
        1,
        _MEASURES,
        {**_SINGLE, **_TABLE_1},
        {**_SINGLE_COSTS, **_TABLE_1_COSTS},
        "In brackets the paper's dollars for the whole test set, decomposing/solving; they appear to count output tokens only.",
    ),
    3: PaperTable(
        3,
        {"drop:gsm8k": "GSM8K to DROP, F1", "gsm8k:drop": "DROP to GSM8K, EM"},
        _by_task(
            ("drop:gsm8k", "gsm8k:drop"),
            {
                "teacher+teacher": (55.73, 65.13),
                "S_D-R+teacher": (51.05, 63.15),
                "teacher+S_E-A": (7.98, 11.30),
                "none+S_E-A": (17.22, 3.41),
            },
        ),
        caution="The paper's table lacks the untrained decomposer, so it does not say what training elsewhere added.",
    ),
    4: PaperTable(
        4,
        {"gsm8k": "GSM8K EM on 200 questions", "drop": "DROP F1 on a subset"},
        _by_task(
            _TWO,
            {
                "teacher+student0": (28.0, 33.78),
                "teacher+teacher": (66.0, 59.38),
                "teacher+gpt4": (90.5, 77.60),
                "student0+student0": (29.5, 26.56),
                "student0+teacher": (57.0, 47.31),
                "student0+gpt4": (88.5, 79.40),
                "S_D-R+student0": (31.5, 33.38),
                "S_D-R+teacher": (66.5, 61.94),
                "S_D-R+gpt4": (91.5, 81.02),
            },
        ),
    ),
    6: PaperTable(
        6,
        {"gsm8k": "GSM8K accuracy", "bamboogle": "Bamboogle EM"},
        {"interactive": {"gsm8k": 62.92, "bamboogle": 53.6}, "teacher+teacher": {"gsm8k": 65.13, "bamboogle": 54.4}},
        {
            "interactive": {"gsm8k": "823,886 tokens", "bamboogle": "59,792 tokens"},
            "teacher+teacher": {"gsm8k": "355,302 tokens", "bamboogle": "15,106 tokens"},
        },
        "The paper's tokens are input tokens over the whole test set, and its code counts words of prompts.",
    ),
    7: PaperTable(
        7,
        _MEASURES,
        _by_task(_THREE, {"S_D-R+student0": (28.35, 26.63, 32.8), "S_D-R+S_D-R": (5.99, 7.87, 17.6)}),
    ),
    8: PaperTable(
        8,
        {task: _MEASURES[task] for task in _TWO},
        _by_task(
            _TWO,
            {
                "teacher+S_E-T(direct)": (5.46, 53.17),
                "teacher+S_E-T": (48.98, 13.37),
                "teacher+S_E-A(direct)": (6.44, 72.55),
                "teacher+S_E-A": (51.55, 20.34),
                "none+S_E-A(direct)": (11.75, 72.29),
            },
        ),
    ),
    9: PaperTable(
        9,
        {"gsm8k": "GSM8K EM on 200 questions"},
        _by_task(
            ("gsm8k",),
            {
                "teacher+teacher": (66.0,),
                "teacher+teacher, few-shot": (70.0,),
                "teacher+gpt4": (90.5,),
                "teacher+gpt4, few-shot": (91.5,),
                "student0+teacher": (57.0,),
                "student0+teacher, few-shot": (61.5,),
                "student0+gpt4": (88.5,),
                "student0+gpt4, few-shot": (91.5,),
                "S_D-R+teacher": (66.5,),
                "S_D-R+teacher, few-shot": (67.5,),
                "S_D-R+gpt4": (91.5,),
                "S_D-R+gpt4, few-shot": (91.5,),
            },
        ),
        caution="The paper's few-shot prompt holds one example.",
    ),
    10: PaperTable(
        10,
        {"drop:em": "DROP EM on a subset", "drop": "DROP F1 on a subset"},
        _by_task(
            ("drop:em", "drop"),
            {"limit=none": (45.69, 56.63), "limit=4": (46.40, 57.19), "limit=3": (50.00, 59.88), "limit=2": (46.89, 58.47)},
        ),
    ),
}

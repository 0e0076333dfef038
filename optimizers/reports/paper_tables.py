"""The paper's tables in the numbers of an experiment, beside the paper's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from optimizers.evaluation.stages import answered_in, stages_of
from optimizers.reports.blocks import (
    Block,
    Table,
    Text,
    count_text,
    is_number,
    missing_text,
    number,
    percent,
    percent_interval,
    signed_points,
    usd_text,
)
from optimizers.reports.cells import (
    Cell,
    cells_of,
    gap,
    in_domain,
    is_control,
    is_student,
    label,
    points,
    roles,
    score_of,
    task_of,
    tests_of,
)
from optimizers.reports.paper_numbers import MARK, TABLES, PaperTable
from optimizers.reports.read import REFERENCE, RunFiles
from optimizers.reports.tokens import amounts_text, models_of

_COMMON = {REFERENCE, "student0+teacher", "S_D-R+teacher"}

_FEW_SHOT = ("few", "demos", "shots")


class Line(NamedTuple):
    """A row of a table: what stands in front, the paper's name for it, and our cell."""

    label: tuple[str, ...]
    key: str
    cell: Cell


_SIDES = ("input_tokens", "output_tokens")

Extras = Sequence[tuple[str, Callable[[Cell], str]]]

Build = Callable[[RunFiles, str], list[Line]]

Say = Callable[[RunFiles, Sequence[Line]], str]


# One table
def beside(paper: PaperTable, task: str | None, heads: Sequence[str], lines: Sequence[Line], extras: Extras = ()) -> Table:
    """Our cells with the paper's numbers on the right, each of these columns marked as the paper's."""
    columns = paper.columns_for(task)
    titles = [*heads, "In the paper", "Score", "95% interval", "Questions", "Unparsed", *(name for name, _ in extras)]
    rows = []
    for line in lines:
        ours = _ours(line.cell, extras)
        known = "yes" if line.key in paper.rows else "no"
        rows.append([*line.label, known, *ours, *(paper.cell(line.key, column) for column in columns)])
    return Table([*titles, *map(paper.heading, columns)], rows, frozenset(range(len(heads) + 1)))


def _ours(cell: Cell, extras: Extras) -> list[str]:
    counts = [count_text(cell.get("n")), count_text(cell.get("unparsed"))]
    return [percent(cell.get("score")), percent_interval(cell), *counts, *(show(cell) for _, show in extras)]


def _in_order(paper: PaperTable, lines: Sequence[Line]) -> list[Line]:
    """`lines`, those of the paper first and in its order."""
    known = [line for key in paper.rows for line in lines if line.key == key]
    return known + [line for line in lines if line.key not in paper.rows]


def _not_run(run: RunFiles, paper: PaperTable, lines: Sequence[Line]) -> list[Block]:
    """Sentences that name the paper's rows which the table lacks, and those that students of other tasks were tested in.

    The paper's GPT-4 stands for a further solver, so its rows are not missing where the experiment has none.
    """
    run_here = {line.key for line in lines}
    missing = [key for key in paper.rows if key not in run_here and ("gpt4" not in key or _further(run))]
    tests = {line.cell.get("test") for line in lines}
    others = [cell for cell in cells_of(run) if cell.get("test") in tests and cell.get("train") not in (None, cell.get("test"))]
    tried = {cell.get("condition") for cell in others if not cell.get("ablation")}
    elsewhere, missing = [key for key in missing if key in tried], [key for key in missing if key not in tried]
    by_others = f"By students of other tasks, see 'Transfer between tasks': {', '.join(elsewhere)}."
    return [
        *([missing_text(f"Not run here, of the paper's rows: {', '.join(missing)}.")] if missing else []),
        *([Text(by_others, "note")] if elsewhere else []),
    ]


def _tables(run: RunFiles, paper: PaperTable, heads: Sequence[str], build: Build, say: Say, extras: Extras = ()) -> list[Block]:
    """A sentence and a table for each test that has cells of this table."""
    blocks: list[Block] = []
    for test in tests_of(run):
        lines = build(run, test)
        if not any(line.key not in (_COMMON if paper.number != 1 else ()) for line in lines):
            continue
        task = task_of(run, test).get("task")
        blocks.append(Text(f"{_named(test, task)}: {say(run, lines)}"))
        blocks += [*_not_run(run, paper, lines), beside(paper, task, heads, _in_order(paper, lines), extras)]
    if not blocks:
        return [missing_text(f"None of what the paper's Table {paper.number} compares was run in this experiment.")]
    closing = f"Columns on the right are {MARK}, its Table {paper.number}, in percent. {paper.caution}"
    return [*blocks, Text(closing.strip(), "note")]


def _named(test: str, task: Any) -> str:
    return f"{test} ({task})" if task and task != test else test


def _line(run: RunFiles, cell: Cell, key: str | None = None, *before: str) -> Line:
    return Line((*before, label(run, cell)), key or str(cell.get("condition")), cell)


def _cell(lines: Iterable[Line], key: str) -> Cell | None:
    return next((line.cell for line in lines if line.key == key), None)


def _gap_or(run: RunFiles, a: Cell | None, b: Cell | None, text: str) -> str:
    """`text` with the difference put in; empty where one of the two was not run."""
    return "" if a is None or b is None else text.format(gap(run, a, b))


def _joined(parts: Iterable[str], otherwise: str) -> str:
    found = [part for part in parts if part]
    return "; ".join(found) + "." if found else otherwise


# The paper's tables
def table_1(run: RunFiles) -> list[Block]:
    """All conditions on the task that their students were trained on."""
    extras = (("Cost of decomposing", lambda cell: stage_cost(cell, True)), ("Cost of solving", lambda cell: stage_cost(cell, False)))
    return _tables(run, TABLES[1], ["Condition"], _lines_1, _say_1, extras)


def _lines_1(run: RunFiles, test: str) -> list[Line]:
    return [_line(run, cell) for cell in in_domain(run, test) if roles(cell.get("condition"))[1] not in _further(run)]


def _say_1(run: RunFiles, lines: Sequence[Line]) -> str:
    scored = [line for line in lines if score_of(line.cell) is not None and not is_control(line.cell)]
    known = {line.key for line in lines} & TABLES[1].rows.keys()
    text = f"{len(known)} of the paper's {len(TABLES[1].rows)} rows and {len(lines) - len(known)} that it lacks were run"
    if not scored:
        return f"{text}; none has a score."
    best = max(scored, key=lambda line: score_of(line.cell) or 0)
    reference = _cell(lines, REFERENCE)
    against = f", {REFERENCE} {percent(reference.get('score'))}" if reference else ""
    return f"{text}; controls left out, the highest score is that of {best.label[0]}, {percent(score_of(best.cell))}{against}."


def stage_cost(cell: Cell, decomposing: bool) -> str:
    """Dollars over the test set where all prices are known, else tokens; says how many calls a cache answered."""
    found = {stage: usage for stage, usage in stages_of(cell).items() if (stage == "decompose") == decomposing}
    usages = list(found.values())
    if not any(number(usage.get("calls")) for usage in usages):
        return "-"
    prices = [usage.get("usd") for usage in usages]
    cost = usd_text(sum(map(number, prices))) if all(map(is_number, prices)) else f"{_tokens_text(cell, found, _SIDES)} tokens"
    cached = sum(number(usage.get("cache_hits")) for usage in usages)
    return f"{cost} ({cached:,.0f} calls from a cache)" if cached else cost


def _tokens_text(cell: Cell, usages: Mapping[str, Any], sides: Sequence[str], questions: float = 1) -> str:
    """Paid and local tokens of these stages of a cell, apart."""
    models = models_of(str(cell.get("condition")), cell)
    return amounts_text((models[stage], number(usage.get(side)) / questions) for stage, usage in usages.items() for side in sides)


def _further(run: RunFiles) -> list[str]:
    return [name for name in run.part("models") if name not in ("teacher", "student", "student0", "solver") and not is_student(name)]


def table_3(run: RunFiles) -> list[Block]:
    """Students on tasks that they were not trained on."""
    return _tables(run, TABLES[3], ["Trained on", "Condition"], _lines_3, _say_3)


def _lines_3(run: RunFiles, test: str) -> list[Line]:
    own = [cell for cell in in_domain(run, test) if cell.get("condition") in (REFERENCE, "student0+teacher")]
    away = [
        cell for cell in cells_of(run) if cell.get("test") == test and cell.get("train") not in (None, test) and not cell.get("ablation")
    ]
    if not away:
        return []
    return [*(_line(run, cell, None, "-") for cell in own), *(_line(run, cell, None, str(cell["train"])) for cell in away)]


def _say_3(run: RunFiles, lines: Sequence[Line]) -> str:
    reference = _cell(lines, REFERENCE)
    kinds = {"decomposers": lambda d, s: is_student(d) and s == "teacher", "solvers": lambda d, s: is_student(s) and d == "teacher"}
    parts = []
    for kind, belongs in kinds.items():
        cells = [line.cell for line in lines if line.label[0] != "-" and belongs(*roles(line.key))]
        found = [value for value in (points(cell, reference) for cell in cells) if value is not None]
        parts += [f"{kind} trained elsewhere are {_range(found)} points from {REFERENCE}"] if found else []
    return _joined(parts, f"there is no score of {REFERENCE} to hold students trained elsewhere against.")


def _range(values: Sequence[float]) -> str:
    return " to ".join(map(signed_points, dict.fromkeys((min(values), max(values)))))


def table_4(run: RunFiles) -> list[Block]:
    """Decomposers before other solvers."""
    return _tables(run, TABLES[4], ["Condition"], _lines_4, _say_4)


def _lines_4(run: RunFiles, test: str) -> list[Line]:
    further = _further(run)
    cells = [cell for cell in in_domain(run, test) if roles(cell.get("condition"))[1] in ("teacher", "solver", "student0", *further)]
    cells = [cell for cell in cells if roles(cell.get("condition"))[0] in ("teacher", "student0", "S_D-T", "S_D-R")]
    return [_line(run, cell, _paper_key(str(cell.get("condition")), further)) for cell in cells]


def _paper_key(condition: str, further: Sequence[str]) -> str:
    decomposer, solver = roles(condition)
    is_gpt4 = solver in further and "gpt4" in solver.lower().replace("-", "").replace("_", "")
    return f"{decomposer}+gpt4" if is_gpt4 else condition


def _say_4(run: RunFiles, lines: Sequence[Line]) -> str:
    solvers = dict.fromkeys(roles(line.key)[1] for line in lines)
    pairs = ((solver, _cell(lines, f"S_D-R+{solver}"), _cell(lines, f"student0+{solver}")) for solver in solvers)
    parts = [_gap_or(run, a, b, f"before {solver}, S_D-R against the untrained student {{}}") for solver, a, b in pairs]
    return _joined(parts, "no solver had both S_D-R and the untrained student before it.")


def table_6(run: RunFiles) -> list[Block]:
    """All subquestions at once, or one after the other (self-ask)."""
    extras = (
        ("Input tokens", lambda cell: _input_text(cell, 1)),
        ("Input tokens a question", lambda cell: _input_text(cell, answered_in(cell))),
    )
    return _tables(run, TABLES[6], ["Condition"], _lines_6, _say_6, extras)


def _lines_6(run: RunFiles, test: str) -> list[Line]:
    wanted = ("interactive", REFERENCE, "teacher+solver")
    return [
        _line(run, cell)
        for cell in in_domain(run, test)
        if str(cell.get("condition")) in wanted or "interactive@" in str(cell.get("condition"))
    ]


def _input_text(cell: Cell, questions: Any) -> str:
    usages = stages_of(cell)
    return _tokens_text(cell, usages, _SIDES[:1], questions) if usages and number(questions) else "n/a"


def _input_tokens(cell: Cell) -> float | None:
    """Of a question; None where they were not counted."""
    counts = [usage.get("input_tokens") for usage in stages_of(cell).values()]
    questions = answered_in(cell)
    return sum(map(number, counts)) / questions if counts and questions else None


def _say_6(run: RunFiles, lines: Sequence[Line]) -> str:
    dynamic, static = _cell(lines, "interactive"), _cell(lines, "teacher+solver") or _cell(lines, REFERENCE)
    if dynamic is None or static is None:
        return "only one of the two forms was run."
    before, after = _input_tokens(static), _input_tokens(dynamic)
    ratio = f"takes {after / before:.1f} times the input tokens" if before and after else "has uncounted tokens"
    return f"the interactive form {ratio} and scores {gap(run, dynamic, static)} against the static one."


def table_7(run: RunFiles) -> list[Block]:
    """The decomposer asked to solve."""
    return _tables(run, TABLES[7], ["Condition"], _lines_7, _say_7)


def _lines_7(run: RunFiles, test: str) -> list[Line]:
    return [
        _line(run, c)
        for c in in_domain(run, test)
        if roles(c.get("condition"))[1].startswith("S_D") or c.get("condition") == "S_D-R+student0"
    ]


def _say_7(run: RunFiles, lines: Sequence[Line]) -> str:
    text = "the trained decomposer as solver against the untrained student as solver: {}."
    return _gap_or(run, _cell(lines, "S_D-R+S_D-R"), _cell(lines, "S_D-R+student0"), text) or "only one of the two solvers was run."


def table_8(run: RunFiles) -> list[Block]:
    """Solvers trained with the sub-answers in their target, and without."""
    return _tables(run, TABLES[8], ["Condition"], _lines_8, _say_8)


def _lines_8(run: RunFiles, test: str) -> list[Line]:
    cells = (cell for cell in in_domain(run, test) if roles(cell.get("condition"))[0] in ("teacher", "none"))
    return [_line(run, cell) for cell in cells if roles(cell.get("condition"))[1].startswith("S_E")]


def _say_8(run: RunFiles, lines: Sequence[Line]) -> str:
    pairs = [(key, _cell(lines, key.removesuffix("(direct)")), _cell(lines, key)) for key in _keys(lines) if key.endswith("(direct)")]
    parts = [_gap_or(run, direct, full, f"without sub-answers {key} is {{}} against with them") for key, full, direct in pairs]
    return _joined(parts, "no solver was trained both with and without sub-answers.")


def _keys(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line.key for line in lines))


def table_9(run: RunFiles) -> list[Block]:
    """Decomposers with examples in their prompt."""
    return _tables(run, TABLES[9], ["Condition"], _lines_9, _say_9)


def _lines_9(run: RunFiles, test: str) -> list[Line]:
    own = [cell for cell in cells_of(run) if cell.get("test") == test and cell.get("train") in (None, test)]
    shown = [(_few_shot_key(cell), cell) for cell in own if not cell.get("ablation") or _is_few_shot(cell)]
    few = {key for key, cell in shown if key.endswith(", few-shot")}
    return [Line((key,), key, cell) for key, cell in shown if key in few or f"{key}, few-shot" in few]


def _is_few_shot(cell: Cell) -> bool:
    return str(cell.get("ablation")).startswith(_FEW_SHOT) or roles(cell.get("condition"))[0] == "fewshot"


def _few_shot_key(cell: Cell) -> str:
    name = str(cell.get("condition"))
    return f"{name.replace('fewshot', 'student0')}, few-shot" if _is_few_shot(cell) else name


def _say_9(run: RunFiles, lines: Sequence[Line]) -> str:
    pairs = [(key, _cell(lines, key), _cell(lines, key.removesuffix(", few-shot"))) for key in _keys(lines) if key.endswith(", few-shot")]
    return _joined(
        [_gap_or(run, few, zero, f"{key}, {{}} against none") for key, few, zero in pairs], "no pair with and without examples was run."
    )


def table_10(run: RunFiles) -> list[Block]:
    """Limits on the number of subquestions."""
    return _tables(run, TABLES[10], ["Condition", "Limit"], _lines_10, _say_10)


def _lines_10(run: RunFiles, test: str) -> list[Line]:
    own = [cell for cell in cells_of(run) if cell.get("test") == test and cell.get("train") in (None, test)]
    limited = [cell for cell in own if str(cell.get("ablation")).startswith("limit=")]
    names = {cell.get("condition") for cell in limited}
    plain = [cell for cell in own if not cell.get("ablation") and cell.get("condition") in names]
    lines = [Line((label(run, cell), "as configured"), "as configured", cell) for cell in plain]
    return lines + [Line((label(run, cell), str(cell["ablation"])), _limit_key(cell), cell) for cell in limited]


def _limit_key(cell: Cell) -> str:
    return "limit=none" if cell["ablation"] == "limit=0" else str(cell["ablation"])


def _say_10(run: RunFiles, lines: Sequence[Line]) -> str:
    scored = [line for line in lines if score_of(line.cell) is not None]
    if not scored:
        return "no limit has a score."
    best = max(scored, key=lambda line: score_of(line.cell) or 0)
    return f"of {len(scored)} cells the highest score is that of {best.label[0]}, {best.label[1]}: {percent(score_of(best.cell))}."

"""Replies of instruct LMs to the prompts of the two stages, in every format that they are asked in: what the program makes of each."""

# ruff: noqa: E501
import contextlib
import time

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from scripted import scripted_lm

from programs import Answer, Decompose, Solve, TwoStage
from programs.adapter import LineAdapter, tolerant
from programs.decomposition import read_decomposition

ADAPTERS = ("line", "chat", "json")
A, B = "How many clips did she sell in May?", "How many clips did she sell altogether?"
BOTH = [A, B]


def program_of(adapter, reply):
    made = dspy.JSONAdapter() if adapter == "json" else adapter
    program = TwoStage(adapters={"decompose": made, "solve": made})
    program.set_lm(scripted_lm(lambda prompt: reply))
    return program, program.decompose.lm.script


def decomposed(adapter, reply):
    program, script = program_of(adapter, reply)
    found, _ = program.run_decompose("q?")
    assert len(script.prompts) == 1, "asked a second time"
    return found.subquestions, found.state


def solved(adapter, reply):
    program, script = program_of(adapter, reply)
    found, _ = program.run_solve("q?", "", ["a?", "b?"])
    assert len(script.prompts) == 1, "asked a second time"
    return found


LISTS = {
    "json": '["{}", "{}"]',
    "pretty json": '[\n  "{}",\n  "{}"\n]',
    "json with the last comma": '[\n  "{}",\n  "{}",\n]',
    "fenced": '```json\n[\n  "{}",\n  "{}"\n]\n```',
    "lead-in and json": 'Here are the subquestions:\n\n["{}", "{}"]',
    "lead-in, fence and talk": 'Sure!\n```json\n["{}", "{}"]\n```\nLet me know if you need more.',
    "key": '{{"subquestions": ["{}", "{}"]}}',
    "pretty key": '{{\n  "subquestions": [\n    "{}",\n    "{}"\n  ]\n}}',
    "fenced key": '```json\n{{"subquestions": ["{}", "{}"]}}\n```',
    "key with underscore": '{{"sub_questions": [{{"question": "{}"}}, {{"question": "{}"}}]}}',
    "objects with answers": '{{"subquestions": [{{"question": "{}", "answer": "24"}}, {{"question": "{}", "answer": "72"}}]}}',
    "string in place of a list": '{{"subquestions": "1. {}\\n2. {}"}}',
    "numbered keys": '{{"subquestions": {{"1": "{}", "2": "{}"}}}}',
    "keys of their own": '{{"subquestion_1": "{}", "subquestion_2": "{}"}}',
    "python": "['{}', '{}']",
    "python key": "{{'subquestions': ['{}', '{}']}}",
    "assignment": 'subquestions = ["{}", "{}"]',
    "signs": "#1 {}\n#2 {}",
    "signs after a lead-in": "Here they are:\n\n#1 {}\n#2. {}",
    "signs in json": '["#1 {}", "#2 {}"]',
    "numbered items in json": '["1. {}", "2. {}"]',
    "json objects a line": '{{"question": "{}"}}\n{{"question": "{}"}}',
    "quoted lines": '"{}"\n"{}"',
    "quoted numbered lines": '1. "{}"\n2. "{}"',
    "chat": '[[ ## subquestions ## ]]\n["{}", "{}"]\n\n[[ ## completed ## ]]',
    "chat without completed": '[[ ## subquestions ## ]]\n["{}", "{}"]',
    "chat with lines": "[[ ## subquestions ## ]]\n1. {}\n2. {}\n\n[[ ## completed ## ]]",
    "chat with square numbers": "[[ ## subquestions ## ]]\n[1] {}\n[2] {}\n\n[[ ## completed ## ]]",
    "chat with bare lines": "[[ ## subquestions ## ]]\n{}\n{}\n\n[[ ## completed ## ]]",
    "chat with fence": '[[ ## subquestions ## ]]\n```json\n["{}", "{}"]\n```\n\n[[ ## completed ## ]]',
    "heading": '## subquestions\n["{}", "{}"]',
    "heading and list": "### Subquestions\n\n1. {}\n2. {}",
    "bold label": "**subquestions**:\n- {}\n- {}",
    "bold label, json": '**subquestions**: ["{}", "{}"]',
    "bold": "**{}**\n**{}**",
    "bold numbers": "**1.** {}\n**2.** {}",
    "bold items": "1. **{}**\n2. **{}**",
    "bold label 1": "**Subquestion 1:** {}\n**Subquestion 2:** {}",
    "bold label in list": "1. **Subquestion 1**: {}\n2. **Subquestion 2**: {}",
    "label": "Subquestion 1: {}\n\nSubquestion 2: {}",
    "label above": "### Subquestion 1\n{}\n\n### Subquestion 2\n{}",
    "bold label above": "**Subquestion 1:**\n{}\n\n**Subquestion 2:**\n{}",
    "sub-question #1": "Sub-question #1: {}\nSub-question #2: {}",
    "ordinals": "First subquestion: {}\nSecond subquestion: {}",
    "dash": "1 - {}\n2 - {}",
    "no space": "1.{}\n2.{}",
    "letters": "a) {}\nb) {}",
    "letters with stop": "a. {}\nb. {}",
    "round": "(1) {}\n(2) {}",
    "square": "[1] {}\n[2] {}",
    "ideographic comma": "1、{}\n2、{}",
    "colon": "1: {}\n2: {}",
    "circled": "① {}\n② {}",
    "quote": "> {}\n> {}",
    "quoted list": "> 1. {}\n> 2. {}",
    "plus": "+ {}\n+ {}",
    "en dash": "– {}\n– {}",
    "Q1": "Q1. {}\nQ2. {}",
    "Q1:": "Q1: {}\nQ2: {}",
    "step": "Step 1: {}\nStep 2: {}",
    "bold step": "**Step 1:** {}\n**Step 2:** {}",
    "roman": "I. {}\nII. {}",
    "small roman": "i. {}\nii. {}",
    "round roman": "(i) {}\n(ii) {}",
    "on one line": "1. {} 2. {}",
    "lead-in on the line": "Here are the subquestions: 1. {} 2. {}",
    "lead-in": "To answer this question, we can break it down as follows:\n\n1. {}\n2. {}",
    "lead-in with a question": "Let's break down 'How many clips did Natalia sell?' into parts:\n1. {}\n2. {}",
    "lead-in before the first": "Sure, here are the subquestions: {}\n{}",
    "question restated": "Question: How many clips did Natalia sell altogether in April and May?\nSubquestions:\n1. {}\n2. {}",
    "question restated, bare": "**Original question:** Natalia sold clips. How many?\n\n{}\n{}",
    "offer behind": "1. {}\n2. {}\n\nWould you like me to solve them?",
    "offer behind bare lines": "{}\n{}\nWould you like me to solve them?",
    "remark behind": "1. {}\n2. {}\n\nThese subquestions lead to the final answer. Calculate them in order.",
    "titles": "1. **Clips in May**: {}\n2. **Total:** {}",
    "nested": "1. **Clips in May**\n   - {}\n2. **Total**\n   - {}",
    "explained": "1. {}\n   - This gives the number for May.\n2. {}\n   - Calculate 48 + 24 = 72.",
    "think": "<think>Who? First I ask. Is it 3?</think>\n1. {}\n2. {}",
    "loop": "1. {0}\n2. {1}\n3. {0}\n4. {1}\n5. {0}\n6. {1}",
    "loop in other case": "{0}\n{1}\n{0}\n- {1}\n",
    "answers behind": "1. {} 24\n2. {} 24 + 48 = 72",
    "arrows": "{} -> 24 clips\n{} → 72 clips",
    "answers in brackets": "1. {} (24)\n2. {} **72**",
    "answers below": "1. {}\n   Answer: 24\n2. {}\n   Answer: 72\n\nFinal answer: 72",
    "answers below, bold": "**Subquestion 1:** {}\n**Answer:** 48/2 = 24\n\n**Subquestion 2:** {}\n**Answer:** Is it 72? Yes.",
    "Q and A": "Q1: {}\nA1: 24\nQ2: {}\nA2: 72",
    "latex below": "1. {}\n\\[ 48 / 2 = 24 \\]\n2. {}\n\\[ 48 + 24 = 72 \\]",
    "opt-out behind": "1. {}\n2. {}\n\nNo decomposition needed.",
    "opt-out restated": "1. {}\n2. {}\n3. No decomposition",
    "on one line, no marks": "{} {}",
    "semicolons": "{}; {}",
    "on one line, with an offer": "{} {} Would you like me to go on?",
    "on one line in json": '["{} {}"]',
    "html": "<ol><li>{}</li><li>{}</li></ol>",
    "html page": "<html><body>\n<ul>\n<li>{}</li>\n<li>{}</li>\n</ul></body></html>",
    "paragraphs": "<p>{}</p><p>{}</p>",
    "tags on one line": "<subquestions><q>{}</q><q>{}</q></subquestions>",
    "tags in tags": '<subquestion id="1"><text>{}</text></subquestion>\n<subquestion id="2"><text>{}</text></subquestion>',
    "tags in tags, with ids": "<subquestion>\n<id>1</id>\n<text>{}</text>\n</subquestion>\n<subquestion>\n<id>2</id>\n<text>{}</text>\n</subquestion>",
    "calls of a tool": '[{{"name": "ask", "parameters": {{"question": "{}"}}}}, {{"name": "ask", "parameters": {{"question": "{}"}}}}]',
    "calls as OpenAI writes them": '[{{"type": "function", "function": {{"name": "ask", "arguments": "{{\\"question\\": \\"{}\\"}}"}}}}, '
    '{{"type": "function", "function": {{"name": "ask", "arguments": "{{\\"question\\": \\"{}\\"}}"}}}}]',
    "a call as Llama writes it": '<|python_tag|>{{"name": "decompose", "parameters": {{"subquestions": "[\\"{}\\", \\"{}\\"]"}}}}',
    "a call as Mistral writes it": '[TOOL_CALLS]decompose{{"subquestions": ["{}", "{}"]}}',
    "calls as Mistral writes them": '[TOOL_CALLS] [{{"name": "decompose", "arguments": {{"subquestions": ["{}", "{}"]}}}}]',
    "latex": "\\begin{{enumerate}}\n\\item {}\n\\item[2.] {}\n\\end{{enumerate}}",
    "steps over questions": "1. Find the clips in May\n   - {}\n2. Find the total\n   - {}",
    "headings over questions": "### Step 1: Find the clips in May\n**Question:** {}\n\n### Step 2: Find the total\n**Question:** {}",
    "another task behind": '1. {}\n2. {}\n\n## Your task: Decompose the question "Who painted Guernica?"\n\n1. Who painted Guernica?',
    "breaks": "{}<br>{}",
    "breaks and numbers": "1. {}<br>2. {}",
    "python function": "```python\ndef subquestions():\n    return ['{}', '{}']\n```",
    "python return": "```python\nreturn ['{}', '{}']\n```",
    "python print": "print(['{}', '{}'])",
    "refusal to solve": "Sorry, I cannot solve it. The subquestions are:\n1. {}\n2. {}",
    "refusal before bare lines": "I cannot answer it directly.\n{}\n{}",
    "what is needed": "To answer this, we need the following information:\n1. {}\n2. {}",
    "asked for politely": "Please provide answers to the following subquestions:\n1. {}\n2. {}",
    "broken off list": '["{0}", "{1}", "{0}", "{1}", "How ma',
    "broken off pretty list": '```json\n[\n  "{0}",\n  "{1}",\n  "{0}",\n  "How ma',
    "broken off key": '{{"subquestions": ["{0}", "{1}", "{0}", "How m',
    "broken off chat": '[[ ## subquestions ## ]]\n["{0}", "{1}", "{0}", "How ma',
}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("form", LISTS)
def test_lists(form, adapter):
    assert decomposed(adapter, LISTS[form].format(*BOTH)) == (BOTH, "ok")


OTHERS = {
    "五月份她卖了多少个发夹？\n总共卖了多少个？": ["五月份她卖了多少个发夹？", "总共卖了多少个？"],
    "子问题1：五月份她卖了多少个？\n子问题2：总共多少个？": ["五月份她卖了多少个？", "总共多少个？"],
    "以下是子问题：\n1、五月份她卖了多少个？\n2、总共多少个？": ["五月份她卖了多少个？", "总共多少个？"],
    "1. เธอขายกิ๊บได้กี่อันในเดือนพฤษภาคม\n2. เธอขายได้ทั้งหมดเท่าไร": ["เธอขายกิ๊บได้กี่อันในเดือนพฤษภาคม", "เธอขายได้ทั้งหมดเท่าไร"],
    "1. Քանի՞ հատ վաճառեց\n2. Ընդամենը քանի՞ հատ": ["Քանի՞ հատ վաճառեց", "Ընդամենը քանի՞ հատ"],
    "1. 5月にいくつ売りましたか。\n2. 合計はいくつですか？": ["5月にいくつ売りましたか。", "合計はいくつですか？"],
    "١. x\n1. كم مشبكا باعت في مايو؟\n2. كم باعت في المجموع؟": ["كم مشبكا باعت في مايو؟", "كم باعت في المجموع؟"],
    "1. Calculate how many clips were sold in May.\n2. Find the total cost.": [
        "Calculate how many clips were sold in May.",
        "Find the total cost.",
    ],
    "Calculate the clips in May.\nAdd the two numbers.": ["Calculate the clips in May.", "Add the two numbers."],
    "**Step 1: Find the number of clips in May**\n**Step 2: Find the total**": ["Find the number of clips in May", "Find the total"],
    '["Calculate the clips in May", "Find the total"]': ["Calculate the clips in May", "Find the total"],
    "1. Calculate the clips in May: 48/2 = 24\n2. Calculate the total -> 72": ["Calculate the clips in May: 48/2", "Calculate the total"],
    "1. Solve 2x + 1 = 5 for x.": ["Solve 2x + 1 = 5 for x."],
    "1. How many clips did she sell in May\n2. How many in all?": ["How many clips did she sell in May", "How many in all?"],
    "1. How many clips\n   did she sell in May?\n2. Is it 3?": ["How many clips did she sell in May?", "Is it 3?"],
    "1. If $x = \\frac{3}{4}$, what is $2x$?\n2. What is #1 + 1?": ["If $x = \\frac{3}{4}$, what is $2x$?", "What is #1 + 1?"],
    'Who wrote "Who\'s Afraid of Virginia Woolf?" in 1962\nWho is he?': [
        'Who wrote "Who\'s Afraid of Virginia Woolf?" in 1962',
        "Who is he?",
    ],
    'Who wrote "Why?"': ['Who wrote "Why?"'],
    "I. Newton was born where?\nWho is A. B. Smith?": ["I. Newton was born where?", "Who is A. B. Smith?"],
    "1.5 kg of apples cost how much?\nHow much are 3?": ["1.5 kg of apples cost how much?", "How much are 3?"],
    "Who is he?\nUse the answers to find the total.": ["Who is he?"],
    "Who is he?\nAdd the numbers to get the answer.": ["Who is he?"],
    'Who asked "Where are you?" in the book?': ['Who asked "Where are you?" in the book?'],
    "What is x? (of #1)": ["What is x? (of #1)"],
    "Who is older? Ann or Bob?": ["Who is older? Ann or Bob?"],
    "1. Who wrote Faust? What else did he write? Where did he die?": [
        "Who wrote Faust?",
        "What else did he write?",
        "Where did he die?",
    ],
    "他是在哪一年出生的？他在哪里去世的？": ["他是在哪一年出生的？", "他在哪里去世的？"],
    "What does HTTP 404 Not Found mean?": ["What does HTTP 404 Not Found mean?"],
    "What does the <br> tag do?": ["What does the <br> tag do?"],
    "If I cannot see 3 of the 7 balls, how many can I see?": ["If I cannot see 3 of the 7 balls, how many can I see?"],
    "The number of apples is unknown. How many are there?": ["The number of apples is unknown. How many are there?"],
    "No decomposition\n1. Who is he?\n2. Where is #1?": ["Who is he?", "Where is #1?"],
}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", OTHERS)
def test_other_questions_and_tasks(reply, adapter):
    assert decomposed(adapter, reply) == (OTHERS[reply], "ok")


OPT_OUTS = [
    "No decomposition", "No decomposition needed.", "No decomposition is necessary", "**No decomposition**", "N/A", "None", "None needed.",
    "1. No decomposition", '["No decomposition"]', '{"subquestions": ["No decomposition"]}', '{"subquestions": "No decomposition"}',
    "[[ ## subquestions ## ]]\nNo decomposition\n\n[[ ## completed ## ]]", "No subquestions are needed.", "Subquestions: No decomposition",
    "The question is simple and needs no decomposition.", "This question does not need decomposition.", "无需分解",
    "No decomposition needed. What is 2 + 2? is simple.", "No decomposition needed. The answer is 72.", "<think>Is it hard?</think>No decomposition",
]  # fmt: skip


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", OPT_OUTS)
def test_opt_outs(reply, adapter):
    assert decomposed(adapter, reply) == ([], "none_needed")


PAGE = (
    "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>\n<h1>502 Bad Gateway</h1>\n<h2>What happened?</h2>\n"
    "<p>The server reported a bad gateway.</p>\n</body>\n</html>"
)
REFUSALS = [
    "I cannot decompose this question. Could you provide more details?", "1. I cannot decompose this question. What is meant?",
    "As an AI language model, I cannot perform this action. What else can I help you with?",
    "I can't assist with that. How about another topic?", "I can't assist with that.\n\nHow about another topic?",
    'The question is unclear. What do you mean by "pens"?', "The question lacks context. Who is he?",
    "Unfortunately I don't have access to the passage. Which passage do you mean?",
    "I cannot decompose this question.\nWhich passage is it about?", "I'm not sure what you mean. Could you rephrase?",
    "There is not enough information to decompose the question. What is missing?", "Sure! Would you like me to break it down?",
    '["I cannot decompose this question.", "Could you provide more details?"]',
    '{"subquestions": ["I cannot decompose this question. Could you provide more details?"]}',
    "[[ ## subquestions ## ]]\nI cannot decompose this question. What do you mean?\n\n[[ ## completed ## ]]",
    "Ich kann diese Frage nicht zerlegen. Könnten Sie mehr Details angeben?", "Leider kann ich diese Frage nicht beantworten. Welche Stifte meinen Sie?",
    "No puedo descomponer esta pregunta. ¿Podría darme más detalles?", "Lo siento, no puedo ayudar con eso. ¿En qué más puedo ayudarte?",
    "Désolé, je ne peux pas décomposer cette question. Pouvez-vous préciser ?", "抱歉，我无法回答这个问题。还有什么可以帮您的吗？",
    "申し訳ありませんが、その質問には回答できません。他に何かお手伝いできますか？",
    "Não posso responder. Pode dar mais detalhes?", "Не могу ответить на этот вопрос. Можете уточнить?",
    "I won't help with that. What else?", "I must decline. Is there another question?", "I refuse to answer. Who is it?",
    "Error: rate limit exceeded. What now?", "Error code: 500\nWhat happened?", '{"error": {"message": "Rate limit exceeded. What now?"}}',
    "I cannot decompose this question. I need more details:\n- What do you mean by pens?\n- Which Natalia do you mean?",
    "To help you better, could you please clarify:\n1. What is the time frame?\n2. Who is Natalia?",
    "Sure! Before I decompose the question, could you tell me:\n\n1. What is the time frame?\n2. Who is she?",
    "I'd need to ask you a few questions first:\n* Who is she?\n* Which year is meant?",
    "Könnten Sie bitte folgendes angeben:\n1. Welches Jahr ist gemeint?\n2. Wer ist sie?", "请您提供更多信息：\n1. 哪一年？\n2. 她是谁？",
    "Your question seems incomplete. What is the rest?", "The question appears to be cut off. What comes next?",
    PAGE, PAGE.replace("\n", ""),
]  # fmt: skip
UNREAD = [
    "The mayor of Rockford is RockCorp.", "Let's break the question into parts.", "Here are the subquestions:", "", "{}", "[]",
    "1. Natalia sold 48 clips.\n2. She sold 24 in May.", "The answer is 72.", "Find the total cost:", "Would you like me to go on?",
    "I cannot help with that.", *REFUSALS, "Note that 48 / 2 = 24.", "<think>Who is he? Where", '["72"]',
]  # fmt: skip


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", UNREAD)
def test_talk_is_no_decomposition_in_any_format(reply, adapter):
    """It would flatter the decomposer."""
    assert decomposed(adapter, reply) == ([], "unparseable")


def test_a_text_in_place_of_a_list_is_not_read_by_letters():
    assert read_decomposition("1. Who?\n2. Where?", 3)[:2] == (["Who?", "Where?"], "ok")


LONG = "\n".join(["Answer: 1.5"] * 100)
WORK = "1. Natalia sold 48/2 = 24 clips in May.\n2. 48 + 24 = 72 clips altogether."
ANSWERS = {
    "The answer is Rome.": "Rome",
    'Therefore, the answer to the question "What is the capital of Italy?" is Rome.': "Rome",
    "So the answer to 'Which city is older, Rome or Paris?' is: Rome": "Rome",
    "The correct answer is: Rome": "Rome",
    "The correct answer is:\nRome": "Rome",
    "### Answer\nRome": "Rome",
    "### Final Answer\n\n**Rome**": "Rome",
    "Answer：Rome": "Rome",
    "答案：18": "18",
    "最终答案：18": "18",
    "答案是：18": "18",
    "Antwort: 18": "18",
    "\\boxed{18}": "18",
    "So we get $$\\boxed{18}$$": "18",
    "**18**": "18",
    "The sum is 9 * 2.\n\n**18**": "18",
    "#### 18": "18",
    "Answer: Rome\n\nExplanation: it is the capital.": "Rome",
    "Answer: Rome\nExplanation: it is the capital.": "Rome",
    "Answer: Rome (Explanation: it is the capital.)": "Rome",
    "Answer: Rome\n\nThe capital of Italy has been Rome since 1871.": "Rome",
    "**Answer:** Rome\n\n**Explanation:**\nIt is the capital.": "Rome",
    "Answer: Rome\nNote: since 1871.": "Rome",
    LONG: "1.5",
    LONG + "\nAnswer: 1.": "1.5",
    LONG + "\nAnswer:": "1.5",
    "Final Answer: $18": "$18",
    "Therefore, Janet makes **$18** every day at the farmers' market.": "$18",
    "9 * 2 = 18\n\nTherefore, Janet makes **$18** every day at the farmers' market.": "$18",
    "Therefore, Janet makes $18 every day at the farmers' market.": "Janet makes $18 every day at the farmers' market",
    "9 * 2 = 18\nSo, Janet makes $18 a day.": "Janet makes $18 a day",
    "9 * 2 = 18\nSo, what those who did not pay owe is $18.": "what those who did not pay owe is $18",
    "Therefore, what Janet makes in a day is Answer: $18": "$18",
    "1. 9\n2. 18\nTherefore, the answer to the question is:\n\\[ 9 * 2 = 18 \\]": "9 * 2 = 18",
    "1. 9\n2. 18\nThe final answer to the question itself is:\n\n\\[\n\\boxed{18}\n\\]": "18",
    "**Answer:** 18 dollars": "18 dollars",
    "Answer: 18\n\nSubquestion 4: How many are left?\nAnswer: 5": "18",
    "Answer: 18\n\nQuestion: How many are left?\nSubquestions:\n1. Who?\nAnswer: 5": "18",
    "Sub answers:\n1. 9\n2. 18\nAnswer: 18": "18",
    "Sub answers:\n1. 9\n2. 18\nAnswer: 18\n\nSubquestion 3: How many?\nAnswer: 5": "18",
    "1. Clips in May?\nAnswer: 5\n2. Clips in all?\nAnswer: 7\nAnswer: 12": "12",
    "1. Clips in May?\nAnswer: 5\n2. Clips in all?\nAnswer: 7": "7",
    "Subquestion 1: In May?\nAnswer: 24\n\nSubquestion 2: In all?\nAnswer: 72\n\nQuestion: How many?\nAnswer: 72 clips": "72 clips",
    "Subquestion 1: In May?\nAnswer: 24\n\nSubquestion 2: In all?\nAnswer: 72\n\nAnswer: 72 clips\n\nSubquestion 3: More?\nAnswer: 9": "72 clips",
    "1. Answer: 24\n2. Answer: 72\nFinal answer: 18": "18",
    "Answer: 5\nAnswer: 7\nFinal answer: 18": "18",
    "Answer: 17\nWait, let me check: 9 * 2.\nAnswer: 18": "18",
    "Answer: 17\n\nWait, that leaves out the price. Answer: 18": "18",
    "Answer: 18\n\n## Your task: Tom has 5 apples and eats one. How many are left?\n\nAnswer: 4": "18",
    WORK + "\nAnswer: 72": "72",
    WORK + "\n\n**Final Answer:** \\(72\\)": "72",
    WORK + "\n\nThe final answer is $\\boxed{72}$.": "72",
    "[[ ## sub_answers ## ]]\n[\"24\", \"72\"]\n\n[[ ## answer ## ]]\n72\n\n[[ ## completed ## ]]": "72",
    "[[ ## sub_answers ## ]]\n1. 24\n2. 72\n\n[[ ## answer ## ]]\n**72**\n\n[[ ## completed ## ]]": "72",
    "[[ ## answer ## ]]\n72\n\n[[ ## completed ## ]]": "72",
    "[[ ## sub_answers ## ]]\n[\"24\"]\n\n[[ ## answer ## ]]\n72\n\nExplanation: 48 + 24": "72",
    "## sub_answers\n- 24\n\n## answer\n72": "72",
    "**sub_answers**: [\"24\"]\n**answer**: 72": "72",
    '{"sub_answers": ["24", "72"], "answer": "72"}': "72",
    '{"sub_answers": ["24", "72"], "answer": 72}': "72",
    '```json\n{"sub_answers": [24, 72], "answer": "72"}\n```': "72",
    '{"answer": "72"}': "72",
    '{"sub_answers": "24\\n72", "final_answer": "72"}': "72",
    "Subquestion 1: In May?\nAnswer 1: 24\n\nAnswer to the main question: 72": "72",
    "1. 24\n2. 72\n\n**Final answer to the question:** 72 clips": "72 clips",
    "#1: 24\n#2: 72\n\nAnswer: 72": "72",
    "Answer: The answer is 72.": "72",
    "Answer: 3. Mai 1990": "3. Mai 1990",
    "Answer: - 4": "- 4",
    "Answer: -4": "-4",
    "Answer: 1. FC Köln": "1. FC Köln",
    "Answer: (a)": "(a)",
    "Answer: A)": "A)",
    "Answer: U.S.": "U.S.",
    "Answer: 3.5": "3.5",
    "Answer: 1,000": "1,000",
    "Answer: 24/7": "24/7",
    "Answer: C++": "C++",
    "Answer: 10:30": "10:30",
    "Answer: Paris\nLondon": "Paris\nLondon",
    "Answer:\n- Paris\n- London": "- Paris\n- London",
    "Answer: Steps": "Steps",
    "Answer: Notes from Underground": "Notes from Underground",
    "Answer: The Reason: A Story": "The Reason: A Story",
}  # fmt: skip


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", ANSWERS)
def test_answers(reply, adapter):
    found = solved(adapter, reply)
    assert (found.answer, found.unparsed) == (ANSWERS[reply], False)


@pytest.mark.parametrize("reply", [reply for reply in ANSWERS if "sub_answers" not in reply and "##" not in reply])
def test_one_stage_reads_the_same_answers(reply):
    """A baseline's reply that one stage reads worse than two flatters the product."""
    reasoned = dspy.ChainOfThought(Answer).predict.signature
    assert [LineAdapter().parse(signature, reply)["answer"] for signature in (Answer, reasoned)] == [ANSWERS[reply]] * 2


NOTE = '        # note: the value you produce must adhere to the JSON schema: {"type": "array", "items": {"type": "string"}}'


def test_notes_of_dspys_prompt_in_a_reply_are_no_values():
    """As Qwen2.5-Coder-0.5B copies them (docs/log.md)."""
    reply = f'[[ ## subquestions ## ]]\n["Who is his mother?", "Where was she born?"]{NOTE}'
    assert decomposed("chat", reply) == (["Who is his mother?", "Where was she born?"], "ok")
    assert solved("chat", f"[[ ## sub_answers ## ]]{NOTE}\n\n[[ ## answer ## ]]{NOTE}").unparsed
    found = solved("chat", f'[[ ## sub_answers ## ]]\n["Ann"]{NOTE}\n\n[[ ## answer ## ]]\nRome{NOTE}')
    assert (found.sub_answers, found.answer, found.unparsed) == (["Ann"], "Rome", False)


NO_ANSWER = [
    "because", "Let us think about it.", "I do not know what the answer is.", "The answer is not 18", "So I can **not** answer this.", "Answer:",
    "1. Natalia sold 24.\n2. She sold 72.", "**Note:**", "<think>Answer: 18", "{}", '{"answer": null}', "So the result is **unknown**.",
]  # fmt: skip


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", NO_ANSWER)
def test_no_answer_is_guessed(reply, adapter):
    """It would flatter whichever program wrote it."""
    assert solved(adapter, reply).unparsed


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    "reply", ["3. Mai 1990", "- 4", "-4", "1. FC Köln", "(a)", "A)", "U.S.", "3.5", "1,000", "24/7", "C++", "10:30", "Paris\nLondon"]
)
def test_answers_that_look_like_items_stay_whole(reply, adapter):
    if adapter == "line":
        assert LineAdapter().parse(Answer, reply) == {"answer": reply}
    assert solved(adapter, f"[[ ## sub_answers ## ]]\n[]\n\n[[ ## answer ## ]]\n{reply}\n\n[[ ## completed ## ]]").answer == reply


SUB_ANSWERS = {
    WORK + "\nAnswer: 72": ["Natalia sold 48/2 = 24 clips in May.", "48 + 24 = 72 clips altogether."],
    "1. In May:\n48/2 = 24\n2. In all:\n48 + 24\n= 72\n\nAnswer: 72": ["In May: 48/2 = 24", "In all: 48 + 24 = 72"],
    "Sub answers:\n1. 24\n2. 72\nAnswer: 72": ["24", "72"],
    "Let's solve it.\n\n**1.** In May: \\[48/2 = 24\\]\n\n**2.** 72\n\n**Answer:** 72": ["In May: \\[48/2 = 24\\]", "72"],
    "Subquestion 1: In May?\nReasoning: 48/2\nAnswer: 24\n\nSubquestion 2: In all?\nAnswer: 72\n\nAnswer: 72": [
        "In May? Reasoning: 48/2 Answer: 24",
        "In all? Answer: 72",
    ],
    "Mary Hill\nRockford\nAnswer: Rockford": ["Mary Hill", "Rockford"],
    '{"sub_answers": [{"question": "In May?", "answer": "24"}], "answer": "72"}': ["24"],
}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", SUB_ANSWERS)
def test_a_sub_answer_for_each_subquestion(reply, adapter):
    assert solved(adapter, reply).sub_answers == SUB_ANSWERS[reply]


LOOPS = ["Answer: 1.5\n", "2000\n1200\n", "x", "7", '["How many?", ', "[", "{", "**", "1. ", "\n", "\\boxed{", "The answer is ", "#", "-", "(", "1+",
         "Subquestion 1: How many?\nAnswer: 5\n"]  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
def test_replies_that_loop_are_read_in_seconds(loop):
    """A reading whose time grows with the square of the length takes minutes for some of them, or never ends."""
    began = time.perf_counter()
    for adapter in (LineAdapter(), tolerant(dspy.ChatAdapter()), tolerant(dspy.JSONAdapter())):
        for signature in (Decompose, Solve):
            with contextlib.suppress(AdapterParseError):
                adapter.parse(signature, (loop * 100_000)[:100_000])
    assert time.perf_counter() - began < 60


def test_a_sign_that_stands_for_an_answer_is_kept():
    assert decomposed("line", "Who wrote Faust?\n#1 was born where?") == (["Who wrote Faust?", "#1 was born where?"], "ok")
    assert decomposed("line", "#1 Who wrote Faust?\n#2 Where was #1 born?") == (["Who wrote Faust?", "Where was #1 born?"], "ok")

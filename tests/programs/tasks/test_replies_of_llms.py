"""Each scorer on replies as language models write them: bold, boxed, explained, in other languages, with the right answer named in a wrong one."""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dspy
import pytest

from programs.tasks.base import Score
from programs.tasks.registry import load_task
from programs.tasks.scorers import SCORERS

Case = tuple[str, str, Any, list[str], list[str]]
"""Question, context, reference (a list for the spans of DROP), right replies, wrong replies."""

MULTIPLE_CHOICE: list[Case] = [
    (
        'Which planet is known as the Red Planet?\nA. Venus\nB. Mars\nC. Jupiter\nD. Saturn', '', 'B',
        [
            'B', 'B:', '**B**: Mars', 'B, Mars', 'Mars (option B)', 'Option B. Mars', 'Letter B', 'Answer: (B) Mars',
            'The answer is: **B) Mars**', 'The correct choice is B.', 'The best answer is B.', '**Final Answer:** B. Mars',
            '\\boxed{B. Mars}', 'The final answer is: $\\boxed{\\text{B}}$',
            'Mars is known as the Red Planet because of iron oxide on its surface.\n\nSo the answer is **B**.',
            'B. Mars\n\nMars is called the Red Planet because of its reddish color.', 'B. Mars (not A. Venus)', 'B rather than A',
            'B is correct.', 'Hence B.', "I'd say B.", 'I believe the answer is B.', 'Clearly B.', '```json\n{"answer": "B"}\n```',
            '<answer> B. Mars </answer>',
            '- A. Venus: no, it is yellowish.\n- B. Mars: yes.\n- C. Jupiter: no.\n- D. Saturn: no.\n\n**Answer: B**',
            'First I thought A. No wait, B.', 'Die Antwort ist B.', '答案：B. Mars', 'La risposta corretta è B.', 'B!', '> B',
            '✅ B. Mars', 'B. Explanation: A, C and D are not red.', 'B as it is red', 'The answer is Mars, which is option B.',
            'Mars is the correct answer.', '\\boxed{Mars}', 'The letter is B.', 'B) Mars is the answer', "The answer is 'B'.",
            'Correct Option: B', 'Sure! The answer is B.',
        ],
        [
            'A', '**A**', 'A. Venus, not B. Mars', 'B is wrong.', "It's not B.", 'All but B', 'A/B', 'B, or maybe C', 'Mars, Venus',
            'None of the above', "I don't know", 'As an AI, I cannot choose an option.', 'The answer is B. Wait, no, it is A.',
            'Some would answer B. The answer is C.', '\\boxed{A} (Mars)', 'A. Mars', 'C: Mars', ' ', 'Bob',
            'The answer is A. Option B is wrong because Mars is cold.', 'Neither A nor B, so C', "I doubt it's B",
            'Die Antwort ist A.', "La réponse n'est pas B.", 'A. Venus\nB. Mars\nC. Jupiter\nD. Saturn', 'Not Mars', 'Venus or Mars',
            'Rule out B', 'Question: B',
        ],
    ),
    (
        'Which organ pumps blood through the body? (A) the liver (B) the heart (C) the lungs (D) a kidney', '', 'B',
        [
            'B', '(B) the heart', 'The heart', 'The answer is (B) the heart.', 'B. Heart', '(b)',
        ],
        [
            '(A)', 'A kidney', 'D', 'The lungs, not the heart', '(A) the heart', 'heart attack',
        ],
    ),
    (
        'Which organ pumps blood through the body? (A) the liver (B) the heart (C) the lungs (D) a kidney', '', 'D',
        [
            'D', 'A kidney', '(D) a kidney', 'The answer is D.',
        ],
        [
            'A', '(A)', 'The answer is a heart.',
        ],
    ),
    (
        'What is 7 + 8?\nA. 12\nB. 15\nC. 18\nD. 21', '', 'B',
        [
            'B', 'B. 15', 'The answer is 15.', '7 + 8 = 15. The answer is B. 15', '**15**', '$15$', 'Answer: 15 (B)', 'Option B (15)',
        ],
        [
            'A', '18', '150', '8', 'B. 12', 'The answer is 12, not 15.', '-15', '7 + 8 = 15 - no, 12',
        ],
    ),
    (
        'Which of these are mammals?\nA) Whales\nB) Bats\nC) Both A and B\nD) None of the above', '', 'C',
        [
            'C', 'Both A and B.', 'A and B', '(C)', 'The answer is C because both whales and bats are mammals.',
            'The correct answer is C. Both A (whales) and B (bats) are mammals.',
        ],
        [
            'A', 'A) Whales', 'D) None of the above', 'Not both A and B', 'D, not C',
        ],
    ),
    (
        'Which of these are mammals?\nA) Whales\nB) Bats\nC) Both A and B\nD) None of the above', '', 'D',
        [
            'D', 'None of the above.', 'D - none of the above', 'D. Neither A nor B',
        ],
        [
            'A', 'None of them is known', 'None but A',
        ],
    ),
    (
        'Which metal is liquid at room temperature?\na) iron\nb) copper\nc) mercury\nd) zinc', '', 'c',
        [
            'c', 'c) mercury', '(c) mercury', 'mercury', 'The answer is c) mercury.', 'Option c', 'Option C is correct.', '\\boxed{c}',
            'c, because mercury melts at -39 °C',
        ],
        [
            'a', 'iron', 'The answer is a.', 'a liquid metal', 'd, not c', 'The answer is a metal.', 'It is a good question.',
        ],
    ),
    (
        'Which vitamin do citrus fruits have most of?\nA. Vitamin A\nB. Vitamin B12\nC. Vitamin C\nD. Vitamin D', '', 'C',
        [
            'C', 'vitamin C', 'The answer is Vitamin C.', 'C) Vitamin C (ascorbic acid)',
        ],
        [
            'A', 'D', 'Vitamin B12', 'A. Vitamin C', 'Vitamin D, not vitamin C',
        ],
    ),
    (
        'Is the boiling point of water lower on a mountain?\nA) Yes\nB) No\nC) Cannot be determined', '', 'A',
        [
            'A', 'Yes.', 'Yes, because the pressure is lower.', 'A. Yes', 'Yes (A)', 'A) Yes, no doubt.',
        ],
        [
            'No', 'No.', 'C) Cannot be determined', 'B) Yes', 'yes, no', 'a mountain',
        ],
    ),
    (
        'Is the boiling point of water lower on a mountain?\nA) Yes\nB) No\nC) Cannot be determined', '', 'B',
        [
            'B', 'No.', '(B) No', 'No (B)', '**No**',
        ],
        [
            'Yes', 'C', 'No idea', 'I have no idea',
        ],
    ),
    (
        'Is the boiling point of water lower on a mountain?\nA) Yes\nB) No\nC) Cannot be determined', '', 'C',
        [
            'C', 'It cannot be determined.', 'C. Cannot be determined, as nothing is said of it.',
        ],
        [
            'Yes', 'B',
        ],
    ),
    (
        'Statement 1 | Every group is a ring. Statement 2 | Every field is a ring.\nA. True, True\nB. False, False\nC. True, False\nD. False, True', '', 'D',
        [
            'D', 'The answer is D.', 'Statement 1 is false and Statement 2 is true, so the answer is D.', '\\boxed{D}',
            'The correct answer is: D. False, True',
        ],
        [
            'A', 'True', 'D. True, False', 'True, True', 'Not D',
        ],
    ),
    (
        'What happens to a gas when it is compressed?\nA. A decrease in temperature\nB. An increase in temperature\nC. No change in temperature\nD. The gas always turns into a liquid', '', 'B',
        [
            'B', 'an increase in temperature', 'The answer is B. An increase in temperature.',
            "The gas's temperature increases, so the answer is B.", '**B. An increase in temperature**',
            'B. It is not A because the work is done on the gas.',
        ],
        [
            'A', 'A. A decrease in temperature', 'No change', 'An increase in pressure', 'A gas.', 'D. B is wrong',
        ],
    ),
    (
        'What happens to a gas when it is compressed?\nA. A decrease in temperature\nB. An increase in temperature\nC. No change in temperature\nD. The gas always turns into a liquid', '', 'A',
        [
            'A', 'A. A decrease in temperature', 'The answer is a decrease in temperature.', 'a',
        ],
        [
            'B', 'A gas', 'A lot of heat',
        ],
    ),
    (
        'What happens to a gas when it is compressed?\nA. A decrease in temperature\nB. An increase in temperature\nC. No change in temperature\nD. The gas always turns into a liquid', '', 'C',
        [
            'C', 'The answer is C. No change in temperature.', 'C. No change in temperature, as the process is isothermal.',
        ],
        [
            'A', 'no',
        ],
    ),
    (
        'Who wrote Hamlet?\n1. Marlowe\n2. Shakespeare\n3. Jonson\n4. Kyd', '', '2',
        [
            '2', '2. Shakespeare', 'Option 2', 'option 2: Shakespeare', 'The correct answer is option 2.',
            'The answer is Shakespeare.', '2 (Shakespeare)',
        ],
        [
            '1', '3', 'B', '2. Marlowe', 'not 2', '1, not 2', '2, 3',
        ],
    ),
    (
        'Was ist die Hauptstadt von Österreich?\nA) Graz\nB) Wien\nC) Linz\nD) Salzburg', '', 'B',
        [
            'B', 'Die Antwort ist B) Wien.', 'Antwort B', 'Lösung: B',
        ],
        [
            'A', 'Nicht Wien', 'Graz, nicht Wien', 'B oder C',
        ],
    ),
    (
        'Choose the synonym of happy. A: sad B: glad C: angry D: tired', '', 'B',
        [
            'B', 'Glad', 'The synonym of happy is glad.',
        ],
        [
            'A', 'C: angry', 'A: glad',
        ],
    ),
    (
        'Which pronoun fits best?\nA) I\nB) me\nC) mine\nD) myself', '', 'A',
        [
            'A', '(A)', 'The answer is I.',
        ],
        [
            'B', 'I think B', 'I believe it is B.',
        ],
    ),
    (
        'Which pronoun fits best?\nA) I\nB) me\nC) mine\nD) myself', '', 'B',
        [
            'B', 'I think B.', 'I choose B',
        ],
        [
            'A', 'C',
        ],
    ),
    (
        'Which planet is known as the Red Planet?\nA. Venus\nB. Mars\nC. Jupiter\nD. Saturn', '', 'Mars',
        [
            'B', 'The answer is B.',
        ],
        [
            'A', 'M',
        ],
    ),
    (
        'Which planet is known as the Red Planet?\nA. Venus\nB. Mars\nC. Jupiter\nD. Saturn', '', 'B. Mars',
        [
            'B', 'The answer is B.',
        ],
        [
            'A', 'B. Venus',
        ],
    ),
    (
        'Which planet is known as the Red Planet?\nA. Venus\nB. Mars\nC. Jupiter\nD. Saturn', '', '(B)',
        [
            'B', '(B)',
        ],
        [
            'A',
        ],
    ),
    (
        'No options given.', '', 'B',
        [
            'B', 'The answer is B.', 'b', 'Answer: B',
        ],
        [
            'A', 'A or B', 'Be',
        ],
    ),
    (
        'What color does litmus paper turn in acid?\n\nA) Blue\nB) Green\nC) Red\nD) It does not change', '', 'C',
        [
            'C', 'C) Red\n\nBlue litmus paper turns red under acidic conditions.',
            'The answer is C, because acid turns blue litmus paper red.', 'I am confident that the answer is C.',
            'C is the only correct option.', 'C would be the correct answer.', 'So the correct option is: (C) Red', 'The answer: C',
            'C) Red ✅', '__C) Red__',
            '## Answer\n\n**C) Red**\n\n## Explanation\n\nAcids turn blue litmus red; bases turn red litmus blue.',
        ],
        [
            'A', 'The answer is A) Blue, because red is for bases.', 'C is wrong', 'A is the only correct option.', 'A or C',
            'It is not C.', 'C if acid, A if base', 'Color C', 'The options are A) Blue, B) Green, C) Red, D) It does not change.',
            'C is false.', 'I choose A instead of C', 'The user may want C, but I pick D.', 'C) Blue',
        ],
    ),
    (
        "What does `print(len('abc'))` print?\nA. 2\nB. 3\nC. 4\nD. An error", '', 'B',
        [
            'B', 'It prints 3.', 'B. `3`', "len('abc') is 3, so the answer is B.", '\\boxed{3}',
        ],
        [
            'A', 'A. 2', 'A. 3', '3.5', 'not 3', '33',
        ],
    ),
    (
        'Who was the first president of the United States?\n(A) Thomas Jefferson\n(B) George Washington\n(C) John Adams\n(D) Benjamin Franklin\n(E) None of these', '', 'B',
        [
            'B', 'The first president was George Washington.', 'It was George Washington.',
            'B. George Washington was the first president, from 1789 to 1797.',
            'The answer is B, George Washington, who served before John Adams.',
        ],
        [
            'A', '(A) Thomas Jefferson', 'George', 'John Adams was the first president after George Washington.',
            'George Washington or John Adams', 'George Washington University',
        ],
    ),
    (
        'Who was the first president of the United States?\n(A) Thomas Jefferson\n(B) George Washington\n(C) John Adams\n(D) Benjamin Franklin\n(E) None of these', '', 'E',
        [
            'E', 'The answer is (E).',
        ],
        [
            'A', 'Not E',
        ],
    ),
    (
        'Which is larger: 1/2 or 1/3?\nA. 1/2\nB. 1/3\nC. They are equal\nD. It depends', '', 'A',
        [
            'A', '1/2 is larger.', '\\frac{1}{2}', 'The larger one is 1/2.',
        ],
        [
            'B', 'They are equal', '2', 'It depends',
        ],
    ),
    (
        'What share is it?\nA. 5%\nB. 10%\nC. 50%\nD. $5', '', 'A',
        [
            'A', '5 %', 'The answer is 5%.',
        ],
        [
            'D', '10%', 'A. $5', 'D. $5',
        ],
    ),
    (
        'What share is it?\nA. 5%\nB. 10%\nC. 50%\nD. $5', '', 'D',
        [
            'D', '\\$5',
        ],
        [
            '5%', '$5.50',
        ],
    ),
    (
        'Solve x^2 = 4.\nA. x = 2\nB. x = -2\nC. x = 2 or x = -2\nD. No real solution', '', 'C',
        [
            'C', 'The answer is C.', 'x = 2 or x = -2, so C.', 'The answer is x = 2 or x = -2.',
        ],
        [
            'A', 'x = -2', 'No real solution',
        ],
    ),
    (
        'Solve x^2 = 4.\nA. x = 2\nB. x = -2\nC. x = 2 or x = -2\nD. No real solution', '', 'A',
        [
            'A', 'The answer is x = 2.',
        ],
        [
            'C', 'B', 'x = 2 and x = -2',
        ],
    ),
    (
        'Solve x^2 = 4.\nA. x = 2\nB. x = -2\nC. x = 2 or x = -2\nD. No real solution', '', 'D',
        [
            'D', 'The answer is D. No real solution.',
        ],
        [
            'A', 'C. x = 2 or x = -2',
        ],
    ),
    (
        'Which base is not found in RNA?\nA. A\nB. C\nC. T\nD. G', '', 'C',
        [
            'C. T', 'T.', '(C) T', 'The base not found in RNA is T.',
        ],
        [
            'A', 'B. C', 'The answer is B. C',
        ],
    ),
    (
        'Which blood type is the universal donor?\nA. Type A\nB. Type B\nC. Type AB\nD. Type O', '', 'D',
        [
            'D', 'The answer is D. Type O.', 'Type O (D)', 'The answer is D, because type O has no A or B antigens.',
        ],
        [
            'A', 'Type AB', 'Type A or type B', 'Type AB is the universal recipient; C.',
        ],
    ),
    (
        'When did World War II end?\nA) 1918\nB) 1939\nC) 1945\nD) 1950', '', 'C',
        [
            'C', 'It ended in 1945.', 'In 1945', '1945 (C)',
        ],
        [
            'A', '1939', '1945 or 1950', '194', 'World War II ended in 1950.',
        ],
    ),
    (
        'Choose the right one.', 'A. cat\nB. dog\nC. cow', 'B',
        [
            'B', 'The answer is B.', 'A dog',
        ],
        [
            'A', 'a cat', 'hot dog', 'A cat, not a dog',
        ],
    ),
    (
        'Choose the right one.', 'A. cat\nB. dog\nC. cow', 'A',
        [
            'A', 'cat', 'A cat.',
        ],
        [
            'a dog', 'A animal',
        ],
    ),
]  # fmt: skip

NUMBERS: list[Case] = [
    (
        "How much in dollars does she make every day at the farmers' market?", '', '18',
        [
            '18', '$18', '$18.00', '18 dollars', '18 dollars per day', '$18 per day', '$18/day', '18 USD', 'US$18',
            'Janet makes $18 every day.', "Janet makes **$18** every day at the farmers' market.",
            "She makes $18 every day at the farmers' market.", '9 x $2 = $18', '9 × 2 = 18', '9 × $2 = **$18**',
            '16 - 3 - 4 = 9; 9 * 2 = 18', '16 - 3 - 4 = 9 eggs. 9 * $2 = $18.', '\\[ 9 \\times 2 = 18 \\]', '\\(9 \\times 2 = 18\\)',
            '$9 \\times 2 = 18$', '\\boxed{18}', '$\\boxed{18}$', '\\boxed{\\$18}', '\\boxed{18 \\text{ dollars}}',
            '\\boxed{18\\text{ dollars}}', 'The final answer is $\\boxed{18}$.',
            'The final answer is: $\\boxed{18}$ I hope it is correct.', '#### 18', '#### $18', '**18**', '**$18**', '**Answer:** $18',
            '**Answer: $18**', 'Answer: 18', 'Answer: $18 per day', 'A: 18', 'Final Answer: 18', 'Final answer: **18 dollars**',
            'The answer is 18.', 'The answer is $18.', 'The answer is: 18', 'The final answer is 18 dollars.',
            'Therefore, Janet makes $18 every day.', 'So, Janet makes **18** dollars per day.', 'Thus the answer is 18.',
            'She sells 9 eggs at $2 each, so she makes $18.',
            'She has 16 - 3 - 4 = 9 eggs left, which she sells for $2 each. So she makes 9 * 2 = $18 every day.',
            '1. Eggs laid: 16\n2. Eaten: 3\n3. Baked: 4\n4. Left: 9\n5. Made: 9 * 2 = $18',
            'Step 1: 16 - 3 = 13\nStep 2: 13 - 4 = 9\nStep 3: 9 * 2 = 18',
            'Step 1: 16 - 3 = 13\nStep 2: 13 - 4 = 9\nStep 3: 9 * 2 = 18\n\nThe answer is 18.',
            '- Eggs: 16\n- Used: 7\n- Left: 9\n\n**Total: $18**', 'Total earnings = 9 × $2 = $18', 'Total: $18', 'Result: 18', '= 18',
            'Eighteen dollars', 'eighteen dollars per day', '{"answer": 18}', '{"answer": "$18"}',
            '{"reasoning": "9*2", "answer": 18}', '<answer>18</answer>', '<answer>$18</answer>',
            '| Item | Amount |\n|---|---|\n| Total | $18 |', '18.', '18.0', '≈ 18', '~18', 'about 18', 'approximately $18',
            'exactly 18', '18 (eighteen)', '18 dollars (9 eggs at $2 each)', '$18 (9 × $2)', '$18, since 9 * 2 = 18',
            '$18 because she sells 9 eggs at $2', 'Janet earns $18 daily.', 'Her daily earnings are $18.',
            'She makes $18.\n\nLet me know if you need anything else!', 'She makes $18.\n\nIs there anything else I can help with?',
            'La respuesta es 18.', 'Die Antwort ist 18.', 'Elle gagne 18 dollars par jour.', '答案是18', '答案：18', '18美元', '18元',
            '她每天赚18美元。', 'Réponse : 18', 'Respuesta: 18', 'Antwort: 18 Dollar', 'Ответ: 18', '* 18', '• 18', '→ 18', '✅ 18', '18 ✅',
            'The answer is **18**.\n\n**Explanation:** 16 - 3 - 4 = 9 and 9 * 2 = 18.',
            '18\n\nExplanation: She has 16 - 3 - 4 = 9 eggs and sells them at $2 each.', '**18**\n\n16 - 7 = 9, 9 × 2 = 18',
            "$18\n\nHere's how: 16 eggs minus 7 eggs is 9 eggs, times 2 dollars.", 'The correct answer is 18.', 'The total is 18.',
            'The answer is 18 dollars, not 32.', 'Not 32 but 18.', 'It is 18, not 16.', "It's $18", "that's $18", 'Money made: $18',
            'income = 18', 'x = 18', 'She will make $18 each day.', '9 eggs * $2/egg = $18', '9 eggs × $2 per egg = $18 per day',
            '$2 * 9 = $18 a day', 'Janet sells 16-3-4=9 eggs. She makes 9*2=$18 a day.', 'The answer is $18 a day (9 eggs).',
            '\\text{Total} = 18', '\\[\\boxed{18}\\]', '\\boxed{18.00}', '\\boxed{18\\%}', '\\textbf{18}', '\\$18', '**\\$18**',
            'The answer is \\$18.', 'The answer is \\( \\boxed{18} \\).', 'Therefore, she makes \\$18 every day.',
        ],
        [
            '17', '1.8', '180', '$180', '$1.80', '$18.50', '18.5', '1800', '-18', '1 8', '9 * 2', '9 + 9', '16 - 3 - 4 = 9',
            '16, 3, 4', '$32', '\\boxed{9}', '\\boxed{17} not 18', '#### 17', '#### 9', 'The answer is 9.', 'She makes $32, not $18.',
            'She does not make $18.', '18 eggs or 9 eggs', '17 or 18', '18 or 20', 'between 17 and 19', '17-19', '15 to 18',
            '$17 to $18', 'The answer is either 18 or 32.', 'The answer is 32. Some may say 18.', '18? No, 32.', 'It is not 18.',
            "The answer isn't 18", '18 is wrong.', '18 is the number of eggs; the answer is 36.',
            'She sells 18 eggs, so she makes $36.', '18 eggs * $2 = $36', '18 * 2 = 36', '18 / 2 = 9',
            'There are 18 eggs. She makes 36 dollars.', 'I first got 18, but the answer is 32.', 'Initially 18, then corrected to 32.',
            "The answer is 18. Wait, that's wrong. It's 32.", '\\boxed{18}\n\nWait, I made an error.\n\n\\boxed{32}',
            '#### 18\n#### 32', '{"answer": 32}', '{"answer": "32", "eggs": 18}', '<answer>32</answer> and not 18',
            '18%off of 100 is 82', '18 out of 100', '18:30', '1/18', '18/2', '18^2', '2^18', '√18', '2018', 'A18', 'x18',
            'more than 18', 'less than 18', 'over 18', 'below 18', 'fewer than 18', '18 thousand', '18k', '18 million', '18 hundred',
            '0.18', '$0.18', '18 dozen', "I don't know", 'Not enough information.', 'It cannot be determined.', '', 'N/A', 'None',
            'nan', "I'm sorry, I can't help with that.", 'The answer depends on the number of eggs: 18 or 20.',
            'We need to compute 18 +', 'Is it 18?', 'Could it be 18?', '18 + x', 'x > 18', '18 < x < 20', 'Step 18: she makes 32',
            'La respuesta es 17.', 'Die Antwort ist nicht 18.', '答案是17', '答案不是18', '17美元',
            'Janet makes $32 every day. She sells 18 eggs.', 'seventeen', 'eighty', 'eighteen hundred',
            'The answer is 18 less than 20.', 'The answer is 2 less than 18.', 'The answer is 18 plus 2', '18 + 2',
            'two times eighteen',
        ],
    ),
    (
        'How much profit did he make?', '', '70000',
        [
            '70000', '70,000', '$70,000', '$70,000.00', '70 000', '70\u202f000', '70k', '$70k', '70K', '$70 thousand',
            '70 thousand dollars', 'seventy thousand', 'Seventy thousand dollars', '70,000 dollars', 'He made a profit of $70,000.',
            '$200,000 - $130,000 = $70,000', '200,000 - 130,000 = 70,000', '\\boxed{70,000}', '\\boxed{\\$70{,}000}',
            '\\boxed{70{,}000}', '\\boxed{70\\,000}', '\\$70,000', '**$70,000**', 'Profit = $200,000 – $130,000 = **$70,000**', '7e4',
            '7 × 10^4', '7 \\times 10^4', '0.07 million', 'Josh made $70,000 profit on the house.', 'Profit: 70000',
            'The profit is $70,000 (200,000 - 130,000).', 'USD 70,000', '$ 70,000', '70,000 USD', '70000元', 'The answer is 70,000.',
        ],
        [
            '70', '700000', '7000', '$7,000', '70,00', '$700,000', '70.0', '-70000', '65000', '$200,000', '130,000',
            '$200,000 - $130,000', '70,000 or 80,000', '70m', '$70 million', '70 billion', '700.00', '70,001',
            'He made a loss of $65,000.', 'no profit', '150%', '70%', '$70,000 to $80,000', 'not $70,000', '\\boxed{200,000}',
            'The house cost $70,000; the profit is $60,000.', '7 × 10^3',
        ],
    ),
    (
        'What is the temperature?', '', '-3',
        [
            '-3', '−3', '–3', 'minus 3', 'negative 3', '-3°C', '-3 °C', '-3.0', '- 3', 'minus three', 'negative three',
            'The temperature is -3 degrees.', 'It is −3°C.', '\\boxed{-3}', '5 - 8 = -3', '(-3)', '-$3', '$-3$', '**-3**',
            'The answer is -3.',
        ],
        [
            '3', '+3', '3 degrees', '5 - 8 = 3', '-3 or 3', '±3', '-30', '-0.3', '\\boxed{3}', '2-3', '0-3', 'from 0 to -3',
        ],
    ),
    (
        'What fraction of the pizza is left?', '', '0.75',
        [
            '3/4', '0.75', '.75', '¾', 'three quarters', 'three-fourths', 'three fourths', '\\frac{3}{4}', '\\dfrac{3}{4}',
            '\\boxed{\\frac{3}{4}}', '\\boxed{\\dfrac{3}{4}}', '\\boxed{3/4}', '$\\frac{3}{4}$', '3/4 of the pizza is left.', '6/8',
            '6/8 = 3/4', '6/8 of the pizza', '1 - 1/4 = 3/4', '3/4 = 0.75', '0.75 (3/4)', '3/4 (75%)', '\\frac34', '\\tfrac{3}{4}',
            'The fraction left is **3/4**.', '$3/4$', '3⁄4',
        ],
        [
            '1/4', '3', '4', '34', '3.4', '4/3', '7.5', '0.075', '1 3/4', '1.75', '\\frac{1}{4}', '\\frac{4}{3}', '75/10',
            '3/4 or 1/4', '3:4', '3 4', '3/40',
        ],
    ),
    (
        'What percentage?', '', '25',
        [
            '25%', '25 %', '25', '25 percent', '25 per cent', 'twenty-five percent', '25.0%', '\\boxed{25\\%}', '25\\%', '**25%**',
            'The percentage is 25%.', '5/20 = 25%', '(5/20) * 100 = 25', '5/20 × 100% = 25%', '0.25 = 25%', '0.25 * 100 = 25%',
            '25 pct', '5/20 = 0.25 = 25%', 'about 25%',
        ],
        [
            '2.5%', '250%', '75%', '25.5%', '0.25', '1/4', '25 or 75%', '100% - 25%', '20-25%', '-25%', 'not 25%',
            'The percentage is 75%, not 25%.', '25% off leaves 75%',
        ],
    ),
    (
        'How many hours?', '', '2.5',
        [
            '2.5', '2 1/2', '2½', '2.5 hours', '2 and a half', 'two and a half hours', '2.50', '5/2', '\\frac{5}{2}', '2\\frac{1}{2}',
            '2 ½ hours', '\\boxed{2.5}', '2.5 h', '2.5hrs', 'It takes 2.5 hours.', '150 / 60 = 2.5', '150 minutes = 2.5 hours',
            '2.5 hours (150 minutes)',
        ],
        [
            '2', '5', '25', '2:30', '2.05', '150 minutes', '2 hours 5 minutes', '2.5 days or 3', '1/2', '0.5', '2/5', '2 or 5', '12.5',
            '2 to 5',
        ],
    ),
    (
        'How many eggs does she have in all?', '', '1000000',
        [
            '1000000', '1,000,000', '1 million', 'one million', 'a million', '1M', '1 000 000', '1e6', '1,000,000 eggs', '$1,000,000',
            '\\boxed{1{,}000{,}000}', '1.0 million', 'The total is 1,000,000.',
        ],
        [
            '1', '100000', '1,000', '1 billion', '10,000,000', '1 m', '1,000,000,000', '1.5 million', 'a million or two',
        ],
    ),
    (
        'How many people?', '', '1',
        [
            '1', 'one', 'One.', 'One person', '1 person', 'Only one.', 'only 1 person', 'There is one person.',
        ],
        [
            'none', 'two', 'no one', 'one or two', '1 or 2', 'everyone', 'someone', '11', '1.1', '0', 'one hundred', 'one of them',
            '10',
        ],
    ),
    (
        'How many people?', '', '0',
        [
            '0', 'zero', 'Zero.', '0 people', 'There are 0 left.', '\\boxed{0}', '3 - 3 = 0', '0.0', '$0', '$0.00',
        ],
        [
            '1', '10', '00:30', '0.5', '0 or 1', 'not 0', '', 'one', 'O',
        ],
    ),
]  # fmt: skip

EXACT: list[Case] = [
    (
        'Who was governor of Florida during Hurricane Irma?', '', 'Rick Scott',
        [
            'Rick Scott', 'rick scott', 'Rick Scott.', '**Rick Scott**', '*Rick Scott*', '"Rick Scott"', '`Rick Scott`', 'RICK SCOTT',
            ' Rick Scott ', 'Rick  Scott', '\\boxed{Rick Scott}', '\\boxed{\\text{Rick Scott}}', '<answer>Rick Scott</answer>',
            '{"answer": "Rick Scott"}', '```\nRick Scott\n```', '- Rick Scott', '* Rick Scott', '“Rick Scott”', "'Rick Scott'",
            'Rick Scott!', '(Rick Scott)', '[Rick Scott]', '__Rick Scott__', '### Rick Scott', 'Rick Scott\n', 'Rick\xa0Scott',
            '**Rick Scott**.', '**"Rick Scott"**', '_Rick Scott_', 'Rick Scott,', ': Rick Scott', '> Rick Scott',
        ],
        [
            'Ron DeSantis', 'Jeb Bush', 'Rick', 'Scott', 'Rick Perry', 'Scott Rick', 'Scott Walker', 'Ron DeSantis, not Rick Scott',
            'Not Rick Scott', 'It was not Rick Scott.', "It wasn't Rick Scott, it was Ron DeSantis.", 'Rick Scott or Ron DeSantis',
            'Ron DeSantis or Rick Scott', 'Either Rick Scott or Ron DeSantis', 'Possibly Rick Scott', 'Maybe Rick Scott',
            'It might be Rick Scott', 'Could be Rick Scott.', 'It may have been Rick Scott', 'Ron DeSantis (succeeding Rick Scott)',
            'Ron DeSantis, who succeeded Rick Scott', 'Ron DeSantis succeeded Rick Scott.',
            'Ron DeSantis, the successor of Rick Scott', "I don't know if it was Rick Scott.", "I'm not sure, maybe Rick Scott.",
            'I cannot determine whether it was Rick Scott.', 'Is it Rick Scott?', 'Was it Rick Scott?',
            'Rick Scott? No, Ron DeSantis.', 'Rick Scott. Wait, no: Ron DeSantis.', 'Rick Scott is incorrect.',
            'Rick Scott was not the governor.', "Rick Scott wasn't governor then.", 'Anyone but Rick Scott',
            'It was thought to be Rick Scott, but it was Ron DeSantis.', 'Some say Rick Scott, but it was Ron DeSantis.',
            'Many think it was Rick Scott, but it was Ron DeSantis.', 'Unlike Rick Scott, Ron DeSantis was governor.',
            'Contrary to popular belief, it was not Rick Scott.', 'Before Rick Scott, it was Charlie Crist.',
            'Charlie Crist preceded Rick Scott.', 'Charlie Crist, before Rick Scott', "Rick Scott's successor, Ron DeSantis",
            "Rick Scott's wife", 'the wife of Rick Scott', 'Frederick Scott', 'Rick Scottson', '', 'Unknown', "I don't know.",
            'The text does not say.', 'Not mentioned', 'N/A', 'Rick Scott and Ron DeSantis', 'Ron DeSantis and Rick Scott',
            'Rick Scott / Ron DeSantis', 'Rick Scott & Ron DeSantis', 'The answer is Ron DeSantis. Rick Scott was earlier.',
            'Ron DeSantis. Rick Scott left office in 2011.', 'The answer is Ron DeSantis, not Rick Scott.',
            '<answer>Ron DeSantis</answer>', '<answer>Ron DeSantis</answer> Rick Scott is wrong.',
            '{"answer": "Ron DeSantis", "note": "not Rick Scott"}', 'The answer is not Rick Scott.',
            'If Irma was in 2017, Rick Scott; else Ron DeSantis', 'Ron DeSantis (formerly Rick Scott)',
            'Ron DeSantis instead of Rick Scott', 'Ron DeSantis, as opposed to Rick Scott',
            'Rick Scott is often named, but the answer is Ron DeSantis.',
            'While Rick Scott was governor before, the answer is Ron DeSantis.', 'It is unclear whether it was Rick Scott.',
        ],
    ),
    (
        'Who was the last emperor of the dynasty that succeeded the Song dynasty?', '', 'Toghon Temür',
        [
            'Toghon Temür', 'toghon temür', '**Toghon Temür**', 'Toghon Temür',
        ],
        [
            'Kublai Khan', 'Genghis Khan', 'Toghon', 'Temür Khan', 'Kublai Khan, not Toghon Temür', 'Yesün Temür',
        ],
    ),
    (
        'What is the nickname of the easternmost U.S. state?', '', 'Pine Tree State',
        [
            'Pine Tree State', 'The Pine Tree State', 'the pine tree state', '"The Pine Tree State"', '**The Pine Tree State**',
            'The Pine Tree State.', '“The Pine Tree State”', 'Pine-Tree State',
        ],
        [
            'Maine', 'Tree State', 'The Golden State', 'Pine State', 'Golden State, not Pine Tree State',
            'The nickname is not the Pine Tree State.',
        ],
    ),
    (
        'Which element has an atomic number that is double that of hydrogen?', '', 'Helium',
        [
            'Helium', 'helium', 'Helium.', '**Helium**',
        ],
        [
            'Hydrogen', 'Lithium', 'He', 'Hydrogen and helium', 'Not helium', 'Heliums', 'Lithium (not helium)', 'Hydrogen or helium',
            'no helium',
        ],
    ),
    (
        'Is the sky blue?', '', 'yes',
        [
            'yes', 'Yes', 'Yes.', '**Yes**', 'YES', 'yes!',
        ],
        [
            'No', 'No.', 'no, it is not', 'yes and no', 'yes or no', 'Not yes', 'No, yes', 'Yes... no', 'Yesterday', "I don't know",
            'The answer is no.', 'No, the answer is not yes.', 'maybe',
        ],
    ),
    (
        'Is the sky green?', '', 'no',
        [
            'no', 'No', 'No.', '**No**',
        ],
        [
            'Yes', 'yes', 'None', 'not', 'yes or no', 'Yes, not no', 'now', 'I have no idea', 'Yes, no doubt', 'The answer is yes.',
            'No idea.', 'There is no answer.',
        ],
    ),
    (
        'Which language is it written in?', '', 'C++',
        [
            'C++', 'c++', '**C++**', '`C++`', 'C++.',
        ],
        [
            'C', 'C#', 'C+', 'Java', 'not C++', 'It is written in C.', 'C or C++', 'C, not C++', 'Objective-C',
        ],
    ),
    (
        "What's the motto?", '', 'One World, One Dream',
        [
            'One World, One Dream', '"One World, One Dream"', 'One World One Dream', 'one world, one dream',
            '**"One World, One Dream"**',
        ],
        [
            'One World', 'One Dream', 'Faster, Higher, Stronger', 'One World or One Dream', 'One Dream, One World',
        ],
    ),
]  # fmt: skip

F1: list[Case] = [
    (
        'Who was governor of Florida during Hurricane Irma?', '', 'Rick Scott',
        [

        ],
        [
            'Ron DeSantis', 'Jeb Bush', 'Rick', 'Scott', 'Rick Perry', 'Scott Walker', 'Ron DeSantis, not Rick Scott',
            'Not Rick Scott', 'It was not Rick Scott.', "It wasn't Rick Scott, it was Ron DeSantis.", 'Rick Scott or Ron DeSantis',
            'Ron DeSantis or Rick Scott', 'Either Rick Scott or Ron DeSantis', 'Possibly Rick Scott', 'Maybe Rick Scott',
            'It might be Rick Scott', 'Could be Rick Scott.', 'It may have been Rick Scott', 'Ron DeSantis (succeeding Rick Scott)',
            'Ron DeSantis, who succeeded Rick Scott', 'Ron DeSantis succeeded Rick Scott.',
            'Ron DeSantis, the successor of Rick Scott', "I don't know if it was Rick Scott.", "I'm not sure, maybe Rick Scott.",
            'I cannot determine whether it was Rick Scott.', 'Is it Rick Scott?', 'Was it Rick Scott?',
            'Rick Scott? No, Ron DeSantis.', 'Rick Scott. Wait, no: Ron DeSantis.', 'Rick Scott is incorrect.',
            'Rick Scott was not the governor.', "Rick Scott wasn't governor then.", 'Anyone but Rick Scott',
            'It was thought to be Rick Scott, but it was Ron DeSantis.', 'Some say Rick Scott, but it was Ron DeSantis.',
            'Many think it was Rick Scott, but it was Ron DeSantis.', 'Unlike Rick Scott, Ron DeSantis was governor.',
            'Contrary to popular belief, it was not Rick Scott.', 'Before Rick Scott, it was Charlie Crist.',
            'Charlie Crist preceded Rick Scott.', 'Charlie Crist, before Rick Scott', "Rick Scott's successor, Ron DeSantis",
            "Rick Scott's wife", 'the wife of Rick Scott', 'Frederick Scott', 'Rick Scottson', '', 'Unknown', "I don't know.",
            'The text does not say.', 'Not mentioned', 'N/A', 'Rick Scott and Ron DeSantis', 'Ron DeSantis and Rick Scott',
            'Rick Scott / Ron DeSantis', 'Rick Scott & Ron DeSantis', 'The answer is Ron DeSantis. Rick Scott was earlier.',
            'Ron DeSantis. Rick Scott left office in 2011.', 'The answer is Ron DeSantis, not Rick Scott.',
            '<answer>Ron DeSantis</answer>', '<answer>Ron DeSantis</answer> Rick Scott is wrong.',
            '{"answer": "Ron DeSantis", "note": "not Rick Scott"}', 'The answer is not Rick Scott.',
            'If Irma was in 2017, Rick Scott; else Ron DeSantis', 'Ron DeSantis (formerly Rick Scott)',
            'Ron DeSantis instead of Rick Scott', 'Ron DeSantis, as opposed to Rick Scott',
            'Rick Scott is often named, but the answer is Ron DeSantis.',
            'While Rick Scott was governor before, the answer is Ron DeSantis.', 'It is unclear whether it was Rick Scott.',
        ],
    ),
    (
        'Who was the last emperor of the dynasty that succeeded the Song dynasty?', '', 'Toghon Temür',
        [

        ],
        [
            'Kublai Khan', 'Genghis Khan', 'Toghon', 'Temür Khan', 'Kublai Khan, not Toghon Temür', 'Yesün Temür',
        ],
    ),
    (
        'What is the nickname of the easternmost U.S. state?', '', 'Pine Tree State',
        [

        ],
        [
            'Maine', 'Tree State', 'The Golden State', 'Pine State', 'Golden State, not Pine Tree State',
            'The nickname is not the Pine Tree State.',
        ],
    ),
    (
        'Which element has an atomic number that is double that of hydrogen?', '', 'Helium',
        [

        ],
        [
            'Hydrogen', 'Lithium', 'He', 'Hydrogen and helium', 'Not helium', 'Heliums', 'Lithium (not helium)', 'Hydrogen or helium',
            'no helium',
        ],
    ),
    (
        'Is the sky blue?', '', 'yes',
        [

        ],
        [
            'No', 'No.', 'no, it is not', 'yes and no', 'yes or no', 'Not yes', 'No, yes', 'Yes... no', 'Yesterday', "I don't know",
            'The answer is no.', 'No, the answer is not yes.', 'maybe',
        ],
    ),
    (
        'Is the sky green?', '', 'no',
        [

        ],
        [
            'Yes', 'yes', 'None', 'not', 'yes or no', 'Yes, not no', 'now', 'I have no idea', 'Yes, no doubt', 'The answer is yes.',
            'No idea.', 'There is no answer.',
        ],
    ),
    (
        'Which language is it written in?', '', 'C++',
        [

        ],
        [
            'C', 'C#', 'C+', 'Java', 'not C++', 'It is written in C.', 'C or C++', 'C, not C++', 'Objective-C',
        ],
    ),
    (
        "What's the motto?", '', 'One World, One Dream',
        [

        ],
        [
            'One World', 'One Dream', 'Faster, Higher, Stronger', 'One World or One Dream',
        ],
    ),
]  # fmt: skip

ENTITIES: list[Case] = [
    (
        'Who was governor of Florida during Hurricane Irma?', '', 'Rick Scott',
        [
            'The answer is Rick Scott.', 'Answer: Rick Scott', '**Answer:** Rick Scott', 'Final Answer: **Rick Scott**',
            'It was Rick Scott.', 'The governor was Rick Scott.', 'Rick Scott was governor of Florida during Hurricane Irma.',
            'The governor of Florida during Hurricane Irma was **Rick Scott**.', 'Rick Scott (Republican)',
            'Rick Scott, a Republican', 'Governor Rick Scott', 'Gov. Rick Scott', 'Rick Scott, who served from 2011 to 2019.',
            'Rick Scott (2011–2019)', 'Rick Scott, not Ron DeSantis', 'Rick Scott (not Ron DeSantis)',
            'Rick Scott, since Irma hit in 2017.', 'Rick Scott, because Irma was in 2017.',
            'Based on the text, the governor was Rick Scott.', 'I believe it was Rick Scott.', 'I think Rick Scott',
            "I'm confident it was Rick Scott.", 'Sure! The answer is Rick Scott.', 'The answer: Rick Scott', "It's Rick Scott.",
            'That would be Rick Scott.', 'So the answer is Rick Scott.', 'Therefore, the governor was Rick Scott.',
            'The person is Rick Scott', 'Hurricane Irma struck in 2017. The governor at that time was Rick Scott.',
            'The answer is **Rick Scott**.', 'Die Antwort ist Rick Scott.', 'La respuesta es Rick Scott.',
            'El gobernador era Rick Scott.', 'Ron DeSantis took office in 2019, so it was Rick Scott.',
            'It was not Ron DeSantis but Rick Scott.', 'Rick Scott, the 45th governor of Florida',
            'Rick Scott - governor from 2011 to 2019', 'Rick Scott.\n\nHe served from 2011 to 2019.',
            'Rick Scott\n\nExplanation: Irma was in September 2017.',
        ],
        [
            'Ron DeSantis', 'Jeb Bush', 'Rick', 'Scott', 'Rick Perry', 'Scott Rick', 'Scott Walker', 'Ron DeSantis, not Rick Scott',
            'Not Rick Scott', 'It was not Rick Scott.', "It wasn't Rick Scott, it was Ron DeSantis.", 'Rick Scott or Ron DeSantis',
            'Ron DeSantis or Rick Scott', 'Either Rick Scott or Ron DeSantis', 'Possibly Rick Scott', 'Maybe Rick Scott',
            'It might be Rick Scott', 'Could be Rick Scott.', 'It may have been Rick Scott', "I don't know if it was Rick Scott.",
            "I'm not sure, maybe Rick Scott.", 'I cannot determine whether it was Rick Scott.', 'Is it Rick Scott?',
            'Was it Rick Scott?', 'Rick Scott? No, Ron DeSantis.', 'Rick Scott. Wait, no: Ron DeSantis.', 'Rick Scott is incorrect.',
            'Rick Scott was not the governor.', "Rick Scott wasn't governor then.", 'Anyone but Rick Scott',
            'It was thought to be Rick Scott, but it was Ron DeSantis.', 'Some say Rick Scott, but it was Ron DeSantis.',
            'Many think it was Rick Scott, but it was Ron DeSantis.', 'Unlike Rick Scott, Ron DeSantis was governor.',
            'Contrary to popular belief, it was not Rick Scott.', "Rick Scott's successor, Ron DeSantis", "Rick Scott's wife",
            'Frederick Scott', 'Rick Scottson', '', 'Unknown', "I don't know.", 'The text does not say.', 'Not mentioned', 'N/A',
            'The answer is Ron DeSantis, not Rick Scott.', '<answer>Ron DeSantis</answer>',
            '<answer>Ron DeSantis</answer> Rick Scott is wrong.', '{"answer": "Ron DeSantis", "note": "not Rick Scott"}',
            'The answer is not Rick Scott.', 'If Irma was in 2017, Rick Scott; else Ron DeSantis',
            'Ron DeSantis instead of Rick Scott', 'Ron DeSantis, as opposed to Rick Scott',
            'Rick Scott is often named, but the answer is Ron DeSantis.', 'It is unclear whether it was Rick Scott.',
        ],
    ),
    (
        'Who was the last emperor of the dynasty that succeeded the Song dynasty?', '', 'Toghon Temür',
        [
            'The answer is Toghon Temür.', 'It was Toghon Temür, the last Yuan emperor.', 'Toghon Temür (Emperor Huizong of Yuan)',
            'Toghon Temür, also known as Emperor Shun', 'Emperor Toghon Temür',
        ],
        [
            'Kublai Khan', 'Genghis Khan', 'Toghon', 'Temür Khan', 'Kublai Khan, not Toghon Temür', 'Yesün Temür',
        ],
    ),
    (
        'What is the nickname of the easternmost U.S. state?', '', 'Pine Tree State',
        [
            'Maine is known as the Pine Tree State.', 'The easternmost state is Maine, nicknamed "The Pine Tree State".',
            'The answer is the Pine Tree State.', 'Its nickname is the Pine Tree State.', 'The Pine Tree State (Maine)',
            'Maine: The Pine Tree State',
        ],
        [
            'Maine', 'Tree State', 'The Golden State', 'Pine State', 'Golden State, not Pine Tree State',
            'The nickname is not the Pine Tree State.',
        ],
    ),
    (
        'Which element has an atomic number that is double that of hydrogen?', '', 'Helium',
        [
            'Helium (He)', 'The element is helium.', 'Helium, with atomic number 2', 'The answer is helium (atomic number 2).',
            'Helium has an atomic number of 2, which is double that of hydrogen.', 'It is helium, whose atomic number is 2.',
        ],
        [
            'Hydrogen', 'Lithium', 'He', 'Not helium', 'Heliums', 'Lithium (not helium)', 'Hydrogen or helium', 'no helium',
        ],
    ),
    (
        'Is the sky blue?', '', 'yes',
        [
            'Yes, the sky is blue.', 'The answer is yes.', 'Answer: Yes', 'Yes, because of Rayleigh scattering.', 'Yes, it is.',
        ],
        [
            'No', 'No.', 'no, it is not', 'yes or no', 'Not yes', 'No, yes', 'Yes... no', 'Yesterday', "I don't know",
            'The answer is no.', 'No, the answer is not yes.', 'maybe',
        ],
    ),
    (
        'Is the sky green?', '', 'no',
        [
            'No, the sky is blue.', 'The answer is no.', 'Answer: No', 'No, it is not green.', "No, it isn't.",
        ],
        [
            'Yes', 'yes', 'None', 'not', 'yes or no', 'Yes, not no', 'now', 'I have no idea', 'Yes, no doubt', 'The answer is yes.',
            'No idea.', 'There is no answer.',
        ],
    ),
    (
        'Which language is it written in?', '', 'C++',
        [
            'It is written in C++.', 'The answer is C++.', 'Answer: C++', 'The program is written in C++.',
        ],
        [
            'C', 'C#', 'C+', 'Java', 'not C++', 'It is written in C.', 'C or C++', 'C, not C++', 'Objective-C',
        ],
    ),
    (
        "What's the motto?", '', 'One World, One Dream',
        [
            'The motto was "One World, One Dream".', "The motto of the 2008 Olympics was 'One World, One Dream'.",
            'One World, One Dream (2008 Beijing Olympics)', 'The answer is "One World, One Dream."',
        ],
        [
            'One World', 'One Dream', 'Faster, Higher, Stronger', 'One World or One Dream', 'One Dream, One World',
        ],
    ),
]  # fmt: skip
"""For both `contains` and Bamboogle, whose rules differ where several names stand in a reply."""

CONTAINS: list[Case] = [
    *ENTITIES,
]  # fmt: skip

BAMBOOGLE: list[Case] = [
    *ENTITIES,
    (
        'Who was governor of Florida during Hurricane Irma?', '', 'Rick Scott',
        [],
        [
            'Rick Scott and Ron DeSantis', 'Ron DeSantis and Rick Scott', 'Rick Scott / Ron DeSantis', 'Rick Scott & Ron DeSantis',
            'The answer is Ron DeSantis. Rick Scott was earlier.',
            'While Rick Scott was governor before, the answer is Ron DeSantis.',
        ],
    ),
    (
        'Which element has an atomic number that is double that of hydrogen?', '', 'Helium',
        [],
        [
            'Hydrogen and helium',
        ],
    ),
    (
        'Is the sky blue?', '', 'yes',
        [],
        [
            'yes and no',
        ],
    ),
    (
        "When did the last king from Britain's House of Hanover die?", '', '20 June 1837',
        [
            '20 June 1837', 'June 20, 1837', '20th June 1837', 'June 20th, 1837', '1837-06-20', 'the 20th of June 1837',
            '20 June, 1837', '**June 20, 1837**', 'He died on 20 June 1837.', 'He died on June 20, 1837.',
            'The answer is June 20, 1837.', 'William IV died on June 20, 1837.', 'William IV died on 20 June 1837 at Windsor Castle.',
            '20-Jun-1837', '20 Jun 1837', 'Jun 20, 1837', '20.06.1837', '20/06/1837', '06/20/1837', 'Tuesday, June 20, 1837',
            '20 June 1837 (aged 71)',
        ],
        [
            '1837', 'June 1837', '20 June', '21 June 1837', '20 June 1838', '20 July 1837', 'June 20, 1937', '26 June 1830',
            '21 June 1837, not 20 June 1837', '20 or 21 June 1837', '20 June 1837 or 21 June 1837', 'not 20 June 1837', '2 June 1837',
            '28 August 1837', '20-21 June 1837', 'between 20 June 1837 and 21 June 1837',
        ],
    ),
    (
        'In what year was it added to the S&P 500?', '', '1999',
        [
            '1999', 'In 1999', 'It was added in 1999.', 'The answer is 1999.', 'Best Buy was added to the S&P 500 in 1999.',
            '1999 (Best Buy)', 'June 1999', 'June 29, 1999', '**1999**', '1999, as Best Buy', 'the year 1999', 'The year was 1999.',
        ],
        [
            '1998', '1999 or 2000', '1999-2000', 'from 1999 to 2001', 'not 1999', '199', '19999', '2000, not 1999', 'before 1999',
            'after 1999', 'Since 1999 was a crash, 2000', 'the 1990s', 'around 1999 or so',
        ],
    ),
    (
        'What is the lowest elevation of the longest railway tunnel?', '', '312 m',
        [
            '312 m', '312 metres', '312 meters', '312m', 'The answer is 312 m.', '312 m above sea level', '312 metres (1,024 ft)',
            'It is 312 m.', '312 meters above sea level',
        ],
        [
            '312 km', '312 ft', '31 m', '3120 m', '549 m', '312 miles', '-312 m', '312 or 549 m', 'not 312 m',
        ],
    ),
]  # fmt: skip

DROP: list[Case] = [
    (
        'How many yards?', '', ['53'],
        [
            '53', '53.', '53.0', '**53**', '53\n', 'Answer: 53', 'The answer is 53.', 'The answer is: 53', '<answer>53</answer>',
            '{"answer": "53"}', '{"answer": 53}', '`53`', 'Final answer: 53', '\\boxed{53}', '$\\boxed{53}$', '**Answer:** 53',
            '**Answer: 53**', 'The final answer is 53.', 'The final answer is **53**.', '53\n\nExplanation: 30 + 23', '#### 53',
            'Final Answer: **53**', 'The answer is $\\boxed{53}$.', '- 53', '* 53', '(53)', '[53]', '["53"]', "['53']",
        ],
        [
            '54', '5', '3', '35', '53 or 54', '530', '5.3', 'not 53', '', '53; 54', '53, 54', 'fifty-four', "I don't know",
            '53-yard and 54-yard', '54 yards, not 53', 'The answer is 54.', 'Answer: 54', '<answer>54</answer>', '["53", "54"]',
            'between 53 and 54', '53% of 100', '53rd street',
        ],
    ),
    (
        'Which team won?', '', ['Kansas City Chiefs'],
        [
            'Kansas City Chiefs', 'the Kansas City Chiefs', 'The Kansas City Chiefs.', '**Kansas City Chiefs**',
            'Answer: Kansas City Chiefs', 'The answer is Kansas City Chiefs.', 'The answer is the Kansas City Chiefs.',
            '"Kansas City Chiefs"', 'kansas city chiefs', '<answer>Kansas City Chiefs</answer>',
            'Kansas City Chiefs\nExplanation: they scored more.', 'Kansas City Chiefs\n\nNote: the text says so.',
            '\\boxed{Kansas City Chiefs}', '\\boxed{\\text{Kansas City Chiefs}}', 'The answer is **Kansas City Chiefs**.',
            'Answer: The Kansas City Chiefs', '["Kansas City Chiefs"]', '1. Kansas City Chiefs', '- Kansas City Chiefs',
            '• Kansas City Chiefs', 'Final answer: Kansas City Chiefs', 'Final Answer: **Kansas City Chiefs**',
        ],
        [
            'Chiefs', 'Kansas City', 'Kansas', 'Raiders', 'Kansas City Royals', 'not the Kansas City Chiefs',
            'Kansas City Chiefs or Raiders', 'Raiders, not the Kansas City Chiefs', 'Kansas City Chiefs; Raiders',
            'Kansas City Chiefs and Raiders', 'The answer is not Kansas City Chiefs.', '', 'The Raiders beat the Kansas City Chiefs.',
        ],
    ),
    (
        'Which two?', '', ['Tom Brady', 'Randy Moss'],
        [
            'Tom Brady; Randy Moss', 'Randy Moss; Tom Brady', 'Tom Brady\nRandy Moss', '1. Tom Brady\n2. Randy Moss',
            '- Tom Brady\n- Randy Moss', '* Tom Brady\n* Randy Moss', '["Tom Brady", "Randy Moss"]', 'Answer: Tom Brady; Randy Moss',
            'The answer is Tom Brady; Randy Moss.', 'The answers are Tom Brady; Randy Moss', '**Tom Brady; Randy Moss**',
            '**Tom Brady**; **Randy Moss**', '<answer>Tom Brady; Randy Moss</answer>', '{"answer": "Tom Brady; Randy Moss"}',
            '{"answer": ["Tom Brady", "Randy Moss"]}', '\\boxed{Tom Brady; Randy Moss}', 'Answers:\n- Tom Brady\n- Randy Moss',
            'The answers are:\n1. Tom Brady\n2. Randy Moss', 'tom brady; randy moss', 'Tom Brady;Randy Moss',
            'Final answer: Tom Brady; Randy Moss', '• Tom Brady\n• Randy Moss', "['Tom Brady', 'Randy Moss']",
        ],
        [
            'Tom Brady', 'Randy Moss', 'Tom Brady; Wes Welker', 'Tom Brady; Randy Moss; Wes Welker', 'Tom; Randy',
            'Tom Brady or Randy Moss', 'not Tom Brady; not Randy Moss', '', 'Brady; Moss', 'Tom Moss; Randy Brady', '["Tom Brady"]',
            '1. Tom Brady\n2. Wes Welker',
        ],
    ),
    (
        'When?', '', ['3 May 1791'],
        [
            '3 May 1791', 'The answer is 3 May 1791.', 'Answer: 3 May 1791', '**3 May 1791**', '3 May, 1791',
        ],
        [
            '3 May 1792', '4 May 1791', '1791', 'May 1791', '3 May 1791 or 4 May 1791', '13 May 1791',
        ],
    ),
]  # fmt: skip


def wrong_verdicts(score: Callable[[dspy.Example, Any], Score], cases: Sequence[Case]) -> list[str]:
    """The replies that `score` judges otherwise than they are."""
    found = []
    for question, context, reference, right, wrong in cases:
        example = dspy.Example(id="1", question=question, context=context, answer=reference)
        if isinstance(reference, list):
            example = dspy.Example(id="1", question=question, context=context, answer="; ".join(reference), answers=[reference])
        for reply in (*right, *wrong):
            if (score(example, dspy.Prediction(answer=reply)).value == 1.0) != (reply in right):
                found.append(f"{'refused' if reply in right else 'ACCEPTED'} {reply!r} for {reference!r}: {question[:30]!r}")
    return found


@pytest.mark.parametrize(
    ("scorer", "cases"),
    [("multiple_choice", MULTIPLE_CHOICE), ("number", NUMBERS), ("exact", EXACT), ("f1", F1), ("contains", CONTAINS)],
    ids=["multiple_choice", "number", "exact", "f1", "contains"],
)
def test_scorers(scorer: str, cases: Sequence[Case]) -> None:
    assert not wrong_verdicts(SCORERS[scorer], cases)


@pytest.mark.parametrize(("task", "cases"), [("bamboogle", BAMBOOGLE), ("drop", DROP)], ids=["bamboogle", "drop"])
def test_tasks(task: str, cases: Sequence[Case]) -> None:
    assert not wrong_verdicts(load_task(task).score, cases)

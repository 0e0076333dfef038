"""Replies that give nothing of what was asked: an LM says that it cannot, a text has no answer, or a server reports an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

_NOT = r"(?: not|n['’]?t)"
_CANNOT = rf"(?:can(?:not| not|['’]?t)|could{_NOT})"
_ADVERB = r"(?:(?:\w+ly|really|even|yet|just|possibly|currently|simply|also) )?"
_TELL = (
    r"(?:answer|tell|say|know|determine|calculate|compute|solve|infer|deduce|derive|conclude|ascertain|identify|find|give|provide"
    r"|help(?! but)|assist|respond|reply|comply|fulfil+|perform|complete|process|decompose|break|split|access|read|understand"
    r"|generate|discuss|offer"
    r"|estimate|figure|work|extract|decide|judge|verify|confirm|locate|proceed|continue|produce|share)\b"
)
_FACTS = r"(?:information|info|context|details?|data|facts|clues)\b"
_TEXT = (
    r"(?:\b(?:the|this|your|that|my)\s+)?(?:(?:given|provided|available|above|original|supplied)\s+)?"
    r"\b(?:question|problem|passage|text|context|article|document|paragraph|source|story|excerpt|prompt|statement|information|data"
    r"|description|input|request|puzzle)s?(?:\s+(?:\d{1,3}|given|provided|above|itself|as (?:given|stated)))?"
)
_SILENT = r"(?:say|mention|state|specify|tell|indicate|reveal|clarify|disclose|answer|address|explain)\b"
_UNKNOWN = (
    rf"(?:unknown|unclear|unspecified|undetermined|ambiguous|unanswerable|not {_ADVERB}(?:known|clear|stated|mentioned|specified)"
    rf"|not {_ADVERB}(?:given|provided|available) (?:in|by|from|within) (?:the|this))\b"
)
_SOLVED = r"(?:answered|determined|calculated|computed|inferred|deduced|derived|ascertained|concluded|known|told|said|solved)\b"

_IN_PERSON = (
    rf"\b(?:I|we)(?: am|['’]m| are|['’]re| was| were)? {_ADVERB}"
    rf"(?:{_CANNOT}|unable to|not able to|will{_NOT} be able to|won['’]?t be able to)"
    rf" {_ADVERB}(?:be of )?{_TELL}",
    rf"\b(?:I|we) (?:will not|won['’]t|refuse to|must decline|have to decline)(?:(?: to)? {_TELL}|(?=\s*[.!,;]))",
    rf"\b(?:I|we) {_CANNOT}(?=\s*(?:[.!,;]|\Z))",
    rf"\b(?:I|we) {_ADVERB}do{_NOT} {_ADVERB}know\b|\b(?:I|we) have no (?:idea|way|clue|means)\b",
    rf"\b(?:I|we) (?:do{_NOT} have|have no|lack) (?:any )?(?:the |(?:nearly |quite )?(?:enough|sufficient) )?(?:\w+ )?"
    rf"(?:{_FACTS}|(?:ability|abilities|capability|capabilities|answer|access|opinions?|knowledge)\b)",
)
_IMPOSSIBLE = (
    rf"\b(?:it|this|that)(?: (?:is|was|would be|seems)|['’]s) {_ADVERB}(?:impossible|not possible)(?: \w+){{0,2}}? to {_ADVERB}{_TELL}",
    rf"\b(?:it|this|that) (?:is|was|would)n['’]t (?:be )?{_ADVERB}possible(?: \w+){{0,2}}? to {_ADVERB}{_TELL}",
    rf"\bthere(?: is| are|['’]s|['’]re| seems to be)(?: \w+ly)?(?: no|{_NOT} (?:any|a)|n['’]t)"
    rf" (?:\w+ )?(?:way|possibility|means) (?:to|of) {_TELL}",
    rf"(?:\bthere(?: is| are|['’]s)(?: \w+ly)?{_NOT}|\bnot|\bno)"
    rf" (?:nearly |quite )?(?:enough|sufficient|adequate) (?:\w+ ){{0,2}}?{_FACTS}",
    rf"\b(?:there is |there['’]s |due to |given |with )?insufficient (?:\w+ )?{_FACTS}",
    rf"{_TEXT} (?:could{_NOT}) be {_SOLVED}",
)
_SILENCE = (
    rf"(?:{_TEXT}|\bit) (?:does|do|did){_NOT} {_ADVERB}{_SILENT}",
    rf"{_TEXT} (?:does|do){_NOT} {_ADVERB}(?:contain|provide|give|include|offer|have|supply)\b[^.!?;,\n]{{0,40}}?"
    rf"\b(?:{_FACTS}|(?:answers?|enough|mention|how|what|which|who|when|where|whether)\b)",
    rf"{_TEXT} (?:(?:has|gives|contains|provides|offers|includes) no (?:\w+ )?(?:{_FACTS}|answer|mention)|says nothing|makes no mention"
    rf"|lacks?\b|(?:is|are|seems?|appears?|looks?)(?: to be)? {_ADVERB}(?:missing|incomplete|too vague|vague|unanswerable|cut off))",
    rf"\b(?:I|we)(?:['’]d| would| will| do|['’]ll)?(?:{_NOT})? {_ADVERB}(?:need|require|lack|have|am missing)\b[^.!?;\n]{{0,40}}?"
    rf"\b(?:(?:more|additional|further|missing|any|enough|no|other|necessary|required)\b[^.!?;\n]{{0,20}}?\b{_FACTS}"
    rf"|(?:pieces?|bits?) of {_FACTS}|access\b|clarification\b)",
    rf"\b(?:more|additional|further) {_FACTS} (?:is|are|would be) (?:needed|required|necessary)",
    rf"(?:{_TEXT}|\b(?:it|this|that|the answer))(?: is| are|['’]s| remains) {_ADVERB}{_UNKNOWN}",
)
_THING = r"\b\w(?:(?! (?:but|although|though|while|because|since|so|and|that|if|is|are|was|were)\b)[^.!?;:,\n]){0,80}?"
_OF_A_THING = (
    rf"{_THING} can(?:not| not|['’]?t) (?:\w+ )?be (?:\w+ly )?{_SOLVED}",
    rf"{_THING} (?:is|are|was|were|remains?) {_ADVERB}{_UNKNOWN}",
)
_OTHER_LANGUAGES = (
    r"\b(?:ich|wir) (?:kann|können|konnte)\b[^.!?;\n]{0,80}?\b(?:nicht|keinen?)\b[^.!?;\n]{0,40}?"
    r"(?:beantwort|sagen|bestimm|ermittel|berechn|wissen|helfen|zerleg|geben|feststell|ableit|lösen|antwort)\w*"
    r"|\bkann (?:ich|man|das|dies|es|die frage|diese frage)\b[^.!?;\n]{0,80}?\b(?:nicht|keinen?)\b[^.!?;\n]{0,40}?"
    r"(?:beantwort|sagen|bestimm|ermittel|berechn|wissen|helfen|zerleg|feststell|ableit)\w*"
    r"|\b(?:(?:die|diese) )?fragen? [^.!?;\n]{0,40}?\bkann [^.!?;\n]{0,40}?nicht (?:\w+ )?(?:beantwortet|bestimmt|ermittelt|berechnet)"
    r"|\bich weiß (?:es |das |leider )*nicht\b"
    r"|\b(?:(?:das|dies|es|(?:die|diese) \w+) )?(?:lässt|lassen) sich (?:\w+ ){0,4}?nicht"
    r" (?:\w+ )?(?:sagen|bestimmen|beantworten|ermitteln|berechnen)"
    r"|\b(?:nicht genug|nicht genügend|nicht ausreichend\w*|unzureichende|keine(?: weiteren)?) (?:informationen|angaben|daten)\b"
    r"|\b(?:ich|wir) (?:brauche|benötige|brauchen|benötigen) (?:\w+ ){0,3}?(?:informationen?|angaben?|details)\b"
    r"|\b(?:unmöglich|nicht möglich),? (?:\w+ ){0,4}?zu (?:sagen|bestimmen|beantworten|wissen|ermitteln)"
    r"|\b(?:(?:der|die|diese) )?(?:text|kontext|frage|aufgabe|passage) (?:sagt|erwähnt|nennt|enthält|gibt|macht|verrät)"
    r" (?:\w+ ){0,4}?(?:nicht|nichts|keine)\b"
    r"|\bes fehlen (?:\w+ ){0,2}?(?:informationen|angaben|daten)",
    r"\b(?:je|nous) (?:ne |n['’])(?:peux|puis|pouvons|sais|savons|suis|dispose|parviens|connais|pourrais)\b"
    r"[^.!?;\n]{0,12}?(?:pas\b|répondre|dire)"
    r"|\b(?:impossible|pas possible) de (?:le |la |les )?(?:savoir|dire|déterminer|répondre|calculer|décomposer)"
    r"|\bne (?:peut|peuvent) (?:pas )?être (?:déterminé|calculé|répondu|connu)"
    r"|\bon ne (?:peut|sait) pas (?:le )?(?:savoir|dire|déterminer|répondre|si)"
    r"|\b(?:pas (?:assez|suffisamment)|manque) d['’]informations?|\binformations? insuffisantes?"
    r"|\b(?:(?:le|la) |l['’])?(?:texte|passage|contexte|question|énoncé|problème)"
    r" ne (?:le )?(?:dit|mentionne|précise|donne|indique|contient|permet|fournit) (?:pas|aucun)"
    r"|\bj['’]ai besoin (?:de plus )?d['’](?:une |autres )?informations?",
    r"\bno (?:puedo|podemos|me es posible|es posible|se puede|hay (?:forma|manera) de) (?:\w+ ){0,2}?"
    r"(?:responder|contestar|decir|saber|determinar|calcular|ayudar|descomponer|dividir|realizar|proporcionar|asistir)\w*"
    r"|\bno (?:lo )?(?:sé|sabemos)\b|\bimposible (?:saber|decir|determinar|responder|calcular)"
    r"|\bno (?:hay|tengo|dispongo de|contiene) (?:la )?(?:suficiente )?(?:información|datos)|\binformación insuficiente"
    r"|\b(?:(?:el|la) )?(?:texto|pasaje|contexto|pregunta|enunciado|problema)"
    r" no (?:lo )?(?:dice|menciona|indica|especifica|contiene|proporciona)"
    r"|\b(?:necesito|falta) (?:más |una )?información",
    r"(?:我们?|我們|这个问题|该问题)?(?:无法|無法|不能|没法|沒法|难以|難以)[^。！？!?\n]{0,12}?"
    r"(?:回答|确定|確定|判断|判斷|得知|知道|提供|计算|計算|分解|协助|协助|帮助|幫助|完成|处理|處理|给出|得出|推断)"
    r"|我?(?:不知道|不清楚|不确定)|(?:没有|沒有|未)[^。！？!?\n]{0,8}?(?:提到|提及|说明|說明|给出|足够|提供)|(?:信息|資訊|资料)不(?:足|够)"
    r"|(?:缺少|缺乏)[^。！？!?\n]{0,8}?信息|需要更多(?:的)?(?:信息|資訊|资料)",
    r"\bnão (?:posso|consigo|sei)\b|\bnon (?:posso|riesco|so)\b|\b(?:не могу|не знаю|невозможно (?:определить|ответить|сказать))\b"
    r"|\bнедостаточно (?:информации|данных)\b",
    r"(?:回答|判断|特定|確定|計算|分解|対応|お手伝い|提供|決定)(?:する)?(?:こと)?[はがを]?(?:でき(?:ません|ない)|いたしかね)|お答えできません"
    r"|[わ分]かりません|情報[はが](?:足り|不足|ありません|不十分)",
)

_CATEGORICAL = re.compile("|".join((*_IN_PERSON, *_IMPOSSIBLE, _OF_A_THING[0], *_OTHER_LANGUAGES)), re.IGNORECASE)
_ANY = re.compile("|".join((*_IN_PERSON, *_IMPOSSIBLE, *_SILENCE, *_OF_A_THING, *_OTHER_LANGUAGES)), re.IGNORECASE)
_OPENING = (
    r"\W*(?:(?:(?:unfortunately|sorry|(?:my )?apologies|well|actually|regrettably|sadly|but|because|since|as|and|however|so|that|leider"
    r"|entschuldigung|es tut mir leid|tut mir leid|désolée?|malheureusement|lo siento|lamentablemente|pero|aber|mais"
    r"|I(?: am|['’]m) (?:\w+ )?(?:afraid|sorry)|I apologi[sz]e|抱歉|很抱歉|对不起|對不起|申し訳ありませんが"
    r"|申し訳ございませんが)(?:\b|(?<=[^\x00-\x7f]))"
    r"|as an? (?:AI|(?:large )?language)(?: language)?(?: model)?\b"
    r"|(?:as an?|based on|according to|given|from|with(?:out)?|in|for|since|because|due to|als|en tant que?|como)"
    r"\b[^.!?;,\n]{1,80},)\W*){0,4}"
)
_OPENS = re.compile(_OPENING + f"(?:{'|'.join((*_IN_PERSON, *_IMPOSSIBLE, *_SILENCE, *_OTHER_LANGUAGES))})", re.IGNORECASE)
_OPENS_ON_A_THING = re.compile(_OPENING + f"(?:{_ANY.pattern})", re.IGNORECASE)

_STATUS = "|".join(re.escape(status.phrase).replace(r"\ ", "[ -]") for status in HTTPStatus if status >= 400 and " " in status.phrase)
_ERROR = re.compile(
    r"\A\W*(?:(?:[a-z.]{1,30} ?)?(?:error|exception)\b(?:[ -]?(?:code|message|type))?\W{0,3}(?:[:(]|\d{3}\b)"
    r"|traceback \(|http(?:/\d\.\d)? ?[45]\d\d\b)"
    rf"|\b[45]\d\d\W{{1,3}}(?:{_STATUS})\b|\A\W*(?:{_STATUS})\b"
    r"|\bstatus(?: code)?\W{1,3}[45]\d\d\b|\brate[- ]?limit(?:s|ed)?\b[^.\n]{0,20}\b(?:exceeded|reached|hit)\b"
    r"|\A\W*(?:rate|quota)[ -]?limit",
    re.IGNORECASE,
)
_ABOUT_ERRORS = re.compile(r"\b(?:errors?|exceptions?|status|http|limits?)\b", re.IGNORECASE)

_SUBJECT = re.compile(r"\A(?!I\b|we\b).*?(?= (?:can|cannot|can['’]?t|is|are|was|were|remains?)\b)", re.IGNORECASE)
_SMALL = frozenset(
    "not no never it is s was be been are were there the a an to of this that any does do did even really actually in by".split()
)
_MODAL = frozenset("can could possible able way".split())
_CLARIFY = r"(?:clarify|specify|provide|supply|tell me|let me know|confirm|elaborate|explain|give me)\b"
_ASKS_ITS_USER = re.compile(
    rf"(?:\b(?:please|(?:could|can|would|will) you)\b[^.!?:\n]{{0,40}}\b{_CLARIFY}"
    r"|\bI(?:['’]d| would| will|['’]ll| do)? (?:need|require|have to (?:know|ask)|want to (?:know|ask))\b[^.!?:\n]{0,40}"
    r"\b(?:more|additional|further|you|clarif\w+|few questions)\b"
    r"|\bbitte\b|\bk(?:ö|oe)nn(?:t?en Sie|test du)\b|\bpodr[ií]as?\b"
    r"|\bpor favor\b|\bpouvez-vous\b|\bpourriez-vous\b|请(?:您|你)?(?:提供|告诉|澄清|说明|确认))"
    r"[^.!?:：。\n]{0,120}[:：?？]\W*\n\W*(?:\d|[-*•–])",
    re.IGNORECASE,
)
_LEAD = 600
_PLAIN = ((r"n['’]t\b", " not"), (r"\bcannot\b", "can not"), (r"\bimpossible\b", "not possible"), (r"\bun(?=known|clear|able)", "not "))


def refusals(text: str, question: str = "") -> Iterator[re.Match[str]]:
    """What says in a text that an answer is not known, not to be had or not given, unless the question asks for just that.

    "7 words are unknown" answers "How many words are unknown?". Someone else's inability is none: "he could not determine the cause".
    """
    return (found for found in _ANY.finditer(text) if not _is_asked_for(found[0], question))


def is_categorical(refusal: str) -> bool:
    """Whether a refusal is of the answer itself, and not a remark that a text leaves something out."""
    return bool(_CATEGORICAL.search(refusal))


def opens_with_refusal(text: str, question: str = "") -> bool:
    """Whether a text begins with a refusal, be it behind "Unfortunately," or "Based on the passage,"."""
    found = _OPENS_ON_A_THING.match(text)
    return found is not None and not _is_asked_for(found[0], question)


def refuses_a_task(text: str) -> bool:
    """Whether a text begins with a refusal of what was asked for, or with an error; a fact that is not known is none."""
    return bool(_OPENS.match(text)) or is_error(text)


def asks_its_user(text: str) -> bool:
    """Whether a text leads to a list by asking whoever wrote the question to make it plainer: "Could you please clarify:" """
    found = _ASKS_ITS_USER.search(text[:_LEAD])
    return found is not None and not re.search(r"sub[- ]?questions|子问题", found[0], re.IGNORECASE)


def is_error(text: str, question: str = "") -> bool:
    """Whether a text is what a server or a program reports in place of an answer: "Error 429: rate limit." """
    return bool(_ERROR.search(text)) and not _ABOUT_ERRORS.search(question)


def _is_asked_for(refusal: str, question: str) -> bool:
    """Whether a question has all that a refusal says, as in "Does the text mention her?" and "How many cannot be determined?"."""
    said, asked = _words(_SUBJECT.sub("", refusal)), _words(question)
    content = said - _SMALL - _MODAL
    return bool(content) and content <= asked and (not said & _MODAL or bool(asked & (_MODAL | {"not"})))


def _words(text: str) -> set[str]:
    text = text.lower()
    for pattern, plain in _PLAIN:
        text = re.sub(pattern, plain, text)
    return {re.sub(r"(?<=\w{3})(?:ed|es|s|ing|e)\Z", "", word) for word in re.findall(r"[^\W_]+", text)}

"""Answers in other languages, scripts and manners than plain English prose: good ones pass, unfounded ones do not."""

import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.answer_check import Grounds, unsupported
from ragsaver.components.answer_words import Vocabulary, capitalises_nouns, groups, is_english

ENGLISH = (
    "Parrots need an export permit before they may cross a border. The permit is issued by the veterinary office. It "
    "costs 40 euros and is valid for six months. Apply on a computer of the office."
)
GERMAN = (
    "Papageien brauchen vor der Ausfuhr eine Genehmigung. Das Veterinäramt in Lüneburg stellt die Ausfuhrgenehmigung "
    "aus. Sie kostet 40 Euro und gilt sechs Monate. Haustiere dürfen in der Kabine reisen."
)
FRENCH = (
    "Les perroquets ont besoin d'un permis avant l'exportation. Le bureau vétérinaire de Lyon délivre le permis. Il "
    "coûte 40 euros et reste valable six mois."
)
CHINESE = "鹦鹉出境前需要出口许可证。许可证由兽医局签发，费用为40欧元，有效期六个月。申请系统使用Redis。"
JAPANESE = "オウムを輸出するには許可証が必要です。許可証は獣医局が発行し、費用は40ユーロで、6か月間有効です。"
KOREAN = "앵무새를 수출하려면 허가가 필요합니다. 허가증은 수의국에서 발급하며 비용은 40유로이고 6개월 동안 유효합니다."
THAI = "นกแก้วต้องมีใบอนุญาตส่งออก ใบอนุญาตออกโดยสำนักงานสัตวแพทย์ ราคา 40 ยูโร และมีอายุหกเดือน"


def reason(evidence: str, answer: str) -> str | None:
    return unsupported(answer, Grounds("", [Document(content=evidence)], 0.5))


@pytest.mark.parametrize(
    ("evidence", "answer"),
    [
        (GERMAN, "Das Veterinäramt stellt die Genehmigung aus [1]."),
        (GERMAN, "Die Genehmigungen werden vom Veterinäramt ausgestellt [1]."),
        (GERMAN, "Die Gebühr beträgt 40 Euro [1]."),
        (GERMAN, "Für die Exportgenehmigung fallen Kosten in Höhe von 40 Euro an [1]."),
        (GERMAN, "Die Genehmigung gilt 6 Monate [1]."),
        (GERMAN, "Ja, Haustiere dürfen in der Kabine reisen; Ihr Tier muss nicht in den Frachtraum [1]."),
        (GERMAN, "In der Kabine reisen Haustiere, Hunde und Papageien [1]."),
        (FRENCH, "Le permis est délivré par le bureau vétérinaire [1]."),
        (FRENCH, "Les permis d'exportation sont délivrés par les bureaux vétérinaires de Lyon [1]."),
        (FRENCH, "Ils coûtent 40 euros et restent valables 6 mois [1]."),
        (CHINESE, "许可证由兽医局签发[1]。"),
        (CHINESE, "出口许可证的费用是40欧元，有效期为6个月[1]。"),
        (CHINESE, "系统使用Redis [1]。"),
        (JAPANESE, "許可証は獣医局によって発行されます[1]。"),
        (KOREAN, "허가증은 수의국이 발급합니다 [1]."),
        (THAI, "สำนักงานสัตวแพทย์เป็นผู้ออกใบอนุญาต [1]"),
    ],
)
def test_an_answer_in_the_evidence_s_language_is_supported(evidence: str, answer: str):
    assert reason(evidence, answer) is None


@pytest.mark.parametrize(
    ("evidence", "answer", "why"),
    [
        (GERMAN, "Die Genehmigung kostet 90 Euro [1].", "the number 90"),
        (GERMAN, "Das Veterinäramt Hamburg stellt die Genehmigung aus [1].", "the name Hamburg"),
        (GERMAN, "Die Genehmigung kommt von der BASF [1].", "the name BASF"),
        (GERMAN, "Das Zollamt prüft jeden Käfig am Hafen vor der Abfahrt [1].", "0 of its 5 content words"),
        (FRENCH, "Le permis est délivré par le bureau de Marseille [1].", "the name Marseille"),
        (FRENCH, "La douane contrôle chaque cage au port avant le départ [1].", "of its 5 content words"),
        (CHINESE, "海关总署负责批准动物运输和检疫文件[1]。", "groups of characters"),
        (CHINESE, "许可证由兽医局在Berlin签发[1]。", "the name Berlin"),
        (CHINESE, "许可证的费用为90欧元[1]。", "the number 90"),
        (JAPANESE, "税関の窓口で飼い主が申請書類を提出してください[1]。", "groups of characters"),
        (KOREAN, "세관 창구에서 신청서를 제출하면 바로 받을 수 있습니다 [1].", "groups of characters"),
        (THAI, "กรมศุลกากรรับเอกสารการขนส่งที่ท่าเรือ [1]", "groups of characters"),
        (ENGLISH, "The permit is issued in Hamburg [1].", "the name Hamburg"),
    ],
)
def test_what_stands_nowhere_is_found_in_any_of_them(evidence: str, answer: str, why: str):
    assert why in (reason(evidence, answer) or "nothing")


@pytest.mark.parametrize(
    "answer",
    [
        "**Step 1:** Ask the veterinary office [1].\n**Step 2:** Pay 40 euros [1].\n\nLet me know if you need more help!",
        "1. Ask the veterinary office [1].\n2. Pay 40 euros [1].\n3. Cross the border with the permit [1].",
        "### 7. Permit\nIt costs 40 euros [1].",
        "You apply on your PC at the office [1].",
        "It costs 40 euros [1]; You apply at the office.",
        "The permit is issued by the Veterinary Office (VO) [1].",
        "It costs 40 euros [1]. Feel free to ask about anything else concerning birds.",
    ],
)
def test_manners_are_no_false_alarm(answer: str):
    assert reason(ENGLISH, answer) is None


def test_passages_of_several_languages_hold_answers_in_each():
    both = [Document(content=f"{ENGLISH} {ENGLISH}"), Document(content=ENGLISH), Document(content=GERMAN)]
    grounds = Grounds("", both, 0.5)
    assert unsupported("Die Genehmigungen werden vom Veterinäramt ausgestellt [3].", grounds) is None
    assert unsupported("The permit is issued by the veterinary office [1].", grounds) is None
    assert "Hamburg" in (unsupported("The permit is issued by the veterinary office in Hamburg [1].", grounds) or "")
    assert "content words" in (unsupported("Das Zollamt prüft jeden Käfig am Hafen [3].", grounds) or "")


def test_manners_hide_no_name_and_no_number():
    assert reason(ENGLISH, "Let me know if you want to travel to Hamburg.") == "the name Hamburg stands in no passage"
    assert reason(ENGLISH, "It costs 40 euros [1]. Thanks for paying 90 euros.") == "the number 90 stands in no passage"
    assert reason(ENGLISH, "Step 1: Pay 90 euros [1].") == "the number 90 stands in no passage"
    assert reason(ENGLISH, "90. [1]") == "the number 90 stands in no passage"


def test_a_language_is_told_by_what_its_texts_show():
    assert is_english([ENGLISH]) and not any(map(is_english, ([GERMAN], [FRENCH], [CHINESE + "Redis"])))
    assert capitalises_nouns([GERMAN]) and not capitalises_nouns([FRENCH])


@pytest.mark.parametrize("word", ["Genehmigungen", "Exportgenehmigung", "ausgestellt", "Gebühren", "Ausführen", "Tier"])
def test_a_word_is_known_bent_and_joined(word: str):
    there = Vocabulary(["ausfuhrgenehmigung", "stellt", "gebühr", "ausfuhr", "haustiere"])
    assert there.holds(word)


@pytest.mark.parametrize("word", ["Hamburg", "Geduld", "Genie", "Ausland", "Stall", "Wirklichkeit"])
def test_a_word_that_only_looks_alike_is_not(word: str):
    there = Vocabulary(["genehmigung", "stellt", "gebühr", "ausfuhr", "hamster", "möglichkeit"])
    assert not there.holds(word)


@given(st.text(max_size=200))
def test_groups_of_the_evidence_hold_those_of_any_part(text: str):
    assert groups(text[: len(text) // 2]) <= groups(text)
    assert unsupported(text, Grounds("", [Document(content=text)], 0.5)) is None or any(map(str.isalnum, text))

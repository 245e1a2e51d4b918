import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.answer_check import Grounds, check, is_json, numbers_of, unsupported
from ragsaver.components.prompt_builder import ABSTENTION

QUESTION = "How long does the export permit of a parrot take in Lower Saxony?"
PASSAGES = [
    Document(
        content="The veterinary office issues export permits for parrots. It takes three to 14 days and costs 1,250.50 euros.",
        meta={"source": "birds/parrots.md", "heading": "Travel > Permits"},
    ),
    Document(content="Dr. Miller-Jones signs them on Mondays.", meta={"source": "staff.md"}),
]


def failure(answer: str, confidence: float = 0.6, **options) -> str | None:
    found = check(answer, Grounds(QUESTION, PASSAGES, confidence), sure_from=0.8, **options)
    return found.reason if found else None


@pytest.mark.parametrize(
    "answer",
    [
        "The veterinary office issues the permit [1].",
        "It takes 3 to 14 days and costs 1250.5 euros [1]. Miller signs it on Mondays [2].",
        "1. It takes 14 days [1].\n2. Jones signs [2].",
        "In Lower Saxony a parrot's export permit takes three days [1].",
        "Yes [1].",
        "The veterinary office issues the permit [1, 2].",
        "The veterinary office issues the permit 【2†source】.",
        ABSTENTION,
    ],
)
def test_what_the_evidence_holds_passes(answer):
    assert failure(answer) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "it is empty"),
        ("The office issues it.", "cites no passage"),
        ("The office issues it [1][3].", "cites [3], and 2 passages"),
        ("The office issues it [1, 3].", "cites [3], and 2 passages"),
        ("The office issues it (document 3).", "cites [3], and 2 passages"),
        ("The office issues it, `rows[1, 2]`.", "cites no passage"),
        ("It takes 30 days [1].", "the number 30"),
        ("The office in Hamburg issues it [1].", "the name Hamburg"),
        (
            "Tropical birds enjoy sunshine, seeds and company [1].",
            "a sentence has 1 of its 6 content words from the passages",
        ),
    ],
)
def test_what_it_does_not_hold_is_named(answer, reason):
    assert reason in failure(answer)


def test_an_abstention_is_doubted_only_where_the_evidence_is_strong():
    assert failure(ABSTENTION, confidence=0.79) is None
    assert "confidence 0.85" in failure(ABSTENTION, confidence=0.85)


def test_structure_and_the_models_own_doubt_count():
    said = "The veterinary office issues the permit [1]."
    assert "cut" in failure(said, cut=True)
    assert "no JSON" in failure(said, as_json=True) and failure('{"office": "veterinary"}', as_json=True) is None
    assert "-1.20, below -1.00" in failure(said, logprob=-1.2) and failure(said, logprob=-0.9) is None
    grounds = Grounds(QUESTION, PASSAGES, 0.5)
    assert not check("", grounds, sure_from=1.0).usable
    assert not check("[", grounds, sure_from=1.0, as_json=True).usable
    assert check("It takes 30 days [1].", grounds, sure_from=1.0).usable
    assert is_json("```json\n[1]\n```") and not is_json("```json\n[1\n```")


def test_equal_numbers_are_the_same():
    assert numbers_of("1,000.50 and 007 and 3,5") == {"1000.5", "7", "3.5"}
    assert numbers_of("2. the 2.0 of it") == {"2"}


@given(st.sampled_from(PASSAGES), st.integers(1, 3))
def test_a_sentence_of_the_evidence_is_always_supported(passage, times):
    assert unsupported(" ".join([passage.content] * times), Grounds(QUESTION, PASSAGES, 0.5)) is None


@given(st.text(max_size=300))
def test_any_text_can_be_checked(text):
    found = check(text, Grounds(text, [Document(content=text)], 0.5), sure_from=0.8)
    if found is None or "no passage" not in found.reason:
        return
    assert "cites no passage" in found.reason, found.reason  # it supports itself

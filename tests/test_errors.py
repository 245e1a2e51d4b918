"""An error told by another process is the same error here."""

import pytest

from ragsaver.errors import IndexLocked, QuestionTooLong, RagSaverError, Stopped, told


@pytest.mark.parametrize("kind", [RagSaverError, IndexLocked, QuestionTooLong, Stopped])
def test_an_error_goes_over_the_wire_and_comes_back(kind: type[RagSaverError]):
    here = kind("was wrong", where="there", remedy="Mend it")
    again = told(here.urn(), here.problem, where=here.where, remedy=here.remedy)
    assert (type(again), str(again), again.exit_code) == (kind, str(here), here.exit_code)


def test_a_kind_that_is_not_known_here_is_a_plain_error():
    assert type(told("urn:ragsaver:problem:from-the-future", "x", where=None, remedy=None)) is RagSaverError
    assert type(told("about:blank", "x", where=None, remedy=None)) is RagSaverError


def test_the_names_are_words_with_dashes():
    assert QuestionTooLong.urn() == "urn:ragsaver:problem:question-too-long"

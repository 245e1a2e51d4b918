"""Is it a question that can be asked at all?"""

from ragsaver.errors import QuestionTooLong, UsageError


def require_question(question: str, max_chars: int) -> None:
    """Refuse a question that is empty, too long or no text.

    :raises UsageError: saying which.
    """
    if not question.strip():
        raise UsageError("the question is empty", remedy="Write a question in words")
    require_text(question, "the question")
    if len(question) > max_chars:
        raise QuestionTooLong(
            f"the question has {len(question)} characters, {max_chars} are allowed",
            remedy="Shorten it, or raise `query.max_question_chars`",
        )


def require_text(text: str, what: str, where: str | None = None) -> None:
    """Refuse what has halves of characters.

    :param what: it is, for errors.
    :param where: it stands in the request.
    :raises UsageError: if it has.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not valid UTF-8", where=where, remedy="Send it as UTF-8") from None

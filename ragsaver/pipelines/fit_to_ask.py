"""Is it a question that can be asked at all?"""

from ragsaver.errors import QuestionTooLong, UsageError


def require_question(question: str, max_chars: int) -> None:
    """Refuse a question that is empty, too long or no text.

    :raises UsageError: saying which.
    """
    if not question.strip():
        raise UsageError("the question is empty", remedy="Write a question in words")
    try:
        question.encode()
    except UnicodeEncodeError:
        raise UsageError("the question is not valid UTF-8", remedy="Send it as UTF-8") from None
    if len(question) > max_chars:
        raise QuestionTooLong(
            f"the question has {len(question)} characters, {max_chars} are allowed",
            remedy="Shorten it, or raise `query.max_question_chars`",
        )

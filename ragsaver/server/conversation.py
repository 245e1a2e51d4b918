"""What a client of OpenAI sends, as the pipeline takes it: a question, the turns before it, and what is left aside."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ragsaver.components.answer_schema import AnswerSchema, read_schema
from ragsaver.errors import HistoryTooLong, Unsupported, UsageError
from ragsaver.ingestion.order import Name
from ragsaver.pipelines.fit_to_ask import require_text

# What would change what the answer is: left aside, it would be another answer than the one that was asked for.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "n": (1,),
    "logprobs": (False,),
    "stop": ([],),
    "modalities": (["text"],),
    "audio": (),
}

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    text: str | None = None


class Message(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None


class StreamOptions(BaseModel):
    """How a stream is told."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class ChatBody(BaseModel):
    """A conversation; fields that are not named here are left aside, or refused where that would matter."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str = Field(max_length=256, description="a pipeline")
    messages: list[Message] = Field(min_length=1, max_length=10_000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: dict[str, JsonValue] | None = None
    collection: Name | None = Field(default=None, description="of RAGSaver: where to look")

    def max_output_tokens(self) -> int | None:
        """The smaller of both limits on the answer."""
        return min((one for one in (self.max_tokens, self.max_completion_tokens) if one is not None), default=None)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A question with what went before.

    :ivar history: role and text, oldest first.
    :ivar ignored: names of what was sent and left aside.
    :ivar schema: that the answer has to fit.
    """

    question: str
    history: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    schema: AnswerSchema | None = None


def read_conversation(body: ChatBody, max_history_chars: int) -> Conversation:
    """Take a conversation apart.

    :raises Unsupported: if it asks for what there is not.
    :raises UsageError: if it does not end with a question, or its schema is none.
    :raises HistoryTooLong: if what went before is too long.
    """
    more = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
    for name, harmless in _REFUSED.items():
        if name in more and more[name] not in harmless:
            raise Unsupported(
                f"`{name}` can't be used with a pipeline", where=name, remedy="Leave it out of the request"
            )
    turns = [_turn(number, message) for number, message in enumerate(body.messages)]
    spoken = [turn for turn in turns if turn[0] in ("user", "assistant")]
    if not spoken or spoken[-1][0] != "user":
        raise UsageError(
            "the conversation does not end with a user's question",
            where="messages",
            remedy="Let the last message have the role `user`",
        )
    *history, (_, question) = spoken
    require_history(history, max_history_chars, "messages")
    instructed = {f"message of the role {role}" for role, _ in turns if role in ("system", "developer")}
    ignored = {name for name in more if name not in _REFUSED} | instructed
    return Conversation(question, tuple(history), tuple(sorted(ignored)), _schema_of(body.response_format))


def require_history(history: Sequence[tuple[str, str]], max_chars: int, where: str) -> None:
    """Refuse a conversation that is too long, or no text.

    :raises HistoryTooLong: if it is.
    :raises UsageError: if a turn has halves of characters.
    """
    length = sum(len(text) for _, text in history)
    if length > max_chars:
        raise HistoryTooLong(
            f"the turns before the question have {length} characters, {max_chars} are allowed",
            where=where,
            remedy="Leave the oldest ones out, or raise `query.max_history_chars`",
        )
    for _, text in history:
        require_text(text, "an earlier turn", where)


def _schema_of(wished: dict[str, Any] | None) -> AnswerSchema | None:
    place, kind = "response_format", wished.get("type") if wished else None
    if wished is None or kind == "text":
        return None
    if kind == "json_object":
        return read_schema({"type": "object"}, place)
    if kind != "json_schema":
        raise Unsupported(
            "a pipeline answers in `text`, as `json_object` or by a `json_schema`",
            where=place,
            remedy="Let `type` be one of them",
        )
    place = f"{place}.json_schema"
    inside = wished.get("json_schema")
    given = inside if isinstance(inside, dict) else {}
    name, schema, strict = given.get("name", "answer"), given.get("schema"), given.get("strict")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError("it is no name", where=f"{place}.name", remedy="Use up to 64 letters, digits, `_` and `-`")
    if not isinstance(schema, dict):
        raise UsageError("there is no schema", where=f"{place}.schema", remedy="Send a JSON schema as an object")
    if strict is not None and not isinstance(strict, bool):
        raise UsageError("it is neither true nor false", where=f"{place}.strict", remedy="Leave it out")
    return read_schema(schema, f"{place}.schema", name=name, strict=strict)


def _turn(number: int, message: Message) -> tuple[str, str]:
    place = f"messages.{number}"
    if message.role in ("tool", "function") or (message.model_extra or {}).get("tool_calls"):
        raise Unsupported("a pipeline calls no tools", where=place, remedy="Leave tools and their messages out")
    if message.content is None or isinstance(message.content, str):
        return message.role, message.content or ""
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise Unsupported(f"a part of the type `{part.type}` can't be read", where=place, remedy="Send text only")
    return message.role, "\n".join(part.text or "" for part in message.content)

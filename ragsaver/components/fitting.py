"""A model's reply on its way to JSON that fits the asker's schema: mended here, asked for once more, or refused."""

from collections.abc import Sequence
from dataclasses import replace

from haystack.dataclasses import ChatMessage, ChatRole

from ragsaver.components.answer_builder import is_abstention
from ragsaver.components.answer_links import LinkFilter
from ragsaver.components.answer_schema import DETAIL_CHARS, AnswerSchema, Misfit, cleaned
from ragsaver.components.chat import ChatTier
from ragsaver.components.chat_reply import ChatReply
from ragsaver.components.request import current_request
from ragsaver.errors import GenerationError
from ragsaver.spend.prompt_bound import AROUND_A_MESSAGE
from ragsaver.spend.receipt import current_receipt

_WISH = "That does not fit the JSON schema. {}\nReply with the mended JSON alone."
_BYTES_A_TOKEN = 8  # that a reply has at most, taken all together


def most_read(output_tokens: int) -> int:
    """Tokens that any tokenizer makes of a reply, at most."""
    return output_tokens * _BYTES_A_TOKEN


def most_added(output_tokens: int) -> int:
    """Tokens that asking once more adds to a prompt, at most: no tokenizer makes more of a text than it has bytes.

    :param output_tokens: that the first reply may have.
    """
    return most_read(output_tokens) + len(_WISH) + 4 * DETAIL_CHARS + 2 * AROUND_A_MESSAGE


def wanted_schema() -> AnswerSchema | None:
    """That of the running request."""
    request = current_request()
    return request.response_schema if request is not None else None


def with_schema(messages: list[ChatMessage]) -> list[ChatMessage]:
    """The prompt, with the schema that the answer has to fit behind the instructions, in front of all that changes
    from question to question: a provider's prefix cache has both.
    """
    schema = wanted_schema()
    if schema is None:
        return messages
    if messages and messages[0].is_from(ChatRole.SYSTEM):
        return [ChatMessage.from_system(f"{messages[0].text or ''}\n\n{schema.instruction}"), *messages[1:]]
    return [ChatMessage.from_system(schema.instruction), *messages]


class Fitting:
    """What one question's replies go through.

    :param links: takes addresses that nobody gave out of the strings.
    :ivar unlinked: it did so in the last reply.
    """

    def __init__(self, schema: AnswerSchema, links: LinkFilter) -> None:
        self.schema = schema
        self.unlinked = False
        self._links = links

    def mended(self, reply: ChatReply) -> ChatReply:
        """The reply as JSON, as far as that can be done here; the abstention stays as it is."""
        self.unlinked = False
        if is_abstention(reply.text):
            return reply
        text = self.schema.mended(reply.text)
        if self.schema.misfit(text) is not None:
            return replace(reply, text=text)
        clean = cleaned(text, self._links.clean)
        self.unlinked = clean != text
        return replace(reply, text=clean)

    def once_more(self, tier: ChatTier, reply: ChatReply, messages: Sequence[ChatMessage]) -> list[ChatMessage] | None:
        """What the model is asked a second time; None where there is no need, or the reply would be cut again."""
        misfit = self._misfit(self.mended(reply))
        if misfit is None or reply.finish_reason == "length":
            return None
        reason = f"asked once more: its reply does not fit the schema: {misfit.reason}"
        current_receipt().add("route", f"{tier.tier}: {tier.settings.name}", 1, "calls", reason=reason)
        wish = ChatMessage.from_user(_WISH.format(misfit.detail))
        return [*messages, ChatMessage.from_assistant(reply.text or "(nothing)"), wish]

    def require(self, reply: ChatReply, where: str) -> None:
        """Refuse an answer that is not what was asked for.

        :raises GenerationError: saying what is wrong with it.
        """
        misfit = self._misfit(reply)
        if misfit is not None:
            cut = ", and was cut at the token limit" if reply.finish_reason == "length" else ""
            raise GenerationError(
                f"its answer does not fit the schema: {misfit.reason}{cut}",
                where=where,
                remedy="Make the schema simpler, allow for more output tokens, or add a better model",
            )

    def _misfit(self, reply: ChatReply) -> Misfit | None:
        return None if is_abstention(reply.text) else self.schema.misfit(reply.text)

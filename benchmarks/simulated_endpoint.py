"""An endpoint that speaks the OpenAI protocol and reads only the evidence it is given.

Its answers are SIMULATED: they say what a reader who never errs would find in the prompt, nothing about a real model.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from provider_cache import ProviderCache

from ragsaver.components.prompt_builder import ABSTENTION
from ragsaver.sentences import split

_DOCUMENT = re.compile(r"<document (\d+)>(.*?)</document \1>", re.DOTALL)
_QUESTION = "Question: "


class Reader:
    """Answers with the sentence of the evidence that holds a gold answer, and its number.

    :param answers: gold answers by question.
    :param count: tokens of each of some texts.
    """

    def __init__(self, answers: Mapping[str, Sequence[str]], count: Callable[[Sequence[str]], list[int]]) -> None:
        self._answers = answers
        self._count = count
        self._counting = threading.Lock()

    def reply(self, texts: Sequence[str]) -> tuple[str, int, int]:
        """The answer, the prompt's tokens and the answer's.

        :param texts: of the messages; the last one ends with the question.
        """
        prompt = "\n".join(texts)
        question = prompt[prompt.rindex(_QUESTION) + len(_QUESTION) :].strip()
        said = self._found(prompt, self._answers.get(question, ()))
        with self._counting:
            *asked, answered = self._count([*texts, said])
        return said, sum(asked), answered

    def cut(self, said: str, most: int) -> tuple[str, int]:
        """An answer's words within so many tokens, and its tokens."""
        words = said.split()
        with self._counting:
            while words and self._count([" ".join(words)])[0] > most:
                words.pop()
        return " ".join(words), most

    def _found(self, prompt: str, answers: Sequence[str]) -> str:
        for number, text in _DOCUMENT.findall(prompt):
            for sentence in split(text):
                if holds(sentence, answers):
                    return f"{' '.join(sentence.split())} [{number}]"
        return ABSTENTION


def plain(text: str) -> str:
    """Case and white space aside."""
    return " ".join(text.casefold().split())


def holds(text: str, answers: Iterable[str]) -> bool:
    """Whether an answer stands in a text, as whole words: 13 does not in 1390."""
    return any(re.search(rf"(?<!\w){re.escape(plain(one))}(?!\w)", plain(text)) for one in answers)


@contextmanager
def simulated_endpoint(reader: Reader, provider: ProviderCache | None = None) -> Iterator[str]:
    """Serve it; gives the base URL.

    :param provider: what it has of prompts; none: nothing.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            texts = [message["content"] for message in asked["messages"]]
            said, prompt, answered = reader.reply(texts)
            most, ends = asked.get("max_tokens") or asked.get("max_completion_tokens") or answered, "stop"
            if answered > most:
                (said, answered), ends = reader.cut(said, most), "length"
            had = provider.had(asked["model"], texts) if provider else 0
            body = json.dumps(
                {
                    "id": "simulated",
                    "object": "chat.completion",
                    "created": 0,
                    "model": asked["model"],
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": ends}],
                    "usage": {
                        "prompt_tokens": prompt,
                        "completion_tokens": answered,
                        "total_tokens": prompt + answered,
                        "prompt_tokens_details": {"cached_tokens": had},
                    },
                }
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Both legs' answers to the judged questions of a dataset, recorded once, to be fused again in any way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragsaver.components.feedback import nearer
from ragsaver.components.fusion import Fusion, fuse
from ragsaver.eval.dataset import judged_queries, load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.settings import Settings


@dataclass(frozen=True, slots=True)
class Legs:
    """What both legs found for a question, as scores by passage, the documents that the passages are of, and grades.

    :ivar again: what the vector leg found when it was asked again.
    :ivar tokens: of the passages.
    """

    dense: Mapping[str, float]
    lexical: Mapping[str, float]
    documents: Mapping[str, str]
    judged: Mapping[str, int]
    again: Mapping[str, float] | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)

    def fused(self, fusion: Fusion, lexical_weight: float) -> list[tuple[str, float]]:
        """Passages and scores, best first."""
        return fuse(self.again or self.dense, self.lexical, lexical_weight, fusion)

    def ranking(self, passages: list[str]) -> list[str]:
        """Their documents, each once."""
        return list(dict.fromkeys(self.documents[key] for key in passages))


def record_legs(folder: Path, settings: Settings) -> list[Legs]:
    """Ask every judged question once.

    :raises UsageError: if the dataset is wrong or has no judged question.
    """
    dataset = load_dataset(folder)
    queries = judged_queries(dataset, folder)
    recorded: list[Legs] = []
    with indexed(dataset, settings) as runtime:
        resources, scope = runtime.resources, runtime.scope()
        index, asked = resources.index, settings.retrieval
        for query in queries:
            vector = resources.encoder.encode([query.text], query=True)[0]
            dense, lexical = index.search(scope, query.text, vector, asked.candidates, with_payload=False).scores()
            fused = fuse(dense, lexical, asked.lexical_weight, Fusion(asked.fusion))
            again: Mapping[str, float] | None = None
            if (moved := nearer(index, scope, vector, fused, (dense, lexical), asked)) is not None:
                again, _ = index.search(scope, "", moved, asked.candidates, with_payload=False).scores()
            payloads = index.payloads(scope, list({**dense, **lexical, **(again or {})}))
            documents = {one: str(payload["source"]) for one, payload in payloads.items()}
            tokens = {one: int(payload.get("tokens", 0)) for one, payload in payloads.items()}
            recorded.append(Legs(dense, lexical, documents, dataset.judged[query.id], again, tokens))
    return recorded

"""Are follow-up questions found? Hand-written dialogues over SQuAD, with and without what they lean on. JSON last.

A hit is a follow-up whose own passage is the first, or among the first three, that retrieval gives. Questions on a new
topic are asked in the same way: nothing may be added to them. The dialogues were written with the passages at hand, and
the rules with the dialogues: the figures say that the rules work, not how often people ask like this.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragsaver.settings import Settings, quiet_haystack

DIALOGUES = Path(__file__).parents[1] / "tests" / "data" / "dialogues" / "dialogues.jsonl"
FIRST_LIMIT, FIRST_THREE_LIMIT = 0.62, 0.85


def main() -> None:
    """Ask each follow-up twice."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data/squad"))
    arguments.add_argument("--show", action="store_true", help="each question as it is looked for")
    given = arguments.parse_args()
    quiet_haystack()
    from ragsaver.components.conversation import turns_of
    from ragsaver.components.follow_up import self_contained
    from ragsaver.eval.dataset import load_dataset
    from ragsaver.eval.harness import indexed

    dialogues = [json.loads(line) for line in DIALOGUES.read_text().splitlines()]
    whole = [
        self_contained(one["question"], turns_of([(role, text) for role, text in one["history"]])) for one in dialogues
    ]
    with indexed(load_dataset(given.data), Settings(home=Path("unused"))) as runtime:

        def rank(question: str, passage: str) -> int | None:
            found = [one.source for one in runtime.engine().search(question).passages]
            return found.index(passage) + 1 if passage in found else None

        ranks = {
            "as_asked": [rank(one["question"], one["passage"]) for one in dialogues],
            "made_whole": [rank(text, one["passage"]) for text, one in zip(whole, dialogues, strict=True)],
        }
    if given.show:
        for one, text, before, after in zip(dialogues, whole, *ranks.values(), strict=True):
            print(before, after, one["passage"], text, sep=" | ")
    follow_ups = [n for n, one in enumerate(dialogues) if not one["new_topic"]]
    others = [n for n, one in enumerate(dialogues) if one["new_topic"]]
    result: dict[str, Any] = {
        "follow_ups": {"questions": len(follow_ups), **hits(ranks, follow_ups)},
        "new_topics": {
            "questions": len(others),
            "changed": sum(whole[n] != dialogues[n]["question"] for n in others),
            **hits(ranks, others),
        },
    }
    made_whole = result["follow_ups"]["made_whole"]
    result["ok"] = (
        made_whole["first"] >= FIRST_LIMIT
        and made_whole["first_three"] >= FIRST_THREE_LIMIT
        and result["new_topics"]["changed"] == 0
    )
    print(json.dumps(result))


def hits(ranks: Mapping[str, Sequence[int | None]], chosen: Sequence[int]) -> dict[str, dict[str, float]]:
    """Share of the chosen questions whose passage is first, and among the first three."""
    return {
        name: {
            "first": round(sum(places[n] == 1 for n in chosen) / len(chosen), 3),
            "first_three": round(sum((places[n] or 99) <= 3 for n in chosen) / len(chosen), 3),
        }
        for name, places in ranks.items()
    }


if __name__ == "__main__":
    main()

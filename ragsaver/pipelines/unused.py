"""Which settings change nothing, because no component of the pipelines that are run uses them? Who set them is told.

The pipelines are read, not loaded, so that a command that leaves its work to a server imports no engine for it.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from ragsaver.pipelines.places import SEARCH, find_pipeline
from ragsaver.settings import Settings

_TYPE = re.compile(r"\btype:\s*['\"]?([A-Za-z_]\w*(?:\.\w+)+)")
_RERANKER = "ragsaver.components.rerank.ConditionalReranker"
_PACKER = "ragsaver.components.packer.ContextPacker"
# A reranker that is there whatever answers are made of, as in the shipped `search.yaml`: nobody has chosen it.
_YIELDS = re.compile(r"\botherwise:\s*['\"]?free\b")


def unused_settings(settings: Settings, pipeline: str | None = None) -> list[str]:
    """What is said of each setting that neither a pipeline nor `search` uses.

    :param pipeline: its name; `query.pipeline` if None.
    :raises UsageError: if there is no such pipeline.
    """
    mode, context = settings.rerank.mode, sorted(settings.context.model_fields_set)
    if mode in (None, "never") and not context:
        return []
    names = dict.fromkeys((pipeline or settings.query.pipeline, SEARCH))
    texts = {name: find_pipeline(name, settings.pipelines_dir).read_text(encoding="utf-8") for name in names}
    types = {name: set(_TYPE.findall(text)) for name, text in texts.items()}
    return told_unused(mode, context, types, yields=bool(_YIELDS.search(texts[SEARCH])))


def told_unused(
    mode: str | None, context: Sequence[str], types: Mapping[str, Collection[str]], *, yields: bool = False
) -> list[str]:
    """The same of plain values. A component of somebody else's may use anything: then nothing is said.

    :param mode: `rerank.mode` as it was set.
    :param context: what was set under `context`.
    :param types: of the components of each pipeline, of that first that answers.
    :param yields: whether the reranker of the other one, if it has one, is there whatever answers are made of.
    """
    every = {one for some in types.values() for one in some}
    if not all(one.startswith(("ragsaver.", "haystack")) for one in every):
        return []
    answers, where, told = next(iter(types)), " or ".join(f"`{name}`" for name in types), []
    chosen = _RERANKER in types[answers] or (_RERANKER in every and not yields)
    if mode not in (None, "never") and not chosen:
        what = f"searches alone: there is no reranker in `{answers}`"
        nothing = f"nothing: there is no reranker in {where}"
        told.append(
            f"`rerank.mode: {mode}` changes {what if _RERANKER in every else nothing}. Set `query.pipeline: reranked`, "
            "or put a ConditionalReranker into your own"
        )
    if context and _PACKER not in every:
        told.append(
            f"{', '.join(f'`context.{one}`' for one in context)}: changes nothing, there is no ContextPacker in "
            f"{where}. Put one in, or take the setting out"
        )
    return told

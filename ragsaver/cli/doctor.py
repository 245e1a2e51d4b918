"""`ragsaver doctor`: what is set up, what is not, and the remedy."""

import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.errors import RagSaverError, StorageError
from ragsaver.settings import Settings, quiet_haystack
from ragsaver.settings_file import load_settings

FAILED = 2
_MIN_FREE_MIB = 256


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Check this machine and this project."""
    with errors_told(as_json):
        quiet_haystack()
        settings = load_settings()
        checks: dict[str, Callable[[Settings], _Told]] = {
            "model": _model,
            "disk": _disk,
            "database": _database,
            "cache": _cache,
            "index": _index,
            "owner": _owner,
            "pipeline": _pipeline,
            "fusion": _fusion,
            "reranker": _reranker,
            "generation": _generation,
            "spend": _spend,
        }
        rows = [_row("python", platform.python_version())]
        for name, check in checks.items():
            try:
                rows.append(_row(name, check(settings)))
            except RagSaverError as error:
                rows.append(_Row(name, ok=False, warning=False, detail=str(error)))
        rows += _unused(settings)
        for row in rows:
            if not as_json:
                said = "FAIL" if not row.ok else "WARN" if row.warning else "ok  "
                say(f"{said}  {row.check:<11} {row.detail}")
        healthy = all(row.ok for row in rows)
        if as_json:
            print_json(json.dumps({"ok": healthy, "checks": [asdict(row) for row in rows]}))
        if not healthy:
            raise typer.Exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Warning:
    """What works, and will not for ever."""

    detail: str


_Told = str | _Warning


@dataclass(frozen=True, slots=True)
class _Row:
    """What came of one check."""

    check: str
    ok: bool
    warning: bool
    detail: str


def _row(check: str, told: _Told) -> _Row:
    if isinstance(told, _Warning):
        return _Row(check, ok=True, warning=True, detail=told.detail)
    return _Row(check, ok=True, warning=False, detail=told)


def _unused(settings: Settings) -> list[_Row]:
    from ragsaver.pipelines.unused import unused_settings

    try:
        return [_row("settings", _Warning(one)) for one in unused_settings(settings)]
    except RagSaverError:  # its check has said so
        return []


def _model(settings: Settings) -> str:
    from ragsaver.models.registry import load_encoder

    encoder = load_encoder(settings.embedding)
    encoder.encode(["a question"])
    return f"{encoder.name}, {encoder.dim} dimensions, fingerprint {encoder.fingerprint[:12]}"


def _disk(settings: Settings) -> str:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise StorageError(
            "can't be written", where=str(place), remedy="Set RAGSAVER_HOME to a folder that you own and may write to"
        )
    free = shutil.disk_usage(place).free // 2**20
    if free < _MIN_FREE_MIB:
        raise StorageError(f"only {free} MiB are free", where=str(place), remedy="Free some space")
    return f"{free} MiB free for {settings.home}"


def _database(settings: Settings) -> str:
    from ragsaver.ingestion.opening import asked_server

    return asked_server(settings) or "SQLite files"


def _cache(settings: Settings) -> _Told:
    from ragsaver.caching.opening import unbounded_cache

    if problem := unbounded_cache(settings.embedding_cache):
        return _Warning(problem)
    return f"vectors in {'Redis' if settings.embedding_cache.backend == 'redis' else 'a SQLite file'}, bounded"


def _index(settings: Settings) -> str:
    from ragsaver.index.generation import settings_at
    from ragsaver.index.manifest_place import place_in_use
    from ragsaver.index.opening import asked_server

    if settings.index.engine == "edge":
        return "embedded"
    return asked_server(settings_at(settings.index, place_in_use(settings))) or ""


def _owner(settings: Settings) -> str:
    from ragsaver.index.ownership import current_owner

    if settings.index.shared:
        return "nobody owns an index in a server"
    owner = current_owner(settings.home)
    return f"held by {owner.role} (process {owner.pid})" if owner else "the index is free"


def _pipeline(settings: Settings) -> str:
    from ragsaver.pipelines.loader import load_pipeline
    from ragsaver.pipelines.places import find_pipeline, pipeline_names

    usual, folder = settings.query.pipeline, settings.pipelines_dir
    names = [usual, *(name for name in pipeline_names(folder) if name != usual)]
    for name in names:
        load_pipeline(find_pipeline(name, folder), None, settings.allow_modules)
    return f"{', '.join(names)} can be loaded"


def _fusion(settings: Settings) -> str:
    from ragsaver.components.retriever import HybridRetriever
    from ragsaver.pipelines.loader import load_pipeline
    from ragsaver.pipelines.places import SEARCH, find_pipeline

    told: dict[str, list[str]] = {}
    for name in dict.fromkeys((settings.query.pipeline, SEARCH)):
        pipeline = load_pipeline(find_pipeline(name, settings.pipelines_dir), None, settings.allow_modules)
        for _, part in pipeline.walk():
            if isinstance(part, HybridRetriever):
                here = part.why_here(settings)
                told.setdefault("in the engine" if here is None else f"here ({here})", []).append(name)
    return (
        "; ".join(f"{', '.join(names)} {where}" for where, names in told.items())
        or "no pipeline searches by words and meaning"
    )


def _reranker(settings: Settings) -> str:
    from ragsaver.components.rerank import ConditionalReranker
    from ragsaver.components.reranking import Reranking
    from ragsaver.models.registry import load_encoder
    from ragsaver.pipelines.loader import load_pipeline
    from ragsaver.pipelines.places import find_pipeline

    name = settings.query.pipeline
    pipeline = load_pipeline(find_pipeline(name, settings.pipelines_dir), None, settings.allow_modules)
    parts = [part for _, part in pipeline.walk() if isinstance(part, ConditionalReranker)]
    modes = sorted({part.mode_by(settings) for part in parts} - {"never"})
    if not modes:
        return f"{name} asks none"
    reranking = Reranking(settings, load_encoder(settings.embedding))
    try:
        told = f"{', '.join(reranking.probe(mode) for mode in modes)} ({', '.join(modes)})"
        price = reranking.listed
        return told if price is None or price.known else f"{told}, at an upper price: set `rerank.usd_per_1k_calls`"
    finally:
        reranking.close()


def _generation(settings: Settings) -> str:
    if not settings.generation.models:
        return "extractive tier only (no model configured)"
    from ragsaver.components.chat import ChatTier

    tiers = [ChatTier(model, lambda texts: [0] * len(texts)) for model in settings.generation.models]
    return ", ".join(f"{tier.probe()}, tokens by {tier.tokens.name}" for tier in tiers)


def _spend(settings: Settings) -> _Told:
    from ragsaver.cli.spend_check import spend_warnings

    warnings = spend_warnings(settings)
    return _Warning("; ".join(warnings)) if warnings else "prices are known, and budgets name who is there"

"""Where a project's settings come from: defaults, then `ragsaver.yaml`, then `RAGSAVER_*` variables.

A nested key is a variable with double underscores: `context.budget_tokens` is `RAGSAVER_CONTEXT__BUDGET_TOKENS`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ragsaver.errors import SettingsError
from ragsaver.settings import LOCAL, IndexSettings, LoggingSettings, Settings, is_redis
from ragsaver.yaml_lines import read_lines, said_of, twice

SETTINGS_FILE = "ragsaver.yaml"
PREFIX = "RAGSAVER_"
_SECRET = ("api_key", "broker_url", "redis_url", "database.url")


def load_settings(folder: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a project.

    Relative paths in the file are relative to the file. `${NAME}` in a value is taken from the environment.

    :param folder: where `ragsaver.yaml` may be; the working directory if None.
    :param env: the environment; the process's own if None.
    :raises SettingsError: naming the file, the line, the key and what is allowed.
    """
    folder = folder or Path.cwd()
    env = os.environ if env is None else env
    file = folder / SETTINGS_FILE
    values: dict[str, Any] = {}
    lines: dict[tuple[str, ...], int] = {}
    if file.exists():
        values, lines = _read(file, env)
    origin = _override(values, env)
    _take_broker(values, env)
    _take_qdrant(values, env)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _explain(error, file, lines, origin) from None
    _check_relations(settings, file)
    return settings.model_copy(
        update={
            "home": (folder / settings.home).resolve(),
            "pipelines_dir": (folder / settings.pipelines_dir).resolve(),
            "index": _in_folder(settings.index, folder),
            "logging": _log_in_folder(settings.logging, folder),
        }
    )


def _read(file: Path, env: Mapping[str, str]) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"can't be read: {error}", where=str(file)) from error
    try:
        values, found = read_lines(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        said, line = said_of(error)
        raise SettingsError(said, where=f"{file}:{line}" if line else str(file)) from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise SettingsError("must hold keys and values", where=f"{file}:1", remedy="See `ragsaver init`")
    if again := twice(found):
        raise SettingsError(
            f"`{'.'.join(again[0])}` stands there twice",
            where=f"{file}:{again[1]}",
            remedy="Put all that belongs to it in one place",
        )
    lines = dict(found)
    return {str(key): _expand(value, env, file, lines, (str(key),)) for key, value in values.items()}, lines


def _expand(
    value: Any, env: Mapping[str, str], file: Path, lines: dict[tuple[str, ...], int], path: tuple[str, ...]
) -> Any:
    if isinstance(value, dict):
        return {str(k): _expand(v, env, file, lines, (*path, str(k))) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, env, file, lines, (*path, str(n))) for n, v in enumerate(value)]
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        name = value[2:-1]
        if name not in env:
            raise SettingsError(
                f"`{'.'.join(path)}` takes its value from ${name}, which is not set",
                where=f"{file}:{lines.get(path, 1)}",
                remedy=f"Set {name} or write the value",
            )
        return env[name]
    return value


def _override(values: dict[str, Any], env: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Lay the variables over the file's values, in place; says which variable set which key."""
    origin: dict[tuple[str, ...], str] = {}
    for name, text in sorted(env.items()):
        if not name.startswith(PREFIX) or name.startswith(PREFIX + "TEST_"):
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        target = values
        for part in path[:-1]:
            below = target.get(part)
            if not isinstance(below, dict):
                below = {}
                target[part] = below
            target = below
        target[path[-1]] = _parse(text)
        origin[path] = name
    return origin


def _take_broker(values: dict[str, Any], env: Mapping[str, str]) -> None:
    """The variables that other tools name a broker with, unless ours or the file name one."""
    section = values.setdefault("queue", {})
    if isinstance(section, dict) and "broker_url" not in section:
        named = (env.get(name, "") for name in ("CELERY_BROKER_URL", "REDIS_URL"))
        section["broker_url"] = next((url for url in named if is_redis(url)), None)


def _take_qdrant(values: dict[str, Any], env: Mapping[str, str]) -> None:
    """The variables that Qdrant's own clients read, unless ours or the file name a server."""
    section = values.setdefault("index", {})
    if not isinstance(section, dict):
        return
    if "url" not in section and env.get("QDRANT_URL", "").startswith(("http://", "https://")):
        section["url"] = env["QDRANT_URL"]
    if "api_key" not in section and env.get("QDRANT_API_KEY"):
        section["api_key"] = env["QDRANT_API_KEY"]


def _in_folder(index: IndexSettings, folder: Path) -> IndexSettings:
    if index.url is None or not index.url.startswith(LOCAL):
        return index
    place = (folder / index.url.removeprefix(LOCAL)).resolve()
    return index.model_copy(update={"url": f"{LOCAL}{place}"})


def _log_in_folder(logging: LoggingSettings, folder: Path) -> LoggingSettings:
    file = logging.file
    return logging if file is None else logging.model_copy(update={"file": (folder / file).resolve()})


def _parse(text: str) -> Any:
    if text.startswith(("[", "{")) or text == "null":
        try:
            return read_lines(text, yaml.SafeLoader)[0]
        except yaml.YAMLError:
            return text
    return text


def _explain(
    error: ValidationError,
    file: Path,
    lines: dict[tuple[str, ...], int],
    origin: dict[tuple[str, ...], str],
) -> SettingsError:
    first = error.errors()[0]
    path = tuple(str(part) for part in first["loc"])
    variable = next((name for key, name in origin.items() if key == path[: len(key)]), None)
    if variable:
        where = f"environment variable {variable}"
    else:
        known = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 1)
        where = f"{file}:{known}"
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return SettingsError(
            f"unknown key `{key}`", where=where, remedy=f"Allowed here: {', '.join(_keys_at(path[:-1]))}"
        )
    given = first.get("input")
    shown = "" if isinstance(given, dict | list) or key.endswith(_SECRET) else f" (given: {given!r})"
    return SettingsError(f"`{key}` has a value that is not allowed{shown}", where=where, remedy=first["msg"])


def _keys_at(path: tuple[str, ...]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in path:
        if part not in section.model_fields:  # a place in a list, or a name that the operator chose
            continue
        annotation = section.model_fields[part].annotation
        inner = [a for a in (annotation, *getattr(annotation, "__args__", ())) if _is_model(a)]
        if not inner:
            return []
        section = inner[0]
    return sorted(section.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _check_relations(settings: Settings, file: Path) -> None:
    if settings.chunking.max_words <= settings.chunking.min_words:
        raise SettingsError(
            f"`chunking.max_words` ({settings.chunking.max_words}) must be above "
            f"`chunking.min_words` ({settings.chunking.min_words})",
            where=str(file),
        )
    if settings.index.engine == "qdrant" and settings.index.url is None:
        raise SettingsError(
            "`index.engine: qdrant` needs a server",
            where=str(file),
            remedy="Set `index.url` or the variable QDRANT_URL: http://HOST:6333",
        )
    model, known = settings.outline.summary_model, [one.name for one in settings.generation.models]
    if model is not None and model not in known:
        raise SettingsError(
            f"`outline.summary_model` ({model}) is none of `generation.models`",
            where=str(file),
            remedy=f"Name one of these: {', '.join(known)}" if known else "Write it there, with its endpoint",
        )

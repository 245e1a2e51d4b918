"""What a model of sentence-transformers needs before it is loaded: packages, a device, and where it comes from."""

from importlib import import_module
from pathlib import Path
from typing import Any

from ragsaver.errors import MissingExtra
from ragsaver.models.devices import Device, Wanted, torch_device


def origin(model: str) -> tuple[Path | None, str, str]:
    """Folder if it is one, name, and revision on the hub: of `owner/name`, `owner/name@revision` or a folder."""
    path = Path(model).expanduser()
    if model and path.is_dir():
        return path, path.name, ""
    name, _, revision = model.partition("@")
    return None, name, revision


def packages(wanted: Wanted, *, setting: str, instead: str) -> tuple[Any, Any, Device]:
    """torch, sentence_transformers, and the device that the model is to run on.

    :param setting: that asks for them.
    :param instead: its values that do without, for the error.
    :raises MissingExtra: if they are not installed, or CUDA is asked for and torch was built without it.
    :raises SettingsError: if CUDA is asked for and torch sees no GPU.
    """
    try:
        torch, transformers = import_module("torch"), import_module("sentence_transformers")
    except ImportError:
        raise MissingExtra(
            "sentence-transformers is not installed",
            where=setting,
            remedy=f'Install it with `pip install "ragsaver[train]"`, or set `{setting}` to {instead}',
        ) from None
    built, sees = torch.version.cuda is not None, torch.cuda.is_available()
    return torch, transformers, torch_device(wanted, built_with_cuda=built, sees_gpu=sees)

"""What is done between searches is written once, whoever waits for them: a thread, or a task on an event loop."""

import asyncio
from collections.abc import Generator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.request import stage
from ragsaver.index.blend import Blend
from ragsaver.index.protocol import AsyncIndex, Leg, LegHits, VectorIndex
from ragsaver.index.scope import Scope

Found = LegHits | Leg
T = TypeVar("T")


class Search(NamedTuple):
    """What an index is asked; hits come without payloads.

    :ivar vector: (dim,) float32.
    """

    scope: Scope
    text: str
    vector: NDArray[np.float32]
    limit: int


class BlendedSearch(NamedTuple):
    """The same, of an index that is to make one order of both legs; hits come with payloads.

    :ivar vector: (dim,) float32.
    :ivar most: hits wanted.
    """

    scope: Scope
    text: str
    vector: NDArray[np.float32]
    limit: int
    blend: Blend
    most: int


# Yields each search, is sent what it found, and returns what came of it all.
Steps = Generator[Search | BlendedSearch, Any, T]


class _End(NamedTuple, Generic[T]):
    came_of_it: T


def searched(steps: Steps[T], index: VectorIndex) -> T:
    """What comes of the steps, all of them in this thread."""
    step = _next(steps, None)
    while isinstance(step, (Search, BlendedSearch)):
        with stage("retrieve"):
            if isinstance(step, BlendedSearch):
                found: Found = index.blended(*step)
            else:
                found = index.search(*step, with_payload=False)
        step = _next(steps, found)
    return step.came_of_it


async def searched_async(steps: Steps[T], index: AsyncIndex) -> T:
    """The same; searches are awaited on the running event loop, and what is between them is done in a thread: it embeds
    the question and reads payloads.
    """
    step = await asyncio.to_thread(_next, steps, None)
    while isinstance(step, (Search, BlendedSearch)):
        with stage("retrieve"):
            if isinstance(step, BlendedSearch):
                found: Found = await index.blended_async(*step)
            else:
                found = await index.search_async(*step, with_payload=False)
        step = await asyncio.to_thread(_next, steps, found)
    return step.came_of_it


def _next(steps: Steps[T], found: Found | None) -> Search | BlendedSearch | _End[T]:
    try:
        return next(steps) if found is None else steps.send(found)
    except StopIteration as end:  # no future may raise it
        return _End(end.value)

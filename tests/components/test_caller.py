"""What a thread hands to the event loop ends with its caller, and otherwise as it would by itself."""

import asyncio
import contextvars
from collections.abc import Callable

import pytest

from ragsaver.components.caller import Caller

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


async def never() -> None:
    await asyncio.Event().wait()


def in_a_thread(work: Callable[[Caller], object], left: Callable = never) -> object:
    async def main() -> object:
        return await asyncio.to_thread(work, Caller(left))

    return asyncio.run(main())


def test_the_result_comes_back_and_the_threads_context_goes_along():
    async def name() -> str:
        return NAME.get()

    def work(caller: Caller) -> str:
        NAME.set("ana")
        return caller.run(name)

    assert in_a_thread(work) == "ana"


@pytest.mark.parametrize("error", [ValueError("wrong"), TimeoutError("its own")])
def test_what_the_work_raises_is_raised(error: Exception):
    async def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        in_a_thread(lambda caller: caller.run(fail))


def test_who_has_left_already_is_not_worked_for():
    begun = []

    async def gone() -> None:
        pass

    async def work() -> None:
        begun.append(1)

    with pytest.raises(asyncio.CancelledError):
        in_a_thread(lambda caller: caller.run(work), gone)
    assert begun == []


def test_who_leaves_waits_until_the_work_has_put_its_things_away():
    begun, put_away = asyncio.Event(), []

    async def leaves() -> None:
        await begun.wait()

    async def work() -> None:
        try:
            begun.set()
            await never()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            put_away.append(1)

    def thread(caller: Caller) -> list[int]:
        with pytest.raises(asyncio.CancelledError):
            caller.run(work)
        return list(put_away)

    assert in_a_thread(thread, leaves) == [1]


def test_nobody_listens_before_there_is_work_nor_after_it():
    listening = []

    async def listens() -> None:
        listening.append(1)
        try:
            await never()
        finally:
            listening.pop()

    async def work() -> int:
        return len(listening)

    async def main() -> None:
        caller = Caller(listens)
        await asyncio.sleep(0)
        assert listening == []
        assert await asyncio.to_thread(caller.run, work) == 1
        await asyncio.sleep(0)
        assert listening == []

    asyncio.run(main())


def test_a_loop_that_is_closed_ends_the_wait_for_it():
    loop = asyncio.new_event_loop()

    async def made() -> Caller:
        return Caller(never)

    caller = loop.run_until_complete(made())
    # it takes the work, and never runs again
    caller._loop = type("Ending", (), {"call_soon_threadsafe": lambda *_, **__: None, "is_closed": loop.is_closed})()
    loop.close()
    with pytest.raises(asyncio.CancelledError):
        caller.run(never)

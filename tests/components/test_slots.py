import asyncio
import threading

import pytest

from ragsaver.components.slots import Slots, slots_of


def test_no_more_are_inside_than_allowed_threads_and_tasks_together():
    slots, lock = Slots(2), threading.Lock()
    inside = most = 0

    def enter():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)

    def leave():
        nonlocal inside
        with lock:
            inside -= 1

    def work():
        for _ in range(50):
            with slots.slot():
                enter()
                leave()

    async def task():
        for _ in range(50):
            async with slots.slot_async():
                enter()
                await asyncio.sleep(0)
                leave()

    async def tasks():
        await asyncio.gather(*(task() for _ in range(5)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert (inside, most <= 2) == (0, True)


def test_who_gives_up_waiting_loses_no_slot():
    slots = Slots(1)

    async def impatient():
        async with slots.slot_async(timeout_s=0.001):
            raise AssertionError("it was taken")

    with slots.slot():
        with pytest.raises(TimeoutError), slots.slot(timeout_s=0.001):
            raise AssertionError("it was taken")
        with pytest.raises(TimeoutError):
            asyncio.run(impatient())
    with slots.slot(timeout_s=1):
        pass


def test_a_cancelled_task_hands_its_turn_on():
    async def scene() -> list[str]:
        slots, came = Slots(1), []
        held = slots.slot_async()
        await held.__aenter__()

        async def wait(name: str) -> None:
            async with slots.slot_async():
                came.append(name)

        first, second = asyncio.create_task(wait("first")), asyncio.create_task(wait("second"))
        await asyncio.sleep(0)
        await held.__aexit__(None, None, None)  # the first has its turn now, and is cancelled before it can take it
        first.cancel()
        await asyncio.wait_for(second, 5)
        return came

    assert asyncio.run(scene()) == ["second"]


def test_without_a_limit_everybody_comes_in():
    slots = Slots(None)
    with slots.slot(timeout_s=0), slots.slot(timeout_s=0), slots.slot(timeout_s=0):
        pass


def test_a_free_slot_is_taken_even_where_no_time_is_left_to_wait():
    async def enter(slots: Slots) -> None:
        async with slots.slot_async(timeout_s=0):
            pass

    asyncio.run(enter(Slots(1)))
    with Slots(1).slot(timeout_s=0):
        pass


def test_all_that_ask_a_model_share_its_slots():
    assert slots_of("http://a (m)", 2) is slots_of("http://a (m)", 2)
    assert slots_of("http://a (m)", 2) is not slots_of("http://a (m)", 3)

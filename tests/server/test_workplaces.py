import threading

import httpx
import pytest

from ragsaver.pipelines.runtime import Runtime
from ragsaver.server import access
from ragsaver.server.workplaces import Workplaces
from tests.openai_server import Script, openai_server
from tests.server.test_leaving import SAID, served, until


def test_no_more_threads_work_than_there_are_places_and_who_waits_leaves_his():
    places, go_on, order = Workplaces(1), threading.Event(), []

    def waits() -> None:
        with places.taken():
            order.append("began")
            with places.left():
                go_on.wait(60)
            order.append("went on")

    first = threading.Thread(target=waits)
    first.start()
    until(lambda: order == ["began"])
    with places.taken():
        go_on.set()
        order.append("worked meanwhile")
    first.join(60)
    assert order == ["began", "worked meanwhile", "went on"]


def test_a_place_is_had_again_where_what_was_waited_for_failed():
    places = Workplaces(1)
    with places.taken():
        with pytest.raises(OSError, match="broke"), places.left():
            raise OSError("broke")
        assert places._free.acquire(blocking=False) is False


def test_more_whole_answers_wait_for_a_model_than_threads_may_work(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "_AT_WORK", 2)
    script = Script(reply=SAID, hold=threading.Event())
    with openai_server(script) as model, served(runtime, model) as (url, _):
        answers = [None] * 6

        def ask(n: int) -> None:
            body = {"query": f"Who issues the export permit for parrots, case {n}?"}
            answers[n] = httpx.post(f"{url}/v1/query", json=body, timeout=60).json()["answer"]

        askers = [threading.Thread(target=ask, args=(n,)) for n in range(len(answers))]
        for asker in askers:
            asker.start()
        until(lambda: script.most_at_once == len(askers))
        found = httpx.post(f"{url}/v1/search", json={"query": "Who issues permits?"}, timeout=60)
        assert found.json()["passages"]  # while all of them wait
        script.hold.set()
        for asker in askers:
            asker.join(60)
    assert answers == [SAID] * len(askers)

"""Whose turn it is, as a rule of plain values: nobody waits for ever, and no tenant waits for another's many."""

from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from ragsaver.ingestion.turns import PASSED_OVER, Line, Place, Priority, choose, next_priority, next_rounds

HIGH, NORMAL, LOW = Priority
TENANTS = st.sampled_from(["ants", "bees", "cats", "dogs"])


class Waiting:
    """The documents of one stage, as the store keeps them."""

    def __init__(self) -> None:
        self.lines = {one: Line() for one in Priority}
        self.places: dict[Priority, list[tuple[Place, str]]] = {one: [] for one in Priority}
        self._ids = count()

    def join(self, tenant: str, documents: int, priority: Priority = NORMAL) -> list[str]:
        places = self.places[priority]
        last = max((place.round for place, whose in places if whose == tenant), default=None)
        rounds = next_rounds(self.lines[priority], last, documents)
        ids = [str(next(self._ids)) for _ in rounds]
        places += [(Place(one, place), tenant) for one, place in zip(ids, rounds, strict=True)]
        places.sort(key=lambda one: (one[0].round, int(one[0].document_id)))
        return ids

    def take(self, limit: int = 1) -> list[tuple[str, str, Priority]]:
        """The documents that are next, whose they are, and their priorities."""
        heads = {one: [place for place, _ in places[:limit]] for one, places in self.places.items()}
        choice = choose(heads, self.lines, limit, tried_alone=True)
        self.lines = dict(choice.lines)
        there = {place.document_id: (whose, one) for one, places in self.places.items() for place, whose in places}
        taken = {place.document_id for place in choice.taken}
        for one in Priority:
            self.places[one] = [(place, whose) for place, whose in self.places[one] if place.document_id not in taken]
        return [(place.document_id, *there[place.document_id]) for place in choice.taken]

    def left(self) -> int:
        return sum(map(len, self.places.values()))


arrivals = st.lists(st.tuples(TENANTS, st.integers(1, 5), st.sampled_from(list(Priority)), st.integers(0, 6)))


@given(arrivals, st.integers(1, 8))
def test_every_document_has_its_turn_once_whatever_else_comes(coming, limit: int):
    waiting, joined, taken = Waiting(), [], []
    for tenant, documents, priority, then_taken in coming:
        joined += waiting.join(tenant, documents, priority)
        for _ in range(then_taken):
            taken += waiting.take(limit)
    while waiting.left():
        some = waiting.take(limit)
        assert some
        taken += some
    assert sorted(joined, key=int) == sorted((one for one, *_ in taken), key=int)


@settings(max_examples=50)
@given(arrivals, st.sampled_from(list(Priority)))
def test_a_document_waits_a_bounded_number_of_turns_while_others_keep_coming(coming, priority: Priority):
    waiting = Waiting()
    for tenant, documents, one, taken in coming:
        waiting.join(tenant, documents, one)
        for _ in range(taken):
            waiting.take()
    before_it = sum(whose == "emus" for _, whose in waiting.places[priority])
    (mine,) = waiting.join("emus", 1, priority)
    tenants = 5
    for turns in count(1):
        for tenant in ("ants", "bees", "cats", "dogs"):
            for one in Priority:
                waiting.join(tenant, 1, one)
        if waiting.take()[0][0] == mine:
            break
        assert turns <= (PASSED_OVER + len(Priority) - 1) * tenants * (before_it + 2)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=40))
def test_two_tenants_that_always_have_documents_waiting_differ_by_at_most_one(coming: list[tuple[int, int]]):
    waiting, served = Waiting(), Counter()
    waiting.join("ants", 1)
    waiting.join("bees", 1)
    for ants, bees in coming:
        for tenant, more in (("ants", ants), ("bees", bees)):
            waiting.join(tenant, 1 + more)  # one at least, so that it never runs out
        ((_, whose, _),) = waiting.take()
        served[whose] += 1
        assert abs(served["ants"] - served["bees"]) <= 1


@settings(max_examples=30)
@given(st.integers(1, 100), st.integers(0, 80), TENANTS)
def test_one_document_of_a_tenant_does_not_wait_for_another_s_many(many: int, served: int, other: str):
    waiting = Waiting()
    waiting.join("emus", many)
    for _ in range(min(served, many)):
        waiting.take()
    (mine,) = waiting.join(other, 1)
    assert mine in {one for one, *_ in waiting.take() + waiting.take()}


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(0, 59), st.integers(1, PASSED_OVER))
def test_what_comes_with_a_high_priority_is_first(normal: int, served: int, high: int):
    waiting = Waiting()
    waiting.join("ants", normal)
    for _ in range(min(served, normal)):
        waiting.take()
    waiting.join("bees", high, HIGH)
    assert [priority for _ in range(high) for *_, priority in waiting.take()] == [HIGH] * high


def test_of_ten_documents_each_lower_priority_that_waits_has_one():
    waiting = Waiting()
    for priority in Priority:
        waiting.join("ants", 100, priority)
    shares = Counter(priority for _ in range(1 + 100) for *_, priority in waiting.take())
    assert shares == {HIGH: 81, NORMAL: 10, LOW: 10}


@given(
    st.sets(st.sampled_from(list(Priority)), min_size=1),
    st.fixed_dictionaries({one: st.builds(Line, st.integers(0), st.integers(0, 20)) for one in Priority}),
)
def test_the_turn_is_given_to_a_priority_that_waits(waiting: set[Priority], lines: dict[Priority, Line]):
    chosen = next_priority(waiting, lines)
    assert chosen in waiting
    impatient = {one for one in waiting if lines[one].passed >= PASSED_OVER}
    assert chosen in (impatient or {next(one for one in Priority if one in waiting)})


@given(st.lists(st.booleans(), min_size=1), st.integers(1, 10))
def test_a_document_that_was_tried_comes_alone(tried: list[bool], limit: int):
    places = [Place(str(n), n, one) for n, one in enumerate(tried)]
    lines = {one: Line() for one in Priority}
    taken = choose({NORMAL: places[:limit]}, lines, limit, tried_alone=True).taken
    assert taken == tuple(places[: len(taken)]) and taken
    assert len(taken) == 1 or not any(place.tried for place in taken)
    assert choose({NORMAL: places[:limit]}, lines, limit, tried_alone=False).taken == tuple(places[:limit])

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.answer_check import Failure
from ragsaver.components.cascade import (
    FREE,
    Attempt,
    Course,
    Finished,
    Outcome,
    Policy,
    Refused,
    Rung,
    cascade,
    dearest_way,
    start_at,
)
from ragsaver.components.chat_reply import ChatReply
from ragsaver.errors import GenerationError
from ragsaver.spend.usage import TokenUsage

ONE_UP = Policy(max_escalations=1, fallback="up")
SMALL, LARGE = Rung("small"), Rung("large")


def reply(text: str) -> ChatReply:
    return ChatReply(text, "model", TokenUsage(1, output=1), "stop")


def refused(told: bool = False, elsewhere: bool = True, for_want: bool = False) -> Refused:
    return Refused(GenerationError("is down", where="there"), told=told, elsewhere=elsewhere, for_want=for_want)


def doubtful(answer: ChatReply) -> Failure | None:
    if answer.text == "useless":
        return Failure("it is empty", usable=False)
    return Failure("it cites no passage") if answer.text == "doubtful" else None


def play(
    outcomes: Sequence[Outcome],
    rungs: Sequence[Rung] = (SMALL, LARGE),
    *,
    start: int = 0,
    policy: Policy = ONE_UP,
    time_for_more: bool = True,
) -> tuple[list[Attempt], Finished]:
    steps = cascade(rungs, start, "by rule", policy, doubtful, lambda: time_for_more)
    attempts = [next(steps)]
    for outcome in outcomes:
        try:
            attempts.append(steps.send(outcome))
        except StopIteration as done:
            return attempts, done.value
    raise AssertionError("it wants more attempts")


def test_a_good_cheap_answer_is_given_without_a_second_call():
    attempts, finished = play([reply("good")])
    assert [(one.place, one.live) for one in attempts] == [(0, False)]
    assert (finished.place, finished.reason, finished.doubt) == (0, "by rule", None)


def test_an_answer_that_fails_its_check_goes_to_the_next_tier_and_says_why():
    attempts, finished = play([reply("doubtful"), reply("doubtful")])
    assert [(one.place, one.live) for one in attempts] == [(0, False), (1, True)]
    assert (finished.place, finished.reason) == (1, "escalated from small: it cites no passage")
    assert finished.doubt is None


def test_a_failed_escalation_gives_the_cheap_answer_with_its_doubt():
    _, finished = play([reply("doubtful"), refused()])
    assert (finished.place, finished.reply.text) == (0, "doubtful")
    assert "large failed: is down" in finished.reason and "it cites no passage" in finished.doubt


def test_a_failed_escalation_of_a_useless_answer_is_the_error():
    with pytest.raises(GenerationError, match="is down"):
        play([reply("useless"), refused()])


def test_nothing_is_escalated_without_time_permission_or_a_tier():
    attempts, finished = play([reply("doubtful")], time_for_more=False)
    assert len(attempts) == 1 and "no time" in finished.reason and finished.doubt
    for policy in (Policy(0, "up"), Policy(1, "up", stream_unchecked=True)):
        attempts, finished = play([reply("doubtful")], policy=policy)
        assert attempts == [Attempt(0, True, "by rule")] and finished.doubt is None
    attempts, finished = play([reply("doubtful")], (SMALL, Rung("large", "its window is too small")))
    assert attempts == [Attempt(0, True, "by rule")]


@pytest.mark.parametrize(("fallback", "place"), [("up", 2), ("down", 0)])
def test_a_failed_endpoint_hands_the_question_on_by_policy(fallback, place):
    rungs = (SMALL, Rung("medium"), LARGE)
    attempts, finished = play([refused(), reply("good")], rungs, start=1, policy=Policy(1, fallback))
    assert [one.place for one in attempts] == [1, place]
    assert f"medium failed: is down: fell back {fallback}" in finished.reason


def test_from_the_strongest_model_the_only_way_is_down():
    attempts, _ = play([refused(), reply("good")], start=1)
    assert [one.place for one in attempts] == [1, 0]
    with pytest.raises(GenerationError):
        play([refused(), refused()], start=1, policy=Policy(1, "up", free_answers=True))


def test_below_the_smallest_model_is_the_free_tier_if_it_has_an_answer():
    _, finished = play([refused()], policy=Policy(1, "down", free_answers=True))
    assert (finished.place, finished.reply) == (FREE, None)
    with pytest.raises(GenerationError):
        play([refused()], policy=Policy(1, "down", free_answers=False))


def test_what_was_half_told_is_asked_of_nobody_else():
    with pytest.raises(GenerationError):
        play([refused(told=True)])


@pytest.mark.parametrize("fallback", ["up", "down", "none"])
def test_what_a_budget_refused_goes_to_a_cheaper_model_never_to_a_dearer_one_or_the_free_tier(fallback):
    policy = Policy(1, fallback, free_answers=True)
    attempts, finished = play([refused(elsewhere=False), reply("good")], start=1, policy=policy)
    assert [one.place for one in attempts] == [1, 0] and "fell back down" in finished.reason
    with pytest.raises(GenerationError):
        play([refused(elsewhere=False)], start=0, policy=policy)


def test_a_tier_whose_window_is_too_small_is_passed_over_with_the_reason():
    narrow = Rung("small", "900 tokens do not fit")
    assert start_at(0, (narrow, LARGE)) == (1, "small was passed over: 900 tokens do not fit")
    assert start_at(1, (SMALL, Rung("large", "too long"))) == (0, "large was passed over: too long")
    assert start_at(0, (narrow,)) is None


@given(
    outcomes=st.lists(st.sampled_from(["good", "doubtful", "useless", "refused", "told", "budget"]), max_size=12),
    skipped=st.lists(st.booleans(), min_size=1, max_size=5),
    start=st.integers(0, 4),
    escalations=st.integers(0, 3),
    fallback=st.sampled_from(["up", "down", "none"]),
    unchecked=st.booleans(),
    free=st.booleans(),
    time=st.booleans(),
)
def test_every_tier_is_asked_once_at_most_and_escalations_are_bounded(
    outcomes, skipped, start, escalations, fallback, unchecked, free, time
):
    rungs = [Rung(f"t{n}", "no" if no else None) for n, no in enumerate(skipped)]
    begin = start_at(min(start, len(rungs) - 1), rungs)
    if begin is None:
        return
    made = {"refused": refused(), "told": refused(told=True), "budget": refused(elsewhere=False)}
    steps = cascade(rungs, begin[0], "r", Policy(escalations, fallback, unchecked, free), doubtful, lambda: time)
    attempts, told, finished = [next(steps)], [], None
    try:
        for outcome in [*outcomes, *["good"] * 10]:
            told.append(made.get(outcome) or reply(outcome))
            attempts.append(steps.send(told[-1]))
    except StopIteration as done:
        finished = done.value
    except GenerationError:
        assert told[-1] in made.values()
    places = [one.place for one in attempts]
    assert len(set(places)) == len(places) and all(rungs[place].skipped is None for place in places)
    answered = [isinstance(one, ChatReply) for one in told]
    assert sum(answered) <= escalations + 1
    # what was streamed as it came is never taken back for another answer
    assert not any(one.live and answer for one, answer in zip(attempts[:-1], answered[:-1], strict=True))
    if finished and finished.reply:
        assert finished.place in places and finished.reply in told
        assert finished.streamed == attempts[places.index(finished.place)].live


@pytest.mark.parametrize("free_for_want", [True, False])
def test_where_a_budget_has_no_room_for_the_cheapest_model_the_free_tier_answers_if_that_is_wanted(free_for_want: bool):
    wanting = refused(elsewhere=False, for_want=True)
    policy = Policy(1, "up", free_answers=True, free_for_want=free_for_want)
    if not free_for_want:
        with pytest.raises(GenerationError):
            play([wanting, wanting], start=1, policy=policy)
        return
    attempts, finished = play([wanting, wanting], start=1, policy=policy)
    assert [one.place for one in attempts] == [1, 0]
    assert (finished.place, finished.for_want) == (FREE, True)
    with pytest.raises(GenerationError):
        play([refused(elsewhere=False)], policy=policy)


@pytest.mark.parametrize(
    ("fallback", "escalations", "starts", "dearest"),
    [
        ("none", 0, [0], 1),  # one call, whatever becomes of it
        ("none", 1, [0], 11),
        ("none", 2, [0], 111),
        ("up", 0, [0], 111),  # each failure goes on
        ("up", 0, [2], 111),
        ("down", 0, [2], 111),
        ("down", 0, [1], 11),
        ("down", 1, [1], 111),  # up for a better answer, and down where that fails
        ("none", 0, [0, 2], 111),  # a budget that has no room for the largest leaves the smaller ones
    ],
)
def test_the_dearest_way_is_known_before(fallback: str, escalations: int, starts: list[int], dearest: int):
    rungs = [Rung(name) for name in ("small", "medium", "large")]
    course = Course(rungs, starts[0], "", Policy(escalations, fallback))
    assert dearest_way(course, [Decimal(1), Decimal(10), Decimal(100)], starts) == dearest


def test_no_way_leads_through_a_tier_that_can_t_be_asked():
    rungs = [Rung("small"), Rung("medium", skipped="its window is too small"), Rung("large")]
    course = Course(rungs, 0, "", Policy(1, "up"))
    assert dearest_way(course, [Decimal(1), Decimal(10), Decimal(100)], [0]) == 101


@given(
    outcomes=st.lists(
        st.sampled_from(
            [reply("good"), reply("doubtful"), reply("useless"), refused(), refused(elsewhere=False, for_want=True)]
        ),
        min_size=8,
        max_size=8,
    ),
    start=st.integers(0, 3),
    policy=st.builds(
        Policy, st.integers(0, 4), st.sampled_from(["up", "down", "none"]), st.booleans(), st.booleans(), st.booleans()
    ),
    costs=st.lists(st.integers(1, 50).map(Decimal), min_size=4, max_size=4),
)
def test_no_way_that_is_taken_is_dearer(outcomes: list[Outcome], start: int, policy: Policy, costs: list[Decimal]):
    rungs = [Rung(str(place)) for place in range(4)]
    steps = cascade(rungs, start, "", policy, doubtful, lambda: True)
    taken = Decimal(0)
    try:
        attempt = next(steps)
        for outcome in outcomes:
            taken += costs[attempt.place]
            attempt = steps.send(outcome)
    except (StopIteration, GenerationError):
        pass
    assert taken <= dearest_way(Course(rungs, start, "", policy), costs, [start])

"""The fleet is as large as the queue needs: within its bounds, at once when it must grow, and never to and fro."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ragsaver.errors import SettingsError, UsageError
from ragsaver.settings_file import load_settings
from ragsaver.workers.metering import Meter, Sample
from ragsaver.workers.scaling import Observed, Policy, decide, narrowed

SPEED = 1_000.0
POLICY = Policy(min_workers=0, max_workers=50, target_age_s=100, tokens_per_worker_s=SPEED, cooldown_s=60)


def amounts(most: float) -> st.SearchStrategy[float]:
    return st.floats(0, most, allow_nan=False)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    least = draw(st.integers(0, 20))
    return Policy(
        min_workers=least,
        max_workers=draw(st.integers(max(least, 1), 60)),
        target_age_s=draw(st.floats(1, 3_600)),
        target_utilisation=draw(st.floats(0.1, 1)),
        startup_s=draw(amounts(600)),
        cooldown_s=draw(amounts(600)),
        margin=draw(amounts(1)),
        tokens_per_worker_s=draw(st.floats(0.1, 1e6)),
    )


observations = st.builds(
    Observed,
    workers=st.integers(0, 80),
    backlog_tokens=amounts(1e12),
    oldest_age_s=amounts(1e6),
    arriving_tokens_per_s=amounts(1e9),
    tokens_per_worker_s=amounts(1e6),
    utilisation=amounts(1),
    surplus_s=amounts(1e4),
)


@given(observations, policies())
def test_the_fleet_stays_within_its_bounds_and_a_reason_is_given(observed, policy):
    decision = decide(observed, policy)
    assert policy.min_workers <= decision.workers <= policy.max_workers
    assert decision.reason


@given(observations, policies(), amounts(1e9), amounts(1e5))
def test_more_backlog_or_age_never_means_fewer_workers(observed, policy, tokens, age_s):
    later = observed.model_copy(
        update={"backlog_tokens": observed.backlog_tokens + tokens, "oldest_age_s": observed.oldest_age_s + age_s}
    )
    assert decide(later, policy).workers >= decide(observed, policy).workers


@given(observations, policies())
def test_at_most_half_goes_and_only_after_the_cool_down(observed, policy):
    now = observed.workers
    wanted = decide(observed, policy).workers
    if wanted < now <= policy.max_workers:
        assert observed.surplus_s >= policy.cooldown_s
        assert wanted >= math.ceil(now / 2) or now == 1


@given(
    st.integers(0, 50),
    st.floats(1, 40_000),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0, 1),
)
def test_demand_within_the_margin_never_moves_the_fleet_down_and_up_again(workers, demand, noise, startup_share):
    policy = POLICY.model_copy(update={"startup_s": startup_share * 100})
    sizes = [workers]
    for part in noise:
        rate = demand * (1 + part * policy.margin * 0.999)
        observed = Observed(
            workers=sizes[-1],
            backlog_tokens=0,
            oldest_age_s=0,
            arriving_tokens_per_s=rate,
            utilisation=min(rate / SPEED / sizes[-1], 1) if sizes[-1] else 0,
            surplus_s=1e6,
        )
        sizes.append(decide(observed, policy).workers)
    moves = [after - before for before, after in pairwise(sizes) if after != before]
    first_down = next((position for position, move in enumerate(moves) if move < 0), len(moves))
    assert all(move < 0 for move in moves[first_down:])


@settings(max_examples=25, deadline=None)
@given(st.floats(2_000, 30_000), st.integers(0, 50), st.floats(0, 60))
def test_a_constant_load_settles_at_the_utilisation_target(arriving, workers, startup_s):
    """The whole loop: what was decided works off the queue, and is measured again."""
    policy = POLICY.model_copy(update={"startup_s": startup_s})
    meter, backlog, done, sizes = Meter(), 0.0, 0.0, []
    for step in range(300):
        work = min(backlog + arriving * 5, workers * SPEED * 5)
        backlog += arriving * 5 - work
        done += work
        busy = round(work / SPEED / 5)
        age_s = backlog / arriving
        meter = meter.add(
            Sample(
                at_s=step * 5.0,
                backlog_tokens=max(backlog, 0),
                oldest_age_s=max(age_s, 0),
                done_tokens=done,
                workers=workers,
                busy_workers=busy,
            )
        )
        decision, meter = meter.decided(policy)
        workers = decision.workers
        sizes.append(workers)
    assert len(set(sizes[-100:])) == 1
    assert backlog <= arriving * policy.target_age_s
    assert sizes[-1] <= math.ceil(arriving / SPEED / 0.8 * (1 + policy.margin)) + 2


def test_a_backlog_takes_the_workers_that_drain_it_in_time_and_take_what_arrives():
    # 80,000 tokens in the 50 s that are left, and 400 more a second: 2,000 a second at 800 for each worker
    observed = Observed(workers=1, backlog_tokens=80_000, oldest_age_s=50, arriving_tokens_per_s=400)
    decision = decide(observed, POLICY)
    assert decision.workers == 3
    assert "80000 tokens wait, the oldest for 50 s: 3 workers" in decision.reason


def test_workers_that_start_late_must_be_more_and_are_not_ordered_twice():
    policy = POLICY.model_copy(update={"startup_s": 50})
    ordered = decide(Observed(workers=0, backlog_tokens=80_000, oldest_age_s=0), policy).workers
    assert ordered == 2
    assert decide(Observed(workers=ordered, backlog_tokens=80_000, oldest_age_s=50), policy).workers == ordered


def test_a_measured_throughput_takes_the_place_of_the_assumed_one():
    slow = Observed(workers=1, backlog_tokens=80_000, oldest_age_s=0, tokens_per_worker_s=100)
    assert decide(slow, POLICY).workers == 10


def test_workers_with_their_hands_full_are_not_dismissed_for_a_throughput_measured_too_high():
    wrong = Observed(
        workers=10, backlog_tokens=10, oldest_age_s=1, tokens_per_worker_s=1e6, utilisation=0.9, surplus_s=1e4
    )
    assert decide(wrong, POLICY).workers == 10


def test_the_fleet_goes_to_zero_when_nothing_waits_and_comes_back_for_one_document():
    idle = Observed(workers=1, backlog_tokens=0, oldest_age_s=0, arriving_tokens_per_s=3, surplus_s=60)
    assert decide(idle, POLICY).workers == 0
    assert decide(idle, POLICY.model_copy(update={"min_workers": 1})).workers == 1
    assert decide(idle.model_copy(update={"utilisation": 1.0}), POLICY).workers == 1
    assert decide(Observed(workers=0, backlog_tokens=1, oldest_age_s=0), POLICY).workers == 1


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match="min_workers is above max_workers"):
        Policy(min_workers=3, max_workers=2)


def sample(at_s: float, **counters: float) -> Sample:
    given = {"backlog_tokens": 0, "oldest_age_s": 0, "done_tokens": 0, "workers": 2, "busy_workers": 1, **counters}
    return Sample(at_s=at_s, **given)


def test_rates_come_from_what_grew_between_samples():
    meter = Meter().add(sample(0)).add(sample(100, backlog_tokens=500, done_tokens=1_500))
    seen = meter.observed()
    assert seen.arriving_tokens_per_s == pytest.approx(20)
    assert seen.tokens_per_worker_s == pytest.approx(15)
    assert seen.utilisation == pytest.approx(0.5)


def test_a_counter_that_starts_again_is_no_negative_rate():
    meter = Meter().add(sample(0, done_tokens=9_000)).add(sample(100, done_tokens=0))
    assert meter.observed().arriving_tokens_per_s == 0


def test_an_idle_hour_does_not_change_how_fast_a_worker_is():
    meter = Meter().add(sample(0)).add(sample(100, done_tokens=1_500))
    for minute in range(60):
        meter = meter.add(sample(160 + minute * 60, done_tokens=1_500, busy_workers=0))
    assert meter.observed().tokens_per_worker_s == pytest.approx(15)
    assert meter.observed().utilisation == 0


def test_a_surplus_is_counted_from_when_it_began():
    meter = Meter()
    for at_s in (0, 30, 60):
        decision, meter = meter.add(sample(at_s, workers=4, busy_workers=0)).decided(POLICY)
    assert decision.workers == 2
    decision, meter = meter.add(sample(65, busy_workers=0)).decided(POLICY)
    assert decision.workers == 2 and decision.surplus


@pytest.mark.parametrize(("bounds", "most", "least"), [("6,2", 6, 2), ("4", 4, 1), ("8,8", 8, 8), (" 3 , 1 ", 3, 1)])
def test_a_worker_narrows_the_bounds_to_its_own(bounds: str, most: int, least: int):
    own = narrowed(Policy(cooldown_s=7), bounds)
    assert (own.max_workers, own.min_workers, own.cooldown_s) == (most, least, 7)


@pytest.mark.parametrize("bounds", ["9,2", "2,3", "4,1", "5,0", "", "5,", "5,2,2", "many"])
def test_bounds_beyond_the_policy_are_refused_with_those_that_are_allowed(bounds: str):
    with pytest.raises(UsageError, match="2 <= MIN <= MAX <= 8"):
        narrowed(Policy(min_workers=2), bounds)


def test_the_policy_is_what_the_settings_say(tmp_path: Path):
    env = {"RAGSAVER_QUEUE__SCALING__TARGET_AGE_S": "60"}
    assert load_settings(tmp_path, env).queue.scaling == Policy(target_age_s=60)
    with pytest.raises(SettingsError, match="min_workers is above max_workers"):
        load_settings(tmp_path, {**env, "RAGSAVER_QUEUE__SCALING__MIN_WORKERS": "9"})


def looked(measured_tokens: float, estimate: float = 500, looks: int = 30) -> Observed:
    """A worker that is busy with two documents in each ten seconds, of 100 that wait; two more arrive."""
    meter = Meter()
    for look in range(looks):
        documents = 2 * look
        sample = Sample(
            at_s=10.0 * look,
            backlog_tokens=100 * estimate,
            oldest_age_s=0,
            done_tokens=documents * estimate,
            measured_tokens=documents * measured_tokens,
            workers=1,
            busy_workers=1,
        )
        meter = meter.add(sample)
    return meter.observed()


def test_what_was_measured_takes_the_place_of_an_estimate_in_backlog_arrivals_and_throughput():
    for tokens in (20, 500, 9_000):
        observed = looked(measured_tokens=tokens)
        assert observed.backlog_tokens == pytest.approx(100 * tokens)
        assert observed.arriving_tokens_per_s == pytest.approx(0.2 * tokens)
        assert observed.tokens_per_worker_s == pytest.approx(0.2 * tokens)
    assert looked(measured_tokens=0) == looked(measured_tokens=500)


def test_small_documents_that_were_measured_need_fewer_workers_before_the_throughput_is_known():
    sizes = [decide(looked(measured_tokens=tokens, estimate=5_000, looks=3), POLICY).workers for tokens in (0, 500)]
    assert sizes[0] > sizes[1]


def test_documents_that_grow_are_counted_for_what_the_last_ones_had():
    meter, done, measured = Meter(), 0.0, 0.0
    for look in range(2_000):
        meter = meter.add(
            Sample(
                at_s=10.0 * look,
                backlog_tokens=5_000,
                oldest_age_s=0,
                done_tokens=done,
                measured_tokens=measured,
                workers=1,
                busy_workers=1,
            )
        )
        done, measured = done + 500, measured + (100 if look < 1_000 else 900)
    assert meter.observed().backlog_tokens == pytest.approx(9_000, rel=0.02)

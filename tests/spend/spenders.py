"""Processes that spend on one ledger at once."""

import asyncio
import random
from contextlib import suppress
from decimal import Decimal
from typing import Any

from haystack.dataclasses import ChatMessage

from ragsaver.components.account import account_of, current_purse
from ragsaver.components.chat import ChatTier
from ragsaver.components.request import Request, running
from ragsaver.errors import BudgetExceeded, GenerationError
from ragsaver.index.scope import Scope
from ragsaver.settings import ModelSettings, Settings
from ragsaver.spend.ledger import DONE, NOTHING, UNKNOWN
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import current_receipt, open_receipt
from ragsaver.spend.till import Till

MOST_OUTPUT = 40
FEE = Decimal("0.000150")
FEES = ("rerank", "embed_query", None)  # that requests pay for, by their number


def words(texts):
    return [len(text.split()) for text in texts]


def pay_beside(till: Till, stage: str | None, chance: random.Random) -> None:
    """What is paid for before the model is asked: it is done, refused by who is asked, or nobody knows."""
    if stage is None:
        return
    with suppress(BudgetExceeded):
        fee = current_purse(till).reserve("other", stage, FEE, 2.5)
        outcome = chance.choice([DONE, NOTHING, UNKNOWN])
        current_receipt().add(stage, "other", 1, "calls", cost_usd=fee.settle(outcome), paid=True)


def spend(settings_json: str, url: str, numbers: range, seed: int, ready: Any, begin: Any) -> None:
    """Ask all of these at once, in one process; some leave before they have their answer.

    :param ready: a semaphore that it releases before it waits for `begin`, an event.
    """
    settings = Settings.model_validate_json(settings_json)
    till = Till(settings, PriceBook.of(settings.spend), words)
    model = ModelSettings(name="tiny", base_url=url, max_retries=2, max_output_tokens=MOST_OUTPUT, timeout_s=2.5)
    tier = ChatTier(model, words, till)

    async def ask(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        scope = Scope(f"tenant{number % 3}", "docs")
        request = Request(scope, f"user{number % 7}", request_id=f"req_{number}", pipeline="query")
        messages = [ChatMessage.from_user(f"Who issues the permit number {number}")]
        complete = False

        async def listen(chunk: object) -> None:
            await asyncio.sleep(0)

        await asyncio.sleep(chance.uniform(0, 1))
        with running(request), open_receipt() as receipt:
            reply = tier.reply_async(messages, listen if number % 3 else None)
            await asyncio.to_thread(pay_beside, till, FEES[number % 3], chance)
            with suppress(BudgetExceeded, GenerationError, TimeoutError):
                await asyncio.wait_for(reply, chance.uniform(0.05, 0.6) if number % 5 == 0 else None)
                complete = True
        till.keep_receipt(account_of(request), receipt.close(), complete=complete, paid=receipt.paid)

    assert till.ledger
    ready.release()
    begin.wait()

    async def ask_all() -> None:
        await asyncio.gather(*map(ask, numbers))

    asyncio.run(ask_all())
    till.close()

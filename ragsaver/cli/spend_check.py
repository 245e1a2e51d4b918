"""Do prices and budgets of the settings mean something? A price that nobody knows, and a budget for nobody, do harm
without a word.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from ragsaver.settings import BudgetSettings, Settings


def spend_warnings(settings: Settings) -> list[str]:
    """What of `spend` in the settings would surprise; empty if nothing."""
    named = [budget for budget in settings.spend.budgets if budget.name is not None]
    # the keys are only looked for where it matters: on a server their table is made by that
    return [*_without_price(settings), *(budgets_of_nobody(named, _known(settings)) if named else ())]


def budgets_of_nobody(budgets: Sequence[BudgetSettings], known: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Budgets that name whom nobody knows.

    :param known: names by scope.
    """
    for budget in budgets:
        if budget.name is not None and budget.name not in known[budget.scope]:
            why = "there is none" if budget.scope == "pipeline" else "no API key is for it"
            yield f"the budget of {budget.scope} `{budget.name}` per {budget.period} limits nobody known here: {why}"


def _known(settings: Settings) -> dict[str, set[str]]:
    from ragsaver.access.key_store import open_keys
    from ragsaver.pipelines.places import pipeline_names

    store = open_keys(settings)
    try:
        keys = store.all()
    finally:
        store.close()
    return {
        "tenant": {settings.tenant, *(key.tenant for key in keys)},
        "principal": {f"{key.tenant}/{key.principal}" for key in keys},
        "pipeline": {settings.query.pipeline, *pipeline_names(settings.pipelines_dir)},
    }


def _without_price(settings: Settings) -> Iterator[str]:
    from ragsaver.spend.prices import PriceBook

    book = PriceBook.of(settings.spend)
    unknown = [model.name for model in settings.generation.models if not book.price(model.name).known]
    if unknown:
        so = "is not asked" if settings.spend.unknown_price == "refuse" else "is charged at an upper price"
        yield f"{', '.join(f'`{name}`' for name in unknown)} {so}: set `spend.prices`"

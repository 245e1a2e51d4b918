"""Sections are asked for again and again by another hand than answers are, out of the same budget of retries."""

from ragsaver.components.chat import budget_of
from ragsaver.ingestion.asking import Answer, Asking
from ragsaver.pipelines.summariser import ChatSummariser
from ragsaver.settings import Settings
from tests.openai_server import Script, openai_server


def test_attempts_at_sections_share_the_endpoint_s_budget_of_retries():
    script = Script(statuses=[503] * 1000)
    with openai_server(script) as url:
        model = {"name": "tiny", "base_url": url, "retry_share": 0.2, "retry_least": 2, "rest_after_failures": 0}
        settings = Settings.model_validate({"generation": {"models": [model]}, "outline": {"summary_model": "tiny"}})
        summariser = ChatSummariser(settings, lambda texts: [1] * len(texts))

        def ask(section: str) -> Answer:
            # one that gives up on an endpoint after five sections would end the storm as well
            asking = Asking(3, 60.0, wait=lambda seconds: None)
            return asking.ask(lambda left_s: summariser.ask("Summarise.", section, left_s))

        failed = [ask(f"section {number}") for number in range(50)]
        counts = budget_of(settings.generation.models[0]).counts()
        assert counts["first"] == 50 and len(script.requests) == sum(answer.calls for answer in failed)
        assert 50 < len(script.requests) <= 50 * 1.2 + 2
        assert "HTTP 503" in failed[-1].problem and "retry_share" in failed[-1].problem
        script.statuses = []
        assert ask("another section").text.strip() == script.reply

"""Budgets and totals: loops of calls of the real SDKs stop at the limit to within one call."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

import llmtrail
from llmtrail._lifecycle import under_way
from support import Loopback, generations

ASK: dict[str, Any] = {
    "model": "gpt-5-mini",
    "messages": [{"role": "user", "content": "Where is my order 7, please?"}],
}
CLAUDE: dict[str, Any] = {**ASK, "model": "claude-sonnet-4-6", "max_tokens": 300}
THREADS = 6


@pytest.fixture
def chat(trail: llmtrail.Client, loopback: Loopback) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=loopback.url + "/v1", api_key="sk-test", max_retries=2) as client:
        yield trail.wrap(client, provider="openai")


def asyncs(trail: llmtrail.Client, loopback: Loopback) -> openai.AsyncOpenAI:
    client = openai.AsyncOpenAI(base_url=loopback.url + "/v1", api_key="sk-test", max_retries=2)
    return trail.wrap(client, provider="openai")


def cost_of_one(trail: llmtrail.Client, chat: openai.OpenAI) -> float:
    with trail.trace("one") as trace:
        chat.chat.completions.create(**ASK)
    cost = trace.cost_usd
    assert cost is not None
    assert cost > 0
    return cost


def within_one_call(spent: float | None, limit: float, one: float) -> None:
    assert spent is not None
    assert limit <= spent < limit + one * 1.001, (spent / one, limit / one)


def test_totals_by_trace_session_person_and_process(trail: llmtrail.Client, chat: openai.OpenAI) -> None:
    for n in range(4):
        with trail.session(f"s-{n % 2}", distinct_id=f"user-{n % 2}"), trail.trace("t") as trace:
            chat.chat.completions.create(**ASK)
    one = trail.totals(trace_id=trace.trace_id)
    assert (one.calls, one.unpriced) == (1, 0)
    assert one.usage == trace.usage
    assert one.cost_usd == trace.cost_usd
    for totals in (trail.totals(session_id="s-0"), trail.totals(distinct_id="user-1")):
        assert totals.calls == 2
        assert totals.cost_usd == pytest.approx(2 * (one.cost_usd or 0))
        assert totals.usage["output_text"] == 2 * one.usage["output_text"]
    assert trail.totals().calls == 4
    assert trail.totals(distinct_id="nobody").calls == 0
    with pytest.raises(llmtrail.LlmtrailError, match="give one id"):
        trail.totals(distinct_id="user-1", session_id="s-0")


@pytest.mark.parametrize(
    "options", [{"usd": -1}, {"usd": "much"}, {"usd": 1, "per": "week"}, {"usd": 1, "action": "stop"}]
)
def test_a_wrong_budget_is_refused_at_the_door(trail: llmtrail.Client, options: dict[str, Any]) -> None:
    with pytest.raises(llmtrail.ConfigError, match=r"budget: (usd|per|action): expected"):
        trail.budget(**options)


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_stops_at_the_limit(
    trail: llmtrail.Client, chat: openai.OpenAI, loopback: Loopback, stream: bool
) -> None:
    one = cost_of_one(trail, chat)
    limit = 4.5 * one
    trail.budget(limit, per="trace")
    made = 0

    def call() -> None:
        answer: Any = chat.chat.completions.create(**ASK, stream=stream)
        if stream:
            assert list(answer)

    with trail.trace("loop") as trace:
        with contextlib.suppress(llmtrail.BudgetExceeded):
            for made in range(50):  # noqa: B007
                call()
        with pytest.raises(llmtrail.BudgetExceeded) as refused:
            call()
    assert made == 5
    within_one_call(trace.cost_usd, limit, one)
    error = refused.value
    assert (error.per, error.id, error.code) == ("trace", trace.trace_id, "budget_exceeded")
    assert error.spent_usd == pytest.approx(trace.cost_usd)
    assert error.limit_usd == pytest.approx(limit)
    assert "the call was not sent" in str(error)
    with trail.trace("another"):
        chat.chat.completions.create(**ASK)
    trail.flush(10)
    # What was refused was not sent, and is no event.
    assert len(loopback.providers()) == len(generations(loopback.events())) == 1 + 5 + 1


@pytest.mark.parametrize("stream", [False, True])
def test_threads_stop_at_the_limit(trail: llmtrail.Client, chat: openai.OpenAI, stream: bool) -> None:
    one = cost_of_one(trail, chat)
    limit = 20.5 * one
    trail.budget(limit, per="user")

    def work() -> None:
        with trail.options(distinct_id="ann"), contextlib.suppress(llmtrail.BudgetExceeded):
            for _ in range(100):
                answer: Any = chat.chat.completions.create(**ASK, stream=stream)
                if stream:
                    list(answer)
            raise AssertionError("it went on")

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    within_one_call(trail.totals(distinct_id="ann").cost_usd, limit, one)


def test_what_was_refused_is_not_under_way(trail: llmtrail.Client, loopback: Loopback) -> None:
    trail.budget(0)
    # Not built by its client, so it asks when it is sent.
    request = httpx.Request("POST", loopback.url + "/v1/chat/completions", json=ASK)
    with trail.wrap(httpx.Client(), provider="openai") as client:
        with pytest.raises(llmtrail.BudgetExceeded) as refused:
            client.send(request)
        # Else it would be recorded at the end of the process, for as long as someone keeps the error.
        assert refused.tb is not None
        assert not under_way
    assert loopback.providers() == []


@pytest.mark.parametrize("stream", [False, True])
def test_tasks_stop_at_the_limit(
    trail: llmtrail.Client, chat: openai.OpenAI, loopback: Loopback, stream: bool
) -> None:
    one = cost_of_one(trail, chat)
    limit = 20.5 * one

    async def work(client: openai.AsyncOpenAI) -> None:
        with contextlib.suppress(llmtrail.BudgetExceeded):
            for _ in range(100):
                answer: Any = await client.chat.completions.create(**ASK, stream=stream)
                if stream:
                    assert [chunk async for chunk in answer]
            raise AssertionError("it went on")

    async def main() -> None:
        async with asyncs(trail, loopback) as client:
            with trail.session("chat-1"):
                await asyncio.gather(*(work(client) for _ in range(THREADS)))

    trail.budget(limit, per="session")
    asyncio.run(main())
    within_one_call(trail.totals(session_id="chat-1").cost_usd, limit, one)


def test_calls_that_begin_at_once_do_not_all_have_the_last_cent(
    trail: llmtrail.Client, chat: openai.OpenAI, loopback: Loopback
) -> None:
    one = cost_of_one(trail, chat)
    limit = 3.5 * one

    async def main() -> list[Any]:
        async with asyncs(trail, loopback) as client:
            with trail.trace("burst"):
                calls = (client.chat.completions.create(**ASK) for _ in range(30))
                return await asyncio.gather(*calls, return_exceptions=True)

    trail.budget(limit, per="trace")
    results = asyncio.run(main())
    refused = [one for one in results if isinstance(one, llmtrail.BudgetExceeded)]
    assert len(results) - len(refused) == 4
    assert len(refused) == 26


def test_the_first_call_is_taken_to_cost_what_its_request_suggests(
    trail: llmtrail.Client, loopback: Loopback
) -> None:
    # 300 tokens of output at 15 dollars a million, and a little input.
    trail.budget(0.010, per="process")

    async def main() -> list[Any]:
        async with anthropic.AsyncAnthropic(base_url=loopback.url, api_key="sk-test") as client:
            trail.wrap(client, provider="anthropic")
            calls = (client.messages.create(**CLAUDE) for _ in range(10))
            return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(main())
    assert sum(not isinstance(result, llmtrail.BudgetExceeded) for result in results) == 3


def test_the_sdks_raise_it_as_it_is_and_do_not_try_again(trail: llmtrail.Client, loopback: Loopback) -> None:
    trail.budget(0)
    openai_sync = openai.OpenAI(base_url=loopback.url + "/v1", api_key="sk-test")
    anthropic_sync = anthropic.Anthropic(base_url=loopback.url, api_key="sk-test")
    plain = trail.wrap(httpx.Client(), provider="openai")
    trail.wrap(openai_sync, provider="openai")
    trail.wrap(anthropic_sync, provider="anthropic")
    calls: list[Any] = [
        lambda: openai_sync.chat.completions.create(**ASK),
        lambda: openai_sync.with_options(max_retries=5).responses.create(model="gpt-5-mini", input="hi"),
        lambda: openai_sync.chat.completions.with_raw_response.create(**ASK),
        lambda: openai_sync.embeddings.create(model="text-embedding-3-small", input="hi"),
        lambda: anthropic_sync.messages.create(**CLAUDE),
        lambda: anthropic_sync.messages.stream(**CLAUDE).__enter__(),
        lambda: plain.post(loopback.url + "/v1/chat/completions", json=ASK),
        lambda: plain.send(httpx.Request("POST", loopback.url + "/v1/chat/completions", json=ASK)),
    ]
    for call in calls:
        with pytest.raises(llmtrail.BudgetExceeded):
            call()
    assert loopback.providers() == []
    assert trail.stats().notes == {"budget_refused": len(calls)}
    assert plain.get(loopback.url + "/_control/requests").status_code == 200
    for client in (openai_sync, anthropic_sync, plain):
        client.close()


def test_a_failed_attempt_does_not_stand_in_the_way_of_its_retry(
    trail: llmtrail.Client, chat: openai.OpenAI, loopback: Loopback
) -> None:
    one = cost_of_one(trail, chat)
    trail.budget(1.5 * one, per="trace")
    for _ in range(3):
        with trail.trace("retried"):
            again = chat.with_options(base_url=loopback.url + "/knobs/status=503,times=1,retry-after-ms=1/v1")
            again.chat.completions.create(**ASK)


def test_a_warning_lets_calls_go_on(
    trail: llmtrail.Client, chat: openai.OpenAI, capfd: pytest.CaptureFixture[str]
) -> None:
    budget = trail.budget("0.0000001", per="session", action="warn")
    with trail.session("chat-1"):
        for _ in range(4):
            chat.chat.completions.create(**ASK)
            assert trail.totals().calls
    assert trail.stats().notes == {"budget_exceeded": 1}
    assert capfd.readouterr().err.count("the budget of $0.0000001 per session chat-1 is used up") == 1
    budget.remove()
    with trail.session("chat-2"):
        chat.chat.completions.create(**ASK)
        chat.chat.completions.create(**ASK)
    assert trail.stats().notes == {"budget_exceeded": 1}


def test_a_budget_that_is_removed_limits_nothing(trail: llmtrail.Client, chat: openai.OpenAI) -> None:
    budget = trail.budget(0)
    with pytest.raises(llmtrail.BudgetExceeded):
        chat.chat.completions.create(**ASK)
    budget.remove()
    assert chat.chat.completions.create(**ASK).choices


def test_calls_without_a_price_cost_nothing(trail: llmtrail.Client, loopback: Loopback) -> None:
    trail.budget("0.0000001")
    with openai.OpenAI(base_url=loopback.url + "/v1", api_key="sk-test") as client:
        trail.wrap(client, provider="openai")
        for _ in range(3):
            client.chat.completions.create(**{**ASK, "model": "some-unknown-model"})
    totals = trail.totals()
    assert (totals.calls, totals.unpriced, totals.cost_usd) == (3, 3, None)


_WORKER = """
import sys, openai, llmtrail
url, limit, folder = sys.argv[1:]
trail = llmtrail.Client(dir=folder)
trail.budget(limit, per="day")
client = trail.wrap(openai.OpenAI(base_url=url + "/v1", api_key="sk-test"), provider="openai")
ask = dict(model="gpt-5-mini", messages=[{"role": "user", "content": "Where is my order 7, please?"}])
sys.stdin.readline()
try:
    for _ in range(100):
        client.chat.completions.create(**ask)
except llmtrail.BudgetExceeded:
    print(trail.totals().calls)
trail.shutdown(10)
"""


def test_processes_share_a_budget_through_the_local_store(
    trail: llmtrail.Client, chat: openai.OpenAI, loopback: Loopback, tmp_path: Path
) -> None:
    one = cost_of_one(trail, chat)
    limit = f"{30.5 * one:.9f}"
    command = [sys.executable, "-c", _WORKER, loopback.url, limit, str(tmp_path / "store")]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=60)[0] for worker in workers]
    calls = [int(answer) for answer in answers]
    # Each sees what the others spent a moment later.
    assert 31 <= sum(calls) <= 31 + 12, calls
    (late,) = [subprocess.run(command, input="go\n", capture_output=True, text=True, timeout=60)]
    assert late.stdout.strip() == "0", late

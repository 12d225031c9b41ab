"""What each installed SDK makes of a call that a budget refuses, wrapped and with the whole process observed."""

import asyncio
import contextlib
import inspect
from pathlib import Path
from typing import Any

import drivers
import pytest
from test_matrix import SCENARIOS, installed

import llmtrail
from llmtrail._lifecycle import under_way
from support import Loopback, read_case

ROWS = [
    pytest.param(sdk, asynchronous, way, id=f"{sdk}-{'async' if asynchronous else 'sync'}-{way}")
    for sdk in SCENARIOS
    for asynchronous in (False, True)
    for way in ("wrap", "instrument")
    if installed(sdk, asynchronous)
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("sdk", "asynchronous", "way"), ROWS)
def test_a_refusal_is_no_call(
    sdk: str, asynchronous: bool, way: str, loopback: Loopback, tmp_path: Path
) -> None:
    driver = drivers.DRIVERS[sdk]
    call, _, name, *_ = SCENARIOS[sdk][0]
    hosts = {loopback.url.partition("//")[2]: driver.provider} if way == "instrument" else {}
    trail = llmtrail.Client(
        api_key="phc_test", host=loopback.url, dir=tmp_path, flush_interval=60, hosts=hosts
    )
    case = read_case(name)

    def observe(client: Any) -> None:
        if way == "instrument":
            trail.instrument()
        else:
            trail.wrap(client, provider=driver.provider)

    async def make(client: Any) -> Any:
        function = driver.method(client, call, asynchronous)
        answer = function(**driver.arguments(call, case, function))
        return await answer if inspect.isawaitable(answer) else answer

    async def main(client: Any) -> BaseException | None:
        observe(client)
        dearer = trail.budget(1000)
        await make(client)
        cost = trail.totals().cost_usd
        dearer.remove()
        if cost:
            # If the first call still counted as under way, the second one could not begin.
            trail.budget(1.5 * cost)
            await make(client)
        trail.budget(0)
        try:
            await make(client)
        except BaseException as error:
            return error
        return None

    async def opened() -> BaseException | None:
        if asynchronous:
            async with driver.aopened(loopback.case(name), 20, case) as client:
                return await main(client)
        with driver.opened(loopback.case(name), 20, case) as client:
            return await main(client)

    try:
        error = asyncio.run(opened())
        assert type(error) is llmtrail.BudgetExceeded, repr(error)
        assert trail.stats().notes == {"budget_refused": 1}
        assert len(loopback.providers()) == trail.totals().calls
    finally:
        trail.uninstrument()
        with contextlib.suppress(Exception):
            trail.shutdown(10)


ASK = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello!"}]}


def by_requests(trail: llmtrail.Client, url: str) -> None:
    requests = pytest.importorskip("requests")
    with trail.wrap(requests.Session(), provider="openai") as session:
        session.post(url, json=ASK).raise_for_status()


def by_aiohttp(trail: llmtrail.Client, url: str) -> None:
    aiohttp = pytest.importorskip("aiohttp")

    async def main() -> None:
        async with trail.wrap(aiohttp.ClientSession(), provider="openai") as session:
            await (await session.post(url, json=ASK)).read()

    asyncio.run(main())


@pytest.mark.parametrize("call", [by_requests, by_aiohttp])
def test_a_plain_client_is_refused_as_it_is(call: Any, loopback: Loopback, tmp_path: Path) -> None:
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, flush_interval=60)
    url = loopback.url + "/v1/chat/completions"
    call(trail, url)
    trail.budget(0)
    with pytest.raises(llmtrail.BudgetExceeded) as refused:
        call(trail, url)
    assert type(refused.value) is llmtrail.BudgetExceeded
    assert not under_way
    assert len(loopback.providers()) == trail.totals().calls == 1
    trail.shutdown(10)

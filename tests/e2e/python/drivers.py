"""How each SDK is driven: its client for an address, and a case's request as its arguments. See ../README.md."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import unquote

from support import CORPUS, read_case

# Their time limits are the test's: these cases go silent.
IMPATIENT, PATIENT = 0.5, 20.0
_AWS = {"region_name": "us-east-1", "aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}


def has(package: str) -> bool:
    """Whether a package is installed."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


class Driver:
    """One SDK."""

    package = ""
    distribution = ""
    provider = ""
    # Why there is no attempt after a failed one.
    no_retries = ""

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        """A client that sends to the base address, and tries again as often as the case's `retries` say."""
        raise NotImplementedError

    def arguments(self, call: str, case: dict[str, Any], function: Any) -> dict[str, Any]:
        """A case's request as the arguments of a method; what the SDK has no argument for is extra body."""
        kwargs = json.loads(case["request"])
        known = inspect.signature(function).parameters
        extra = {key: kwargs.pop(key) for key in list(kwargs) if key not in known}
        return {**kwargs, **({"extra_body": extra} if extra else {})}

    def method(self, client: Any, call: str, asynchronous: bool) -> Any:
        for name in call.split("."):
            client = getattr(client, name)
        return client

    def items(self, answer: Any) -> Any:
        """The stream in an answer; None: it is none."""
        return answer if hasattr(answer, "response") and hasattr(answer, "close") else None

    @contextmanager
    def opened(self, base: str, limit: float, case: dict[str, Any]) -> Iterator[Any]:
        client = self.client(base, limit, False, case)
        yield client
        client.close()

    @asynccontextmanager
    async def aopened(self, base: str, limit: float, case: dict[str, Any]) -> AsyncIterator[Any]:
        client = self.client(base, limit, True, case)
        yield client
        await client.close()


class _Stainless(Driver):
    names = ("", "")
    suffix = ""

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        kind = getattr(importlib.import_module(self.package), self.names[asynchronous])
        return kind(
            base_url=base + self.suffix, api_key="sk-test-key", max_retries=retries(case), timeout=limit
        )


class OpenAI(_Stainless):
    package = distribution = provider = "openai"
    names = ("OpenAI", "AsyncOpenAI")
    suffix = "/v1"


class Anthropic(_Stainless):
    package = distribution = provider = "anthropic"
    names = ("Anthropic", "AsyncAnthropic")


class Groq(_Stainless):
    package = distribution = provider = "groq"
    names = ("Groq", "AsyncGroq")


class Together(_Stainless):
    package = distribution = provider = "together"
    names = ("Together", "AsyncTogether")
    suffix = "/v1"


class _OtherAnthropic(_Stainless):
    package = distribution = "anthropic"

    def arguments(self, call: str, case: dict[str, Any], function: Any) -> dict[str, Any]:
        kwargs = super().arguments(call, case, function)
        extra = kwargs.get("extra_body", {})
        extra.pop("anthropic_version", None)
        if not extra:
            kwargs.pop("extra_body", None)
        stream = "stream" in case["url"].rpartition("/")[2].lower()
        return {**kwargs, "model": model_of(case), **({"stream": True} if stream else {})}


class AnthropicBedrock(_OtherAnthropic):
    package = "botocore"  # an extra of anthropic's
    provider = "amazon-bedrock"
    names = ("AnthropicBedrock", "AsyncAnthropicBedrock")

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        kind = getattr(importlib.import_module("anthropic"), self.names[asynchronous])
        keys = {"aws_region": "us-east-1", "aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "secret"}
        return kind(base_url=base, max_retries=retries(case), timeout=limit, **keys)


class AnthropicVertex(_OtherAnthropic):
    package = "google.auth"  # an extra of anthropic's
    provider = "google-vertex"
    names = ("AnthropicVertex", "AsyncAnthropicVertex")

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        kind = getattr(importlib.import_module("anthropic"), self.names[asynchronous])
        whose = {"project_id": "demo-project", "access_token": "token", "region": _region(case)}
        return kind(base_url=f"{base}/v1", max_retries=retries(case), timeout=limit, **whose)


class Google(Driver):
    package, distribution, provider = "google.genai", "google-genai", "google-ai-studio"

    @property
    def no_retries(self) -> str:  # type: ignore[override]
        return "" if hasattr(self.types, "HttpRetryOptions") else Ollama.no_retries

    @property
    def types(self) -> Any:
        return importlib.import_module("google.genai.types")

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        from google import genai

        version = case["url"].split("/")[3]
        options = {"base_url": base, "api_version": version, "timeout": int(limit * 1000)}
        if retries(case):
            options["retry_options"] = {"attempts": 1 + retries(case), "initial_delay": 0.01}
        return genai.Client(api_key="test-key", http_options=options)

    def method(self, client: Any, call: str, asynchronous: bool) -> Any:
        return super().method(client.aio if asynchronous else client, call, asynchronous)

    def arguments(self, call: str, case: dict[str, Any], function: Any) -> dict[str, Any]:
        request = json.loads(case["request"])
        model = model_of(case)
        if call.endswith("embed_content"):
            parts = request.get("requests") or [request]
            config = {
                "outputDimensionality": parts[0].get("outputDimensionality"),
                "taskType": parts[0].get("taskType"),
            }
            kept = {key: value for key, value in config.items() if value is not None}
            return {"model": model, "contents": [part["content"] for part in parts], "config": kept or None}
        config = request.pop("generationConfig", {})
        contents = request.pop("contents")
        config.update(request)
        if "parameters_json_schema" not in self.types.FunctionDeclaration.model_fields:
            for tool in config.get("tools", []):
                for function in tool.get("functionDeclarations", []):
                    function["parameters"] = function.pop("parameters_json_schema")
        return {"model": model, "contents": contents, "config": config or None}

    def items(self, answer: Any) -> Any:
        return answer if inspect.isgenerator(answer) or inspect.isasyncgen(answer) else None

    @contextmanager
    def opened(self, base: str, limit: float, case: dict[str, Any]) -> Iterator[Any]:
        client = self.client(base, limit, False, case)
        yield client
        client._api_client._httpx_client.close()

    @asynccontextmanager
    async def aopened(self, base: str, limit: float, case: dict[str, Any]) -> AsyncIterator[Any]:
        client = self.client(base, limit, True, case)
        yield client
        close = getattr(client.aio, "aclose", None)
        if close is not None:
            await close()


class Mistral(Driver):
    package = distribution = "mistralai"
    provider = "mistral"

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        module = importlib.import_module("mistralai")
        kind = getattr(module, "Mistral", None) or importlib.import_module("mistralai.client").Mistral
        options: dict[str, Any] = {"api_key": "test-key", "server_url": base, "timeout_ms": int(limit * 1000)}
        if retries(case):
            utils = importlib.import_module(
                "mistralai.utils" if has("mistralai.utils") else "mistralai.client.utils"
            )
            options["retry_config"] = utils.RetryConfig(
                "backoff", utils.BackoffStrategy(5, 20, 1.5, 5000), True
            )
        return kind(**options)

    def method(self, client: Any, call: str, asynchronous: bool) -> Any:
        return super().method(client, call + ("_async" if asynchronous else ""), asynchronous)

    def arguments(self, call: str, case: dict[str, Any], function: Any) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(case["request"])
        request.pop("stream", None)
        return request

    def items(self, answer: Any) -> Any:
        # Streams of older generations have no way to be closed but `with`.
        return answer if hasattr(answer, "response") and hasattr(answer, "generator") else None

    @contextmanager
    def opened(self, base: str, limit: float, case: dict[str, Any]) -> Iterator[Any]:
        with self.client(base, limit, False, case) as client:
            yield client

    @asynccontextmanager
    async def aopened(self, base: str, limit: float, case: dict[str, Any]) -> AsyncIterator[Any]:
        async with self.client(base, limit, True, case) as client:
            yield client


class Cohere(Driver):
    package = distribution = provider = "cohere"

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        import cohere

        kind = cohere.AsyncClientV2 if asynchronous else cohere.ClientV2
        return kind(api_key="test-key", base_url=base, timeout=limit)

    def arguments(self, call: str, case: dict[str, Any], function: Any) -> dict[str, Any]:
        from cohere.core.http_client import HttpClient

        request: dict[str, Any] = json.loads(case["request"])
        request.pop("stream", None)
        known = inspect.signature(function).parameters
        if "embedding_types" in known and known["embedding_types"].default is inspect.Parameter.empty:
            request.setdefault("embedding_types", ["float"])
        # Older generations count the attempts from two on.
        first = inspect.signature(HttpClient.request).parameters["retries"].default
        again = {"request_options": {"max_retries": first + retries(case) if retries(case) else 0}}
        if "model" in known:  # not one that hands on whatever it is given
            request = {key: value for key, value in request.items() if key in known}
        return {**request, **again}

    items = Google.items

    @contextmanager
    def opened(self, base: str, limit: float, case: dict[str, Any]) -> Iterator[Any]:
        client = self.client(base, limit, False, case)
        yield client
        client._client_wrapper.httpx_client.httpx_client.close()

    @asynccontextmanager
    async def aopened(self, base: str, limit: float, case: dict[str, Any]) -> AsyncIterator[Any]:
        client = self.client(base, limit, True, case)
        yield client
        await client._client_wrapper.httpx_client.httpx_client.aclose()


class Ollama(Driver):
    package = distribution = provider = "ollama"
    no_retries = "n/a: it does not retry"

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        import ollama

        return (ollama.AsyncClient if asynchronous else ollama.Client)(host=base, timeout=limit)

    def arguments(self, call: str, case: dict[str, Any], function: Any) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(case["request"])
        return request

    items = Google.items

    @contextmanager
    def opened(self, base: str, limit: float, case: dict[str, Any]) -> Iterator[Any]:
        client = self.client(base, limit, False, case)
        yield client
        client._client.close()

    @asynccontextmanager
    async def aopened(self, base: str, limit: float, case: dict[str, Any]) -> AsyncIterator[Any]:
        client = self.client(base, limit, True, case)
        yield client
        await client._client.aclose()


class Bedrock(Driver):
    package = distribution = "boto3"
    provider = "amazon-bedrock"

    def options(self, config: Any, base: str, limit: float, case: dict[str, Any]) -> dict[str, Any]:
        again = {"max_attempts": retries(case)}
        made = config(read_timeout=limit, connect_timeout=limit, retries=again)
        return {**_AWS, "endpoint_url": base, "config": made}

    def client(self, base: str, limit: float, asynchronous: bool, case: dict[str, Any]) -> Any:
        from botocore.config import Config

        return _boto_session().client("bedrock-runtime", **self.options(Config, base, limit, case))

    def arguments(self, call: str, case: dict[str, Any], function: Any) -> dict[str, Any]:
        model = model_of(case)
        if call.startswith("invoke"):
            return {"modelId": model, "body": case["request"]}
        operation = "ConverseStream" if call.endswith("stream") else "Converse"
        shape = function.__self__.meta.service_model.operation_model(operation).input_shape
        return _known({"modelId": model, **_blobs(json.loads(case["request"]))}, shape)

    def items(self, answer: Any) -> Any:
        if "stream" in answer:
            return answer["stream"]
        return (
            answer["body"]
            if hasattr(answer.get("body"), "_event_stream")
            or hasattr(answer.get("body"), "_create_raw_event_generator")
            else None
        )

    @asynccontextmanager
    async def aopened(self, base: str, limit: float, case: dict[str, Any]) -> AsyncIterator[Any]:
        import aioboto3
        from aiobotocore.config import AioConfig

        options = self.options(AioConfig, base, limit, case)
        async with aioboto3.Session().client("bedrock-runtime", **options) as client:
            yield client


DRIVERS: dict[str, Driver] = {
    "openai": OpenAI(),
    "anthropic": Anthropic(),
    "anthropic-bedrock": AnthropicBedrock(),
    "anthropic-vertex": AnthropicVertex(),
    "google": Google(),
    "mistral": Mistral(),
    "groq": Groq(),
    "cohere": Cohere(),
    "together": Together(),
    "ollama": Ollama(),
    "bedrock": Bedrock(),
}


@cache
def _boto_session() -> Any:
    """One session for all: it holds the descriptions of the services, which are large."""
    import boto3

    return boto3.session.Session()


def model_of(case: dict[str, Any]) -> str:
    """The model that a case's URL names."""
    path = case["url"].partition("?")[0]
    found = re.search(r"/models?/(.+?)(?::[a-zA-Z]+|/(?:converse|invoke)[a-z-]*)$", path)
    return unquote(found.group(1)) if found else ""


def _region(case: dict[str, Any]) -> str:
    found = re.search(r"/locations/([^/]+)/", case["url"])
    return found.group(1) if found else "us-east5"


def _blobs(value: Any) -> Any:
    """A Converse request as boto3 wants it: `bytes` decoded."""
    import base64

    if isinstance(value, list):
        return [_blobs(item) for item in value]
    if not isinstance(value, dict):
        return value
    blob = {"bytes", "redactedContent"}
    return {
        key: base64.b64decode(item) if key in blob and isinstance(item, str) else _blobs(item)
        for key, item in value.items()
    }


def _known(value: Any, shape: Any) -> Any:
    """A request as far as this version of botocore's has words for it."""
    if shape.type_name == "list" and isinstance(value, list):
        items = [_known(item, shape.member) for item in value]
        return [item for item in items if item != {}]
    if shape.type_name == "structure" and isinstance(value, dict) and not shape.is_document_type:
        return {key: _known(value[key], shape.members[key]) for key in value if key in shape.members}
    return value


def retries(case: dict[str, Any]) -> int:
    """How often a call is tried again."""
    return int(case.get("retries", 0))


def reach(driver: Driver, client: Any, call: str) -> Any:
    """A method of a client; None where an older generation has none."""
    try:
        return driver.method(client, call, False)
    except AttributeError:
        return None


def recorded(name: str, case: dict[str, Any]) -> int | None:
    """How many items of its stream a caller takes before it leaves; None: all."""
    if case.get("end") != "abandoned":
        return None
    events = CORPUS / name / "events.json"
    if events.exists():
        return len(json.loads(events.read_bytes()))
    body: bytes = case["response"] or b""
    return body.count(b"data:") or body.count(b"\n")


def limit(case: dict[str, Any]) -> float:
    return IMPATIENT if case.get("end") == "timeout" else PATIENT


_VARIES = re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT|0x[0-9a-f]{8,}")


def show(item: Any) -> str:
    """An item as text, for comparisons: without the dates and places that no two answers share."""
    return _VARIES.sub("*", _shown(item))


def _shown(item: Any) -> str:
    if isinstance(item, (str, bytes)):
        return str(item)
    if isinstance(item, dict):
        read = {key: value.read() if hasattr(value, "read") else value for key, value in item.items()}
        read.pop("ResponseMetadata", None)
        return repr(read)
    dump = getattr(item, "model_dump_json", None)
    if dump is None:
        return repr(item)
    try:
        return str(dump(warnings=False))
    except Exception:
        return repr(item)


def make(
    driver: Driver, client: Any, call: dict[str, Any], case: dict[str, Any], most: int | None = None
) -> list[str]:
    """Makes one call with a client; what the caller saw. `most`: it leaves a stream after so many items."""
    seen: list[str] = []
    most = most or recorded(call["case"], case)
    function = driver.method(client, call["call"], False)
    try:
        answer = function(**driver.arguments(call["call"], case, function))
        stream = driver.items(answer)
        if stream is None:
            seen.append(show(answer))
        else:
            for item in stream:
                seen.append(show(item))
                if len(seen) == most:
                    break
            (getattr(stream, "close", None) or stream.response.close)()
    except Exception as error:
        seen.append(show(f"{type(error).__qualname__}: {error}"))
        # Errors hold their response; a stream that broke is closed by whoever reads it.
        with suppress(Exception):
            error.response.close()  # type: ignore[attr-defined]
    return seen


async def amake(
    driver: Driver, client: Any, call: dict[str, Any], case: dict[str, Any], most: int | None = None
) -> list[str]:
    """As `make`, with an async client."""
    seen: list[str] = []
    most = most or recorded(call["case"], case)
    function = driver.method(client, call["call"], True)
    try:
        answer = function(**driver.arguments(call["call"], case, function))
        if inspect.isawaitable(answer):
            answer = await answer
        stream = driver.items(answer)
        if stream is None:
            body = answer.get("body") if isinstance(answer, dict) else None
            if body is not None:
                answer["body"] = await body.read()
            seen.append(show(answer))
        else:
            async for item in stream:
                seen.append(show(item))
                if len(seen) == most:
                    break
            close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
            closed = (close or stream.response.aclose)()
            if inspect.isawaitable(closed):
                await closed
    except Exception as error:
        seen.append(show(f"{type(error).__qualname__}: {error}"))
        response = getattr(error, "response", None)
        with suppress(Exception):
            await response.aclose()  # type: ignore[union-attr]
    return seen


def play(driver: Driver, url: str, call: dict[str, Any], trail: Any, asynchronous: bool = False) -> list[str]:
    """Plays a case as `tests/e2e/README.md` says, observed if there is a trail."""
    case = read_case(call["case"])
    provider = case.get("provider") or driver.provider

    def wrapped(client: Any) -> Any:
        if trail is not None:
            assert trail.wrap(client, provider=provider) is client
        return client

    def scope() -> Any:
        if trail is None:
            from contextlib import nullcontext

            return nullcontext()
        return trail.trace("e2e", properties={"case": call["name"]}, distinct_id="e2e")

    if not asynchronous:
        with driver.opened(url, limit(case), case) as client:
            wrapped(client)
            with scope():
                return make(driver, client, call, case)

    async def go() -> list[str]:
        async with driver.aopened(url, limit(case), case) as client:
            wrapped(client)
            async with scope():
                return await amake(driver, client, call, case)

    return asyncio.run(go())

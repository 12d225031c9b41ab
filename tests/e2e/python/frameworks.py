"""What stands on top of SDKs: how each framework is asked, plain, streamed and with a tool, sync and async."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

# Else LiteLLM asks for its price list when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

QUESTION = "What is the weather in Paris?"
KEY = "sk-test-key"
# Models that the loopback server knows. Gemini's answers are not made up, but played.
MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-sonnet-4-5"}
GEMINI = {
    "plain": "gemini_generate/plain",
    "stream": "gemini_generate/stream_text",
    "tool": "gemini_generate/function_calls",
    "error": "gemini_generate/error_429",
}
MESSAGES = [{"role": "user", "content": QUESTION}]


def weather(place: str) -> str:
    """The weather of a place."""
    return "sunny"


Ask = Callable[[Any], Any]
AskAsync = Callable[[Any], Awaitable[Any]]


@dataclass
class Framework:
    """A framework's object for one provider, and what is asked of it. What it cannot be asked is left out."""

    package: str
    distribution: str
    call: str
    provider: str
    # From a base address and a model.
    make: Callable[[str, str], Any]
    # What is asked, by kind: plain, stream, tool, which gives the name of the tool.
    sync: dict[str, Ask] = field(default_factory=dict)
    asynchronous: dict[str, AskAsync] = field(default_factory=dict)
    ways: tuple[str, ...] = ("wrap", "instrument")


async def drain(stream: Any) -> list[Any]:
    return [item async for item in stream]


def langchain(call: str, package: str, provider: str, make: Callable[[str, str], Any]) -> Framework:
    async def tool(model: Any) -> Any:
        return (await model.bind_tools([weather]).ainvoke(QUESTION)).tool_calls[0]["name"]

    async def stream(model: Any) -> Any:
        return await drain(model.astream(QUESTION))

    return Framework(
        package,
        package.replace("_", "-"),
        call,
        provider,
        make,
        {
            "plain": lambda model: model.invoke(QUESTION),
            "stream": lambda model: list(model.stream(QUESTION)),
            "tool": lambda model: model.bind_tools([weather]).invoke(QUESTION).tool_calls[0]["name"],
        },
        {"plain": lambda model: model.ainvoke(QUESTION), "stream": stream, "tool": tool},
    )


def langchain_openai(base: str, model: str, **more: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=model, base_url=f"{base}/v1", api_key=KEY, max_retries=0, **more)


def langchain_anthropic(base: str, model: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model=model, base_url=base, api_key=KEY, max_retries=0)


def langchain_google(base: str, model: str) -> Any:
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(model=model, base_url=base, google_api_key=KEY, max_retries=1)


def langchain_embeddings(base: str, model: str) -> Any:
    from langchain_openai import OpenAIEmbeddings

    return OpenAIEmbeddings(
        model=model, base_url=f"{base}/v1", api_key=KEY, max_retries=0, check_embedding_ctx_length=False
    )


def llama_index() -> Framework:
    def make(base: str, model: str) -> Any:
        from llama_index.llms.openai import OpenAI

        return OpenAI(model=model, api_base=f"{base}/v1", api_key=KEY, max_retries=0)

    def message() -> Any:
        from llama_index.core.llms import ChatMessage

        return [ChatMessage(role="user", content=QUESTION)]

    def tools() -> Any:
        from llama_index.core.tools import FunctionTool

        return [FunctionTool.from_defaults(weather)]

    def named(llm: Any, answer: Any) -> str:
        (call,) = llm.get_tool_calls_from_response(answer)
        return str(call.tool_name)

    async def stream(llm: Any) -> Any:
        return await drain(await llm.astream_chat(message()))

    async def tool(llm: Any) -> Any:
        return named(llm, await llm.achat_with_tools(tools(), user_msg=QUESTION))

    return Framework(
        "llama_index.llms.openai",
        "llama-index-llms-openai",
        "chat",
        "openai",
        make,
        {
            "plain": lambda llm: llm.chat(message()),
            "stream": lambda llm: list(llm.stream_chat(message())),
            "tool": lambda llm: named(llm, llm.chat_with_tools(tools(), user_msg=QUESTION)),
        },
        {"plain": lambda llm: llm.achat(message()), "stream": stream, "tool": tool},
    )


def llama_index_embeddings(base: str, model: str) -> Any:
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(model=model, api_base=f"{base}/v1", api_key=KEY, max_retries=0)


def litellm(call: str, provider: str, prefix: str, suffix: str) -> Framework:
    def make(base: str, model: str) -> dict[str, Any]:
        return {"model": prefix + model, "api_base": base + suffix, "api_key": KEY, "messages": MESSAGES}

    def asked(options: dict[str, Any], **more: Any) -> Any:
        import litellm

        return litellm.completion(**options, max_retries=0, **more)

    async def aasked(options: dict[str, Any], **more: Any) -> Any:
        import litellm

        return await litellm.acompletion(**options, max_retries=0, **more)

    parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
    tools = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]}

    def named(answer: Any) -> str:
        return str(answer.choices[0].message.tool_calls[0].function.name)

    async def stream(options: Any) -> Any:
        return await drain(await aasked(options, stream=True))

    async def tool(options: Any) -> Any:
        return named(await aasked(options, **tools))

    return Framework(
        "litellm",
        "litellm",
        call,
        provider,
        make,
        {
            "plain": asked,
            "stream": lambda options: list(asked(options, stream=True)),
            "tool": lambda options: named(asked(options, **tools)),
        },
        {"plain": aasked, "stream": stream, "tool": tool},
        ways=("instrument",),
    )


def agents(call: str, kind: str) -> Framework:
    def make(base: str, model: str) -> Any:
        import agents
        import openai

        agents.set_tracing_disabled(True)
        client = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
        return getattr(agents, kind)(model, client)

    def agent(model: Any, *tools: Any) -> Any:
        from agents import Agent, function_tool

        return Agent(name="guide", model=model, tools=[function_tool(tool) for tool in tools])

    async def plain(model: Any) -> Any:
        from agents import Runner

        return (await Runner.run(agent(model), QUESTION)).final_output

    async def stream(model: Any) -> Any:
        from agents import Runner

        run = Runner.run_streamed(agent(model), QUESTION)
        await drain(run.stream_events())
        return run.final_output

    async def tool(model: Any) -> Any:
        from agents import Runner

        run = await Runner.run(agent(model, weather), QUESTION)
        return run.new_items[0].raw_item.name

    return Framework(
        "agents",
        "openai-agents",
        call,
        "openai",
        make,
        asynchronous={"plain": plain, "stream": stream, "tool": tool},
    )


def pydantic_ai(call: str, provider: str, module: str, names: tuple[str, str], suffix: str = "") -> Framework:
    def make(base: str, model: str) -> Any:
        from importlib import import_module

        from pydantic_ai import Agent

        kind = getattr(import_module(f"pydantic_ai.models.{module}"), names[0])
        of = getattr(import_module(f"pydantic_ai.providers.{module}"), names[1])
        return Agent(kind(model, provider=of(base_url=base + suffix, api_key=KEY)))

    def called(answer: Any) -> str:
        parts = [part for message in answer.all_messages() for part in message.parts]
        return next(part.tool_name for part in parts if part.part_kind == "tool-call")

    async def stream(agent: Any) -> Any:
        async with agent.run_stream(QUESTION) as answer:
            return await drain(answer.stream_text())

    async def tool(agent: Any) -> Any:
        with agent.override(tools=[weather]):
            return called(await agent.run(QUESTION))

    def stream_sync(agent: Any) -> Any:
        return list(agent.run_stream_sync(QUESTION).stream_text())

    def tool_sync(agent: Any) -> Any:
        with agent.override(tools=[weather]):
            return called(agent.run_sync(QUESTION))

    # An agent would ask on with the tool's result, and a case answers once.
    tools = {} if provider == "google-ai-studio" else {"tool": tool_sync}
    atools = {} if provider == "google-ai-studio" else {"tool": tool}
    return Framework(
        "pydantic_ai",
        "pydantic-ai-slim",
        call,
        provider,
        make,
        {"plain": lambda agent: agent.run_sync(QUESTION).output, "stream": stream_sync, **tools},
        {"plain": lambda agent: agent.run(QUESTION), "stream": stream, **atools},
    )


def instructor(provider: str) -> Framework:
    def make(base: str, model: str) -> Any:
        import anthropic
        import instructor
        import openai

        if provider == "anthropic":
            options = {"base_url": base, "api_key": KEY, "max_retries": 0}
            one = instructor.from_anthropic(anthropic.Anthropic(**options))
            other = instructor.from_anthropic(anthropic.AsyncAnthropic(**options))
            return one, other, {"model": model, "max_tokens": 100}
        options = {"base_url": f"{base}/v1", "api_key": KEY, "max_retries": 0}
        one = instructor.from_openai(openai.OpenAI(**options))
        return one, instructor.from_openai(openai.AsyncOpenAI(**options)), {"model": model}

    def answer() -> Any:
        from pydantic import BaseModel

        # Asked for by the name of a tool.
        return type("weather", (BaseModel,), {"__annotations__": {"place": str}, "__module__": __name__})

    def options(made: Any) -> dict[str, Any]:
        return {**made[2], "response_model": answer(), "messages": MESSAGES, "max_retries": 1}

    def tool(made: Any) -> str:
        return type(made[0].chat.completions.create(**options(made))).__name__

    async def atool(made: Any) -> str:
        return type(await made[1].chat.completions.create(**options(made))).__name__

    async def stream(made: Any) -> Any:
        return await drain(made[1].chat.completions.create_partial(**options(made)))

    return Framework(
        "instructor",
        "instructor",
        f"create of {provider}'s client",
        provider,
        make,
        {
            "plain": lambda made: made[0].chat.completions.create(**options(made)),
            "stream": lambda made: list(made[0].chat.completions.create_partial(**options(made))),
            "tool": tool,
        },
        {
            "plain": lambda made: made[1].chat.completions.create(**options(made)),
            "stream": stream,
            "tool": atool,
        },
    )


FRAMEWORKS = [
    langchain("ChatOpenAI", "langchain_openai", "openai", langchain_openai),
    langchain(
        "ChatOpenAI (Responses)",
        "langchain_openai",
        "openai",
        lambda base, model: langchain_openai(base, model, use_responses_api=True),
    ),
    langchain("ChatAnthropic", "langchain_anthropic", "anthropic", langchain_anthropic),
    langchain("ChatGoogleGenerativeAI", "langchain_google_genai", "google-ai-studio", langchain_google),
    Framework(
        "langchain_openai",
        "langchain-openai",
        "OpenAIEmbeddings",
        "openai",
        langchain_embeddings,
        {"plain": lambda model: model.embed_query(QUESTION)},
        {"plain": lambda model: model.aembed_query(QUESTION)},
    ),
    llama_index(),
    Framework(
        "llama_index.embeddings.openai",
        "llama-index-embeddings-openai",
        "get_text_embedding",
        "openai",
        llama_index_embeddings,
        {"plain": lambda model: model.get_text_embedding(QUESTION)},
        {"plain": lambda model: model.aget_text_embedding(QUESTION)},
    ),
    litellm("completion of openai/", "openai", "openai/", "/v1"),
    litellm("completion of openai/responses/", "openai", "openai/responses/", "/v1"),
    litellm("completion of anthropic/", "anthropic", "anthropic/", ""),
    agents("run (Responses)", "OpenAIResponsesModel"),
    agents("run (chat)", "OpenAIChatCompletionsModel"),
    pydantic_ai("run of OpenAIChatModel", "openai", "openai", ("OpenAIChatModel", "OpenAIProvider"), "/v1"),
    pydantic_ai(
        "run of OpenAIResponsesModel", "openai", "openai", ("OpenAIResponsesModel", "OpenAIProvider"), "/v1"
    ),
    pydantic_ai("run of AnthropicModel", "anthropic", "anthropic", ("AnthropicModel", "AnthropicProvider")),
    pydantic_ai("run of GoogleModel", "google-ai-studio", "google", ("GoogleModel", "GoogleProvider")),
    instructor("openai"),
    instructor("anthropic"),
]

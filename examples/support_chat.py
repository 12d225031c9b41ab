"""A small support chat on the real OpenAI and Anthropic SDKs, observed.

One conversation (a session) of two requests (traces): retrieval with an embedding, a streamed answer, a tool call,
a call that fails, and a Claude call with a cached prompt. Run it with `make demo`, or by hand with your own keys.
"""

import json
import os
from typing import cast

from anthropic import Anthropic
from openai import OpenAI, OpenAIError
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

import llmtrail

ARTICLES = {
    "Refunds": "Refunds reach the original payment method within five working days of the return.",
    "Delivery": "Orders placed before noon leave on the same day. Tracking is in the confirmation mail.",
    "Passwords": "A reset link is valid for one hour. Check the spam folder before asking for another one.",
}
TOOLS: list[ChatCompletionFunctionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "order_status",
            "description": "Where an order is.",
            "parameters": {
                "type": "object",
                "properties": {"order_id": {"type": "string"}},
                "required": ["order_id"],
            },
        },
    }
]
HANDBOOK = "You are a support agent of a small shop. Be brief and kind.\n" + "\n".join(
    f"{number}. {title}: {text}" for number in range(1, 40) for title, text in ARTICLES.items()
)

# The demo tells which provider stands behind the loopback server; with real keys there is nothing to tell.
llmtrail.init(hosts=json.loads(os.environ.get("DEMO_HOSTS", "{}")))
openai = llmtrail.wrap(OpenAI())
claude = llmtrail.wrap(Anthropic())


def retrieve(question: str) -> list[str]:
    with llmtrail.span("retrieve", type="retrieval", input=question) as span:
        texts = [question, *ARTICLES.values()]
        reply = openai.embeddings.create(model="text-embedding-3-small", input=texts, dimensions=256)
        asked, *articles = [item.embedding for item in reply.data]
        likeness = [sum(a * b for a, b in zip(asked, article, strict=True)) for article in articles]
        found = [title for _, title in sorted(zip(likeness, ARTICLES, strict=True), reverse=True)[:2]]
        span.output = found
        return found


def answer(question: str) -> str:
    """A streamed answer with what was found."""
    with llmtrail.trace("answer question", properties={"channel": "web"}) as trace:
        found = retrieve(question)
        messages: list[ChatCompletionMessageParam] = [
            {
                "role": "system",
                "content": "Answer from these articles: " + "; ".join(ARTICLES[t] for t in found),
            },
            {"role": "user", "content": question},
        ]
        text = ""
        for chunk in openai.chat.completions.create(model="gpt-5-mini", messages=messages, stream=True):
            text += chunk.choices[0].delta.content or ""
        trace.output = text
        return text


def order(question: str) -> str:
    """A tool call, an attempt that fails, and a polite answer by Claude."""
    with llmtrail.trace("track order") as trace:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
        first = openai.chat.completions.create(model="gpt-5-mini", messages=messages, tools=TOOLS)
        for call in first.choices[0].message.tool_calls or []:
            if call.type != "function":
                continue
            with llmtrail.span(call.function.name, type="tool", input=call.function.arguments) as span:
                span.output = {"status": "on its way", "arrives": "tomorrow"}
            messages += [
                cast(ChatCompletionMessageParam, first.choices[0].message.to_dict()),
                {"role": "tool", "tool_call_id": call.id, "content": json.dumps(span.output)},
            ]
        try:
            openai.with_options(max_retries=0).chat.completions.create(
                model="no-such-model", messages=messages
            )
        except OpenAIError:
            pass  # The event has it; a real application would now use its fallback model, as we do.
        second = openai.chat.completions.create(model="gpt-5-mini", messages=messages, tools=TOOLS)
        facts = second.choices[0].message.content or ""
        polite = claude.messages.create(
            model="claude-sonnet-4-6",
            max_tokens=300,
            system=[{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}],
            messages=[{"role": "user", "content": f"Say this kindly: {facts}"}],
        )
        text = "".join(block.text for block in polite.content if block.type == "text")
        trace.output = text
        return text


with llmtrail.session("chat-python", distinct_id="user-1"):
    print("user: How long does a refund take?")
    print("shop:", answer("How long does a refund take?"))
    print("user: Where is order 1042?")
    print("shop:", order("Where is order 1042?"))

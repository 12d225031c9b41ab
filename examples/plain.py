"""A script: one trace, a step of its own, a streamed answer, and what it cost."""

from openai import OpenAI

import llmtrail

client = llmtrail.wrap(OpenAI())


def search(question: str) -> list[str]:
    return [f"Nothing is known about: {question}"]


@llmtrail.trace(distinct_id="user-1", session_id="chat-1")
def ask(question: str) -> str:
    with llmtrail.span("search", type="retrieval", input=question) as span:
        span.output = found = search(question)
    stream = client.chat.completions.create(
        model="gpt-5-mini",
        messages=[{"role": "system", "content": "\n".join(found)}, {"role": "user", "content": question}],
        stream=True,
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


print(ask("Where is my order?"))
print(llmtrail.totals(distinct_id="user-1"))

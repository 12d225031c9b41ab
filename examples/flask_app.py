"""Flask: one scope for each request, in each of its threads. `python flask_app.py`."""

import os

from flask import Flask, request
from openai import OpenAI

import llmtrail

app = Flask(__name__)
client = llmtrail.wrap(OpenAI())


@llmtrail.span(type="retrieval")
def search(question: str) -> list[str]:
    return [f"Nothing is known about: {question}"]


@app.post("/ask")
def ask() -> dict[str, str]:
    asked: dict[str, str] = request.get_json()
    question = asked["text"]
    with llmtrail.trace(
        "ask", distinct_id=request.headers["user"], session_id=asked["chat"], input=question
    ) as trace:
        found = search(question)
        stream = client.chat.completions.create(
            model="gpt-5-mini",
            messages=[{"role": "system", "content": "\n".join(found)}, {"role": "user", "content": question}],
            stream=True,
        )
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        trace.output = answer = "".join(pieces)
        return {"answer": answer}


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8000")), threaded=True)

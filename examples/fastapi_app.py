"""FastAPI: one scope for each request, whatever runs side by side. `python fastapi_app.py`, or with uvicorn."""

import os
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header
from openai import AsyncOpenAI
from pydantic import BaseModel

import llmtrail

app = FastAPI()
client = llmtrail.wrap(AsyncOpenAI())


class Question(BaseModel):
    text: str
    chat: str


@llmtrail.span(type="retrieval")
async def search(question: str) -> list[str]:
    return [f"Nothing is known about: {question}"]


@app.post("/ask")
async def ask(question: Question, user: Annotated[str, Header()]) -> dict[str, str]:
    async with llmtrail.trace(
        "ask", distinct_id=user, session_id=question.chat, input=question.text
    ) as trace:
        found = await search(question.text)
        stream = await client.chat.completions.create(
            model="gpt-5-mini",
            messages=[
                {"role": "system", "content": "\n".join(found)},
                {"role": "user", "content": question.text},
            ],
            stream=True,
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        trace.output = answer = "".join(pieces)
        return {"answer": answer}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), log_level="warning")

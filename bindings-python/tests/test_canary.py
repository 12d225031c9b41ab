"""A marked secret in every field of every path: in privacy mode none of it leaves, and of media only placeholders."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

import llmtrail
from support import Loopback

SECRET = "canary-7f3a"
PAYLOAD = base64.b64encode(b"canary payload " * 12).decode()
IMAGE = f"data:image/png;base64,{PAYLOAD}"

SCHEMA = {"type": "object", "properties": {SECRET: {"type": "string", "description": SECRET}}}
FUNCTION = {"name": SECRET, "description": SECRET, "parameters": SCHEMA}
ARGUMENTS = json.dumps({SECRET: SECRET, "image": IMAGE})
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": SECRET, "arguments": ARGUMENTS}}

CHAT = "https://api.openai.com/v1/chat/completions"
CHAT_REQUEST: dict[str, Any] = {
    "model": "gpt-5-mini",
    "user": SECRET,
    "metadata": {"note": SECRET},
    "safety_identifier": SECRET,
    "stop": [SECRET],
    "response_format": {"type": "json_schema", "json_schema": {"name": SECRET, "schema": SCHEMA}},
    "tool_choice": {"type": "function", "function": {"name": SECRET}},
    "prediction": {"type": "content", "content": SECRET},
    "tools": [{"type": "function", "function": FUNCTION}],
    "messages": [
        {"role": "system", "content": SECRET, "name": SECRET},
        {
            "role": "user",
            "content": [{"type": "text", "text": SECRET}, {"type": "image_url", "image_url": {"url": IMAGE}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": f"{SECRET} {IMAGE}"},
        {
            "role": "user",
            "content": [{"type": "input_audio", "input_audio": {"data": PAYLOAD, "format": "wav"}}],
        },
    ],
}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-5-mini",
    "usage": USAGE,
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "logprobs": {"content": [{"token": SECRET, "logprob": -1}]},
            "message": {
                "role": "assistant",
                "content": SECRET,
                "reasoning_content": SECRET,
                "refusal": SECRET,
                "tool_calls": [TOOL_CALL],
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": f"https://x/{SECRET}", "title": SECRET}}
                ],
                "audio": {"id": "audio_1", "data": PAYLOAD, "transcript": SECRET, "expires_at": 1},
            },
        }
    ],
}
STREAM = (
    "".join(
        f"data: {json.dumps(chunk)}\n\n"
        for chunk in (
            {
                "id": "c",
                "model": "gpt-5-mini",
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": SECRET}}],
            },
            {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **TOOL_CALL}]}}]},
            {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE},
        )
    )
    + "data: [DONE]\n\n"
)
ERROR = {
    "error": {
        "message": f"{SECRET} sk-{SECRET}",
        "type": "invalid_request_error",
        "code": None,
        "param": SECRET,
    }
}

MESSAGES = "https://api.anthropic.com/v1/messages"
SOURCE = {"type": "base64", "media_type": "image/png", "data": PAYLOAD}
MESSAGES_REQUEST = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 10,
    "system": [{"type": "text", "text": SECRET}],
    "metadata": {"user_id": SECRET},
    "stop_sequences": [SECRET],
    "tools": [{"name": SECRET, "description": SECRET, "input_schema": SCHEMA}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": SECRET}, {"type": "image", "source": SOURCE}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": SECRET, "input": {SECRET: SECRET}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": SOURCE}]}
            ],
        },
    ],
}
MESSAGES_ANSWER = {
    "id": "msg_1",
    "model": "claude-sonnet-4-5",
    "role": "assistant",
    "type": "message",
    "stop_reason": "stop_sequence",
    "stop_sequence": SECRET,
    "usage": {"input_tokens": 5, "output_tokens": 2},
    "content": [
        {"type": "thinking", "thinking": SECRET, "signature": SECRET},
        {"type": "text", "text": SECRET},
        {"type": "tool_use", "id": "t", "name": SECRET, "input": {SECRET: IMAGE}},
    ],
}

RESPONSES = "https://api.openai.com/v1/responses"
RESPONSES_REQUEST = {
    "model": "gpt-5-mini",
    "instructions": SECRET,
    "metadata": {"note": SECRET},
    "prompt_cache_key": SECRET,
    "tools": [{"type": "function", **FUNCTION}],
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": SECRET}, {"type": "input_image", "image_url": IMAGE}],
        },
        {"type": "function_call", "call_id": "c", "name": SECRET, "arguments": ARGUMENTS},
        {"type": "function_call_output", "call_id": "c", "output": f"{SECRET} {IMAGE}"},
    ],
}
RESPONSES_ANSWER = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5-mini",
    "status": "completed",
    "instructions": SECRET,
    "metadata": {"note": SECRET},
    "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
    "output": [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": SECRET}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": SECRET}]},
        {"type": "function_call", "call_id": "c", "name": SECRET, "arguments": ARGUMENTS},
        {"type": "image_generation_call", "id": "i", "result": PAYLOAD, "revised_prompt": SECRET},
    ],
}

GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
INLINE = {"inlineData": {"mimeType": "image/png", "data": PAYLOAD}}
GEMINI_REQUEST = {
    "systemInstruction": {"parts": [{"text": SECRET}]},
    "generationConfig": {"stopSequences": [SECRET], "responseSchema": SCHEMA},
    "labels": {"note": SECRET},
    "tools": [{"functionDeclarations": [FUNCTION]}],
    "contents": [
        {"role": "user", "parts": [{"text": SECRET}, INLINE]},
        {"role": "model", "parts": [{"functionCall": {"name": SECRET, "args": {SECRET: SECRET}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": SECRET, "response": {SECRET: IMAGE}}}]},
    ],
}
GEMINI_ANSWER = {
    "modelVersion": "gemini-2.5-flash",
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
    "candidates": [
        {
            "finishReason": "STOP",
            "groundingMetadata": {"webSearchQueries": [SECRET]},
            "content": {
                "role": "model",
                "parts": [
                    {"text": SECRET, "thought": True},
                    {"text": SECRET},
                    INLINE,
                    {"functionCall": {"name": SECRET, "args": {}}},
                ],
            },
        }
    ],
}

EMBEDDINGS = "https://api.openai.com/v1/embeddings"

PATHS: dict[str, tuple[str, Any, int, Any]] = {
    "chat": (CHAT, CHAT_REQUEST, 200, CHAT_ANSWER),
    "stream": (CHAT, {**CHAT_REQUEST, "stream": True}, 200, STREAM),
    "error": (CHAT, CHAT_REQUEST, 400, ERROR),
    "page": (CHAT, CHAT_REQUEST, 502, f"<html>{SECRET}</html>"),
    "nonsense": (CHAT, CHAT_REQUEST, 200, f"<html>{SECRET}</html>"),
    "messages": (MESSAGES, MESSAGES_REQUEST, 200, MESSAGES_ANSWER),
    "responses": (RESPONSES, RESPONSES_REQUEST, 200, RESPONSES_ANSWER),
    "gemini": (GEMINI, GEMINI_REQUEST, 200, GEMINI_ANSWER),
    "embeddings": (
        EMBEDDINGS,
        {"model": "text-embedding-3-small", "input": [SECRET], "user": SECRET},
        200,
        {"data": []},
    ),
    "refused": (CHAT, CHAT_REQUEST, 0, None),
}


def play(trail: llmtrail.Client, path: str) -> None:
    url, ask, status, answer = PATHS[path]

    def handler(request: httpx.Request) -> httpx.Response:
        if status == 0:
            raise httpx.ConnectError(f"{SECRET} refused {url}?key={SECRET}")
        headers = {"x-canary": SECRET, "set-cookie": SECRET}
        if isinstance(answer, str):
            kind = "text/event-stream" if answer.startswith("data:") else "text/html"
            return httpx.Response(status, text=answer, headers={**headers, "content-type": kind})
        return httpx.Response(status, json=answer, headers=headers)

    headers = {"authorization": f"Bearer {SECRET}", "x-api-key": SECRET, "cookie": SECRET, "x-note": SECRET}
    with trail.wrap(httpx.Client(transport=httpx.MockTransport(handler))) as client:
        try:
            address = url.replace("https://", f"https://{SECRET}:{SECRET}@")
            client.post(f"{address}?key={SECRET}&x={SECRET}", json=ask, headers=headers)
        except httpx.ConnectError:
            assert status == 0


def by_hand(trail: llmtrail.Client) -> None:
    for _ in range(2):
        trail.capture_generation(
            model="m", input=SECRET, output=[SECRET, IMAGE], tools=[FUNCTION], parameters={"stop": SECRET},
            base_url=f"https://{SECRET}@host/v1?key={SECRET}", error=ValueError(f"{SECRET} {IMAGE}"),
        )  # fmt: skip
        trail.capture_embedding(model="m", input=[SECRET, IMAGE])
        trail.capture_span("s", input={SECRET: SECRET}, output=IMAGE, error=SECRET)
        trail.capture_trace("t", input=SECRET, output={"image": IMAGE})
    with trail.span("s", input=IMAGE) as span:
        span.output = {"nested": [SECRET, IMAGE]}
    with pytest.raises(ValueError, match=SECRET), trail.trace("t", input=SECRET):
        raise ValueError(SECRET)


def everything(trail: llmtrail.Client, folder: Path) -> str:
    """What left: the events, and every file."""
    trail.shutdown(20)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(path.read_bytes().decode("latin-1") for path in files)


@pytest.mark.parametrize("path", [*PATHS, "by hand"])
def test_nothing_leaves_in_privacy_mode(loopback: Loopback, tmp_path: Path, path: str) -> None:
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, privacy=True, spool="always")
    with trail.trace("t", input=SECRET):
        by_hand(trail) if path == "by hand" else play(trail, path)
    files = everything(trail, tmp_path)
    events = loopback.events()
    assert len(events) >= 2
    for event in events:
        assert SECRET not in json.dumps(event), path
        assert PAYLOAD[:32] not in json.dumps(event), path
    assert SECRET not in files
    assert PAYLOAD[:32] not in files


@pytest.mark.parametrize("path", [*PATHS, "by hand"])
def test_of_media_only_placeholders_leave(loopback: Loopback, tmp_path: Path, path: str) -> None:
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, spool="always")
    with trail.trace("t"):
        by_hand(trail) if path == "by hand" else play(trail, path)
    files = everything(trail, tmp_path)
    events = json.dumps(loopback.events())
    assert PAYLOAD[:32] not in events, path
    assert PAYLOAD[:32] not in files, path
    if path != "embeddings":
        assert "[redacted " in events, path
    # Credentials are in headers and addresses, which are not content.
    for leak in (f"Bearer {SECRET}", f"key={SECRET}", f"{SECRET}@", f"sk-{SECRET}"):
        assert leak not in events, (path, leak)

"""Through the real SDKs: what privacy mode, `redact` and the detectors let leave, in every byte sent and on disk."""

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import llmtrail
import sdk
from support import ROOT, Loopback, stored

CANARY = json.loads((ROOT / "tests/scenarios/canary.json").read_bytes())
SECRET: str = CANARY["secret"]
PAYLOAD: str = CANARY["payload"][:32]
# With neighbours that a pattern might take for a part of them.
PERSONAL = "order 25 4111 1111 1111 1111 12/27, <anna@example.com>, +49 30 901820, DE89370400440532013000, 203.0.113.7"
MARKS = ("1111 1111", "anna@", "30 901820", "DE89", "203.0.113.7")


def requests(text: str) -> dict[str, dict[str, Any]]:
    """The canary's requests, with a text in place of its secret."""
    asked = {name: CANARY["paths"][name]["request"] for name in ("chat", "stream", "messages", "responses")}
    inside = json.dumps(text)[1:-1]
    # Names of functions are no free text.
    filled = json.dumps(asked).replace(SECRET, inside)
    return json.loads(filled) if text == SECRET else _named(json.loads(filled), text)


def _named(value: Any, text: str) -> Any:
    if isinstance(value, list):
        return [_named(item, text) for item in value]
    if isinstance(value, dict):
        return {name: "look_up" if name == "name" else _named(item, text) for name, item in value.items()}
    return value


async def calls(trail: llmtrail.Client, url: str, text: str) -> None:
    asked = requests(text)
    rest = {name: {k: v for k, v in body.items() if k != "stream"} for name, body in asked.items()}
    chat, ask = sdk.client("openai", url), sdk.client("anthropic", url)
    later = sdk.client("openai", url, asynchronous=True)
    trail.wrap(chat, provider="openai")
    trail.wrap(ask, provider="anthropic")
    trail.wrap(later, provider="openai")
    headers = {"x-note": text, "cookie": text}

    def parts(name: str, *taken: str) -> dict[str, Any]:
        body = rest[name]
        given = {key: body[key] for key in taken}
        extra = {key: value for key, value in body.items() if key not in taken}
        return {**given, "extra_body": extra, "extra_headers": headers}

    with trail.trace("t", input=text):
        chat.chat.completions.create(**parts("chat", "model", "messages"))
        list(chat.chat.completions.create(**parts("stream", "model", "messages"), stream=True))
        stream = await later.chat.completions.create(**parts("chat", "model", "messages"), stream=True)
        assert [chunk async for chunk in stream]
        if hasattr(chat, "responses"):  # older ones have none
            chat.responses.create(**parts("responses", "model", "input"))
        ask.messages.create(**{"max_tokens": 99, **parts("messages", "model", "messages")})
        chat.embeddings.create(model="text-embedding-3-small", input=[text])
        with contextlib.suppress(openai.APIStatusError):
            chat.chat.completions.create(model="error-429", messages=[{"role": "user", "content": text}])
        with contextlib.suppress(anthropic.APIStatusError):
            message: Any = {"role": "user", "content": text}
            ask.messages.create(model=f"no-such {text}", max_tokens=9, messages=[message])
    chat.close()
    ask.close()
    await later.close()


def everything(folder: Path) -> str:
    return "\n".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", ["privacy", "redact", "detectors", "nothing"])
def test_only_what_may_leaves(loopback: Loopback, tmp_path: Path, way: str) -> None:
    options: dict[str, Any] = {
        "privacy": {"privacy": True},
        "redact": {"redact": lambda text: text.replace(SECRET, "[mine]")},
        "detectors": {"detectors": True},
        "nothing": {},
    }[way]
    trail = llmtrail.Client(
        api_key="phc_test", host=loopback.url, dir=tmp_path, spool="always", local=True, **options
    )
    text = PERSONAL if way == "detectors" else SECRET
    asyncio.run(calls(trail, loopback.url, text))
    assert trail.shutdown(20).dropped == {}
    sent = loopback.events()
    kept = stored(tmp_path)
    assert len(sent) == len(kept) == 1 + (8 if hasattr(openai.OpenAI, "responses") else 7)
    everywhere = json.dumps([sent, kept]) + everything(tmp_path)
    assert PAYLOAD not in everywhere
    if way == "nothing":
        # Else the others would show nothing.
        assert sum(SECRET in json.dumps(event) for event in sent) == len(sent)
    elif way == "privacy":
        # A name of a model is not content.
        models = [event["properties"].pop("$ai_model", None) for event in sent + kept]
        assert SECRET in "".join(filter(None, models))
        assert SECRET not in json.dumps([sent, kept])
    elif way == "redact":
        assert SECRET not in json.dumps(without_names([sent, kept]))
        assert json.dumps(sent).count("[mine]") > 20
    else:
        assert [mark for mark in MARKS if mark in json.dumps(without_names([sent, kept]))] == []
        assert json.dumps(sent).count("[card-") > 5


def without_names(value: Any) -> Any:
    """The value without the names of members and of models, which are no content, and without ids: these are random,
    and by chance one has the digits of a card in it."""
    if isinstance(value, str):
        return ID.sub("id", value)
    if isinstance(value, dict):
        return [without_names(member) for name, member in value.items() if name not in MODELS]
    return [without_names(item) for item in value] if isinstance(value, list) else value


MODELS = ("$ai_model", "model_requested")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

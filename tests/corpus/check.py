"""Checks the shape of the corpus: files, keys, names, and that the redacted media are the bytes of the wire.

It knows nothing of llmtrail and only guards against slips. A binary event stream must say what its `events.json`
says.
"""

import base64
import hashlib
import json
import re
import sys
import zlib
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).parent
KEYS = {"shows", "source", "url", "method", "request_headers", "response_headers", "status", "end", "error"}
KEYS |= {"asked_usage", "provider", "cost", "cost_note", "pending"}
BODIES = {"response.json", "response.sse", "response.ndjson", "response.bin", "response.body"}
ENDS = {None, "complete", "abandoned", "error", "timeout"}
ADDRESS = {"$ai_provider", "$ai_base_url", "$ai_request_url", "$ai_model"}
CALL = ADDRESS | {"$ai_input", "$ai_tokens_source"}
ALWAYS = {
    "$ai_generation": CALL,
    "$ai_embedding": CALL,
    "$ai_span": ADDRESS | {"$ai_span_name", "$ai_span_type", "$ai_input_state"},
}
STREAM_PATH = re.compile(r"/(converse-stream|invoke-with-response-stream)$|:streamRawPredict$")
NEVER = re.compile(
    r"\$(lib|ai_lib|ai_.*cost)|\$ai_(trace_id|span_id|parent_id|session_id|latency|time_to_first_token)$"
    r"|\$ai_consumer_pause$|\$process_person_profile$|\$geoip_disable$"
)
SIGNED = {"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-date", "x-amz-security-token"}
HOLDER = re.compile(r"\[redacted ([^,\]]+), (\d+) bytes, sha256:([0-9a-f]{16})\]")
# Google's SDK sends the alphabet for URLs.
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}={0,2}")
PIECES = re.compile(rb'"(?:data|audio)": ?"([A-Za-z0-9+/=]+)"')


def payloads(body):
    """(length, SHA-256) of the body, of every base64 run in it, and of a stream's audio pieces joined."""
    runs = [run for run in BASE64.findall(body) if len(run) % 4 == 0]
    decoded = [body, *(base64.b64decode(run, b"-_" if set(run) & set(b"-_") else None) for run in runs)]
    audio = PIECES.findall(body)
    if len(audio) > 1:
        decoded.append(b"".join(base64.b64decode(piece) for piece in audio))
    return {(len(raw), hashlib.sha256(raw).hexdigest()) for raw in decoded}


def media(node):
    """Every `media` object below `node`."""
    if isinstance(node, dict) and {"mime", "bytes", "sha256"} == set(node):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from media(item)


def number(raw):
    return int.from_bytes(raw, "big")


def messages(raw):
    """The messages of an AWS event stream as {headers, payload, crc}; what is left at the end: {cut, of}."""
    while raw:
        size, width = number(raw[:4]), number(raw[4:8])
        if len(raw) < size:
            yield {"cut": len(raw), "of": size}
            return
        head, message, headers = raw[12 : 12 + width], raw[: size - 4], {}
        if zlib.crc32(raw[:8]) != number(raw[8:12]):
            raise ValueError("the checksum of a prelude is wrong")
        while head:
            name, head = head[1 : 1 + head[0]], head[1 + head[0] :]
            end = 3 + number(head[1:3])
            headers[name.decode()], head = head[3:end].decode(), head[end:]
        found = {"headers": headers, "payload": json.loads(message[12 + width :])}
        right = zlib.crc32(message) == number(raw[size - 4 : size])
        yield found if right else {**found, "crc": "wrong"}
        raw = raw[size:]


def check_events(folder):
    """The complaints about `events.json`, which says in text what the binary stream says."""
    told = json.loads((folder / "events.json").read_bytes())
    for event in told:
        if "decoded" in event and json.loads(base64.b64decode(event["payload"]["bytes"])) != event["decoded"]:
            yield f"decoded is not what the bytes say: {event['decoded']}"
    told = [{key: value for key, value in event.items() if key != "decoded"} for event in told]
    if told != list(messages((folder / "response.bin").read_bytes())):
        yield "events.json is not what response.bin says"


def asks_stream(wire, url, request):
    """Whether a request asks for a stream, in the way of its wire format; None where it cannot be seen."""
    if wire == "gemini_generate":
        return ":streamGenerateContent" in url
    if isinstance(request, bytes):
        return b'name="stream"\r\n\r\ntrue\r\n' in request if request else None
    if url.endswith("/audio/speech"):
        return request.get("stream_format") == "sse"
    if wire == "ollama_embed":
        return False
    return bool(request.get("stream", wire == "ollama_chat") or STREAM_PATH.search(url.split("?")[0]))


def check(folder):
    """The complaints about one case."""
    names = {path.name for path in folder.iterdir()}
    bodies = names & BODIES
    if "response.bin" in bodies and "events.json" in names:
        yield from check_events(folder)
        names.remove("events.json")
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", folder.name):
        yield "folder names are lower case words joined by _"
    requests = names & {"request.json", "request.body"}
    if names - bodies - requests != {"case.json", "expected.json"} or len(bodies) > 1 or len(requests) != 1:
        yield f"wrong files: {sorted(names)}"
        return
    case = json.loads((folder / "case.json").read_bytes())
    expected = json.loads((folder / "expected.json").read_bytes())
    request = (folder / requests.pop()).read_bytes()
    properties = expected["properties"]
    found = payloads(request) | payloads(b"".join((folder / name).read_bytes() for name in bodies))
    if "request.json" in names:
        request = json.loads(request)
    if "response.json" in bodies:
        json.loads((folder / "response.json").read_bytes().decode("utf-8", "replace"))
    yield from (f"unknown key in case.json: {key}" for key in set(case) - KEYS)
    yield from (f"missing in case.json: {key}" for key in {"shows", "source", "url"} - set(case))
    yield from (f"not for expected.json: {key}" for key in properties if NEVER.match(key))
    if expected == {"event": None, "properties": {}}:
        # It is no call: nothing comes of it.
        return
    if set(expected) != {"event", "properties"} or expected["event"] not in ALWAYS:
        yield "expected.json is {event, properties}"
        return
    always = set(ALWAYS[expected["event"]])
    if properties.get("$ai_wire_format") == "unknown":
        always -= {"$ai_input", "$ai_model"}
    if isinstance(request, dict) and request.get("messages", "") is None:
        always -= {"$ai_input"}
    if folder.parent.name == "openai_audio":
        always -= {"$ai_input", "$ai_model"}
    yield from (f"missing in expected.json: {key}" for key in always - set(properties))
    yield from (f"null: {key}" for key, value in properties.items() if value is None)
    if case.get("end") not in ENDS or ("error" in case) != (case.get("end") in ("error", "timeout")):
        yield "end is unknown, or error is given without it"
    if ("status" in case) != bool(bodies) or properties.get("$ai_http_status") != case.get("status"):
        yield "status, response file and $ai_http_status go together"
    if case["url"].split("?")[0] != properties["$ai_request_url"]:
        yield "$ai_request_url is not the URL without its query"
    streams = (properties.get("$ai_stream", False), "$ai_stream_status" in properties)
    asked = asks_stream(folder.parent.name, case["url"], request)
    if asked is not None and streams != (asked,) * 2:
        yield "$ai_stream and $ai_stream_status follow the request"
    if any(name.lower() in SIGNED for name in case.get("request_headers", {})):
        yield "a credential or a signature among the request's headers"
    for mime, size, digest in HOLDER.findall(json.dumps(properties)):
        if not any(int(size) == length and full.startswith(digest) for length, full in found):
            yield f"no payload on the wire is {mime}, {size} bytes, {digest}"
    for item in media(properties):
        if (item["bytes"], item["sha256"]) not in found:
            yield f"media is not on the wire: {item}"
    cost = case.get("cost", {})
    parts = [Decimal(cost[part]) for part in ("input", "output", "web_search") if part in cost]
    if parts and sum(parts) != Decimal(cost["total"]):
        yield "the parts of the cost are not its total"


def main():
    folders = sorted(path for path in ROOT.glob("*/*") if path.is_dir())
    bad = [f"{folder.relative_to(ROOT)}: {complaint}" for folder in folders for complaint in check(folder)]
    print("\n".join([*bad, f"{len(folders)} cases, {len(bad)} complaints"]))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

"""Bodies that come compressed, through each HTTP library, read in each of its ways."""

import asyncio
import gzip
import importlib
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from drivers import has

import llmtrail
from support import ROOT, Loopback, generations

BODY = (ROOT / "tests/corpus/openai_chat/plain/response.json").read_bytes()
CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
PATH = "/v1/chat/completions"


def _packers() -> dict[str, Any]:
    found = {"gzip": gzip.compress, "deflate": zlib.compress}
    if has("brotli") and has("backports.zstd"):
        found["br"] = importlib.import_module("brotli").compress
        found["zstd"] = importlib.import_module("backports.zstd").compress
    return found


PACKED = {name: pack(BODY) for name, pack in _packers().items()}


class Handler(BaseHTTPRequestHandler):
    """Packs its answer as the path asks: `/br/v1/...`."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        encoding = self.path.split("/")[1]
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-encoding", encoding)
        self.send_header("content-length", str(len(PACKED[encoding])))
        self.end_headers()
        self.wfile.write(PACKED[encoding])

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def packing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _requests(url: str, wrap: Any) -> int:
    import requests

    with wrap(requests.Session()) as session:
        assert session.post(url, json=CHAT).content == BODY
        with session.post(url, json=CHAT, stream=True) as answer:
            assert b"".join(answer.iter_content(100)) == BODY
        with session.post(url, json=CHAT, stream=True) as answer:
            assert answer.raw.read() == PACKED[url.split("/")[3]]
    return 3


def _aiohttp(url: str, wrap: Any) -> int:
    import aiohttp

    async def go() -> None:
        for undo in (True, False):
            async with wrap(aiohttp.ClientSession(auto_decompress=undo)) as session:
                async with session.post(url, json=CHAT) as answer:
                    assert await answer.read() == (BODY if undo else PACKED[url.split("/")[3]])

    asyncio.run(go())
    return 2


def _httpx(package: str) -> Any:
    def call(url: str, wrap: Any) -> int:
        httpx = importlib.import_module(package)
        with wrap(httpx.Client()) as client:
            assert client.post(url, json=CHAT).content == BODY
            with client.stream("POST", url, json=CHAT) as answer:
                assert b"".join(answer.iter_raw()) == PACKED[url.split("/")[3]]

        async def go() -> None:
            async with wrap(httpx.AsyncClient()) as client:
                assert (await client.post(url, json=CHAT)).content == BODY

        asyncio.run(go())
        return 3

    return call


LAYERS = {"httpx": _httpx("httpx"), "httpx2": _httpx("httpx2"), "requests": _requests, "aiohttp": _aiohttp}


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if has(layer)])
def test_packed(layer: str, encoding: str, packing: str, trail: llmtrail.Client, loopback: Loopback) -> None:
    def wrap(client: Any) -> Any:
        return trail.wrap(client, provider="openai")

    count = LAYERS[layer](f"{packing}/{encoding}{PATH}", wrap)
    trail.flush(10)
    assert "observer" not in trail.stats().notes
    events = [event["properties"] for event in generations(loopback.events())]
    assert [event["$ai_output_tokens"] for event in events] == [11] * count

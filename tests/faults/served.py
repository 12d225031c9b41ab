"""A web application for gunicorn: it captures when it is loaded, and at each request."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import llmtrail

# In the master, before it forks: with `--preload` its worker thread lives by then.
llmtrail.capture("loaded", "user", {"n": -1, "pid": os.getpid()})


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    llmtrail.capture("served", "user", {"n": int(environ["QUERY_STRING"]), "pid": os.getpid()})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]

"""A web application for gunicorn: it captures when it is loaded, and at each request."""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import llmtrail

# In the master, before it forks: with `--preload` its worker thread lives by then.
llmtrail.capture("loaded", "user", {"n": -1, "pid": os.getpid()})


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    n = int(environ["QUERY_STRING"])
    llmtrail.capture("served", "user", {"n": n, "pid": os.getpid()})
    if n < 0:
        # Keeps this process so busy that others take the requests beside it.
        time.sleep(0.1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

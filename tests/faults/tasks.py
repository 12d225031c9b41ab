"""Tasks for celery, by way of a folder: one is captured when they are loaded, and each when it is done."""

import os
import time
from pathlib import Path

from celery import Celery

import llmtrail

FOLDER = Path(os.environ["TASKS"])
app = Celery(broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER / "queue"),
    "data_folder_out": str(FOLDER / "queue"),
    "control_folder": str(FOLDER / "control"),
}
app.conf.broker_connection_retry_on_startup = True
# In the parent of the pool.
llmtrail.capture("loaded", "user", {"n": -1, "pid": os.getpid()})


@app.task
def work(n: int) -> None:
    llmtrail.capture("worked", "user", {"n": n, "pid": os.getpid()})
    # So long that a process does not do all of them before the others are there.
    time.sleep(0.02)

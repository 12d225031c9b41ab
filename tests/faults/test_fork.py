"""Processes that fork and threads that end, as those of servers and task queues: every event arrives, once, and nothing
hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import HERE, KEY, Scene, free_port, wait_until

python = pytest.mark.parametrize("language", ["python"])
ALL = bool(os.environ.get("FAULTS_ALL"))


def environment(scene: Scene, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    # So long that what arrives does so because of the end of its process.
    settings = {"LLMTRAIL_DIR": str(scene.folder), "LLMTRAIL_FLUSH_INTERVAL": "600", "PYTHONPATH": path}
    return os.environ | settings | {"POSTHOG_API_KEY": KEY, "POSTHOG_HOST": scene.server.url} | more


def numbers(scene: Scene, name: str) -> Counter[int]:
    return Counter(event["properties"]["n"] for event in scene.server.events() if event["event"] == name)


def pids(scene: Scene, name: str) -> set[int]:
    return {event["properties"]["pid"] for event in scene.server.events() if event["event"] == name}


def end(process: subprocess.Popen[str], log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log.read_text()
    said = log.read_text()
    assert "Traceback" not in said, said
    assert KEY not in said, said


@python
def test_gunicorn(scene: Scene) -> None:
    """gunicorn --preload with 4 workers, under load."""
    requests = 2000 if ALL else 200
    port, log = free_port(), scene.folder / "gunicorn.txt"
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "-w",
        "4",
        "-b",
        f"127.0.0.1:{port}",
        "served:application",
    ]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=HERE, env=environment(scene), text=True, stdout=out, stderr=out
        )

    def get(n: int) -> str:
        """The process that answered, or nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{n}", timeout=30) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    try:
        with ThreadPoolExecutor(8) as pool:
            # On a busy machine one process could answer everything before the others are there.
            answered: set[str] = set()

            def all_answer() -> bool:
                answered.update(filter(None, pool.map(get, [-2] * 8)))
                return len(answered) == 4

            wait_until(all_answer, 60, "gunicorn does not start")
            assert all(pool.map(get, range(requests)))
        end(process, log)
    finally:
        process.kill()
        process.wait()
    served = numbers(scene, "served")
    assert {n: served[n] for n in range(requests)} == dict.fromkeys(range(requests), 1)
    assert numbers(scene, "loaded") == {-1: 1}
    assert pids(scene, "served") == {int(pid) for pid in answered}
    scene.over(sum(served.values()) + 1)


@python
def test_celery(scene: Scene) -> None:
    """celery prefork with 4 processes."""
    tasks = 1000 if ALL else 100
    log = scene.folder / "celery.txt"
    for folder in ("queue", "control"):
        (scene.folder / folder).mkdir()
    env = environment(scene, TASKS=str(scene.folder))
    send = f"import tasks\nfor n in range({tasks}): tasks.work.delay(n)"
    sender = [sys.executable, "-c", send]
    subprocess.run(sender, cwd=HERE, env=env | {"LLMTRAIL_ENABLED": "false"}, check=True, timeout=60)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        "-P",
        "prefork",
        "-c",
        "4",
        "-l",
        "warning",
    ]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log.open("w") as out:
        process = subprocess.Popen([*command, *quiet], cwd=HERE, env=env, text=True, stdout=out, stderr=out)
    try:
        queue = scene.folder / "queue"
        wait_until(lambda: not list(queue.iterdir()), 60, f"celery does not work: {log.read_text()}")
        # Whatever was handed out is done before a warm shutdown ends.
        end(process, log)
    finally:
        process.kill()
        process.wait()
    assert numbers(scene, "worked") == dict.fromkeys(range(tasks), 1)
    assert numbers(scene, "loaded") == {-1: 1}
    assert len(pids(scene, "worked")) >= 2
    scene.over(tasks + 1)


@python
@pytest.mark.parametrize("spool", ["overflow", "always"])
def test_forks_in_the_middle_of_a_stream(scene: Scene, spool: str) -> None:
    """os.fork and multiprocessing in the middle of a stream, in a loop."""
    scene.fault = f"os.fork and multiprocessing in the middle of a stream, in a loop (`{spool}`)"
    rounds = int(os.environ.get("FORK_ROUNDS", "250" if ALL else "12"))
    provider = f"{scene.server.url}/knobs/chunk=150,delay-ms=1"
    command = [sys.executable, str(HERE / "forks.py"), str(rounds), "7", "5", provider]
    env = environment(scene, LLMTRAIL_SPOOL=spool)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60 + 2 * rounds)
    assert done.returncode == 0, done.stderr
    captured = json.loads(done.stdout)
    events = scene.server.events()
    assert Counter(event["event"] for event in events) == captured
    # A call that was under way belongs to the parent, and is whole.
    calls = [event["properties"] for event in events if event["event"] == "$ai_generation"]
    assert all(call["$ai_stop_reason"] == "stop" for call in calls), calls
    scene.over(sum(captured.values()))


@python
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_methods_of_multiprocessing(scene: Scene, method: str) -> None:
    """Pools of multiprocessing by fork, forkserver and spawn."""
    scene.fault = f"A pool of 4 processes of multiprocessing ({method})"
    rounds = 10 if ALL else 1
    program = f"""
import multiprocessing, warnings, work
warnings.simplefilter("ignore", DeprecationWarning)
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    for turn in range({rounds}):
        with context.Pool(4) as pool:
            pool.map(work.capture, range(turn * 100, turn * 100 + 100), chunksize=5)
            pool.close()
            pool.join()
"""
    (scene.folder / "work.py").write_text(
        "import os, llmtrail\n"
        "def capture(n): llmtrail.capture('pooled', 'user', {'n': n, 'pid': os.getpid()})\n"
    )
    file = scene.folder / "program.py"
    file.write_text(program)
    env = environment(scene)
    done = subprocess.run([sys.executable, str(file)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert numbers(scene, "pooled") == dict.fromkeys(range(rounds * 100), 1)
    scene.over(rounds * 100)


@pytest.mark.parametrize("language", ["node"])
def test_threads_of_node(scene: Scene) -> None:
    """worker_threads with environments of their own that end, exit, are terminated or throw, in a loop."""
    rounds = int(os.environ.get("FORK_ROUNDS", "250" if ALL else "12"))
    command = ["node", str(HERE / "threads.mjs"), str(rounds), "7", "5"]
    done = subprocess.run(
        command, env=environment(scene), capture_output=True, text=True, timeout=60 + 2 * rounds
    )
    assert done.returncode == 0, done.stderr
    # What a thread could not send because its process ended is in the spool.
    worker = scene.start()
    worker.ask("flush 20000")
    worker.end()
    captured = json.loads(done.stdout)
    assert Counter(event["event"] for event in scene.server.events()) == captured
    scene.over(sum(captured.values()))

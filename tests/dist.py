"""Installs what `make dist` made into empty environments, without Rust, and runs the README's examples.

The provider is the loopback server; the command line of each package must then show the call.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MOST_BYTES = 8 << 20


def example(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.S | re.M)
    assert found, f"the README has no {language} example"
    return found[1]


def built(pattern: str) -> Path:
    found = sorted((ROOT / "dist").glob(pattern))
    assert len(found) == 1, f"dist/{pattern}: {found}"
    size = found[0].stat().st_size
    assert size <= MOST_BYTES, f"{found[0].name} has {size} bytes"
    print(f"{found[0].name}: {size / (1 << 20):.1f} MiB")
    return found[0]


def environment(port: str, store: Path) -> dict[str, str]:
    """Nothing of Rust on the path, nothing of this repository's environments."""
    path = os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if ".cargo" not in p and ".venv" not in p
    )
    keep = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("LLMTRAIL", "POSTHOG", "VIRTUAL_ENV", "PYTHON"))
    }
    base = f"http://127.0.0.1:{port}/v1"
    return keep | {
        "PATH": path,
        "OPENAI_BASE_URL": base,
        "OPENAI_API_KEY": "sk-test",
        "LLMTRAIL_DIR": str(store),
    }


def run(command: list[str | Path], env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=env, cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def check(said: str, listed: str) -> None:
    assert said.strip(), "the example printed nothing"
    text = json.dumps(json.loads(listed))
    assert "greet" in text, text
    assert "gpt-5-mini" in text, text


def python(port: str, home: Path) -> None:
    wheel = built("llmtrail-*.whl")
    venv.create(home / "venv", with_pip=True)
    env = environment(port, home / "store")
    executables = home / "venv" / "bin"
    run([executables / "pip", "install", "-q", "--no-index", wheel], env, home)
    run([executables / "pip", "install", "-q", "openai"], env, home)
    (home / "example.py").write_text(example("python"))
    check(
        run([executables / "python", "example.py"], env, home),
        run([executables / "llmtrail", "ls", "--json"], env, home),
    )
    print("python: installed and ran")


def node(port: str, home: Path) -> None:
    package = built("llmtrail-*.tgz")
    env = environment(port, home / "store")
    (home / "package.json").write_text('{"name": "empty", "private": true}')
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", package, "openai@6"], env, home)
    (home / "example.mjs").write_text(example("js"))
    said = run(["node", "example.mjs"], env, home)
    check(said, run([home / "node_modules/.bin/llmtrail", "ls", "--json"], env, home))
    print("node: installed and ran")


def main() -> int:
    server = subprocess.Popen(
        [os.environ.get("LOOPBACK", str(ROOT / "target/debug/loopback")), "--with-parent"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    port = server.stdout.readline().strip().rsplit(":", 1)[1]
    failed = 0
    checks = (python, node)
    for run_check in checks:
        home = Path(tempfile.mkdtemp(prefix="llmtrail-dist-"))
        try:
            run_check(port, home)
        except AssertionError as error:
            failed += 1
            print(f"{run_check.__name__}: {error}", file=sys.stderr)
        finally:
            shutil.rmtree(home, ignore_errors=True)
    server.kill()
    print(f"dist: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

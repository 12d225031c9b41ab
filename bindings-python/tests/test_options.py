"""Misuse of the library's own API is a clear error; the environment never is."""

import re
from typing import Any

import pytest

import llmtrail
from llmtrail import _client


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"flush_at": -1}, "flush_at: expected a whole number"),
        ({"flush_interval": float("nan")}, "flush_interval: expected seconds"),
        ({"timeout": -3}, "timeout: expected seconds"),
        ({"host": "not a host"}, "host: expected an address such as"),
        ({"host": object()}, "host: expected an address such as"),
        ({"sample_rate": 2}, "sample_rate: expected a number from 0 to 1"),
        ({"bogus": 1}, "bogus: unknown option"),
        ({"flushAt": 1}, "Did you mean flush_at"),
    ],
)
def test_bad_options_name_themselves(options: dict[str, Any], says: str) -> None:
    for make in (llmtrail.Client, llmtrail.init):
        with pytest.raises(llmtrail.ConfigError, match=re.escape(says)) as caught:
            make(**options)
        assert caught.value.code == "config"
        assert isinstance(caught.value, llmtrail.LlmtrailError)


def test_the_typed_options_are_the_cores() -> None:
    with pytest.raises(llmtrail.ConfigError) as caught:
        llmtrail.Client(bogus=1)  # type: ignore[call-arg]
    known = str(caught.value).partition("Known options: ")[2].split(", ")
    source = _client.__file__
    with open(source) as file:
        typed = re.findall(r"^        (\w+): .* \| None$", file.read(), re.MULTILINE)
    assert typed == known


def test_bad_environment_does_not_stop_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTRAIL_FLUSH_AT", "many")
    monkeypatch.setenv("LLMTRAIL_ENABLED", "perhaps")
    assert llmtrail.Client().stats().captured == 0


def test_capture_names_its_mistakes(trail: llmtrail.Client) -> None:
    for arguments in (
        {"event": " "},
        {"event": "e", "uuid": "no"},
        {"event": "e", "timestamp": float("inf")},
    ):
        with pytest.raises(llmtrail.LlmtrailError) as caught:
            trail.capture(**arguments)  # type: ignore[arg-type]
        assert caught.value.code == "usage"


def test_disabled_is_a_no_op() -> None:
    client = llmtrail.Client(enabled=False)
    with client.trace("t"):
        client.capture("e")
    assert client.flush(1).captured == 0

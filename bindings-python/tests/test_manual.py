"""Capture by hand: priced, redacted and placed like an observed call."""

import datetime
import json
import sys
from typing import Any

import pytest

import llmtrail
from support import Loopback, named


def sent(trail: llmtrail.Client, loopback: Loopback, name: str) -> list[dict[str, Any]]:
    trail.flush(10)
    return named(loopback.events(), name)


def test_a_generation_is_priced_and_placed(trail: llmtrail.Client, loopback: Loopback) -> None:
    with trail.trace("answer", distinct_id="u", session_id="s", properties={"plan": "pro"}) as trace:
        span_id = trail.capture_generation(
            model="gpt-4o",
            provider="openai",
            name="draft",
            input="hi",
            output="hello",
            usage={"input_tokens": 1000, "output_tokens": 100},
            parameters={"temperature": 0.5, "max_tokens": 200},
            stop_reason="stop",
            latency=1.5,
            timestamp=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
            properties={"step": 1},
        )
        assert trace.usage == {"input_text": 1000, "output_text": 100}
        # 1,000 tokens at $2.50 and 100 at $10 a million.
        assert trace.cost_usd == pytest.approx(0.0035)
    (event,) = sent(trail, loopback, "$ai_generation")
    properties = event["properties"]
    assert event["timestamp"] == "2026-01-02T03:04:05.000Z"
    assert event["distinct_id"] == "u"
    expected = {
        "$ai_trace_id": trace.trace_id,
        "$ai_parent_id": trace.trace_id,
        "$ai_session_id": "s",
        "$ai_span_id": span_id,
        "$ai_span_name": "draft",
        "$ai_provider": "openai",
        "$ai_model": "gpt-4o",
        "$ai_input": [{"role": "user", "content": "hi"}],
        "$ai_output_choices": [{"role": "assistant", "content": "hello"}],
        "$ai_input_tokens": 1000,
        "$ai_output_tokens": 100,
        "$ai_tokens_source": "passthrough",
        "$ai_cache_reporting_exclusive": False,
        "$ai_latency": 1.5,
        "$ai_stop_reason": "stop",
        "$ai_temperature": 0.5,
        "$ai_max_tokens": 200,
        "$ai_stream": False,
        "$ai_total_cost_usd": 0.0035,
        "plan": "pro",
        "step": 1,
    }
    assert {name: properties.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("usage", "buckets"),
    [
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
            {"input_text": 6, "cache_read": 4, "output_text": 5},
        ),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 2,
                "totalTokenCount": 17,
            },
            {"input_text": 10, "output_text": 5, "reasoning": 2},
        ),
        (
            {"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}},
            {"input_text": 10, "output_text": 3, "reasoning": 2},
        ),
        ({"input_tokens": 10, "cache_read_input_tokens": 4}, {"input_text": 6, "cache_read": 4}),
    ],
)
def test_usage_of_any_provider(
    trail: llmtrail.Client, usage: dict[str, Any], buckets: dict[str, int]
) -> None:
    with trail.trace("t") as trace:
        trail.capture_generation(model="m", provider="openai", usage=usage)
        assert trace.usage == buckets


def test_anthropics_cache_lies_outside_its_input(trail: llmtrail.Client, loopback: Loopback) -> None:
    with trail.trace("t") as trace:
        usage = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 90}
        trail.capture_generation(model="claude-sonnet-4-5", provider="anthropic", usage=usage)
        assert trace.usage == {"input_text": 10, "cache_read": 90, "output_text": 1}
    (event,) = sent(trail, loopback, "$ai_generation")
    assert event["properties"]["$ai_cache_reporting_exclusive"] is True


def test_what_is_not_told_is_absent(trail: llmtrail.Client, loopback: Loopback) -> None:
    trail.capture_generation()
    (event,) = sent(trail, loopback, "$ai_generation")
    properties = event["properties"]
    assert properties["$ai_tokens_source"] == "absent"
    assert properties["$ai_output_choices"] == []
    assert event["distinct_id"] == properties["$ai_trace_id"]
    assert properties["$process_person_profile"] is False
    for name in (
        "$ai_model",
        "$ai_provider",
        "$ai_input",
        "$ai_latency",
        "$ai_total_cost_usd",
        "$ai_cost_details",
    ):
        assert name not in properties


def test_a_cost_of_ones_own(trail: llmtrail.Client, loopback: Loopback) -> None:
    with trail.trace("t") as trace:
        trail.capture_generation(model="in-house", cost_usd=0.25)
        assert trace.cost_usd == 0.25
    (event,) = sent(trail, loopback, "$ai_generation")
    assert event["properties"]["$ai_cost_model_source"] == "reported"


def test_an_embedding(trail: llmtrail.Client, loopback: Loopback) -> None:
    trail.capture_embedding(
        model="text-embedding-3-small", provider="openai", input=["a", "b"], usage={"input_tokens": 1000}
    )
    (event,) = sent(trail, loopback, "$ai_embedding")
    assert event["properties"]["$ai_input"] == ["a", "b"]
    assert event["properties"]["$ai_total_cost_usd"] == pytest.approx(0.00002)
    assert "$ai_output_choices" not in event["properties"]


def test_privacy_and_media(trail: llmtrail.Client, loopback: Loopback) -> None:
    picture = "data:image/png;base64,aGVsbG8="
    with trail.options(privacy=True):
        trail.capture_generation(model="m", input="secret", output="secret", error=ValueError("secret"))
    trail.capture_generation(model="m", input=f"see {picture}")
    hidden, redacted = sent(trail, loopback, "$ai_generation")
    assert "secret" not in str(hidden)
    assert hidden["properties"]["$ai_error"] == "ValueError"
    assert "aGVsbG8=" not in str(redacted)
    assert "[redacted image/png, 5 bytes" in redacted["properties"]["$ai_input"][0]["content"]


def test_a_span_and_a_trace_that_are_over(trail: llmtrail.Client, loopback: Loopback) -> None:
    trace_id = trail.capture_trace("job", input="in", output="out", latency=2, distinct_id="u")
    span_id = trail.capture_span(
        "step",
        type="tool",
        trace_id=trace_id,
        parent_id=trace_id,
        input={"q": 1},
        latency=0.5,
        error=KeyError("k"),
    )
    trail.capture_generation(model="m", trace_id=trace_id, parent_id=span_id)
    (trace,) = sent(trail, loopback, "$ai_trace")
    (span,) = sent(trail, loopback, "$ai_span")
    (call,) = sent(trail, loopback, "$ai_generation")
    assert trace["properties"]["$ai_trace_id"] == trace_id
    assert trace["properties"]["$ai_trace_latency"] == 2
    assert trace["properties"]["$ai_output_state"] == "out"
    assert span["properties"]["$ai_parent_id"] == span["properties"]["$ai_trace_id"] == trace_id
    assert span["properties"]["$ai_latency"] == 0.5
    assert span["properties"]["$ai_error_type"] == "KeyError"
    assert call["properties"]["$ai_parent_id"] == span["properties"]["$ai_span_id"] == span_id


def test_feedback_and_metrics(trail: llmtrail.Client, loopback: Loopback) -> None:
    with trail.trace("t", distinct_id="u", session_id="s") as trace:
        trail.feedback(score=1, comment="good")
    trail.feedback(trace, comment="later")
    trail.feedback("elsewhere", score=0.5, distinct_id="judge")
    trail.metric(trace, "faithfulness", 0.9)
    feedbacks = sent(trail, loopback, "$ai_feedback")
    metrics = sent(trail, loopback, "$ai_metric")
    assert [event["properties"]["$ai_feedback_text"] for event in feedbacks] == ["good", "later"]
    for event in feedbacks:
        assert event["properties"]["$ai_trace_id"] == trace.trace_id
        assert event["properties"]["$ai_session_id"] == "s"
        assert event["distinct_id"] == "u"
    assert [
        (event["properties"]["$ai_metric_name"], event["properties"]["$ai_metric_value"]) for event in metrics
    ] == [("score", 1), ("score", 0.5), ("faithfulness", 0.9)]
    assert metrics[1]["properties"]["$ai_trace_id"] == "elsewhere"
    assert "$ai_session_id" not in metrics[1]["properties"]
    assert metrics[1]["distinct_id"] == "judge"


def test_misuse_says_what_is_wrong(trail: llmtrail.Client) -> None:
    with pytest.raises(llmtrail.LlmtrailError, match="modle is no name that is known here") as caught:
        trail.capture_generation(modle="x")  # type: ignore[call-arg]
    assert caught.value.code == "usage"
    with pytest.raises(llmtrail.LlmtrailError, match="of which trace"):
        trail.feedback(score=1)
    with pytest.raises(llmtrail.LlmtrailError, match="give a score"), trail.trace("t"):
        trail.feedback(comment=" ")
    with pytest.raises(llmtrail.LlmtrailError, match="needs a name"):
        trail.metric("t", "", 1)
    with pytest.raises(llmtrail.LlmtrailError, match="no time since 1970"):
        trail.capture("x", timestamp=float("nan"))


def test_capture_honours_the_scope(trail: llmtrail.Client, loopback: Loopback) -> None:
    with (
        trail.trace(
            "t", distinct_id="u", session_id="s", properties={"plan": "pro", "a": 1}, groups={"co": "x"}
        ) as trace,
        trail.span("inner") as span,
    ):
        trail.capture("ordered", properties={"a": 2}, groups={"team": "y"})
        trail.capture("other", distinct_id="v")
        trail.capture("$ai_span", properties={"$ai_span_name": "raw"})
    trail.capture("outside")
    (ordered,) = sent(trail, loopback, "ordered")
    (other,) = sent(trail, loopback, "other")
    (outside,) = sent(trail, loopback, "outside")
    raw = next(
        e["properties"]
        for e in sent(trail, loopback, "$ai_span")
        if e["properties"]["$ai_span_name"] == "raw"
    )
    properties = ordered["properties"]
    assert ordered["distinct_id"] == "u"
    assert (properties["plan"], properties["a"], properties["$groups"]) == (
        "pro",
        2,
        {"co": "x", "team": "y"},
    )
    assert (properties["$ai_trace_id"], properties["$ai_session_id"]) == (trace.trace_id, "s")
    assert "$process_person_profile" not in properties
    assert "$ai_parent_id" not in properties
    assert other["distinct_id"] == "v"
    assert (raw["$ai_trace_id"], raw["$ai_parent_id"]) == (trace.trace_id, span.span_id)
    assert outside["distinct_id"] == outside["uuid"]
    assert outside["properties"]["$process_person_profile"] is False


def test_a_sampled_out_trace_keeps_the_applications_own_events(loopback: Loopback, tmp_path: Any) -> None:
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, sample_rate=0)
    with trail.trace("t", distinct_id="u"):
        trail.capture_generation(model="m")
        trail.capture("ordered")
    trail.shutdown(10)
    assert [event["event"] for event in loopback.events()] == ["ordered"]


def test_a_timer(trail: llmtrail.Client, loopback: Loopback) -> None:
    with trail.trace("t") as trace:
        with trail.generation(model="m", input="hi") as generation:
            generation.first_token()
            generation.output = "hello"
            generation.usage = {"output_tokens": 2}
            generation.set(step=1)
        with pytest.raises(ZeroDivisionError), trail.generation(model="m"):
            1 / 0  # noqa: B018
        started = trail.embedding(model="e").start()
        started.end()
        started.end()
    good, bad = sent(trail, loopback, "$ai_generation")
    (embedded,) = sent(trail, loopback, "$ai_embedding")
    assert good["properties"]["$ai_parent_id"] == trace.trace_id
    assert good["properties"]["$ai_span_id"] == generation.span_id
    assert good["properties"]["$ai_output_choices"] == [{"role": "assistant", "content": "hello"}]
    assert 0 <= good["properties"]["$ai_time_to_first_token"] <= good["properties"]["$ai_latency"]
    assert good["properties"]["$ai_stream"] is True
    assert good["properties"]["step"] == 1
    assert bad["properties"]["$ai_error"] == "division by zero"
    assert bad["properties"]["$ai_error_type"] == "ZeroDivisionError"
    assert embedded["properties"]["$ai_span_id"] == started.span_id


def test_values_of_any_kind(trail: llmtrail.Client, loopback: Loopback) -> None:
    trail.capture_generation(
        model="m", input=object(), output=float("nan"), usage=7, latency="soon", parameters={1: {2, 3}}
    )  # type: ignore[arg-type]
    (event,) = sent(trail, loopback, "$ai_generation")
    assert event["properties"]["$ai_output_choices"] == [{"role": "assistant", "content": "NaN"}]
    assert "$ai_latency" not in event["properties"]


class Own(dict[str, Any]):
    """No dictionary to the core, but one to Python's encoder."""


PLAIN: dict[str, Any] = {
    "texts": [
        "",
        'quote " \\ \n\t\r\0\x1f\x7f',
        "ü",
        "日本" * 100,
        "long" * 100 + "\n" + "e" * 31 + '"' + "e" * 32,
    ],
    "numbers": [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 5.0, -0.0, 1e-7, 1.5e300, 0.1],
    "others": [True, False, None, [], {}, [[[]]], {'ü"': {"": 1}}],
}


@pytest.mark.parametrize("members", [PLAIN, Own(PLAIN)], ids=["by the core", "by Python"])
def test_values_arrive_as_they_are(members: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    trail.capture_generation(properties={"given": members, "pair": (1, "two")})
    (event,) = sent(trail, loopback, "$ai_generation")
    # As texts, in which 5 is not 5.0.
    assert json.dumps(event["properties"]["given"]) == json.dumps(PLAIN, sort_keys=True)
    assert event["properties"]["pair"] == [1, "two"]


def test_only_plain_values_are_written_by_the_core(trail: llmtrail.Client) -> None:
    cycle: list[Any] = []
    cycle.append([cycle])
    deep: Any = 0
    for _ in range(100):
        deep = [deep]

    class Text(str): ...

    odd = [
        Own(),
        Text("x"),
        {1: 2},
        b"x",
        {1},
        float("inf"),
        2**64,
        -(2**63) - 1,
        "\ud800",
        cycle,
        deep,
        object(),
    ]
    for value in odd:
        assert trail._core.capture_plain_call(None, False, {"input": ["before", value]}) is None, repr(value)
    assert trail._core.capture_plain_call(None, False, {"input": ["before"], "span_id": "mine"}) == "mine"
    assert trail.flush(10).captured == 1


def test_a_text_does_not_grow_by_being_recorded(trail: llmtrail.Client) -> None:
    text = "".join(["ü" * 1000, "!"])
    before = sys.getsizeof(text)
    trail.capture_generation(input=text)
    assert sys.getsizeof(text) == before

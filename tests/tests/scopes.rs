//! Every form of a scope in Rust: the whole tree is compared, and the errors in it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod observed;

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use llmtrail::{Client, carry};
use llmtrail_tests::forest::{errors, forest};
use llmtrail_tests::loopback::Server;
use reqwest_middleware::ClientWithMiddleware;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use observed::with_server;

const TIMEOUT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(20);

async fn ask(http: &ClientWithMiddleware, server: &Server, content: &str, stream: bool) -> reqwest::Response {
    let messages = json!([{"role": "user", "content": content}]);
    let body = json!({"model": "gpt-5-mini", "stream": stream, "messages": messages}).to_string();
    let url = format!("{}/v1/chat/completions", server.url());
    http.post(url).header("content-type", "application/json").body(body).send().await.unwrap()
}

/// What the server got of a test.
fn sent(test: impl AsyncFnOnce(&Server, &Client, &ClientWithMiddleware)) -> Vec<Value> {
    let (report, server) = with_server(TIMEOUT, test);
    assert_eq!((report.pending, report.dropped.len()), (0, 0), "{report:?}");
    let events = server.events();
    assert!(events.iter().all(|event| event["properties"]["$ai_unfinished"].is_null()), "{events:?}");
    events
}

fn leaf(trail: &Client, name: &str) {
    trail.span(name).run(|| ());
}

#[test]
fn a_panic_ends_what_it_goes_through() {
    let events = sent(async |_, trail, _| {
        let closure = catch_unwind(AssertUnwindSafe(|| {
            trail.trace("closure").run(|| {
                leaf(trail, "before");
                trail.span("inner").run(|| panic!("no"));
            });
        }));
        assert_eq!(closure.unwrap_err().downcast_ref(), Some(&"no"));
        catch_unwind(AssertUnwindSafe(|| {
            let trace = trail.trace("guards").start();
            let span = trace.span("guard").property("step", 1).start();
            span.run(|| leaf(trail, "in the guard"));
            std::panic::resume_unwind(Box::new(7));
        }))
        .unwrap_err();
        let (left, clone) = (trail.trace("task").start(), trail.clone());
        let task = left.run(|| {
            carry(async move {
                clone.span("in the task").scope(async { std::panic::resume_unwind(Box::new(8)) }).await;
            })
        });
        assert!(tokio::spawn(task).await.unwrap_err().is_panic());
        leaf(trail, "after");
    });
    assert_eq!(
        forest(&events),
        json!({
            "closure": {"before": {}, "inner": {}},
            "guards": {"guard": {"in the guard": {}}},
            "task": {"in the task": {}},
            "after": {},
        })
    );
    let panicked = ["closure", "inner", "guards", "guard", "in the task"];
    assert_eq!(errors(&events), panicked.into_iter().map(|name| (name.to_owned(), json!("panic"))).collect::<Value>());
}

#[test]
fn a_future_that_is_dropped_ends_its_scopes_as_cancelled() {
    let events = sent(async |server, trail, http| {
        let forever = |name: &str| {
            let (trail, name) = (trail.clone(), name.to_owned());
            async move {
                let inner = trail.span(format!("{name} inner"));
                let work = inner.scope(async {
                    let _held = trail.span(format!("{name} held")).start();
                    pending::<()>().await;
                });
                trail.trace(name.clone()).scope(work).await;
            }
        };
        timeout(SHORT, forever("late")).await.unwrap_err();
        tokio::select! {
            () = forever("lost") => unreachable!(),
            () = sleep(SHORT) => {}
        }
        let task = tokio::spawn(forever("aborted"));
        sleep(SHORT).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        // Never polled: nothing began.
        drop(trail.trace("never").scope(async {}));
        trail.trace("whole").scope(async { ask(http, server, "asks", false).await.text().await.unwrap() }).await;
    });
    let tree = |name: &str| (name.to_owned(), json!({format!("{name} inner"): {format!("{name} held"): {}}}));
    let mut expected: Value = ["late", "lost", "aborted"].map(tree).into_iter().collect();
    expected["whole"] = json!({"asks": {}});
    // The inner scope was built outside of the trace, and opens where it is awaited.
    assert_eq!(forest(&events), expected);
    let cancelled = ["late", "lost", "aborted"].iter().flat_map(|name| [(*name).to_owned(), format!("{name} inner")]);
    assert_eq!(errors(&events), cancelled.map(|name| (name, json!("cancelled"))).collect::<Value>());
}

#[test]
fn tasks_and_threads_are_where_they_were_made() {
    let events = sent(async |server, trail, http| {
        trail
            .trace("t")
            .scope(async {
                let mut tasks = tokio::task::JoinSet::new();
                for n in 0..3 {
                    let trail = trail.clone();
                    tasks.spawn(carry(async move {
                        sleep(Duration::from_millis(3 - n)).await;
                        trail.span(format!("task {n}")).scope(async { leaf(&trail, &format!("below {n}")) }).await;
                    }));
                }
                let (first, second) = (trail.span("first"), trail.span("second"));
                tokio::join!(
                    first.scope(async { ask(http, server, "joined 1", false).await.text().await.unwrap() }),
                    second.scope(async { ask(http, server, "joined 2", false).await.text().await.unwrap() }),
                );
                let bare = trail.clone();
                tokio::spawn(async move { leaf(&bare, "bare task") }).await.unwrap();
                let here = llmtrail::context::current().unwrap();
                std::thread::scope(|threads| {
                    threads.spawn(|| trail.span("thread").inside(&here).run(|| leaf(trail, "in the thread")));
                });
                while let Some(task) = tasks.join_next().await {
                    task.unwrap();
                }
            })
            .await;
    });
    assert_eq!(
        forest(&events),
        json!({
            "t": {
                "task 0": {"below 0": {}}, "task 1": {"below 1": {}}, "task 2": {"below 2": {}},
                "first": {"joined 1": {}}, "second": {"joined 2": {}},
                "thread": {"in the thread": {}},
            },
            "bare task": {},
        })
    );
    assert_eq!(errors(&events), json!({}));
}

#[test]
fn a_stream_that_outlives_its_scope_belongs_to_it() {
    let events = sent(async |server, trail, http| {
        let open = async |name: &str| {
            let stream = trail.span(format!("{name} span")).scope(ask(http, server, name, true));
            trail.trace(format!("{name} trace")).scope(stream).await
        };
        let (read, mut left, unread) = (open("read").await, open("left").await, open("unread").await);
        trail
            .trace("later")
            .scope(async {
                assert!(read.text().await.unwrap().contains("[DONE]"));
                left.chunk().await.unwrap().unwrap();
                drop(left);
                drop(unread);
                ask(http, server, "plain", false).await.text().await.unwrap();
            })
            .await;
    });
    let tree = |name: &str| (format!("{name} trace"), json!({format!("{name} span"): {name: {}}}));
    let mut expected: Value = ["read", "left", "unread"].map(tree).into_iter().collect();
    expected["later"] = json!({"plain": {}});
    assert_eq!(forest(&events), expected);
    let status = |name: &str| {
        let of = events.iter().find(|event| event["properties"]["$ai_input"][0]["content"] == name);
        of.unwrap()["properties"]["$ai_stream_status"].clone()
    };
    assert_eq!([status("read"), status("left"), status("unread")], ["complete", "abandoned", "abandoned"]);
}

#[test]
fn an_error_is_recorded_and_goes_on_unchanged() {
    let events = sent(async |_, trail, _| {
        let fails = async || "x".parse::<u8>();
        let inner = trail.span("inner").try_scope(fails());
        let error = trail.trace("outer").try_scope(inner).await.unwrap_err();
        assert_eq!(Err(error), fails().await);
        let span = trail.trace("by hand").start();
        span.fail(&"too late");
        span.end();
        trail.trace("fine").try_scope(async { Ok::<_, String>(()) }).await.unwrap();
    });
    assert_eq!(forest(&events), json!({"outer": {"inner": {}}, "by hand": {}, "fine": {}}));
    let p = |name: &str| {
        let of = events.iter().find(|event| event["properties"]["$ai_span_name"] == name);
        of.unwrap()["properties"].clone()
    };
    for name in ["outer", "inner"] {
        assert_eq!(p(name)["$ai_error"], "invalid digit found in string");
        assert_eq!(p(name)["$ai_error_type"], "core::num::error::ParseIntError");
    }
    assert_eq!(p("by hand")["$ai_error"], "too late");
    assert!(p("fine")["$ai_is_error"].is_null());
}

#[test]
fn it_goes_on_from_another_process() {
    const FOREIGN: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let events = sent(async |server, trail, http| {
        assert!(trail.headers().is_empty());
        let headers = trail
            .session("s")
            .scope(
                trail
                    .trace("here")
                    .distinct_id("u")
                    .privacy(true)
                    .scope(async { trail.span("asks").scope(async { trail.headers() }).await }),
            )
            .await;
        assert_eq!(headers.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["traceparent", "baggage"]);
        let there = trail.continue_from(headers.iter().map(|(name, value)| (*name, value.as_str())));
        there
            .scope(trail.trace("there").input("hidden").scope(async {
                ask(http, server, "call", false).await.text().await.unwrap();
            }))
            .await;
        let foreign = format!("00-{FOREIGN}-00f067aa0ba902b7-01");
        let from = || trail.continue_from([("traceparent", foreign.as_str())]);
        from().scope(trail.trace("foreign").scope(async { leaf(trail, "below") })).await;
        trail.continue_from([("traceparent", "nonsense")]).run(|| leaf(trail, "fresh"));
    });
    let by = |name: &str| {
        let of = events.iter().find(|event| event["properties"]["$ai_span_name"] == name);
        of.unwrap()["properties"].clone()
    };
    let call = events.iter().find(|event| event["event"] == "$ai_generation").unwrap();
    let (asks, there) = (by("asks"), by("there"));
    assert_eq!(there["$ai_trace_id"], by("here")["$ai_trace_id"]);
    assert_eq!((&there["$ai_parent_id"], &there["$ai_session_id"]), (&asks["$ai_span_id"], &json!("s")));
    // Privacy is carried too.
    assert_eq!((&there["$ai_input_state"], &call["properties"]["$ai_input"]), (&Value::Null, &Value::Null));
    assert_eq!((&call["distinct_id"], &call["properties"]["$ai_parent_id"]), (&json!("u"), &there["$ai_span_id"]));
    assert_eq!((&by("foreign")["$ai_trace_id"], &by("foreign")["$ai_parent_id"]), (&json!(FOREIGN), &Value::Null));
    assert_eq!(by("below")["$ai_parent_id"], FOREIGN);
    assert_ne!(by("fresh")["$ai_trace_id"], FOREIGN);
}

#[test]
fn the_id_of_an_opentelemetry_trace_is_taken_over_once() {
    const OTEL: &str = "0af7651916cd43dd8448eb211c80319c";
    let events = sent(async |server, trail, http| {
        trail.trace("first").otel_trace_id(OTEL).scope(async { leaf(trail, "step") }).await;
        trail.trace("second").otel_trace_id(OTEL).run(|| ());
        let lone = trail.span("lone").otel_trace_id(OTEL);
        lone.scope(async { ask(http, server, "in the lone span", false).await.text().await.unwrap() }).await;
        trail.options().otel_trace_id(OTEL).scope(ask(http, server, "alone", false)).await.text().await.unwrap();
        // Inside of a trace of ours it says nothing new.
        trail.trace("ours").trace_id("mine").run(|| trail.span("inside").otel_trace_id(OTEL).run(|| ()));
    });
    let found = |name: &str| {
        let is = |p: &&Value| p["$ai_span_name"] == name || p["$ai_input"][0]["content"] == name;
        events.iter().map(|event| &event["properties"]).find(is).unwrap()["$ai_trace_id"].clone()
    };
    for name in ["first", "step", "lone", "in the lone span", "alone"] {
        assert_eq!(found(name), OTEL, "{name}");
    }
    assert_ne!(found("second"), OTEL);
    assert_eq!([found("ours"), found("inside")], ["mine", "mine"]);
    assert_eq!(
        forest(&events),
        json!({
            "first": {"step": {}}, "second": {}, "lone": {"in the lone span": {}}, "alone": {},
            "ours": {"inside": {}},
        })
    );
}

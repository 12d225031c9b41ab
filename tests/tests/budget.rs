//! Budgets and totals of the Rust client: tasks, streams and threads stop at the limit to within one call.

#![expect(clippy::unwrap_used, reason = "tests")]

mod observed;

use std::time::Duration;

use llmtrail::budget::{Action, Budget, BudgetExceeded, Per};
use llmtrail::{Client, Language, Options, TotalsOf};
use llmtrail_tests::loopback::Server;
use reqwest_middleware::{ClientWithMiddleware, Error};
use serde_json::json;

use observed::with_server;

const TIMEOUT: Duration = Duration::from_secs(20);

async fn call(http: &ClientWithMiddleware, server: &Server, stream: bool) -> Result<(), Error> {
    let messages = json!([{"role": "user", "content": "Where is my order 7, please?"}]);
    let body = json!({"model": "gpt-5-mini", "stream": stream, "messages": messages});
    let url = format!("{}/v1/chat/completions", server.url());
    let response = http.post(url).header("content-type", "application/json").body(body.to_string()).send().await?;
    response.text().await.unwrap();
    Ok(())
}

fn refusal(error: &Error) -> &BudgetExceeded {
    let Error::Middleware(error) = error else { panic!("{error}") };
    error.downcast_ref().unwrap()
}

async fn until_refused(http: &ClientWithMiddleware, server: &Server, stream: bool) -> BudgetExceeded {
    for _ in 0..100 {
        if let Err(error) = call(http, server, stream).await {
            return refusal(&error).clone();
        }
    }
    panic!("it went on");
}

async fn cost_of_one(trail: &Client, http: &ClientWithMiddleware, server: &Server) -> f64 {
    trail.trace("one").trace_id("one").scope(call(http, server, false)).await.unwrap();
    let totals = trail.totals_of(&TotalsOf::Trace("one".into()), TIMEOUT);
    assert_eq!((totals.calls, totals.unpriced), (1, 0));
    totals.cost_usd().unwrap()
}

fn within_one_call(spent: f64, limit: f64, one: f64) {
    assert!(spent >= limit && spent < limit + one * 1.001, "{spent} of {limit}, one costs {one}");
}

#[test]
fn a_loop_and_tasks_side_by_side_stop_at_the_limit() {
    with_server(TIMEOUT, async |server, trail, http| {
        let one = cost_of_one(trail, http, server).await;
        for (n, stream) in [false, true].into_iter().enumerate() {
            let limit = 4.5 * one;
            let id = trail.budget(Budget::new(limit, Per::Session));
            let session = format!("loop-{n}");
            let refused = trail.session(&session).scope(until_refused(http, server, stream)).await;
            assert_eq!((refused.per, refused.id.as_deref()), (Per::Session, Some(session.as_str())));
            let totals = trail.totals_of(&TotalsOf::Session(session), TIMEOUT);
            assert_eq!(totals.calls, 5);
            within_one_call(totals.cost_usd().unwrap(), limit, one);
            trail.remove_budget(id);

            let limit = 20.5 * one;
            let id = trail.budget(Budget::new(limit, Per::User));
            let user = format!("user-{n}");
            let work = || trail.options().distinct_id(&user).scope(until_refused(http, server, stream));
            tokio::join!(work(), work(), work(), work(), work(), work());
            within_one_call(trail.totals_of(&TotalsOf::User(user), TIMEOUT).cost_usd().unwrap(), limit, one);
            trail.remove_budget(id);
        }
        call(http, server, false).await.unwrap();
    });
}

#[test]
fn a_refused_call_is_not_sent_and_a_warning_lets_it_go_on() {
    with_server(TIMEOUT, async |server, trail, http| {
        trail.budget(Budget::new(0.0, Per::Day).action(Action::Warn));
        call(http, server, false).await.unwrap();
        call(http, server, false).await.unwrap();
        trail.budget(Budget::new(0.0, Per::Process));
        let error = call(http, server, false).await.unwrap_err();
        assert!(refusal(&error).to_string().starts_with("the budget of $0 per process is used up"), "{error}");
        let notes = trail.stats().notes;
        assert_eq!((notes.get("budget_exceeded"), notes.get("budget_refused")), (Some(&1), Some(&1)));
        assert_eq!(trail.totals_of(&TotalsOf::Process, TIMEOUT).calls, 2);
    });
}

#[test]
fn processes_share_a_budget_through_the_store() {
    let folder = std::env::temp_dir().join(format!("llmtrail-budget-{}", std::process::id()));
    with_server(TIMEOUT, async |server, _, _| {
        // Clients know nothing of each other, as those of two processes.
        let client = || {
            let options = Options::new(Language::Rust)
                .set("dir", folder.to_str().unwrap())
                .set("hosts", json!({server.address().to_string(): "openai"}));
            Client::new(options).unwrap()
        };
        let (first, second) = (client(), client());
        let limits = |trail: &Client| trail.budget(Budget::new(1e-7, Per::Day));
        limits(&first);
        limits(&second);
        call(&first.wrap(reqwest::Client::new()), server, false).await.unwrap();
        first.totals_of(&TotalsOf::Process, TIMEOUT);
        let error = call(&second.wrap(reqwest::Client::new()), server, false).await.unwrap_err();
        assert!(refusal(&error).spent_usd > 0.0);
        first.shutdown(TIMEOUT);
        second.shutdown(TIMEOUT);
    });
    std::fs::remove_dir_all(folder).unwrap();
}

//! Whether a server takes a key. Ingestion does not say: PostHog's takes any key and drops later what is of no project.
//! The route for feature flags does.

use std::time::Duration;

use serde_json::json;

use super::Place;
use crate::config::Secret;
use crate::sink::posthog::{build_client, cause};

/// How much of an answer is read.
const ANSWER_BYTES: usize = 16 << 10;

/// Asks a server, for at most so long.
pub(super) fn ask(host: &str, key: &Secret, timeout: Duration) -> Place {
    // On a thread of its own: the caller's may be one of a runtime's, in which nothing may wait.
    let asked = std::thread::scope(|scope| {
        let started = std::thread::Builder::new().spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let answer = runtime.block_on(exchange(host, key, timeout));
            // A name lookup that hangs has a thread of its own, which is not waited for.
            runtime.shutdown_background();
            answer
        });
        started.map_err(|error| error.to_string())?.join().unwrap_or_else(|_| Err("asking failed".to_owned()))
    });
    let (accepts_key, answer) = match asked {
        Ok((status, text)) => judge(status, &text.replace(key.expose(), &format!("{key:?}"))),
        Err(why) => (None, why),
    };
    Place::Server { host: host.to_owned(), key: format!("{key:?}"), accepts_key, answer }
}

async fn exchange(host: &str, key: &Secret, timeout: Duration) -> Result<(u16, String), String> {
    let client = build_client(host.starts_with("https:"))?;
    // No flag is asked for, so none is counted.
    let body = json!({"api_key": key.expose(), "distinct_id": "llmtrail-doctor", "disable_flags": true, "geoip_disable": true});
    let url = format!("{host}/flags/?v=2");
    let request = client.post(url).timeout(timeout).header("content-type", "application/json").body(body.to_string());
    let mut response = request.send().await.map_err(cause)?;
    let status = response.status().as_u16();
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= ANSWER_BYTES {
            break;
        }
    }
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// What an answer means: whether the key is taken, and a few words.
fn judge(status: u16, text: &str) -> (Option<bool>, String) {
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let detail = json.as_ref().and_then(|json| json["detail"].as_str()).map(|text| format!(": {text}"));
    let said = format!("status {status}{}", detail.unwrap_or_default()).trim_end_matches('.').to_owned();
    match status {
        200..=299 if json.as_ref().is_some_and(serde_json::Value::is_object) => (Some(true), said),
        200..=299 => (None, format!("status {status} with something else than JSON: something in between answers")),
        401 | 403 => (Some(false), said),
        404 | 405 => (None, format!("status {status}: this server has no route by which a key can be checked")),
        _ => (None, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_the_key_is_taken() {
        assert_eq!(judge(200, r#"{"flags":{}}"#), (Some(true), "status 200".to_owned()));
        assert_eq!(judge(200, "<html>").0, None);
        let refused = r#"{"type":"authentication_error","code":"invalid_api_key","detail":"Project API key invalid."}"#;
        assert_eq!(judge(401, refused), (Some(false), "status 401: Project API key invalid".to_owned()));
        assert_eq!((judge(404, "").0, judge(503, "").0, judge(302, "").0), (None, None, None));
    }
}

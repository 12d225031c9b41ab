//! `doctor` in Rust, against a server that says whether it takes a key.

use std::time::Duration;

use llmtrail::doctor::{Checkup, Host, Place};
use llmtrail::{Client, Language, Options};
use llmtrail_tests::loopback::Server;

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn the_server_says_whether_it_takes_the_key() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start()?;
    let folder = std::env::temp_dir().join(format!("llmtrail-doctor-{}", std::process::id()));
    let doctor = |key: &str| -> llmtrail::Result<Checkup> {
        let options = Options::new(Language::Rust).set("api_key", key).set("host", server.url());
        let client = Client::new(options.set("dir", folder.to_string_lossy().into_owned()))?;
        Ok(client.doctor(Host::default(), TIMEOUT))
    };
    // Also where a runtime runs already, in which nothing may wait.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (good, bad) = runtime.block_on(async { (doctor("phc_secret"), doctor("phc_no-such")) });
    let (good, bad) = (good?, bad?);
    assert!(good.ok, "{good}");
    assert!(matches!(good.places[0], Place::Server { accepts_key: Some(true), .. }), "{good}");
    assert!(!bad.ok && bad.problems[0].contains("Project API key invalid"), "{bad}");
    assert!(matches!(bad.places[0], Place::Server { accepts_key: Some(false), .. }), "{bad}");
    assert!(!format!("{good}{good:?}").contains("secret"), "{good:?}");
    // Asking is no event.
    assert!(server.events().is_empty());
    assert!(server.requests().iter().all(|request| request["path"] == "/flags/"), "{:?}", server.requests());
    Ok(())
}

use super::*;
use crate::Options;
use crate::sink::posthog;
use crate::testing::Folder;

fn options(folder: &Folder) -> Options {
    Options::new(Language::Python).set("dir", folder.0.to_str().unwrap())
}

fn doctor(options: Options, host: Host) -> Checkup {
    let config = options.resolve().unwrap();
    Client::with_config(Config { warnings: Vec::new(), ..config }).unwrap().doctor(host, Duration::from_secs(5))
}

#[test]
#[cfg(feature = "store")]
fn a_store_that_can_be_made_is_no_problem_and_is_not_made() {
    let folder = Folder::new();
    let found = doctor(options(&folder).set("api_key", ""), Host::default());
    assert!(found.ok, "{found}");
    let Place::Store { path, writable: true, bytes: None, trouble: None } = &found.places[0] else {
        panic!("{found}");
    };
    assert!(!std::path::Path::new(path).exists());
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "nothing is left behind");
    assert!(found.to_string().ends_with("All is well."), "{found}");
}

#[test]
#[cfg(feature = "store")]
fn a_store_that_cannot_be_used_is_a_problem() {
    let folder = Folder::new();
    let file = folder.0.join("file");
    std::fs::write(&file, "x").unwrap();
    let found = doctor(Options::new(Language::Python).set("dir", file.to_str().unwrap()), Host::default());
    assert!(!found.ok && found.problems[0].contains("cannot be used"), "{found}");
    std::fs::write(folder.0.join("llmtrail.db"), "no database at all, and longer than a page's head").unwrap();
    let found = doctor(options(&folder), Host::default());
    assert!(!found.ok && found.problems[0].contains("llmtrail.db cannot be used"), "{found}");
}

#[test]
fn a_server_that_is_away_is_a_problem_and_the_key_is_not_shown() {
    let folder = Folder::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let options = options(&folder).set("api_key", "phc_very_secret_key").set("host", host.clone());
    let found = doctor(options, Host::default());
    let Place::Server { accepts_key: None, key, .. } = &found.places[0] else { panic!("{found}") };
    assert_eq!(key, "phc_ve...");
    assert!(found.problems[0].contains(&host) && found.problems[0].contains("cannot connect"), "{found}");
    for text in [found.to_string(), found.to_json().to_string()] {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn what_is_on_disk_for_a_server_is_counted() {
    let folder = Folder::new();
    let key = crate::config::Secret::from("phc_x".to_owned());
    let destination = posthog::destination("http://127.0.0.1:9", &key);
    let root = crate::deliver::spool::Survey::of(&folder.0, &destination).path;
    for (name, bytes) in [("0-0/lock", 0), ("0-0/a-1.seg", 10), ("dead-letters/1.jsonl", 5), ("quarantine/a-2.seg", 7)]
    {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![b'x'; bytes]).unwrap();
    }
    let options = options(&folder).set("api_key", "phc_x").set("host", "http://127.0.0.1:9");
    let spool = doctor(options, Host::default()).spool.unwrap();
    let files = |files, bytes| Leftovers { files, bytes };
    assert_eq!((spool.waiting, spool.rejected, spool.damaged), (files(1, 10), files(1, 5), files(1, 7)));
    assert_eq!((spool.mode, spool.trouble), ("overflow", None));
}

#[test]
fn what_was_dropped_is_a_problem_with_its_reason() {
    let folder = Folder::new();
    let client = Client::new(options(&folder)).unwrap();
    client.capture("order", crate::manual::CaptureOptions::default()).unwrap();
    client.shutdown(Duration::from_secs(10));
    client.capture("late", crate::manual::CaptureOptions::default()).unwrap();
    let found = client.doctor(Host::default(), Duration::ZERO);
    assert_eq!((found.delivery.captured, found.delivery.delivered), (2, 1), "{found}");
    assert!(found.problems[0].starts_with("1 events were dropped: shutdown"), "{found}");
}

#[test]
fn what_is_left_out_on_purpose_is_no_problem() {
    let folder = Folder::new();
    let client = Client::new(options(&folder).set("sample_rate", 0.0)).unwrap();
    client.capture_generation(crate::CallRecord::default());
    client.flush(Duration::from_secs(10));
    let found = client.doctor(Host::default(), Duration::ZERO);
    assert!(found.ok, "{found}");
    assert!(found.hints.iter().any(|hint| hint.starts_with("1 events were dropped: sampled (of traces")), "{found}");
}

#[test]
fn each_language_has_its_own_spelling_and_reasons_keep_theirs() {
    let folder = Folder::new();
    let host = || -> Host {
        serde_json::from_str(
            r#"{"runtime": "Node 22", "sdks": [{"name": "openai", "version": "99.0.0"}],
                "observed": [{"what": "OpenAI", "how": "wrapped", "calls": 0}]}"#,
        )
        .unwrap()
    };
    let client = |language| {
        let options = Options::new(language).set("dir", folder.0.to_str().unwrap());
        let client = Client::new(options).unwrap();
        client.note("bad_thing");
        client.doctor(host(), Duration::ZERO)
    };
    let (node, python) = (client(Language::Node), client(Language::Python));
    assert_eq!(node.to_json()["sdks"][0]["testedVersions"]["oldest"], "4.104.0", "{node}");
    assert_eq!(node.to_json()["delivery"]["notes"]["bad_thing"], 1);
    assert_eq!(node.to_json()["sdks"][0]["tested"], "newer");
    assert_eq!(node.sdks[0].observed, Some("wrapped"));
    assert!(node.hints.iter().any(|hint| hint.contains("no call of it was seen")), "{node}");
    assert!(python.to_json()["sdks"][0]["tested_versions"].is_object());
}

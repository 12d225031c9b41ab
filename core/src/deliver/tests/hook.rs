//! Hooks in Rust: on a thread of their own, with the books balanced whatever they do.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::deliver::hook::{Hooks, Notice};
use crate::event::Event;

type Given = (Delivery<Echo>, Memory);

fn with_hooks(
    script: Vec<Option<Outcome>>,
    before_send: impl Fn(Event) -> Option<Event> + Send + Sync + 'static,
    on_error: impl Fn(&Notice) + Send + Sync + 'static,
) -> Given {
    let hooks =
        Hooks { before_send: Some(Arc::new(before_send)), on_error: Some(Arc::new(on_error)), ..Hooks::default() };
    let memory = Memory::scripted(script);
    (Delivery::with_sink(config(|config| config.hooks = hooks), Echo::default(), memory.clone()), memory)
}

#[test]
fn an_event_is_changed_kept_dropped_or_failed_on() {
    let count = AtomicUsize::new(0);
    let hook = move |mut event: Event| match count.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => {
            assert_eq!(std::thread::current().name(), Some("llmtrail-hook"));
            event.properties.insert("seen".to_owned(), true.into());
            Some(event)
        }
        1 => Some(event),
        2 => None,
        _ => panic!("of the application's own"),
    };
    let notices = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&notices);
    let (delivery, memory) = with_hooks(vec![], hook, move |notice| told.lock().unwrap().push(notice.code));
    for _ in 0..10 {
        delivery.offer(emit(4), 100);
    }
    assert_report(&delivery.flush(LONG), 20, 0, &[("hook", 20)]);
    assert_eq!(delivery.stats().queued_bytes, 0);
    assert_eq!(delivery.stats().sinks[0].pending, 0);
    let seen = |event: &WireEvent| serde_json::from_slice::<Value>(&event.json).unwrap()["properties"]["seen"] == true;
    assert_eq!(memory.look(|inner| inner.events.iter().filter(|event| seen(event)).count()), 10);
    assert_report(&delivery.shutdown(LONG), 20, 0, &[("hook", 20)]);
    wait_until(|| !notices.lock().unwrap().is_empty());
    let told = notices.lock().unwrap().clone();
    assert!(told.len() <= 3 && told.iter().all(|code| *code == "hook"), "{told:?}");
}

#[test]
fn an_event_of_another_name_takes_its_own_way() {
    let rename = |mut event: Event| {
        event.event = "renamed".to_owned();
        Some(event)
    };
    let (delivery, memory) = with_hooks(vec![], rename, |_| {});
    delivery.offer(emit(1), 100);
    assert_report(&delivery.flush(LONG), 1, 0, &[]);
    assert_eq!(memory.look(|inner| inner.events[0].lane), Lane::General);
}

#[test]
fn a_hook_that_hangs_holds_a_flush_until_its_deadline_and_its_events_are_counted_at_the_end() {
    // It hangs for longer than anything here may take, on whatever machine.
    let (entered, enters) = std::sync::mpsc::channel();
    let hook = move |event| {
        entered.send(()).unwrap();
        std::thread::sleep(LONG);
        Some(event)
    };
    let (delivery, memory) = with_hooks(vec![], hook, |_| {});
    delivery.offer(emit(3), 100);
    // Before the worker has come to it, three events are one input.
    enters.recv().unwrap();
    let begun = Instant::now();
    assert_report(&delivery.flush(Duration::from_millis(200)), 0, 3, &[]);
    balanced(&delivery.shutdown(Duration::from_millis(200)));
    assert!(begun.elapsed() < LONG / 2);
    // A worker that waits for a processor closes the books a moment later than the caller waits for.
    while delivery.stats().report.pending > 0 {
        assert!(begun.elapsed() < LONG / 2);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_report(&delivery.stats().report, 0, 0, &[("shutdown", 3)]);
    assert_eq!(memory.look(|inner| inner.sent.len()), 0);
}

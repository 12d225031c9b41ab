//! `llmtrail push`: the store's events to PostHog, later.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::terminal::{Terminal, number_of};
use super::{Common, Failure};
use crate::config::Options;
use crate::error::{Error, ErrorKind};
use crate::event::{AI_EVENTS, Lane, WireEvent};
use crate::sink::posthog::{PostHog, destination};
use crate::sink::{Carrier, Outcome};
use crate::store::Reader;

/// Send the store's events to PostHog; what was sent before is not sent again
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  POSTHOG_API_KEY=phc_... llmtrail push
  POSTHOG_API_KEY=phc_... POSTHOG_HOST=https://eu.i.posthog.com llmtrail push

Events keep their uuids and times, so that PostHog takes one that comes twice for one. How far it has come is remembered
beside the store, for each project; when it is interrupted, it goes on from there.

--json: {sent, refused}")]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

const BATCH: usize = 100;
const BATCH_BYTES: usize = 800_000;
const DEADLINE: Duration = Duration::from_secs(30);
const TRIES: u32 = 5;

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let config = Options::default().resolve()?;
    let Some(key) = config.api_key.clone() else {
        return Err(Failure::Usage("push needs a project's key: set POSTHOG_API_KEY".to_owned()));
    };
    let reader = args.common.reader()?;
    let place = place(&args.common.dir()?, &destination(&config.host, &key));
    let mut sent_last = SentLast::load(&place);
    let mut done = sent_last.position(&reader)?;
    // Where nothing can be remembered, all would be sent again and again.
    sent_last.save(&place)?;
    let mut carrier = PostHog::new(&config.host, key, config.gzip);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(trouble)?;
    let (mut sent, mut refused) = (0_u64, 0_u64);
    loop {
        let some = reader.events_after(done, i64::MIN, BATCH)?;
        let mut bytes = 0;
        let fits = some.iter().take_while(|(_, json)| {
            bytes += json.len();
            bytes <= BATCH_BYTES
        });
        let count = fits.count().max(1);
        let some = &some[..count.min(some.len())];
        let Some((last, _)) = some.last() else { break };
        let mut lanes = [(Lane::Ai, Vec::new()), (Lane::General, Vec::new())];
        let mut batch = Vec::new();
        for (id, json) in some {
            let event = wire(json)?;
            batch.push((*id, event.uuid));
            lanes[usize::from(event.lane == Lane::General)].1.push(event);
        }
        for (lane, events) in lanes.iter().filter(|(_, events)| !events.is_empty()) {
            refused += runtime.block_on(send(&mut carrier, *lane, events)).map_err(|why| {
                let message = format!("{why}. {} sent; the rest is sent by the next push", number_of(sent, "event"));
                Failure::from(Error::new(ErrorKind::Input, message))
            })?;
        }
        done = *last;
        sent += some.len() as u64;
        sent_last.add(&batch);
        sent_last.save(&place)?;
    }
    if args.common.json {
        writeln!(terminal.out, "{}", json!({ "sent": sent - refused, "refused": refused }))?;
    } else {
        let but = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        writeln!(terminal.out, "{} sent to {}{but}.", number_of(sent - refused, "event"), config.host)?;
    }
    Ok(())
}

fn trouble(error: std::io::Error) -> Failure {
    Error::new(ErrorKind::Input, format!("push does not work: {error}")).with_source(error).into()
}

/// The events that were sent last, by their ids in the file and their uuids, the last one first. An id alone says too little:
/// the store may have been made anew, and what was removed from its end gives its ids to what comes next.
struct SentLast(Vec<(i64, Uuid)>);

impl SentLast {
    /// So many are remembered. Only when all of them were removed is everything sent again, under the same uuids.
    const MOST: usize = 1000;

    fn load(place: &Path) -> Self {
        let text = std::fs::read_to_string(place).unwrap_or_default();
        let event = |line: &str| {
            let (id, uuid) = line.split_once(' ')?;
            Some((id.parse().ok()?, Uuid::parse_str(uuid).ok()?))
        };
        Self(text.lines().filter_map(event).collect())
    }

    /// The id after which everything is still to be sent.
    fn position(&self, reader: &Reader) -> Result<i64, Failure> {
        for (id, uuid) in &self.0 {
            let there = reader.events_after(id.saturating_sub(1), i64::MIN, 1)?;
            if let Some((found, json)) = there.first()
                && found == id
                && wire(json)?.uuid == *uuid
            {
                return Ok(*id);
            }
        }
        Ok(0)
    }

    fn add(&mut self, batch: &[(i64, Uuid)]) {
        let before = std::mem::take(&mut self.0);
        self.0 = batch.iter().rev().copied().chain(before).take(Self::MOST).collect();
    }

    /// Whole or not at all, for a process may end at any time.
    fn save(&self, place: &Path) -> Result<(), Failure> {
        let lines: Vec<String> = self.0.iter().map(|(id, uuid)| format!("{id} {uuid}\n")).collect();
        let new = place.with_extension(std::process::id().to_string());
        std::fs::write(&new, lines.concat()).and_then(|()| std::fs::rename(&new, place)).map_err(|error| {
            let _ = std::fs::remove_file(&new);
            let message = format!("push cannot remember in {} how far it has come: {error}", place.display());
            Error::new(ErrorKind::Store, message).with_source(error).into()
        })
    }
}

/// Where is remembered how far a project has come. Its name says nothing of the key.
fn place(dir: &Path, destination: &str) -> PathBuf {
    let hash = Sha256::digest(destination.as_bytes());
    dir.join(format!("llmtrail-push-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]))
}

fn wire(json: &str) -> Result<WireEvent, Failure> {
    let event: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = |key: &str| event.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let lane = if AI_EVENTS.contains(&text("event")) { Lane::Ai } else { Lane::General };
    let uuid = Uuid::parse_str(text("uuid"))
        .map_err(|_| Failure::from(Error::new(ErrorKind::Store, "an event in the store has no uuid".to_owned())))?;
    Ok(WireEvent { uuid, lane, json: bytes::Bytes::copy_from_slice(json.as_bytes()), stored: None })
}

/// Sends a batch by the best way that there is; what is refused together, one by one. Says how many were refused.
async fn send(carrier: &mut PostHog, lane: Lane, events: &[WireEvent]) -> Result<u64, String> {
    let mut why = String::new();
    for route in carrier.routes(lane) {
        let mut pause = Duration::from_millis(500);
        for attempt in 1..=TRIES {
            match carrier.send(events, *route, DEADLINE).answer.await {
                Outcome::Accepted => return Ok(0),
                Outcome::NoRoute(text) => {
                    why = text;
                    break;
                }
                Outcome::TooLarge(_) | Outcome::Rejected(_) if events.len() == 1 => return Ok(1),
                Outcome::TooLarge(_) | Outcome::Rejected(_) => {
                    let mut refused = 0;
                    for event in events {
                        refused += Box::pin(send(carrier, lane, std::slice::from_ref(event))).await?;
                    }
                    return Ok(refused);
                }
                Outcome::Later { after, .. } if attempt < TRIES => {
                    tokio::time::sleep(after.unwrap_or(pause).min(Duration::from_secs(60))).await;
                    pause *= 2;
                }
                Outcome::Denied(text) | Outcome::Later { why: text, .. } | Outcome::Closed { why: text, .. } => {
                    return Err(text);
                }
            }
        }
    }
    Err(why)
}

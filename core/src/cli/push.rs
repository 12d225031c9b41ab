//! `llmtrail push`: the store's events to PostHog, later.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::terminal::{Terminal, number_of};
use super::{Common, Failure};
use crate::config::Options;
use crate::error::{Error, ErrorKind};
use crate::event::{AI_EVENTS, Lane, WireEvent};
use crate::sink::posthog::{PostHog, destination};
use crate::sink::{Carrier, Outcome};

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
    let mut done: i64 = std::fs::read_to_string(&place).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
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
        for (_, json) in some {
            let event = wire(json)?;
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
        std::fs::write(&place, done.to_string()).map_err(trouble)?;
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

/// Where is remembered how far a project has come. Its name says nothing of the key.
fn place(dir: &std::path::Path, destination: &str) -> PathBuf {
    let hash = Sha256::digest(destination.as_bytes());
    dir.join(format!("llmtrail-push-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]))
}

fn wire(json: &str) -> Result<WireEvent, Failure> {
    let event: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = |key: &str| event.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let lane = if AI_EVENTS.contains(&text("event")) { Lane::Ai } else { Lane::General };
    let uuid = uuid::Uuid::parse_str(text("uuid"))
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

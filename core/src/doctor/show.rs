//! A checkup as text.

use std::fmt::{self, Display, Formatter};

use super::{Checkup, Delivery, Place, Sdk, Spool, Tested};

impl Display for Checkup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let runtime = self.runtime.as_deref().map(|runtime| format!(", {runtime}")).unwrap_or_default();
        writeln!(f, "llmtrail {} for {}{runtime}", self.version, self.language)?;
        if self.language != "rust" {
            title(f, "SDKs")?;
            if self.sdks.is_empty() {
                writeln!(f, "  none that is known is installed")?;
            }
            let widest = self.sdks.iter().map(|sdk| sdk.name.len() + sdk.version.len() + 1).max().unwrap_or(0);
            for sdk in &self.sdks {
                show_sdk(f, sdk, widest)?;
            }
        }
        title(f, "Observed")?;
        match &self.observed {
            _ if self.language == "rust" => writeln!(f, "  what goes through trail.wrap(client) or observe(exchange)")?,
            None => writeln!(f, "  only your program knows: call llmtrail.doctor() in it")?,
            Some(all) if all.is_empty() => writeln!(f, "  nothing")?,
            Some(all) => {
                for one in all {
                    let calls = if one.calls == 1 { "1 call".to_owned() } else { format!("{} calls", one.calls) };
                    writeln!(f, "  {}: {}, {calls}", one.what, one.how)?;
                }
            }
        }
        title(f, "Events go to")?;
        for place in &self.places {
            show_place(f, place)?;
        }
        if let Some(spool) = &self.spool {
            show_spool(f, spool)?;
        }
        title(f, "Since the client began")?;
        show_delivery(f, &self.delivery)?;
        for (name, lines) in [("Worth knowing", &self.hints), ("Problems", &self.problems)] {
            if !lines.is_empty() {
                title(f, name)?;
                lines.iter().try_for_each(|text| writeln!(f, "  - {text}"))?;
            }
        }
        if self.ok { write!(f, "\nAll is well.") } else { Ok(()) }
    }
}

fn title(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    writeln!(f, "\n{text}")
}

fn show_sdk(f: &mut Formatter<'_>, sdk: &Sdk, widest: usize) -> fmt::Result {
    let name = format!("{} {}", sdk.name, sdk.version);
    let range = |what: &str| {
        let versions = sdk.tested_versions.as_ref();
        versions
            .map_or_else(|| what.to_owned(), |versions| format!("{what} {} to {}", versions.oldest, versions.newest))
    };
    let tested = match sdk.tested {
        Tested::Yes => range("tested,"),
        Tested::Newer => range("newer than tested,"),
        Tested::Older => range("older than tested,"),
        Tested::No => "not tested".to_owned(),
    };
    let observed = match sdk.observed {
        None => String::new(),
        Some("nothing") => "; not observed".to_owned(),
        Some(how) => format!("; {how}"),
    };
    writeln!(f, "  {name:widest$}  {tested}{observed}")
}

fn show_place(f: &mut Formatter<'_>, place: &Place) -> fmt::Result {
    match place {
        Place::Server { host, key, accepts_key, answer } => {
            let takes = match accepts_key {
                Some(true) => "takes the key",
                Some(false) => "does not take the key",
                None => "not known whether it takes the key",
            };
            writeln!(f, "  {host}: {takes} {key} ({answer})")
        }
        Place::Store { path, trouble: Some(trouble), .. } => writeln!(f, "  {path}: cannot be used, {trouble}"),
        Place::Store { path, bytes: Some(bytes), .. } => writeln!(f, "  {path}: {bytes} bytes, can be written"),
        Place::Store { path, .. } => writeln!(f, "  {path}: not there yet, can be made"),
        Place::Sink { name } => writeln!(f, "  {name}: a sink of the application's"),
    }
}

fn show_spool(f: &mut Formatter<'_>, spool: &Spool) -> fmt::Result {
    let Spool { mode, path, waiting, rejected, damaged, .. } = spool;
    writeln!(
        f,
        "  spool ({mode}) {path}: {} bytes wait, {} rejected, {} damaged",
        waiting.bytes, rejected.files, damaged.files
    )
}

fn show_delivery(f: &mut Formatter<'_>, delivery: &Delivery) -> fmt::Result {
    let Delivery { captured, delivered, pending, dropped, notes, last_error, last_success } = delivery;
    let lost: u64 = dropped.values().sum();
    writeln!(f, "  {captured} captured, {delivered} delivered, {pending} pending, {lost} dropped")?;
    for (name, counts) in [("dropped", dropped), ("noted", notes)] {
        for (reason, count) in counts {
            writeln!(f, "  {name}: {reason} {count}")?;
        }
    }
    last_success.iter().try_for_each(|at| writeln!(f, "  last delivery {at}"))?;
    last_error.iter().try_for_each(|error| writeln!(f, "  last trouble: {error}"))
}

//! What the store and its viewer take at a size: a table in Markdown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Result;

/// Of each page so many requests.
const TIMES: usize = 20;

/// What is asked, and what is allowed, in milliseconds.
const PAGES: [(&str, &str, f64); 15] = [
    ("overview, 24 h", "/?range=24h", 300.0),
    ("overview, all", "/?range=all", 300.0),
    ("traces", "/traces?range=all", 300.0),
    ("traces by cost", "/traces?range=all&sort=cost", 300.0),
    ("traces, page 1000", "/traces?range=all&page=1000", 300.0),
    ("traces of a user", "/traces?range=all&q=user%3Auser-7%40example.com", 300.0),
    ("generations", "/generations?range=all", 300.0),
    (
        "generations, four conditions",
        "/generations?range=all&q=model%3Agpt-5%2A%20cost%3A%3E0.0005%20status%3Aok%20latency%3A%3E2s&sort=latency",
        300.0,
    ),
    ("failed generations", "/generations?range=all&q=status%3Aerror", 300.0),
    ("sessions", "/sessions?range=all", 300.0),
    ("users", "/users?range=all", 300.0),
    ("models", "/models?range=all", 300.0),
    ("errors", "/errors?range=all", 300.0),
    ("tools", "/tools?range=all", 300.0),
    ("a trace of 5,000 spans", "/trace/wide-trace", 500.0),
];

/// What is in a page as long as the store is still read.
const BUSY: &[u8] = b"data-busy";

struct Browser {
    port: u16,
    cookie: String,
}

impl Browser {
    fn get(&self, path: &str) -> Result<(f64, Vec<u8>)> {
        let begin = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nCookie: {}\r\nConnection: close\r\n\r\n",
            self.port, self.cookie
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok((begin.elapsed().as_secs_f64() * 1000.0, answer))
    }
}

/// Fills a store, opens the viewer on it, and prints the table.
pub fn run(folder: &Path, generations: u64, program: &str) -> Result<()> {
    let filled = super::fill(folder, generations)?;
    let file = folder.join("llmtrail.db");
    drop(llmtrail::store::Writer::open(folder)?);
    let size = std::fs::metadata(&file)?.len();
    let content = llmtrail::store::Reader::open(folder)?.ok_or("no store")?.packed_bytes()?;
    println!("| of {generations} generations ({} events) | measured | wanted |\n|---|---|---|", filled.events);
    println!("| events written a second, one process | {:.0} | 20,000 |", filled.a_second());
    println!("| the same, a second of CPU time | {:.0} | |", filled.a_cpu_second());
    println!("| bytes a generation, in all | {} | |", size / generations.max(1));
    println!(
        "| bytes a generation, beyond packed messages | {} | 1,200 |",
        (size - content.min(size)) / generations.max(1)
    );

    view(folder, program)
}

/// Opens the viewer on a store, and prints what its pages take.
pub fn view(folder: &Path, program: &str) -> Result<()> {
    let file = folder.join("llmtrail.db");
    let begin = Instant::now();
    let mut child = Command::new(program)
        .arg("view")
        .arg("--json")
        .arg("--port")
        .arg("0")
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()?;
    let measured = serve(&mut child, begin);
    child.kill()?;
    child.wait()?;
    measured
}

fn serve(child: &mut std::process::Child, begin: Instant) -> Result<()> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    println!("| the viewer's start, ms | {:.0} | 300 |", begin.elapsed().as_secs_f64() * 1000.0);
    let address = serde_json::from_str::<serde_json::Value>(&line)?["address"].as_str().ok_or("no address")?.to_owned();
    let rest = address.strip_prefix("http://127.0.0.1:").ok_or("another host")?;
    let (port, token) = rest.split_once("/?token=").ok_or("no token")?;
    let browser = Browser { port: port.parse()?, cookie: format!("llmtrail-{port}={token}") };
    for (name, path) in [
        ("first page: overview, ms", "/"),
        ("then traces, ms", "/traces"),
        ("then the overview of all time, ms (of what is read by then)", "/?range=all"),
    ] {
        let (took, answer) = browser.get(path)?;
        check(path, &answer)?;
        println!("| {name} | {took:.0} | 100 |");
    }
    // A page of a part would be quicker than one of everything.
    while browser.get("/health?range=all")?.1.windows(BUSY.len()).any(|some| some == BUSY) {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("| until everything is read, ms (once) | {:.0} | |", begin.elapsed().as_secs_f64() * 1000.0);
    for (name, path, most) in PAGES {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let (took, answer) = browser.get(path)?;
            check(path, &answer)?;
            times.push(took);
        }
        times.sort_by(f64::total_cmp);
        println!("| {name}, ms: p50, p95 | {:.0}, {:.0} | {most:.0} |", times[TIMES / 2], times[TIMES * 95 / 100]);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    if let Some(memory) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        println!("| the viewer's memory at its most | {} | |", memory.trim());
    }
    Ok(())
}

fn check(path: &str, answer: &[u8]) -> Result<()> {
    if answer.starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        Err(format!("{path}: {}", String::from_utf8_lossy(&answer[..answer.len().min(200)])).into())
    }
}

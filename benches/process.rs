//! What does the process cost: from start to ready, memory at rest, bytes on disk, and after kill -9 how soon does work
//! go on?

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node};

const STARTS: usize = 15;
const KILLS: usize = 7;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("count", node::COUNT)])?;
    // Fills the code cache and leaves no database behind.
    Server::start(&binary, scratch.path())?.stop()?;
    let mut ready = Sample::default();
    for _ in 0..STARTS {
        std::fs::remove_dir_all(scratch.path().join("data")).context("remove the database")?;
        let server = Server::start(&binary, scratch.path())?;
        ready.push(server.ready);
        server.stop()?;
    }
    report.duration(
        "start_to_ready_p50",
        "`compozy start` to ready, empty database, warm code cache, p50",
        ready.p50(),
        "≤ 100 ms",
    );
    let server = Server::start(&binary, scratch.path())?;
    std::thread::sleep(Duration::from_secs(3));
    let memory = server.resident_mebibytes()?;
    report.number("idle_rss_mib", "resident memory of an idle server", memory, "MiB", "≤ 40 MiB");
    server.stop()?;
    let size = std::fs::metadata(&binary).context("find the binary")?.len() as f64 / 1e6;
    report.number("binary_mb", "size of the binary", size, "MB", "≤ 40 MB");
    let progress = progress_after_kill(&binary, scratch.path())?;
    report.duration(
        "progress_after_kill_max",
        "first progress after `kill -9` and restart, slowest",
        progress.quantile(1.0),
        "≤ 0.5 s",
    );
    Ok(())
}

/// From the start of the next process to the first new event of a run that was under way.
fn progress_after_kill(binary: &Path, folder: &Path) -> Result<Sample> {
    let mut sample = Sample::default();
    let server = Server::start(binary, folder)?;
    let body = r#"{"input": {"n": 1000000}}"#;
    let started = server.request("POST", "/api/v0/workflows/count/executions", body)?;
    let exec_id = started["data"]["exec_id"].as_str().context("read exec_id")?.to_owned();
    let mut server = server;
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(700));
        server.kill();
        let before = unix_microseconds()?;
        server = Server::start(binary, folder)?;
        sample.push(first_after(&server, &exec_id, before)?);
    }
    server.request("POST", &format!("/api/v0/executions/workflows/{exec_id}/cancel"), "{}")?;
    server.stop()?;
    Ok(sample)
}

/// Until the run's document says that it changed after `before`, microseconds since 1970.
fn first_after(server: &Server, exec_id: &str, before: u64) -> Result<Duration> {
    let begun = Instant::now();
    let path = format!("/api/v0/executions/workflows/{exec_id}");
    loop {
        let run = server.request("GET", &path, "")?;
        let updated = run["data"]["updated_at"].as_str().and_then(unix_milliseconds).context("read updated_at")?;
        if updated * 1000 >= before {
            // It has progressed by now; the wait for this answer is part of what a user sees.
            return Ok(Duration::from_micros(unix_microseconds()? - before));
        }
        ensure!(begun.elapsed() < Duration::from_secs(20), "see any progress after 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with times that another process recorded")]
pub(crate) fn unix_microseconds() -> Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("read the clock")?;
    u64::try_from(since.as_micros()).context("read the clock")
}

/// Of `2026-11-22T10:00:00.123Z`, in milliseconds since 1970.
fn unix_milliseconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, milli) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    // Days since 1970 of a Gregorian date (H. Hinnant, "chrono-compatible low-level date algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + milli)
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    ready: Duration,
    /// What it logs.
    log: std::path::PathBuf,
}

impl Server {
    /// Starts one on a free port and waits for its ready line.
    pub(crate) fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let log = folder.join("server.log");
        let stderr = std::fs::File::create(&log).context("make its log")?;
        let begun = Instant::now();
        let mut child = Command::new(binary)
            .current_dir(folder)
            .args(["start", "--port", "0", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context("start the server")?;
        let stdout = child.stdout.take().context("read its lines")?;
        for line in BufReader::new(stdout).lines() {
            let line = line.context("read its lines")?;
            if let Some(place) = line.strip_prefix("Server listening on ") {
                let port = place.rsplit(':').next().unwrap_or_default();
                let address = format!("127.0.0.1:{port}");
                return Ok(Self { child, address, ready: begun.elapsed(), log });
            }
        }
        let ended = child.wait().context("wait for it")?;
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        Err(anyhow!("the server ended before it was ready: {ended}: {said}"))
    }

    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().context("stop it")?;
        ensure!(status.success(), "stop it");
        let ended = self.child.wait().context("wait for its end")?;
        let log = std::fs::read_to_string(&self.log).context("read its log")?;
        ensure!(ended.success(), "stop it: {ended}: {log}");
        ensure!(!log.contains("database is locked"), "do without a locked database: {log}");
        Ok(())
    }

    fn resident_mebibytes(&self) -> Result<f64> {
        self.status_mebibytes("VmRSS:")
    }

    /// The most memory that was resident since its start.
    pub(crate) fn peak_mebibytes(&self) -> Result<f64> {
        self.status_mebibytes("VmHWM:")
    }

    fn status_mebibytes(&self, name: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("read its status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("find {name}"))?;
        let kibibytes: f64 =
            line.split_whitespace().next().unwrap_or_default().parse().with_context(|| format!("read {name}"))?;
        Ok(kibibytes / 1024.0)
    }

    /// `method` of `path`, and the answer's JSON.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.address).context("connect")?;
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(text.as_bytes()).context("send")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("receive")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("read the answer")?;
        serde_json::from_str(body).with_context(|| format!("read {method} {path}: {answer}"))
    }
}

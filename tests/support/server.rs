//! A running `compozy start`.

use std::io;

use serde_json::{Value, json};

use super::command::{Output, Running};
use super::http::{self, Response};
use super::sse::Stream;
use super::wait;

/// A server that has printed its ready line.
#[derive(Debug)]
pub(crate) struct Server {
    running: Running,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Server {
    /// Waits for the ready line; the output if the process ends before.
    pub(crate) fn wait_ready(mut running: Running) -> Result<Self, Output> {
        let port = wait::until("ready line", || {
            // With JSON logs the lines for people are records among the others.
            let port = ready_port(&running.stdout()).or_else(|| ready_port(&running.stderr()));
            if port.is_none() && running.has_ended() {
                // What was printed last may not have been read yet, but a dead process is not ready anyway.
                return Some(None);
            }
            port.map(Some)
        });
        match port {
            Some(port) => Ok(Self { running, address: format!("127.0.0.1:{port}") }),
            None => Err(running.finish()),
        }
    }

    pub(crate) fn stdout(&self) -> String {
        self.running.stdout()
    }

    pub(crate) fn stderr(&self) -> String {
        self.running.stderr()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.running.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.running.kill();
    }

    /// What it printed, after it has ended by itself.
    pub(crate) fn finish(self) -> Output {
        self.running.finish()
    }

    /// Ctrl+C, and what it printed.
    pub(crate) fn stop(self) -> Output {
        self.running.signal("INT");
        self.running.finish()
    }

    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> io::Result<Response> {
        let text = body.map(Value::to_string);
        let mut headers = headers.to_vec();
        if text.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        http::send(&self.address, method, path, &headers, text.as_deref().map(str::as_bytes))
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
        match self.try_send(method, path, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path}: {error}\n{}", self.stderr()),
        }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], None)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[], Some(body))
    }

    /// Starts a run and returns its id.
    #[track_caller]
    pub(crate) fn start_run(&self, workflow: &str, input: Value) -> String {
        let response = self.post(&format!("/api/v0/workflows/{workflow}/executions"), &json!({"input": input}));
        assert_eq!(response.status, 202, "{}", response.text());
        response.data()["exec_id"].as_str().expect("exec_id").to_owned()
    }

    /// The execution document of a run.
    #[track_caller]
    pub(crate) fn run(&self, exec_id: &str) -> Value {
        let response = self.get(&format!("/api/v0/executions/workflows/{exec_id}"));
        assert_eq!(response.status, 200, "{}", response.text());
        response.data()
    }

    /// Waits for the end of a run through its stream and returns its document.
    #[track_caller]
    pub(crate) fn wait_run(&self, exec_id: &str) -> Value {
        let path = format!("/api/v0/executions/workflows/{exec_id}/stream");
        let events = Stream::open(&self.address, &path, None).and_then(Stream::rest).expect("the stream");
        assert!(events.last().is_some_and(super::sse::Event::is_terminal), "{events:#?}");
        self.run(exec_id)
    }
}

fn ready_port(stdout: &str) -> Option<u16> {
    let (line, _) = stdout.split_once("Server listening on ")?.1.split_once('\n')?;
    let port = line.split_once(':')?.1;
    port.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

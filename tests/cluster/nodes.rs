//! Servers on one database, each in a folder of its own, which clients reach while others kill and start them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::crash::ledger;
use crate::support::database;
use crate::support::effects::Effects;
use crate::support::http::Response;
use crate::support::program::{self, Program};
use crate::support::{Project, Server};

/// When no run has come any further for so long, those under way are stuck: the longest that any of them waits for by
/// itself is shorter, and so is any pause of a node that cannot reach its database.
const STUCK: Duration = Duration::from_secs(40);

/// Runs that have not ended.
pub(super) const UNDER_WAY: &str = "SELECT exec_id FROM executions WHERE finished_at IS NULL";

/// What there is to say of them.
const DETAILS: &str = "SELECT row_to_json(e)::text || coalesce((SELECT string_agg(row_to_json(s)::text, ' ') FROM steps AS s \
                       WHERE s.exec_id = e.exec_id AND s.finished_at IS NULL), ' no step') || coalesce((SELECT string_agg(row_to_json(s)::text, ' ') \
                       FROM signals AS s WHERE s.exec_id = e.exec_id), ' no signal') || coalesce((SELECT string_agg(row_to_json(r)::text, ' ') FROM ready AS r \
                       WHERE r.exec_id = e.exec_id), ' not ready') || coalesce((SELECT string_agg(row_to_json(t)::text, ' ') FROM timers AS t \
                       WHERE t.exec_id = e.exec_id), ' no timer') FROM executions AS e WHERE finished_at IS NULL LIMIT 5";

/// Sets a flag when it goes, also when a test fails: nobody shall wait for that test.
#[derive(Debug)]
pub(super) struct AtEnd<'a>(pub(super) &'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Servers that share a database.
#[derive(Debug)]
pub(super) struct Cluster {
    url: String,
    pub(super) effects: Effects,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    project: Project,
    server: RwLock<Option<Server>>,
}

impl Cluster {
    /// So many nodes on the database of `url`, none of them started.
    pub(super) fn new(url: &str, lease: &str, count: usize, programs: &[Program]) -> Self {
        Self::of(&vec![url.to_owned(); count], lease, programs)
    }

    /// A node for each URL of one database.
    pub(super) fn of(urls: &[String], lease: &str, programs: &[Program]) -> Self {
        let effects = Effects::listen();
        let extra = program::project_file(&effects.grant()) + program::MEMORIES;
        let node = |url: &String| {
            let project = Project::postgres(url, lease, &extra);
            program::furnish(&project, programs, &effects.url());
            Node { project, server: RwLock::default() }
        };
        let nodes = urls.iter().map(node).collect();
        Self { url: urls[0].clone(), effects, nodes }
    }

    /// The same, all of them running.
    pub(super) fn started(url: &str, lease: &str, count: usize, programs: &[Program]) -> Self {
        let cluster = Self::new(url, lease, count, programs);
        let one = &cluster;
        std::thread::scope(|scope| (0..count).for_each(|number| drop(scope.spawn(move || one.start(number)))));
        cluster
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The project of a node, as all have the same.
    pub(super) fn project(&self) -> &Project {
        &self.nodes[0].project
    }

    /// Writes a file into the project of each.
    pub(super) fn file(&self, path: &str, text: &str) {
        for node in &self.nodes {
            node.project.file(path, text);
        }
    }

    /// Starts a node that does not run.
    pub(super) fn start(&self, number: usize) {
        self.start_with(number, &[]);
    }

    /// The same with further arguments.
    pub(super) fn start_with(&self, number: usize, arguments: &[&str]) {
        let node = &self.nodes[number];
        let server = node.project.start_with(arguments, &[]);
        *node.server.write().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    fn server(&self, number: usize) -> RwLockReadGuard<'_, Option<Server>> {
        self.nodes[number].server.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a node that runs answers.
    pub(super) fn with<T>(&self, number: usize, ask: impl FnOnce(&Server) -> T) -> T {
        ask(self.server(number).as_ref().expect("it runs"))
    }

    /// Kills a node, whatever it is asked at the moment.
    pub(super) fn kill(&self, number: usize) {
        self.with(number, |server| server.signal("KILL"));
        let server = self.nodes[number].server.write().unwrap_or_else(PoisonError::into_inner).take();
        server.expect("it ran").kill();
    }

    /// Asks a node; an error where it does not run.
    pub(super) fn send(&self, number: usize, method: &str, path: &str, key: &str, body: Value) -> io::Result<Response> {
        match self.server(number).as_ref() {
            Some(server) => server.try_send(method, path, &[("idempotency-key", key)], Some(&body)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Starts a run through a node; its id if that was acknowledged. Whoever hears nothing, or that the node cannot at
    /// the moment, knows nothing.
    pub(super) fn start_run(&self, number: usize, workflow: &str, input: &Value, key: &str) -> Option<String> {
        let path = format!("/api/v0/workflows/{workflow}/executions");
        let response = self.send(number, "POST", &path, key, json!({"input": input})).ok()?;
        if response.status == 429 || response.status >= 500 {
            return None;
        }
        assert_eq!(response.status, 202, "{}", response.text());
        Some(response.data()["exec_id"].as_str().expect("exec_id").to_owned())
    }

    /// Waits until no run is under way. A run is stuck when for a long time none has come any further; what the database
    /// holds of it is said.
    pub(super) fn wait_all(&self) {
        let url = self.url.as_str();
        let last = "SELECT (count(finished_at) || ' ' || sum(last_seq)) FROM executions";
        let (mut seen, mut since) = (Vec::new(), Instant::now());
        while !database::server_column(url, UNDER_WAY).is_empty() {
            let now = database::server_column(url, last);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < STUCK, "stuck: {:#?}", database::server_column(url, DETAILS));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every run's document, as a node tells it.
    pub(super) fn documents(&self, number: usize) -> BTreeMap<String, Value> {
        self.with(number, ledger::documents)
    }

    /// Stops every node in order, and looks for what must not be.
    pub(super) fn stop(&self) {
        for node in &self.nodes {
            if let Some(server) = node.server.write().unwrap_or_else(PoisonError::into_inner).take() {
                let output = server.stop();
                assert_eq!(output.code, 0, "{output}");
                assert!(!output.stderr.contains("panicked"), "{output}");
            }
        }
        assert_eq!(self.project().snapshot().violations, Vec::<String>::new());
        ledger::doctor(self.project());
    }
}

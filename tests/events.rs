//! What starts workflows from outside: events, signals of tasks, and webhooks with their signatures and repeats.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::database::Snapshot;
use crate::support::http::{self, Response};
use crate::support::{Project, Server, wait};

const RUNS: &str = "/api/v0/executions/workflows";

/// HMAC-SHA-256 by its definition (RFC 2104), in hexadecimal: nothing of ours has a part in it.
fn hmac(key: &str, message: &str) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key.as_bytes());
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::digest([&pad(0x36)[..], message.as_bytes()].concat());
    let outer = Sha256::digest([&pad(0x5c)[..], &inner[..]].concat());
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the sender of a delivery has a clock of its own")]
fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}

/// The runs of a workflow, newest first, once all of them have ended.
fn runs(server: &Server, workflow: &str) -> Vec<Value> {
    let path = format!("{RUNS}?workflow_id={workflow}&expand=input,output&limit=100");
    wait::until("the end of all runs", || {
        let page = server.get(&path).data()["executions"].as_array().expect("executions").clone();
        page.iter().all(|run| !run["finished_at"].is_null()).then_some(page)
    })
}

fn code(response: &Response) -> (u16, String) {
    (response.status, response.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn sound(project: &Project, server: Server) {
    server.stop();
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
}

const LISTEN: &str = r#"
triggers: [{type: signal, name: stock-low, schema: {type: object, required: [sku]}}]
tasks:
  - {id: echo, type: aggregate, outputs: {sku: "{{ .input.sku }}", by: "{{ .trigger.type }} {{ .trigger.name }}", also: "{{ .trigger.input.sku }}"}}
"#;

const HOLD: &str = r#"
tasks:
  - {id: low, type: wait, wait_for: stock-low, timeout: 1h}
  - {id: last, type: aggregate, outputs: {sku: "{{ .tasks.low.output.signal.payload.sku }}", source: "{{ .tasks.low.output.signal.metadata.source }}"}}
"#;

const TELL: &str = r#"
tasks:
  - {id: tell, type: signal, signal: {id: stock-low, payload: {sku: "{{ .input.sku }}"}}}
"#;

fn signals() -> Project {
    let project = Project::sqlite("");
    project.file("workflows/listen.yaml", LISTEN).file("workflows/also.yaml", LISTEN);
    project.file("workflows/hold.yaml", HOLD).file("workflows/tell.yaml", TELL);
    project
}

fn waiting(server: &Server, exec_id: &str) {
    wait::until("the wait", || (server.run(exec_id)["status"] == "WAITING").then_some(()));
}

#[test]
fn an_event_reaches_everyone_who_listens() {
    let project = signals();
    let server = project.start();
    let held = [server.start_run("hold", json!({})), server.start_run("hold", json!({}))];
    held.iter().for_each(|exec_id| waiting(&server, exec_id));
    let event = json!({"name": "stock-low", "payload": {"sku": "a-7"}});
    let keyed = |body: &Value| server.send("POST", "/api/v0/events", &[("idempotency-key", "k1")], Some(body));
    let (first, again) = (keyed(&event), keyed(&event));
    assert_eq!((first.status, again.status), (202, 202), "{}", first.text());
    assert_eq!(first.data()["message"], "Event published");
    assert_eq!(first.data(), again.data());
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(code(&keyed(&json!({"name": "stock-low", "payload": {"sku": "b"}}))).1, "idempotency_mismatch");
    for exec_id in &held {
        assert_eq!(server.wait_run(exec_id)["output"], json!({"sku": "a-7", "source": "api"}));
    }
    for workflow in ["listen", "also"] {
        let runs = runs(&server, workflow);
        assert_eq!(runs.len(), 1, "{runs:#?}");
        assert_eq!(runs[0]["output"], json!({"sku": "a-7", "by": "signal stock-low", "also": "a-7"}));
        let run = server.run(runs[0]["exec_id"].as_str().expect("exec_id"));
        let event_id = &first.data()["event_id"];
        assert_eq!(run["trigger"], json!({"type": "signal", "name": "stock-low", "signal_id": event_id}));
    }
    // Nobody has to listen.
    assert_eq!(server.post("/api/v0/events", &json!({"name": "unheard"})).status, 202);
    for (body, expected) in [
        (json!({}), (400, "invalid_request")),
        (json!({"name": ""}), (400, "invalid_request")),
        (json!({"name": 1}), (400, "invalid_request")),
        (json!({"name": "a", "more": 1}), (400, "invalid_request")),
        (json!({"name": "stock-low"}), (422, "input_invalid")),
        (json!({"name": "stock-low", "payload": [1]}), (422, "input_invalid")),
    ] {
        let response = server.post("/api/v0/events", &body);
        assert_eq!(code(&response), (expected.0, expected.1.to_owned()), "{body}");
    }
    let refused = server.post("/api/v0/events", &json!({"name": "stock-low", "payload": {}})).json();
    assert_eq!(refused["detail"], "signal 'stock-low': payload does not match its schema");
    let missing = json!({"pointer": "/payload", "code": "CZ0905", "message": "\"sku\" is a required property"});
    assert_eq!(refused["errors"], json!([missing]));
    assert_eq!(runs(&server, "listen").len(), 1);
    sound(&project, server);
}

#[test]
fn a_signal_of_one_run_fits_what_the_project_declares() {
    let project = signals();
    let server = project.start();
    let held = server.start_run("hold", json!({}));
    waiting(&server, &held);
    let path = format!("{RUNS}/{held}/signals");
    let refused = server.post(&path, &json!({"signal_name": "stock-low", "payload": {}}));
    assert_eq!(code(&refused), (422, "input_invalid".to_owned()));
    assert_eq!(refused.json()["errors"][0]["code"], "CZ0905");
    server.stop();
    let send = |payload: &str| project.compozy(&["signal", "send", &held, "stock-low", "--payload", payload]);
    let refused = send("{}");
    assert_eq!(refused.code, 3, "{refused}");
    assert!(refused.stderr.contains("signal 'stock-low': payload does not match its schema"), "{refused}");
    send(r#"{"sku": "a-7"}"#).ok();
    let server = project.start();
    assert_eq!(server.wait_run(&held)["output"], json!({"sku": "a-7", "source": "cli"}));
    // It was for this run alone.
    assert_eq!(runs(&server, "listen").len(), 0);
    sound(&project, server);
}

/// A command runs only what it was asked to run.
#[test]
fn what_a_command_starts_by_a_signal_waits_for_a_server() {
    let project = signals();
    let told = project.compozy(&["workflow", "run", "tell", "--param", "sku=c-1"]).ok();
    assert!(told.stderr.contains("a run of 'listen' was started by a signal and waits for a server"), "{told}");
    let server = project.start();
    assert_eq!(runs(&server, "listen")[0]["output"]["sku"], "c-1");
    sound(&project, server);
}

const ORDERS: &str = r#"
id: orders
triggers:
  - type: webhook
    webhook:
      slug: orders
      verify: {strategy: hmac, secret: "${HOOK_SECRET}", header: X-Shop-Signature}
      dedupe: {key: "{{ .payload.id }}", ttl: 2s}
      events:
        - name: order.paid
          filter: 'payload.status == "paid"'
          input: {id: "{{ .payload.id }}", note: "{{ .payload.note.text }}", agent: "{{ .headers.x-agent }}", page: "{{ .query.page }}", no: "{{ .query.none }}"}
          schema: {properties: {id: {type: integer}}}
        - {name: order.any, filter: 'payload.status in ["new", "paid"] && !("x-quiet" in headers)', input: "{{ .payload.order }}"}
config: {input: {properties: {currency: {type: string, default: EUR}}}}
tasks:
  - {id: echo, type: aggregate, outputs: {input: "{{ .input }}", event: "{{ .trigger.name }}"}}
"#;

const SECRET: &str = "hook-secret-4711";

fn hooks(extra: &str) -> Project {
    let mut project = Project::sqlite(extra);
    project.env("HOOK_SECRET", SECRET).file("workflows/orders.yaml", ORDERS);
    for (slug, more) in [
        ("stripe", "verify: {strategy: stripe, secret: \"${HOOK_SECRET}\"},"),
        ("github", "verify: {strategy: github, secret: \"${HOOK_SECRET}\"},"),
        ("open", "method: PUT,"),
        ("again", "dedupe: {enabled: false},"),
        ("unset", "verify: {strategy: hmac, secret: \"{{ .env.NOWHERE }}\"},"),
    ] {
        let event = "events: {name: NAME, filter: \"true\", input: {n: \"{{ .payload.n }}\"}}".replace("NAME", slug);
        let text = format!(
            "triggers: [{{type: webhook, webhook: {{slug: {slug}, {more} {event}}}}}]\ntasks: [{{id: echo, type: aggregate, outputs: {{n: \"{{{{ .input.n }}}}\"}}}}]\n"
        );
        project.file(&format!("workflows/{slug}.yaml"), text);
    }
    project
}

fn deliver(server: &Server, slug: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let path = format!("/api/v0/hooks/{slug}");
    http::send(&server.address, "POST", &path, headers, Some(body.as_bytes())).expect("an answer")
}

/// A delivery to `orders`, signed as it should be.
fn order(server: &Server, query: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let signature = hmac(SECRET, body);
    let all: Vec<_> = headers.iter().copied().chain([("X-Shop-Signature", signature.as_str())]).collect();
    deliver(server, &format!("orders{query}"), &all, body)
}

#[test]
fn the_first_event_whose_filter_is_true_starts_the_workflow() {
    let project = hooks("");
    let server = project.start();
    let paid = order(&server, "?page=2&page=3", &[("X-Agent", "shop")], r#"{"id": 7, "status": "paid"}"#);
    assert_eq!(paid.status, 202, "{}", paid.text());
    let exec_id = paid.data()["exec_id"].as_str().expect("exec_id").to_owned();
    assert_eq!(
        paid.data(),
        json!({
            "status": "started", "event": "order.paid", "exec_id": exec_id, "exec_url": format!("{RUNS}/{exec_id}"),
            "workflow_id": "orders",
        })
    );
    assert_eq!(paid.header("location"), Some(format!("{RUNS}/{exec_id}").as_str()));
    let run = server.wait_run(&exec_id);
    let input = json!({"id": 7, "note": null, "agent": "shop", "page": "2", "no": null, "currency": "EUR"});
    assert_eq!(run["output"], json!({"input": input, "event": "order.paid"}));
    assert_eq!(run["trigger"], json!({"type": "webhook", "name": "order.paid", "slug": "orders"}));
    // A filter over a member that is not there is not true.
    let other = order(&server, "", &[], r#"{"id": 8, "status": "new", "order": {"n": 1}}"#);
    assert_eq!(other.status, 202, "{}", other.text());
    let run = server.wait_run(other.data()["exec_id"].as_str().expect("exec_id"));
    assert_eq!(run["output"], json!({"input": {"n": 1, "currency": "EUR"}, "event": "order.any"}));
    for body in [r#"{"id": 9}"#, "[]", "null", r#"{"id": 9, "status": "lost"}"#] {
        let nothing = order(&server, "", &[], body);
        assert_eq!((nothing.status, nothing.data()), (200, json!({"status": "no_matching_event"})), "{body}");
    }
    let quiet = order(&server, "", &[("x-quiet", "1")], r#"{"id": 9, "status": "new"}"#);
    assert_eq!(quiet.data(), json!({"status": "no_matching_event"}));
    let wrong = order(&server, "", &[], r#"{"id": "9", "status": "paid"}"#);
    assert_eq!(code(&wrong), (422, "input_invalid".to_owned()));
    let violation = &wrong.json()["errors"][0];
    assert_eq!((&violation["pointer"], &violation["code"]), (&json!("/id"), &json!("CZ0905")));
    let no_input = order(&server, "", &[], r#"{"id": 10, "status": "new", "order": 1}"#);
    assert_eq!(code(&no_input), (422, "input_invalid".to_owned()));
    assert_eq!(runs(&server, "orders").len(), 2);
    sound(&project, server);
}

#[test]
fn forged_deliveries_are_not_even_read() {
    let project = hooks("webhooks: {default_max_body: 1KiB}\n");
    let server = project.start();
    let body = r#"{"id": 7, "status": "paid"}"#;
    let good = hmac(SECRET, body);
    let flipped = format!("{}{}", if good.starts_with('0') { '1' } else { '0' }, &good[1..]);
    let wrong = hmac("another secret", body);
    for headers in [
        vec![],
        vec![("X-Signature", good.as_str())],
        vec![("X-Shop-Signature", flipped.as_str())],
        vec![("X-Shop-Signature", wrong.as_str())],
        vec![("X-Shop-Signature", "")],
        vec![("X-Shop-Signature", good.as_str()), ("X-Shop-Signature", good.as_str())],
        vec![("X-Shop-Signature", "\u{fc}")],
    ] {
        let refused = deliver(&server, "orders", &headers, body);
        assert_eq!(code(&refused), (401, "unauthorized".to_owned()), "{headers:?}");
        assert_eq!(refused.json()["detail"], "the signature of the delivery is not valid");
    }
    // The right signature of other bytes, white space included.
    let headers = [("X-Shop-Signature", good.as_str())];
    for body in [r#"{"id": 8, "status": "paid"}"#, r#"{"id":7,"status":"paid"}"#, "{", ""] {
        assert_eq!(deliver(&server, "orders", &headers, body).status, 401, "{body}");
    }
    assert_eq!(code(&order(&server, "", &[], "{\"id\"")), (400, "invalid_json".to_owned()));
    assert_eq!(code(&order(&server, "", &[], "")), (400, "invalid_json".to_owned()));
    let deep = "[".repeat(65);
    assert_eq!(code(&order(&server, "", &[], &deep)), (400, "invalid_json".to_owned()));
    let large = format!("{{\"id\": \"{}\"}}", "x".repeat(1_024));
    assert_eq!(code(&order(&server, "", &[], &large)), (413, "payload_too_large".to_owned()));
    assert_eq!(code(&deliver(&server, "nosuch", &[], "{}")), (404, "route_not_found".to_owned()));
    let method = deliver(&server, "open", &[], "{}");
    assert_eq!(code(&method), (405, "method_not_allowed".to_owned()));
    assert_eq!(method.header("allow"), Some("PUT"));
    let put = http::send(&server.address, "PUT", "/api/v0/hooks/open", &[], Some(b"{\"n\": 1}")).expect("an answer");
    assert_eq!(put.status, 202, "any type whose bytes parse: {}", put.text());
    // Nobody outside learns what is wrong with the project.
    let unset = deliver(&server, "unset", &[("X-Signature", &hmac("", "{}"))], "{}");
    assert_eq!(code(&unset), (500, "internal".to_owned()));
    assert!(!unset.text().contains("NOWHERE") && !unset.text().contains("secret"), "{}", unset.text());
    assert_eq!(runs(&server, "orders").len(), 0);
    let stopped = server.stop();
    assert!(stopped.stderr.contains("NOWHERE") && stopped.stderr.contains("a delivery is refused"), "{stopped}");
    for secret in [SECRET, good.as_str()] {
        assert!(!stopped.stderr.contains(secret), "{stopped}");
    }
}

#[test]
fn stripe_and_github_sign_in_their_own_way() {
    let project = hooks("");
    let server = project.start();
    let now = seconds();
    let stripe = |time: u64, body: &str| {
        let signature = format!("t={time},v1={},v0=0", hmac(SECRET, &format!("{time}.{body}")));
        deliver(&server, "stripe", &[("Stripe-Signature", &signature)], body).status
    };
    assert_eq!(stripe(now, r#"{"n": 1}"#), 202);
    assert_eq!(stripe(now - 290, r#"{"n": 2}"#), 202);
    assert_eq!(stripe(now - 310, r#"{"n": 3}"#), 401);
    assert_eq!(stripe(now + 310, r#"{"n": 3}"#), 401);
    // The same delivery again is a repeat, also with a new time.
    assert_eq!(stripe(now, r#"{"n": 1}"#), 409);
    assert_eq!(stripe(now + 1, r#"{"n": 1}"#), 409);
    let github = |signature: &str, body: &str| {
        deliver(&server, "github", &[("X-Hub-Signature-256", signature), ("X-GitHub-Event", "push")], body).status
    };
    let signature = hmac(SECRET, "{}");
    assert_eq!(github(&format!("sha256={signature}"), "{}"), 202);
    assert_eq!(github(&signature, "{}"), 401);
    assert_eq!(github(&format!("sha1={signature}"), "{}"), 401);
    assert_eq!((runs(&server, "stripe").len(), runs(&server, "github").len()), (2, 1));
    sound(&project, server);
}

#[test]
fn a_repeated_delivery_starts_nothing() {
    let project = hooks("");
    let server = project.start();
    let paid = |id: i64, more: i64| format!(r#"{{"id": {id}, "status": "paid", "more": {more}}}"#);
    // Ten at once.
    let body = paid(7, 0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..10).map(|_| scope.spawn(|| order(&server, "", &[], &body).status)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 9, "{statuses:?}");
    // The key counts, not the rest of the body; another key is another delivery.
    let again = order(&server, "", &[], &paid(7, 1));
    assert_eq!(code(&again), (409, "duplicate_event".to_owned()));
    assert_eq!(again.header("idempotency-replayed"), None);
    assert_eq!(order(&server, "", &[], &paid(8, 0)).status, 202);
    // After its time it may come again, also after a restart.
    server.stop();
    let server = project.start();
    wait::until("the end of dedupe.ttl", || {
        let status = order(&server, "", &[], &paid(7, 0)).status;
        assert!(status == 202 || status == 409, "{status}");
        (status == 202).then_some(())
    });
    assert_eq!(runs(&server, "orders").len(), 3);
    // Without a key of its own the sender's counts, and without that nothing, where nothing is signed.
    let put = |key: Option<&str>, body: &str| {
        let headers: Vec<_> = key.iter().map(|key| ("X-Idempotency-Key", *key)).collect();
        http::send(&server.address, "PUT", "/api/v0/hooks/open", &headers, Some(body.as_bytes())).expect("an answer")
    };
    let statuses = [
        put(Some("k1"), "{}"),
        put(Some("k1"), r#"{"n": 1}"#),
        put(Some("k2"), "{}"),
        put(None, "{}"),
        put(None, "{}"),
    ];
    assert_eq!(statuses.map(|response| response.status), [202, 409, 202, 202, 202]);
    assert_eq!(code(&put(Some("a b"), "{}")), (400, "invalid_request".to_owned()));
    let again = [(); 2].map(|()| deliver(&server, "again", &[("X-Idempotency-Key", "k1")], "{}").status);
    assert_eq!(again, [202, 202], "it is switched off");
    sound(&project, server);
}

#[test]
fn webhooks_need_no_key_of_the_server_and_follow_the_project() {
    let key = "0123456789abcdef0123456789abcdef";
    let project = hooks(&format!("server: {{auth: {{enabled: true, admin_key: {key}}}}}\n"));
    let server = project.start();
    let body = r#"{"id": 7, "status": "paid"}"#;
    assert_eq!(order(&server, "", &[("authorization", "Bearer wrong")], body).status, 202);
    assert_eq!(deliver(&server, "nosuch", &[], body).status, 404);
    for path in ["/api/v0/events", "/api/v0/hooks", "/api/v0/hooks/orders/more"] {
        assert_eq!(server.post(path, &json!({"name": "a"})).status, 401, "{path}");
    }
    let bearer = format!("Bearer {key}");
    let admin = [("authorization", bearer.as_str())];
    assert_eq!(server.send("POST", "/api/v0/events", &admin, Some(&json!({"name": "a"}))).status, 202);
    // A reload replaces the slugs; one that cannot be served replaces nothing.
    let reload = || server.send("POST", "/api/v0/admin/reload", &admin, Some(&json!({})));
    project.file("workflows/orders.yaml", ORDERS.replace("${HOOK_SECRET}", "${NO_SUCH_SECRET}"));
    let refused = reload();
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("NO_SUCH_SECRET"), "{}", refused.text());
    assert_eq!(order(&server, "", &[], r#"{"id": 8, "status": "paid"}"#).status, 202);
    project.file("workflows/orders.yaml", ORDERS.replace("slug: orders", "slug: renamed"));
    assert_eq!(reload().status, 200);
    assert_eq!(order(&server, "", &[], body).status, 404);
    assert_eq!(deliver(&server, "renamed", &[("X-Shop-Signature", &hmac(SECRET, body))], body).status, 202);
    server.stop();
}

#[test]
fn a_server_does_not_start_without_the_secrets_it_checks_with() {
    for (secret, expected) in [
        ("${NO_SUCH_SECRET}", "error[CZ0113]: environment variable NO_SUCH_SECRET is not set"),
        ("", "error[CZ0904]: webhook 'orders': its 'verify.secret' is empty"),
    ] {
        let project = hooks("");
        project.file("workflows/orders.yaml", ORDERS.replace("${HOOK_SECRET}", secret));
        let refused = project.compozy(&["start", "--port", "0"]);
        assert_eq!(refused.code, 3, "{refused}");
        assert!(refused.stderr.contains(expected), "{refused}");
        // Other commands do not serve.
        project.compozy(&["workflow", "run", "open", "--param", "n=1"]).ok();
    }
}

/// A request of which nobody knows whether it was carried out is sent again, until it is answered.
fn insist(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    wait::until("an answer", || {
        let response = http::send(&server.address, "POST", path, headers, Some(body.as_bytes())).expect("an answer");
        (response.status != 503).then_some(response)
    })
}

/// Whichever commit loses its answer: everything happens, and once.
#[test]
fn lost_answers_lose_nothing_and_repeat_nothing() {
    let mut lost = 0;
    for number in 2..=12 {
        let project = signals();
        project.file("workflows/orders.yaml", ORDERS.replace("${HOOK_SECRET}", SECRET).replace("2s", "1h"));
        let Ok(server) = project.try_start(&[], &[("COMPOZY_CRASH_POINT", &format!("unknown:{number}"))]) else {
            continue;
        };
        let json = ("content-type", "application/json");
        let started = insist(&server, "/api/v0/workflows/hold/executions", &[json, ("idempotency-key", "hold")], "{}");
        let held = started.data()["exec_id"].as_str().expect("exec_id").to_owned();
        waiting(&server, &held);
        let event = r#"{"name": "stock-low", "payload": {"sku": "a-7"}}"#;
        let answer = insist(&server, "/api/v0/events", &[json, ("idempotency-key", "event")], event);
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(server.wait_run(&held)["output"]["sku"], "a-7", "unknown:{number}");
        let body = r#"{"id": 7, "status": "paid"}"#;
        let signature = hmac(SECRET, body);
        let answer = insist(&server, "/api/v0/hooks/orders", &[("X-Shop-Signature", &signature)], body);
        assert!(matches!(answer.status, 202 | 409), "{}", answer.text());
        for workflow in ["hold", "listen", "also", "orders"] {
            assert_eq!(runs(&server, workflow).len(), 1, "unknown:{number}: {workflow}");
        }
        lost += server.stderr().matches("nobody is told").count();
        sound(&project, server);
    }
    assert!(lost >= 6, "{lost}: COMPOZY_CRASH_POINT does nothing here");
}

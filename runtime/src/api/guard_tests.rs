//! Whom the browser guard lets in.

use http_body_util::BodyExt as _;

use super::*;

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

fn word(result: Result<Admitted, Problem>) -> Result<Admitted, &'static str> {
    result.map_err(|problem| problem.code().word)
}

const LOCAL: Admitted = Admitted::As(Principal::Local);
const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn hosts_are_checked() {
    let local = Settings { allowed_hosts: vec!["box.example".into(), "named:99".into()], ..Settings::default() };
    let wild = Settings { host: "0.0.0.0".into(), ..Settings::default() };
    for (settings, host, expected) in [
        (&local, "127.0.0.1:8080", Ok(LOCAL)),
        (&local, "LOCALHOST", Ok(LOCAL)),
        (&local, "localhost.:1", Ok(LOCAL)),
        (&local, "app.localhost:8080", Ok(LOCAL)),
        (&local, "[::1]:8080", Ok(LOCAL)),
        (&local, "127.9.9.9", Ok(LOCAL)),
        (&local, "Box.Example:8080", Ok(LOCAL)),
        (&local, "named:99", Ok(LOCAL)),
        (&local, "named:98", Err("host_not_allowed")),
        (&local, "evil.example", Err("host_not_allowed")),
        (&local, "localhost.evil.example", Err("host_not_allowed")),
        (&local, "127.0.0.1.evil.example", Err("host_not_allowed")),
        (&local, "192.168.1.5:8080", Err("host_not_allowed")),
        (&local, "[::1", Ok(LOCAL)),
        (&wild, "192.168.1.5:8080", Ok(LOCAL)),
        (&wild, "evil.example", Err("host_not_allowed")),
        (&local, "", Err("invalid_request")),
    ] {
        assert_eq!(word(admit(settings, &request("GET", "/x", &[("host", host)]))), expected, "{host}");
    }
    assert_eq!(word(admit(&local, &request("GET", "/x", &[]))), Err("invalid_request"));
    // With authentication and no list the Host header says nothing.
    let auth = Settings { auth: Some(Auth::new(Some(KEY), Vec::new())), ..Settings::default() };
    let bearer = format!("Bearer {KEY}");
    let headers = [("host", "any.example"), ("authorization", bearer.as_str())];
    assert_eq!(word(admit(&auth, &request("GET", "/x", &headers))), Ok(Admitted::As(Principal::Admin)));
}

#[test]
fn origins_are_checked() {
    let off = Settings::default();
    let cors = Cors {
        allowed_origins: vec!["https://app.example".into()],
        allow_credentials: true,
        max_age: std::time::Duration::from_secs(60),
    };
    let on = Settings { cors: Some(cors), ..Settings::default() };
    for (settings, origin, expected) in [
        (&off, "http://localhost:8080", Ok(LOCAL)),
        (&off, "https://localhost:8080", Ok(LOCAL)),
        (&off, "http://localhost:8081", Err("origin_not_allowed")),
        (&off, "http://evil.example", Err("origin_not_allowed")),
        (&off, "https://app.example", Err("origin_not_allowed")),
        (&off, "null", Err("origin_not_allowed")),
        (&off, "", Err("origin_not_allowed")),
        (&off, "file://localhost:8080", Err("origin_not_allowed")),
        (&on, "https://app.example", Ok(LOCAL)),
        (&on, "https://app.example.evil", Err("origin_not_allowed")),
    ] {
        let headers = [("host", "localhost:8080"), ("origin", origin)];
        assert_eq!(word(admit(settings, &request("POST", "/x", &headers))), expected, "{origin}");
    }
    let asks =
        [("host", "localhost:8080"), ("origin", "https://app.example"), ("access-control-request-method", "PATCH")];
    assert_eq!(word(admit(&on, &request("OPTIONS", "/x", &asks))), Ok(Admitted::Preflight));
    assert_eq!(word(admit(&off, &request("OPTIONS", "/x", &asks))), Err("origin_not_allowed"));
    let mut headers = HeaderMap::new();
    cors_headers(on.cors.as_ref().unwrap(), &HeaderValue::from_static("https://app.example"), true, &mut headers);
    assert!(headers[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("PATCH"));
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
}

#[test]
fn keys_are_checked_on_every_route_but_the_public_ones() {
    let auth = Auth::new(Some(KEY), vec!["hello".into()]);
    let settings = Settings { auth: Some(auth), ..Settings::default() };
    let right = format!("Bearer {KEY}");
    let (admin, anonymous) = (Ok(Admitted::As(Principal::Admin)), Ok(Admitted::As(Principal::Anonymous)));
    let denied = || Err("unauthorized");
    let wrong =
        ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer wrong", KEY, &format!("Bearer  {KEY}"), &format!("{right}x")];
    for path in [
        "/api/v0/workflows",
        "/api/v0/executions/workflows/01/cancel",
        "/api/v0/events",
        "/api/v0/hooks",
        "/api/v0/hooks/orders/more",
        "/api/v0/none",
        "/none",
        "/api",
        "/API/V0",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            assert_eq!(word(admit(&settings, &request(method, path, &[]))), denied(), "{method} {path}");
            assert_eq!(word(admit(&settings, &request(method, path, &[("authorization", &right)]))), admin);
            for value in wrong {
                let answer = admit(&settings, &request(method, path, &[("authorization", value)]));
                assert_eq!(word(answer), denied(), "{method} {path} {value}");
            }
            let twice = [("authorization", right.as_str()), ("authorization", right.as_str())];
            assert_eq!(word(admit(&settings, &request(method, path, &twice))), denied());
        }
    }
    for path in [
        "/",
        "/api/v0",
        "/healthz",
        "/readyz",
        "/api/v0/health",
        "/api/v0/identity",
        "/problems/internal",
        "/api/v0/hooks/orders",
    ] {
        assert_eq!(word(admit(&settings, &request("GET", path, &[]))), anonymous, "{path}");
        assert_eq!(word(admit(&settings, &request("GET", path, &[("authorization", "Bearer x")]))), anonymous);
    }
    for (method, path, expected) in [
        ("POST", "/api/v0/workflows/hello/executions", anonymous),
        ("POST", "/api/v0/workflows/hello/executions/sync", anonymous),
        ("GET", "/api/v0/workflows/hello/executions", denied()),
        ("POST", "/api/v0/workflows/hello", denied()),
        ("POST", "/api/v0/workflows/other/executions", denied()),
        ("POST", "/api/v0/workflows/hello/executions/sync/x", denied()),
    ] {
        assert_eq!(word(admit(&settings, &request(method, path, &[]))), expected, "{method} {path}");
    }
}

#[test]
fn paths_match_exactly() {
    let settings = Settings::default();
    for path in [
        "/api/v0/",
        "//api/v0",
        "/api//v0",
        "/api/v0/workflows/a%2fb",
        "/api/v0/workflows/a%2Fexecutions",
        "/api/v0/x/../workflows",
        "/api/v0/./workflows",
        "/api/v0/%2e%2e/workflows",
        "/api/v0/workflows/a%5cb",
        "/api/v0/workflows/a%00",
    ] {
        let answer = admit(&settings, &request("GET", path, &[("host", "localhost")]));
        assert_eq!(word(answer), Err("route_not_found"), "{path}");
    }
    for path in ["/", "/api/v0", "/api/v0/workflows/a..b", "/api/v0/workflows/a%20b"] {
        assert_eq!(word(admit(&settings, &request("GET", path, &[("host", "localhost")]))), Ok(LOCAL), "{path}");
    }
}

#[test]
fn sizes_are_checked() {
    let settings = Settings::default();
    let long_path = format!("/{}", "x".repeat(8 << 10));
    let answer = admit(&settings, &request("GET", &long_path, &[("host", "localhost")]));
    assert_eq!(word(answer), Err("uri_too_long"));
    let long_value = "x".repeat(32 << 10);
    let answer = admit(&settings, &request("GET", "/x", &[("host", "localhost"), ("x-a", &long_value)]));
    assert_eq!(word(answer), Err("headers_too_large"));
}

#[test]
fn ids_of_requests_are_visible_ascii() {
    for (value, fits) in
        [("abc-1", true), ("", false), ("a b", false), (&"x".repeat(128), true), (&"x".repeat(129), false)]
    {
        assert_eq!(is_id(&HeaderValue::from_str(value).unwrap()), fits, "{value}");
    }
    assert!(!is_id(&HeaderValue::from_bytes(b"\xc3\xa9").unwrap()));
}

#[test]
fn errors_of_the_router_become_problems() {
    let id = HeaderValue::from_static("r1");
    for (status, word) in
        [(404, "route_not_found"), (405, "method_not_allowed"), (400, "route_not_found"), (500, "internal")]
    {
        let mut response = Response::new(Body::from("raw text"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        let explained = explain(response, &Method::PUT, &Uri::from_static("/x"), &id);
        assert_eq!(explained.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(explained.headers()[header::ALLOW], "GET");
        let body = explained.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((body["code"].as_str(), body["request_id"].as_str()), (Some(word), Some("r1")));
    }
}

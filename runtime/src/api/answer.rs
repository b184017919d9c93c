//! Successful answers: `{"status": …, "message": …, "data": …}`.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Serialize;

use super::document::Page;
use super::error::Problem;

/// What every handler returns.
pub(super) type Answer = Result<Response, Problem>;

/// `data` in its envelope under 200.
pub(super) fn ok(data: &impl Serialize) -> Answer {
    with_status(StatusCode::OK, "Success", data)
}

/// `data` in its envelope.
pub(super) fn with_status(status: StatusCode, message: &str, data: &impl Serialize) -> Answer {
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(format!(r#"{{"status":{},"message":"{message}","data":"#, status.as_u16()).as_bytes());
    serde_json::to_writer(&mut body, data).map_err(Problem::internal)?;
    body.push(b'}');
    Ok(json(status, body))
}

/// A page of a list, with its `Link` header.
pub(super) fn page(data: &impl Serialize, page: &Page, uri: &Uri) -> Answer {
    let mut response = ok(data)?;
    let links: Vec<String> = [("next", &page.next_cursor), ("prev", &page.prev_cursor)]
        .into_iter()
        .filter_map(|(rel, cursor)| Some(format!("<{}>; rel=\"{rel}\"", with_cursor(uri, cursor.as_deref()?))))
        .collect();
    if !links.is_empty()
        && let Ok(value) = HeaderValue::from_str(&links.join(", "))
    {
        response.headers_mut().insert(LINK, value);
    }
    Ok(response)
}

/// A document with a strong ETag; 304 when the caller has it already.
pub(super) fn tagged(data: &impl Serialize, etag: &str, headers: &HeaderMap) -> Answer {
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*");
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        ok(data)?
    };
    response.headers_mut().insert(ETAG, HeaderValue::from_str(etag).map_err(Problem::internal)?);
    Ok(response)
}

/// A JSON response.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The same list from another cursor; `offset` goes with the old place.
fn with_cursor(uri: &Uri, cursor: &str) -> String {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !matches!(name, "" | "cursor" | "offset" | "from")
    });
    let own = format!("cursor={cursor}");
    let pairs: Vec<&str> = kept.chain([own.as_str()]).collect();
    format!("{}?{}", uri.path(), pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_links_its_neighbours() {
        let stand = Page { limit: 2, next_cursor: Some("n".into()), prev_cursor: None, total: None };
        let response = page(&1, &stand, &"/x?limit=2&cursor=o&q=a%20b&offset=3".parse().unwrap()).unwrap();
        assert_eq!(response.headers()[LINK], "</x?limit=2&q=a%20b&cursor=n>; rel=\"next\"");
    }

    #[test]
    fn a_known_etag_is_304() {
        for (given, status) in [(None, 200), (Some("\"b\""), 200), (Some("\"b\", W/\"a\""), 304), (Some("*"), 304)] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(IF_NONE_MATCH, given.parse().unwrap());
            }
            assert_eq!(tagged(&1, "\"a\"", &headers).unwrap().status(), status);
        }
    }
}

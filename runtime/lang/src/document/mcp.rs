//! MCP servers: checked, not yet used.

use crate::plan::Segment;
use crate::schema::Kind;
use crate::schema::definitions::MCP;
use crate::yaml::Node;

use super::Name;
use super::reader::Reader;

/// How a server is talked to, further spellings last.
const TRANSPORTS: &[&str] = &["stdio", "sse", "streamable-http", "streamable_http", "http"];

impl Reader<'_> {
    /// One entry of `mcps`, or a file that defines one.
    pub(crate) fn mcp(&mut self, node: &Node, path: &str) -> Option<Name> {
        self.check(node, &Kind::Map(&MCP), path);
        node.entries()?;
        let id = node.get("id").filter(|id| !id.is_null()).and_then(|id| self.name_of(id, path));
        let shown = id.as_ref().map_or_else(String::new, |id| id.text.clone());
        let has = |key: &str| node.get(key).is_some_and(|value| !value.is_null());
        match (has("url"), has("command")) {
            (true, true) => {
                self.bad_mcp(node.get("command").unwrap_or(node), &shown, "it has both 'url' and 'command'")
            }
            (false, false) => self.bad_mcp(node, &shown, "it needs 'url' or 'command'"),
            (has_url, _) => self.transport(node, &shown, has_url),
        }
        id
    }

    /// CZ0906.
    fn bad_mcp(&mut self, node: &Node, id: &str, reason: &str) {
        let length = if node.scalar().is_some() { node.length() } else { 1 };
        self.report(node.diagnostic("CZ0906", format!("mcp '{id}': {reason}")).length(length).help("fix the entry"));
    }

    fn transport(&mut self, node: &Node, id: &str, has_url: bool) {
        let Some(transport) = node.get("transport").filter(|value| !value.is_null()) else { return };
        let parts = self.parts(transport);
        let [(Segment::Literal(text), ..)] = parts.pieces.as_slice() else { return };
        let text = text.trim().to_ascii_lowercase();
        if !TRANSPORTS.contains(&text.as_str()) {
            let near = crate::suggest::nearest(&text, TRANSPORTS.iter().copied());
            let near = near.map(|near| format!(". Did you mean '{near}'?")).unwrap_or_default();
            self.bad_mcp(transport, id, &format!("there is no transport '{text}'{near}"));
        } else if (text == "stdio") == has_url {
            let other = if has_url {
                "'url' is spoken to by sse or streamable-http"
            } else {
                "'command' is spoken to by stdio"
            };
            self.bad_mcp(transport, id, other);
        }
    }
}

//! Cases of a plugin (`crate::cases`).
//!
//! What is sent, expected and played is taken as it stands: a `${…}` or `{{…}}` in it is text for the plugin.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::cases::{Answer, Case, CaseFile, Exchange, Expected, ExpectedError, ModelAnswer, Reply, World};
use crate::plan::PluginKind;
use crate::schema::cases::{ANSWER, CASE, CASES, ERROR, EXCHANGE, REPLY, REQUEST};
use crate::yaml::{self, Node};

use super::fields::{Fields, join};
use super::reader::Reader;
use super::scalar::one_or_many;

impl Reader<'_> {
    /// Reads a file of cases.
    pub(crate) fn cases(&mut self, root: &Node) -> Option<CaseFile> {
        let fields = self.fields(root, &CASES, "")?;
        let plugin = self.text(&fields, "plugin");
        let kind = self.choice(&fields, "kind").map(|word| match word {
            "llm" => PluginKind::Llm,
            "embedder" => PluginKind::Embedder,
            "template" => PluginKind::Template,
            _ => PluginKind::Tool,
        });
        let permissions = self.unlinked_permissions(&fields);
        let limits = self.plugin_limits(&fields);
        let config = fields.get("config").map_or(Value::Null, |node| self.literal(node, "config"));
        let world = self.world(&fields, World::default());
        let nodes = fields.get("cases").map(one_or_many).unwrap_or_default();
        if nodes.is_empty() {
            self.report(root.diagnostic("CZ0110", "a file of cases needs at least one case").path("cases"));
        }
        let mut cases = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            cases.extend(self.case(node, index, &config, &world));
        }
        Some(CaseFile { plugin, kind, permissions, limits, cases })
    }

    fn case(&mut self, node: &Node, index: usize, config: &Value, world: &World) -> Option<Case> {
        let fields = self.fields(node, &CASE, &format!("cases[{index}]"))?;
        let function = self.text(&fields, "function");
        let numbered = || match &function {
            Some(function) => format!("{function} {}", index + 1),
            None => format!("case {}", index + 1),
        };
        let name =
            fields.get("name").and_then(|node| self.plain_text(node, &fields.at("name"))).unwrap_or_else(numbered);
        let input = fields
            .get("input")
            .map_or_else(|| Value::Object(Map::new()), |node| self.literal(node, &fields.at("input")));
        let expected = self.expectation(&fields);
        let config =
            fields.get("config").map_or_else(|| config.clone(), |node| self.literal(node, &fields.at("config")));
        let world = self.world(&fields, world.clone());
        Some(Case { name, function, input, expected, config, world, place: node.place() })
    }

    fn expectation(&mut self, fields: &Fields<'_>) -> Expected {
        let written = self.one_of(fields, &["output", "output_contains", "error"], "a case has one of");
        match written {
            Some(("output", node)) => Expected::Output(self.literal(node, &fields.at("output"))),
            Some(("output_contains", node)) => Expected::Contains(self.literal(node, &fields.at("output_contains"))),
            Some((_, node)) => Expected::Error(self.expected_error(node, &fields.at("error"))),
            None => Expected::Success,
        }
    }

    /// The only one of several keys that is written; further ones are reported.
    fn one_of<'n>(
        &mut self,
        fields: &Fields<'n>,
        names: &[&'static str],
        rule: &str,
    ) -> Option<(&'static str, &'n Node)> {
        let mut written = names.iter().filter_map(|name| Some((*name, fields.entry(name)?)));
        let first = written.next();
        if let Some((name, _)) = written.next() {
            self.report(fields.diagnostic(name, "CZ0110", format!("{rule} {}", names.join(", "))));
        }
        first.map(|(name, entry)| (name, &entry.value))
    }

    fn expected_error(&mut self, node: &Node, path: &str) -> ExpectedError {
        let Some(fields) = self.fields(node, &ERROR, path) else { return ExpectedError::default() };
        ExpectedError {
            code: self.text(&fields, "code"),
            message: fields.get("message").and_then(|node| self.plain_text(node, &fields.at("message"))),
            retryable: self.bool(&fields, "retryable"),
        }
    }

    /// What is played, with what the file says where the case says nothing.
    fn world(&mut self, fields: &Fields<'_>, mut world: World) -> World {
        if let Some(node) = fields.get("http") {
            world.http = self.items(node, &fields.at("http"), Self::exchange);
        }
        if let Some(node) = fields.get("secrets") {
            world.secrets = self.map(node, &fields.at("secrets"), Self::plain_text);
        }
        if let Some(node) = fields.get("env") {
            world.env = self.map(node, &fields.at("env"), Self::plain_text);
        }
        if let Some(node) = fields.get("kv") {
            world.kv = self.map(node, &fields.at("kv"), |reader, node, path| Some(reader.literal(node, path)));
        }
        if let Some(node) = fields.get("sql") {
            world.sql = self
                .map(node, &fields.at("sql"), |reader, node, path| Some(reader.items(node, path, Self::plain_text)));
        }
        if let Some(node) = fields.get("llm") {
            world.llm = self.items(node, &fields.at("llm"), Self::model_answer);
        }
        world
    }

    fn exchange(&mut self, node: &Node, path: &str) -> Option<Exchange> {
        let fields = self.fields(node, &EXCHANGE, path)?;
        let method = self.text(&fields, "method").unwrap_or_default().to_ascii_uppercase();
        let Some(url) = fields.get("url") else {
            self.report(node.diagnostic("CZ0110", format!("{path}: an exchange needs a url")).path(path));
            return None;
        };
        let url = self.plain_text(url, &fields.at("url"))?;
        let expect = fields.get("expect").and_then(|node| self.fields(node, &REQUEST, &fields.at("expect")));
        let expect = expect.unwrap_or_else(|| Fields::empty(node, &REQUEST));
        let reply = fields.get("reply").and_then(|node| self.fields(node, &REPLY, &fields.at("reply")));
        let reply = reply.unwrap_or_else(|| Fields::empty(node, &REPLY));
        Some(Exchange {
            method,
            url,
            headers: self.texts_by_name(&expect, "headers"),
            body: expect.get("body").map(|node| self.literal(node, &expect.at("body"))),
            status: self.int(&reply, "status").and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
            reply_headers: self.texts_by_name(&reply, "headers"),
            reply: match self.one_of(&reply, &["json", "text"], "a reply has one of") {
                Some(("json", node)) => Reply::Json(self.literal(node, &reply.at("json"))),
                Some((_, node)) => Reply::Text(self.plain_text(node, &reply.at("text")).unwrap_or_default()),
                None => Reply::Empty,
            },
            delay: self.duration(&reply, "delay").unwrap_or_default(),
        })
    }

    fn model_answer(&mut self, node: &Node, path: &str) -> Option<ModelAnswer> {
        let fields = self.fields(node, &ANSWER, path)?;
        let expect = fields.get("expect").and_then(|node| self.plain_text(node, &fields.at("expect")));
        let names = ["text", "json", "vectors", "error"];
        let answer = match self.one_of(&fields, &names, "an answer has one of") {
            Some(("text", node)) => Answer::Text(self.plain_text(node, &fields.at("text"))?),
            Some(("json", node)) => Answer::Text(self.literal(node, &fields.at("json")).to_string()),
            Some(("vectors", node)) => Answer::Vectors(self.vectors(node, &fields.at("vectors"))?),
            Some((_, node)) => Answer::Error(self.expected_error(node, &fields.at("error"))),
            None => {
                let message = format!("an answer has one of {}", names.join(", "));
                self.report(node.diagnostic("CZ0110", message).path(path));
                return None;
            }
        };
        Some(ModelAnswer { expect, answer })
    }

    fn vectors(&mut self, node: &Node, path: &str) -> Option<Vec<Vec<f64>>> {
        let vectors = serde_json::from_value(self.literal(node, path)).ok();
        if vectors.is_none() {
            self.expected(node, path, "lists of numbers");
        }
        vectors
    }

    fn texts_by_name(&mut self, fields: &Fields<'_>, name: &str) -> BTreeMap<String, String> {
        fields.get(name).map(|node| self.map(node, &fields.at(name), Self::plain_text)).unwrap_or_default()
    }

    /// Items of a list, or one.
    fn items<T>(&mut self, node: &Node, path: &str, read: fn(&mut Self, &Node, &str) -> Option<T>) -> Vec<T> {
        let items = one_or_many(node).iter().enumerate();
        items.filter_map(|(index, item)| read(self, item, &format!("{path}[{index}]"))).collect()
    }

    /// Entries of a map with free keys.
    fn map<T>(
        &mut self,
        node: &Node,
        path: &str,
        read: fn(&mut Self, &Node, &str) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let Some(entries) = node.entries() else {
            self.expected(node, path, "a map");
            return BTreeMap::new();
        };
        let read =
            |entry: &yaml::Entry| Some((entry.key.to_string(), read(self, &entry.value, &join(path, &entry.key))?));
        entries.iter().filter_map(read).collect()
    }

    /// A text as it stands.
    fn plain_text(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = node.scalar().map(|scalar| scalar.text.to_string());
        if text.is_none() {
            self.expected(node, path, "text");
        }
        text
    }

    /// A value as it stands.
    fn literal(&mut self, node: &Node, path: &str) -> Value {
        match &node.value {
            yaml::Value::Scalar(scalar) => self.typed_scalar(node, scalar, &scalar.text, false, path),
            yaml::Value::List(items) => {
                let items = items.iter().enumerate();
                Value::Array(items.map(|(index, item)| self.literal(item, &format!("{path}[{index}]"))).collect())
            }
            yaml::Value::Map(entries) => {
                let members = entries.iter();
                let read =
                    |entry: &yaml::Entry| (entry.key.to_string(), self.literal(&entry.value, &join(path, &entry.key)));
                Value::Object(members.map(read).collect())
            }
        }
    }
}

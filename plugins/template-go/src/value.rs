//! The values of the language (dialect, "Value model") and what they have in common.
//!
//! Values are immutable and shared. Lists and maps know how deep they nest, so that nothing which walks them can exhaust the stack.

use std::{cmp::Ordering, collections::BTreeMap, rc::Rc};

use crate::problem::Fail;

/// Deepest nesting of lists and maps; files nest 100 levels at most, so this leaves room for what wraps them.
pub(crate) const MAX_NESTING: u16 = 256;

/// From this size on a map has an index beside its entries.
const INDEXED_FROM: usize = 24;

/// A value.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Null.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A finite float.
    Float(f64),
    /// Text.
    String(Rc<str>),
    /// A list.
    List(Rc<List>),
    /// A map with string keys.
    Map(Rc<Map>),
    /// A moment, as `now` and `toDate` give it.
    Time(Rc<Time>),
}

/// A moment and the offset it was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Nanoseconds since 1970 UTC; `i128`, as 64 bits end in the year 2262.
    pub unix_ns: i128,
    /// Seconds east of UTC.
    pub offset_s: i32,
}

/// The elements of a list.
#[derive(Debug, Default)]
pub struct List {
    items: Vec<Value>,
    nesting: u16,
}

impl List {
    /// Its elements.
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

/// The entries of a map, in the order they were put in.
#[derive(Clone, Debug, Default)]
pub struct Map {
    entries: Vec<(Rc<str>, Value)>,
    index: Option<BTreeMap<Rc<str>, usize>>,
    nesting: u16,
}

impl Map {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => self.entries.iter().position(|(k, _)| &**k == key),
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).and_then(|at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// `Fail::Limit` if `value` nests too deep.
    pub fn insert(&mut self, key: Rc<str>, value: Value) -> Result<(), Fail> {
        self.nesting = self.nesting.max(below(value.nesting())?);
        match self.position(&key) {
            Some(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = value;
                }
            }
            None => {
                if let Some(index) = &mut self.index {
                    index.insert(key.clone(), self.entries.len());
                }
                self.entries.push((key, value));
                if self.index.is_none() && self.entries.len() >= INDEXED_FROM {
                    self.build_index();
                }
            }
        }
        Ok(())
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &str) {
        let Some(at) = self.position(key) else { return };
        self.entries.remove(at);
        if self.index.is_some() {
            self.build_index();
        }
    }

    fn build_index(&mut self) {
        let keys = self.entries.iter().map(|(key, _)| key.clone());
        self.index = Some(keys.zip(0..).collect());
    }

    /// Entries in the order they were put in.
    pub fn iter(&self) -> impl Iterator<Item = (&Rc<str>, &Value)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Entries by key in byte order, as whatever enumerates a map goes.
    pub fn sorted(&self) -> Vec<(&Rc<str>, &Value)> {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
        entries
    }
}

fn below(nesting: u16) -> Result<u16, Fail> {
    if nesting >= MAX_NESTING {
        return Err(Fail::Limit { what: "value nesting", limit: MAX_NESTING.into() });
    }
    Ok(nesting + 1)
}

impl Value {
    /// A string.
    pub fn string(text: impl Into<Rc<str>>) -> Value {
        Value::String(text.into())
    }

    /// A list of `items`.
    ///
    /// # Errors
    /// `Fail::Limit` if they nest too deep.
    pub fn list(items: Vec<Value>) -> Result<Value, Fail> {
        let deepest = items.iter().map(Value::nesting).max().unwrap_or(0);
        let nesting = below(deepest)?;
        Ok(Value::List(Rc::new(List { items, nesting })))
    }

    /// A list of strings.
    pub fn strings<S: Into<Rc<str>>>(items: impl IntoIterator<Item = S>) -> Value {
        let items = items.into_iter().map(Value::string).collect();
        Value::List(Rc::new(List { items, nesting: 1 }))
    }

    /// A map.
    pub fn map(map: Map) -> Value {
        Value::Map(Rc::new(map))
    }

    /// How many lists and maps lie in one another.
    pub fn nesting(&self) -> u16 {
        match self {
            Value::List(list) => list.nesting.max(1),
            Value::Map(map) => map.nesting.max(1),
            _ => 0,
        }
    }

    /// Its type in the words of this language.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Time(_) => "time",
        }
    }

    /// Whether it counts as true: not false, 0, `""`, null, or an empty list or map.
    pub fn truth(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::String(s) => !s.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::Time(_) => true,
        }
    }
}

/// Compares two numbers by their mathematical value; `None` if one is no number.
pub(crate) fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Float(b)) => Some(compare_mixed(*a, *b)),
        (Value::Float(a), Value::Int(b)) => Some(compare_mixed(*b, *a).reverse()),
        _ => None,
    }
}

/// 2^63 is exact as a float, `i64::MAX` is not.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

fn compare_mixed(int: i64, float: f64) -> Ordering {
    if float >= TWO_TO_63 {
        return Ordering::Less;
    }
    if float < -TWO_TO_63 {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    int.cmp(&(whole as i64)).then_with(|| 0.0.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal))
}

/// The integer a float is cut to; `None` outside 64 bits.
pub(crate) fn float_to_int(float: f64) -> Option<i64> {
    let whole = float.trunc();
    (-TWO_TO_63..TWO_TO_63).contains(&whole).then_some(whole as i64)
}

//! A tool plugin: typed functions, and one `export_tool!`.

use compozy_plugin::{Error, Result, export_tool};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Person {
    name: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Greeting {
    greeting: String,
}

fn greet(person: Person) -> Result<Greeting> {
    let name = person.name.trim();
    if name.is_empty() {
        return Err(Error::new("no_name", "name must not be empty"));
    }
    Ok(Greeting { greeting: format!("Hello, {name}!") })
}

#[derive(Deserialize)]
struct Numbers {
    numbers: Vec<f64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Average {
    count: usize,
    average: f64,
}

fn average(input: Numbers) -> Result<Average> {
    let count = input.numbers.len();
    if count == 0 {
        return Err(Error::new("no_numbers", "numbers must hold at least one number"));
    }
    Ok(Average { count, average: input.numbers.iter().sum::<f64>() / count as f64 })
}

export_tool! {
    summary: "Greets people and averages numbers", stateless: true;
    greet {
        description: "Greets someone by name",
        input: r#"{"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}"#,
        output: r#"{"type": "object", "required": ["greeting"], "properties": {"greeting": {"type": "string"}}}"#,
        read_only: true,
        idempotent: true,
    }
    average {
        description: "The average of some numbers",
        input: r#"{"type": "object", "required": ["numbers"], "properties": {"numbers": {"type": "array", "items": {"type": "number"}}}}"#,
        output: r#"{"type": "object", "required": ["count", "average"], "properties": {"count": {"type": "integer"}, "average": {"type": "number"}}}"#,
        read_only: true,
        idempotent: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name() {
        let greeting = greet(Person { name: " Ada ".into() }).expect("a name");
        assert_eq!(greeting.greeting, "Hello, Ada!");
        assert_eq!(greet(Person { name: " ".into() }).expect_err("no name").code, "no_name");
    }

    #[test]
    fn averages_numbers() {
        let figures = average(Numbers { numbers: vec![1.0, 2.0, 6.0] }).expect("numbers");
        assert_eq!(figures, Average { count: 3, average: 3.0 });
        assert_eq!(average(Numbers { numbers: vec![] }).expect_err("no numbers").code, "no_numbers");
    }
}

//! [`export_tool!`](crate::export_tool): from typed functions to the `tool` interface.

/// Exports functions `fn(Input) -> Result<Output>` as a tool plugin.
///
/// `Input` is any `serde::Deserialize`, `Output` any `serde::Serialize`. Per function: `description` (what a model
/// chooses it by), then, each left out at will, `name` (default: the function's), `input` and `output` (JSON Schema as
/// text), `read_only`, `destructive` and `idempotent` (`true` or `false`). `, stateless: true` after the summary says
/// that one instance may serve many calls.
#[macro_export]
macro_rules! export_tool {
    (
        summary: $summary:expr $(, stateless: $stateless:expr)?;
        $(
            $function:ident {
                description: $description:expr
                $(, $key:ident: $value:expr)*
                $(,)?
            }
        )+
    ) => {
        struct CompozyTool;

        impl $crate::tool_world::exports::compozy::plugin::tool::Guest for CompozyTool {
            fn describe() -> $crate::tool_world::exports::compozy::plugin::tool::Description {
                $crate::tool_world::exports::compozy::plugin::tool::Description {
                    summary: ::std::string::String::from($summary),
                    version: ::std::string::String::from(env!("CARGO_PKG_VERSION")),
                    stateless: false $(|| $stateless)?,
                    functions: ::std::vec![$({
                        #[allow(unused_mut)]
                        let mut marks = $crate::__private::Marks { name: stringify!($function), ..Default::default() };
                        $($crate::__private_mark!(marks, $key, $value);)*
                        $crate::__private::describe($description, marks)
                    }),+],
                }
            }

            fn run(
                function: ::std::string::String,
                input: ::std::string::String,
            ) -> $crate::Result<::std::string::String> {
                $crate::log::panics();
                $(
                    #[allow(unused_mut)]
                    let mut marks = $crate::__private::Marks { name: stringify!($function), ..Default::default() };
                    $($crate::__private_mark!(marks, $key, $value);)*
                    if function == marks.name {
                        return $crate::__private::call(&input, $function);
                    }
                )+
                ::std::result::Result::Err($crate::__private::unknown(&function))
            }
        }

        $crate::tool_world::export!(CompozyTool with_types_in $crate::tool_world);
    };
}

/// Sets one mark; a key that does not exist fails to compile.
#[doc(hidden)]
#[macro_export]
macro_rules! __private_mark {
    ($marks:ident, name, $value:expr) => {
        $marks.name = $value
    };
    ($marks:ident, input, $value:expr) => {
        $marks.input = Some($value)
    };
    ($marks:ident, output, $value:expr) => {
        $marks.output = Some($value)
    };
    ($marks:ident, read_only, $value:expr) => {
        $marks.read_only = $value
    };
    ($marks:ident, destructive, $value:expr) => {
        $marks.destructive = $value
    };
    ($marks:ident, idempotent, $value:expr) => {
        $marks.idempotent = $value
    };
}

/// What the macro's expansion calls; not for authors.
#[doc(hidden)]
#[allow(missing_docs, missing_debug_implementations)]
pub mod __private {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::bindings::tool::exports::compozy::plugin::tool::Function;
    use crate::{Error, Result};

    #[derive(Default)]
    pub struct Marks {
        pub name: &'static str,
        pub input: Option<&'static str>,
        pub output: Option<&'static str>,
        pub read_only: bool,
        pub destructive: bool,
        pub idempotent: bool,
    }

    pub fn describe(description: &str, marks: Marks) -> Function {
        Function {
            name: marks.name.to_owned(),
            description: description.to_owned(),
            input_schema: marks.input.map(str::to_owned),
            output_schema: marks.output.map(str::to_owned),
            read_only: marks.read_only,
            destructive: marks.destructive,
            idempotent: marks.idempotent,
        }
    }

    pub fn call<I, O>(input: &str, function: impl FnOnce(I) -> Result<O>) -> Result<String>
    where
        I: DeserializeOwned,
        O: Serialize,
    {
        let input = serde_json::from_str(input).map_err(|error| Error::new("invalid_input", error.to_string()))?;
        Ok(serde_json::to_string(&function(input)?)?)
    }

    pub fn unknown(function: &str) -> Error {
        Error::new("unknown_function", format!("this plugin has no function '{function}'"))
    }
}

//! A valid component that exports nothing of compozy.
#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    inline: "
        package guests:other;
        world other {
            export hello: func() -> string;
        }
    ",
});

struct Other;

impl Guest for Other {
    fn hello() -> String {
        "hello".to_owned()
    }
}

export!(Other);

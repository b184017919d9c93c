//! The `llm-provider` kind: implement [`Guest`] and [`GuestChatStream`], then [`export_llm_provider!`](crate::export_llm_provider).

pub use crate::bindings::llm_provider::exports::compozy::plugin::llm_provider::{
    ChatStream, Event, Finish, Guest, GuestChatStream, Message, Parameters, Request, Response, Role, ToolCall,
    ToolDefinition, Usage,
};

/// Exports a type that implements [`Guest`](crate::llm::Guest) as an LLM provider plugin.
#[macro_export]
macro_rules! export_llm_provider {
    ($provider:ident) => {
        $crate::llm_provider_world::export!($provider with_types_in $crate::llm_provider_world);
    };
}

//! What the containers around a step lend it: items, their further names, `.parent`, `.children`.

use compozy_lang::plan::{Task, TaskKind};
use serde_json::Value;

use super::{Item, Object, Site, Wanted, error_or_null, processor_object};
use crate::json::Json;
use crate::state::Step;

/// The item a step was made for, with the step and its collection.
struct Lent<'a> {
    item: Item<'a>,
    collection: &'a Task,
}

impl<'a> Site<'a> {
    /// The step that holds `step`.
    pub(super) fn holder(&self, step: &Step) -> Option<&'a Step> {
        self.state.steps.at(step.parent.as_ref()?)
    }

    /// Items from the nearest collection outwards.
    fn items(&self) -> Vec<Lent<'a>> {
        let mut items = Vec::new();
        let own = self.step.and_then(|step| self.plan.task(&step.address));
        // While a collection opens, its own items are the nearest.
        if let (Some(item), Some(collection)) = (self.item, own) {
            items.push(Lent { item, collection });
        }
        let mut inner = self.step;
        while let Some(step) = inner {
            let holder = self.holder(step);
            if let (Some(index), Some(container)) = (step.index, holder) {
                let values = container.opening.as_ref().and_then(|opening| opening.branches()?.items.as_ref());
                let value = values.and_then(|items| items.values.get(index));
                let collection = self.plan.task(&container.address);
                if let (Some(value), Some(collection)) = (value, collection) {
                    items.push(Lent { item: Item { value, index }, collection });
                }
            }
            inner = holder;
        }
        items
    }

    pub(super) fn nearest_item(&self) -> Option<Item<'a>> {
        self.items().first().map(|lent| lent.item)
    }

    /// The names that collections give items and positions; the nearest wins.
    pub(super) fn named_items(&self, wanted: &Wanted<'_>, object: &mut Object) {
        let mut known: Vec<&str> = super::ROOTS.to_vec();
        for lent in self.items() {
            let TaskKind::Collection(collection) = &lent.collection.kind else { continue };
            let value = lent.item.value.as_str();
            let index = lent.item.index.to_string();
            for (name, json) in [(&collection.item_var, value), (&collection.index_var, index.as_str())] {
                if let Some(name) = name.as_deref().filter(|name| wanted.has(name) && !known.contains(name)) {
                    object.raw(name, json);
                    known.push(name);
                }
            }
        }
        if wanted.has("processor")
            && let Some(looked) = self.signal
        {
            object.raw("processor", &processor_object(looked.processor));
        }
    }

    /// `.parent`: the container's context, with its own `.parent` inside.
    pub(super) fn parent(&self) -> Option<String> {
        self.container_context(self.holder(self.step?)?)
    }

    fn container_context(&self, container: &'a Step) -> Option<String> {
        let with = container.input.as_ref().map(Json::to_value);
        let site = Site { step: Some(container), with: with.as_ref(), item: None, ..*self };
        let mut object = Object::open();
        object.raw("input", &site.whole_input());
        object.raw("with", container.input.as_ref().map_or("{}", Json::as_str));
        object.raw("task", &site.task(container));
        if let Some(item) = site.nearest_item() {
            object.raw("item", item.value.as_str());
            object.raw("index", &item.index.to_string());
        }
        if let Some(parent) = self.holder(container).and_then(|outer| self.container_context(outer)) {
            object.raw("parent", &parent);
        }
        Some(object.close())
    }

    /// The workflow input with `with` laid over it, nothing left out.
    fn whole_input(&self) -> String {
        let overlay = self.with.and_then(Value::as_object).filter(|with| !with.is_empty());
        let Some(overlay) = overlay else { return self.state.facts.input.as_str().to_owned() };
        let Value::Object(mut merged) = self.state.facts.input.to_value() else {
            return self.state.facts.input.as_str().to_owned();
        };
        merged.extend(overlay.clone());
        Value::Object(merged).to_string()
    }

    /// `.children` of a container: what has become of each by id; `None` for what holds none.
    pub(super) fn children_of(&self, container: &Step) -> Option<String> {
        let opening = container.opening.as_ref()?;
        if opening.waiting().is_some() || opening.awaited().is_some() {
            return None;
        }
        let mut object = Object::open();
        for (id, child) in self.state.children(self.plan, container) {
            object.raw(&id, &self.child_facts(child));
        }
        Some(object.close())
    }

    /// `{status, input, output, error, children}` of a child.
    fn child_facts(&self, child: Option<&Step>) -> String {
        let mut object = Object::open();
        object.text("status", child.map_or(crate::status::Status::Pending, |child| child.status).word());
        object.raw("input", child.and_then(|child| child.input.as_ref()).map_or("null", Json::as_str));
        object.raw("output", child.and_then(|child| child.output.as_ref()).map_or("null", Json::as_str));
        object.raw("error", &child.map_or_else(|| "null".to_owned(), error_or_null));
        if let Some(children) = child.and_then(|child| self.children_of(child)) {
            object.raw("children", &children);
        }
        object.close()
    }
}

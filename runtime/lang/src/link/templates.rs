//! What the template plugin said: problems shown at their places, variables checked, templates completed.

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::document::workflow::Workflow as WorkflowDocument;
use crate::document::{Check, SiteKind};
use crate::interpolate::decoded_range;
use crate::load::{TemplateProblem, TemplateReference, TemplateReport};
use crate::plan::{
    Expression, Next, Project, Provider, Reference, Task, TaskKind, Template, Tool, Transition, Trigger, Typed,
    ValueTemplate, Workflow,
};
use crate::suggest;
use crate::yaml::raw::Places;

/// Variables of every template inside a workflow (dialect §6.2).
const EVERYWHERE: &[&str] = &["input", "workflow", "tasks", "trigger", "project", "env"];

/// Root variables of a kind of place.
fn roots<'n>(kind: SiteKind) -> Vec<&'n str> {
    let more: &[&str] = match kind {
        SiteKind::Definition => return vec!["project", "env"],
        SiteKind::Request => return vec!["payload", "headers", "query", "workflow", "project", "env"],
        SiteKind::With => &["task", "error"],
        SiteKind::Task => &["task", "with", "error"],
        SiteKind::Output => &["task", "with", "output", "error"],
        SiteKind::Error => &["task", "with", "error"],
        SiteKind::WorkflowOutputs => &["error", "output", "workflow_id", "workflow_exec_id", "status"],
    };
    EVERYWHERE.iter().chain(more).copied().collect()
}

/// Reports what is wrong with the templates.
pub(crate) fn report(
    checks: &[Check],
    reports: &[TemplateReport],
    workflows: &[WorkflowDocument],
    problems: &mut Vec<Diagnostic>,
) {
    for (check, report) in checks.iter().zip(reports) {
        if report.problems.is_empty() && report.references.is_empty() {
            continue;
        }
        let places = Places::of(&check.node);
        for problem in &report.problems {
            problems.push(template_problem(check, problem, &places));
        }
        for reference in &report.references {
            problems.extend(unknown_variable(check, reference, workflows, &places));
        }
    }
}

fn at(check: &Check, places: &Places<'_>, code: &'static str, message: String, start: u32, end: u32) -> Diagnostic {
    let (start, end) = decoded_range(&check.runs, start as usize, end as usize);
    let (place, length) = places.at(start, end);
    Diagnostic::error(code, message, place).length(length).path(&check.path)
}

fn template_problem(check: &Check, problem: &TemplateProblem, places: &Places<'_>) -> Diagnostic {
    // A code the registry does not know cannot be explained: it is a syntax problem to the user.
    let code = codes::find(&problem.code).map_or("CZ0401", |entry| entry.code);
    let message = match code {
        "CZ0401" => format!("template: {}", problem.message),
        _ => problem.message.clone(),
    };
    let mut found = at(check, places, code, message, problem.start, problem.end);
    found.help = problem.help.clone();
    if problem.warning { found.severity(Severity::Warning) } else { found }
}

/// CZ0407: a root variable or a task that does not exist.
fn unknown_variable(
    check: &Check,
    reference: &TemplateReference,
    workflows: &[WorkflowDocument],
    places: &Places<'_>,
) -> Option<Diagnostic> {
    let root = reference.path.first()?;
    let mut known = roots(check.site.kind);
    if check.site.kind != SiteKind::Definition {
        known.extend(check.site.names.iter().map(String::as_str));
    }
    let (variable, near, help) = if !known.contains(&root.as_str()) {
        let near = suggest::nearest(root, known.iter().copied()).map(|near| format!(".{near}"));
        (format!(".{root}"), near, format!("variables here: .{}", known.join(" .")))
    } else {
        let task = reference.path.get(1).filter(|_| root == "tasks")?;
        let workflow = check.site.workflow.and_then(|number| workflows.get(number))?;
        if workflow.task_ids.iter().any(|id| id == task) {
            return None;
        }
        let near =
            suggest::nearest(task, workflow.task_ids.iter().map(String::as_str)).map(|near| format!(".tasks.{near}"));
        (format!(".tasks.{task}"), near, format!("tasks here: {}", workflow.task_ids.join(", ")))
    };
    let near = near.map(|near| format!(". Did you mean '{near}'?")).unwrap_or_default();
    let message = format!("unknown variable '{variable}' in a template{near}");
    Some(at(check, places, "CZ0407", message, reference.start, reference.end).help(help))
}

/// Completes every template of the plan.
pub(crate) fn fill(project: &mut Project, reports: &[TemplateReport]) {
    let mut complete = |template: &mut Template| {
        for check in &template.checks {
            let Some(report) = reports.get(*check) else { continue };
            template.is_template |= report.is_template;
            for reference in &report.references {
                let reference = Reference { path: reference.path.clone(), whole: reference.whole };
                if !template.references.contains(&reference) {
                    template.references.push(reference);
                }
            }
        }
    };
    for workflow in project.workflows.values_mut() {
        of_workflow(std::sync::Arc::make_mut(workflow), &mut complete);
    }
    for memory in &mut project.memories {
        memory.default_key.iter_mut().for_each(&mut complete);
    }
    for provider in &mut project.providers {
        of_provider(provider, &mut complete);
    }
}

type Visit<'v> = &'v mut dyn FnMut(&mut Template);

fn of_workflow(workflow: &mut Workflow, visit: Visit<'_>) {
    workflow.env.values_mut().for_each(&mut *visit);
    of_option(&mut workflow.outputs, visit);
    for tool in workflow.tools.values_mut() {
        of_tool(tool, visit);
    }
    for memory in workflow.memories.values_mut() {
        memory.default_key.iter_mut().for_each(&mut *visit);
    }
    for task in &mut workflow.tasks {
        of_task(task, visit);
    }
    for trigger in &mut workflow.triggers {
        of_trigger(trigger, visit);
    }
}

fn of_trigger(trigger: &mut Trigger, visit: Visit<'_>) {
    let Trigger::Webhook(webhook) = trigger else { return };
    if let Some(verify) = &mut webhook.verify {
        visit(&mut verify.secret);
    }
    if let Some(key) = webhook.dedupe.as_mut().and_then(|dedupe| dedupe.key.as_mut()) {
        visit(key);
    }
    webhook.events.iter_mut().for_each(|event| of_value(&mut event.input, visit));
}

fn of_tool(tool: &mut Tool, visit: Visit<'_>) {
    of_option(&mut tool.with, visit);
}

fn of_task(task: &mut Task, visit: Visit<'_>) {
    match &mut task.kind {
        TaskKind::Prompt(prompt) => {
            visit(&mut prompt.prompt);
            prompt.instructions.iter_mut().for_each(&mut *visit);
            prompt.memories.iter_mut().filter_map(|memory| memory.key.as_mut()).for_each(&mut *visit);
        }
        TaskKind::Router(router) => of_expression(&mut router.condition, visit),
        TaskKind::Parallel(parallel) => of_typed(&mut parallel.max_workers, visit),
        TaskKind::Collection(collection) => {
            of_value(&mut collection.items, visit);
            collection.filter.iter_mut().chain(&mut collection.child_id).for_each(&mut *visit);
            of_typed(&mut collection.batch, visit);
            of_typed(&mut collection.max_workers, visit);
        }
        TaskKind::Wait(wait) => {
            visit(&mut wait.wait_for);
            wait.condition.iter_mut().for_each(|condition| of_expression(condition, visit));
            if let Some(Next::Template(template)) = &mut wait.on_timeout {
                visit(template);
            }
        }
        TaskKind::Signal(signal) => {
            visit(&mut signal.name);
            of_option(&mut signal.payload, visit);
            signal.target.iter_mut().for_each(&mut *visit);
        }
        TaskKind::Memory(memory) => {
            memory.key.iter_mut().for_each(&mut *visit);
            of_option(&mut memory.payload, visit);
        }
        TaskKind::Tool(_) | TaskKind::Composite(_) | TaskKind::Aggregate | TaskKind::Workflow(_) => {}
    }
    task.children_mut().iter_mut().for_each(|child| of_task(child, visit));
    of_option(&mut task.with, visit);
    of_option(&mut task.outputs, visit);
    task.env.values_mut().for_each(&mut *visit);
    task.condition.iter_mut().for_each(|condition| of_expression(condition, visit));
    of_transition(&mut task.on_success, visit);
    of_transition(&mut task.on_error, visit);
    of_typed(&mut task.sleep, visit);
    of_typed(&mut task.is_final, visit);
    of_typed(&mut task.timeout, visit);
}

fn of_expression(expression: &mut Expression, visit: Visit<'_>) {
    if let Expression::Template(template) = expression {
        visit(template);
    }
}

fn of_transition(transition: &mut Transition, visit: Visit<'_>) {
    if let Some(Next::Template(template)) = &mut transition.next {
        visit(template);
    }
    of_option(&mut transition.with, visit);
}

fn of_typed<T>(value: &mut Option<Typed<T>>, visit: Visit<'_>) {
    if let Some(Typed::Template(template)) = value {
        visit(template);
    }
}

fn of_option(value: &mut Option<ValueTemplate>, visit: Visit<'_>) {
    if let Some(value) = value {
        of_value(value, visit);
    }
}

fn of_value(value: &mut ValueTemplate, visit: Visit<'_>) {
    match value {
        ValueTemplate::Fixed(_) => {}
        ValueTemplate::Template(template) => visit(template),
        ValueTemplate::List(items) => items.iter_mut().for_each(|item| of_value(item, visit)),
        ValueTemplate::Map(members) => members.iter_mut().for_each(|(_, value)| of_value(value, visit)),
    }
}

fn of_provider(provider: &mut Provider, visit: Visit<'_>) {
    for template in [&mut provider.model, &mut provider.base_url, &mut provider.api_key, &mut provider.organization] {
        template.iter_mut().for_each(&mut *visit);
    }
    provider.headers.iter_mut().for_each(|(_, template)| visit(template));
}

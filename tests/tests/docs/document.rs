// SPDX-License-Identifier: Apache-2.0
//! A document as steps: what to run where, in order. The convention is in CONTRIBUTING.md, "Documents".

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// What a document does.
#[derive(Debug)]
pub struct Document {
    /// The machines that it starts with.
    pub world: World,
    /// In order.
    pub steps: Vec<Step>,
    /// Code in running text, with its line.
    pub mentions: Vec<(usize, String)>,
    /// Blocks that are not run: the first line of each, and why.
    pub not_run: Vec<(String, String)>,
}

/// The machines that a document starts with.
#[derive(Debug, PartialEq, Eq)]
pub enum World {
    /// Root, relay and node, enrolled and running, and these machines with nothing set up.
    Site(Vec<String>),
    /// These machines, with nothing set up.
    Empty(Vec<String>),
}

/// One thing to do.
#[derive(Debug)]
pub struct Step {
    /// Line of the document.
    pub line: usize,
    /// The machine; `None`: the first one.
    pub on: Option<String>,
    /// What.
    pub action: Action,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// A script that ends with this status, before the next step or beside those that follow.
    Script { text: String, exit: i32, background: bool },
    /// Commands, each with what it prints.
    Session(Vec<Exchange>),
    /// These settings in that file.
    Settings { file: String, text: String },
    /// A word that stands for what a command prints.
    Placeholder { word: String, command: String },
}

/// A command and what it prints.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Lines after the first one of the block.
    pub offset: usize,
    /// The command.
    pub command: String,
    /// Its output, with `…`.
    pub output: String,
}

/// Languages of blocks that hold no commands. `toml` is checked.
const NOT_COMMANDS: [&str; 12] =
    ["text", "json", "yaml", "xml", "ini", "apache", "nginx", "sql", "promql", "rust", "http", "diff"];

/// Reads a document. Errors name the line.
pub fn parse(source: &str) -> Result<Document, String> {
    let mut document =
        Document { world: World::Site(vec![]), steps: vec![], mentions: vec![], not_run: vec![] };
    let mut reason: Option<String> = None;
    let mut block: Option<(usize, String, String)> = None;
    for (event, range) in Parser::new_ext(source, pulldown_cmark::Options::ENABLE_TABLES).into_offset_iter() {
        let line = source[..range.start].matches('\n').count() + 1;
        let at = |e: String| format!("line {line}: {e}");
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                block = Some((line, info.to_string(), String::new()));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => {
                return Err(at("a block made by indentation: use ```sh or ```text".into()));
            }
            Event::Text(text) if block.is_some() => {
                if let Some((_, _, content)) = &mut block {
                    content.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let Some((line, info, text)) = block.take() else { continue };
                let step = fenced(line, &info, text).map_err(|e| format!("line {line}: {e}"))?;
                match (step, reason.take()) {
                    (Some(step), Some(reason)) => document.not_run.push((first_line(&step), reason)),
                    (Some(step), None) => document.steps.push(step),
                    (None, Some(_)) => return Err(at("`not run` before a block without commands".into())),
                    (None, None) => {}
                }
            }
            Event::Html(html) => {
                // One event for each line of a comment; the range is that of the line.
                let Some(comment) = comment(source, range.start) else { continue };
                if !html.starts_with("<!--") {
                    continue;
                }
                match directive(line, comment).map_err(at)? {
                    Directive::World(world) if document.steps.is_empty() => document.world = world,
                    Directive::World(_) => return Err(at("the world comes before all commands".into())),
                    Directive::NotRun(why) => reason = Some(why),
                    Directive::Do(step) => document.steps.push(step),
                    Directive::Nothing => {}
                }
            }
            Event::Code(code) => document.mentions.push((line, code.to_string())),
            Event::Start(Tag::Heading { .. }) if reason.is_some() => {
                return Err(at("`not run` without a block after it".into()));
            }
            _ => {}
        }
    }
    Ok(document)
}

/// The inside of the HTML comment that begins here.
fn comment(source: &str, start: usize) -> Option<&str> {
    let inside = source[start..].trim_start().strip_prefix("<!--")?;
    inside.split("-->").next()
}

enum Directive {
    World(World),
    NotRun(String),
    Do(Step),
    Nothing,
}

fn directive(line: usize, comment: &str) -> Result<Directive, String> {
    let (first, rest) = comment.trim().split_once('\n').unwrap_or((comment.trim(), ""));
    if let Some(world) = first.strip_prefix("world:") {
        let mut words = world.split_whitespace().map(str::to_owned);
        return match words.next().as_deref() {
            Some("site") => Ok(Directive::World(World::Site(words.collect()))),
            Some("empty") => match words.collect::<Vec<_>>() {
                names if names.is_empty() => Err("which machines?".into()),
                names => Ok(Directive::World(World::Empty(names))),
            },
            _ => Err(format!("unknown world{world}")),
        };
    }
    if let Some(why) = comment.trim().strip_prefix("not run:") {
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        return if why.is_empty() { Err("not run: why?".into()) } else { Ok(Directive::NotRun(why)) };
    }
    if first == "run" || first.starts_with("run ") {
        let given = attributes(first.trim_start_matches("run"))?;
        let action = Action::Script { text: rest.to_owned(), exit: given.exit, background: given.background };
        return Ok(Directive::Do(Step { line, on: given.on, action }));
    }
    if let Some(first) = first.strip_prefix("where ") {
        let (subject, command) = first.split_once(": ").ok_or("where WORD on=MACHINE: COMMAND")?;
        let (word, rest) = subject.split_once(' ').unwrap_or((subject, ""));
        let on = attributes(rest)?.on;
        let action = Action::Placeholder { word: word.to_owned(), command: command.to_owned() };
        return Ok(Directive::Do(Step { line, on, action }));
    }
    // A comment for people, or something that was meant to be one of the above.
    match first.split([':', ' ']).next() {
        Some("world" | "not" | "run" | "where" | "on" | "exit") => Err(format!("unknown directive: {first}")),
        _ => Ok(Directive::Nothing),
    }
}

fn fenced(line: usize, info: &str, text: String) -> Result<Option<Step>, String> {
    let (language, rest) = info.split_once(char::is_whitespace).unwrap_or((info, ""));
    let Attributes { on, exit, file, background } = attributes(rest)?;
    let action = match (language, file) {
        ("sh", None) => Action::Script { text, exit, background },
        ("console", None) => Action::Session(session(&text)?),
        ("toml", Some(file)) => Action::Settings { file, text },
        ("toml", None) => {
            text.parse::<toml::Table>().map_err(|e| e.to_string())?;
            return Ok(None);
        }
        (other, None) if NOT_COMMANDS.contains(&other) && rest.is_empty() => return Ok(None),
        _ => return Err(format!("```{info}: see CONTRIBUTING.md, Documents")),
    };
    Ok(Some(Step { line, on, action }))
}

/// What stands after the language.
#[derive(Debug, Default)]
struct Attributes {
    on: Option<String>,
    exit: i32,
    file: Option<String>,
    background: bool,
}

fn attributes(text: &str) -> Result<Attributes, String> {
    let mut given = Attributes::default();
    for word in text.split_whitespace() {
        match word.split_once('=') {
            None if word == "background" => given.background = true,
            Some(("on", machine)) => given.on = Some(machine.to_owned()),
            Some(("exit", status)) => {
                given.exit = status.parse().map_err(|_| format!("{word}: not a status"))?
            }
            Some(("file", path)) => given.file = Some(path.to_owned()),
            _ => return Err(format!("unknown attribute {word}")),
        }
    }
    Ok(given)
}

fn session(text: &str) -> Result<Vec<Exchange>, String> {
    let mut exchanges: Vec<Exchange> = vec![];
    for (offset, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            exchanges.push(Exchange { offset, command: format!("{command}\n"), output: String::new() });
            continue;
        }
        let last = exchanges.last_mut().ok_or("the first line is no command (`$ …`)")?;
        match line.strip_prefix("> ") {
            Some(more) if last.output.is_empty() => last.command.push_str(&format!("{more}\n")),
            _ => last.output.push_str(&format!("{line}\n")),
        }
    }
    Ok(exchanges)
}

fn first_line(step: &Step) -> String {
    let text = match &step.action {
        Action::Script { text, .. } | Action::Settings { text, .. } => text,
        Action::Session(exchanges) => exchanges.first().map_or("", |exchange| &exchange.command),
        Action::Placeholder { command, .. } => command,
    };
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod parsing {
    use super::*;

    #[test]
    fn reads_what_is_to_be_done_and_where() {
        let document = parse(
            "<!-- world: empty root node -->\n# T\nText `relayd routes`.\n\n```sh on=node exit=5\nagent x\n```\n\n\
             <!-- run\ntouch a\n\ntouch b\n-->\n\n```console\n$ echo \\\n> a\na\n$ echo b\n```\n\
             <!-- where PIN on=root: echo x -->\n<!-- not run: too\nlong -->\n```sh\nmake test\n```\n\
             ```toml\na = 1\n```\n```toml file=/etc/x\na = 1\n```\n<!-- only a remark -->\n",
        )
        .unwrap();
        assert_eq!(document.world, World::Empty(vec!["root".into(), "node".into()]));
        assert_eq!(document.mentions, [(3, "relayd routes".to_owned())]);
        assert_eq!(document.not_run, [("make test".to_owned(), "too long".to_owned())]);
        let [script, hidden, session, pin, settings] = &document.steps[..] else { panic!("{document:?}") };
        assert!(
            matches!(&script.action, Action::Script { text, exit: 5, background: false } if text == "agent x\n")
        );
        assert_eq!((script.line, script.on.as_deref()), (5, Some("node")));
        assert!(
            matches!(&hidden.action, Action::Script { text, exit: 0, .. } if text == "touch a\n\ntouch b")
        );
        let Action::Session(exchanges) = &session.action else { panic!("{session:?}") };
        assert_eq!(
            exchanges[0],
            Exchange { offset: 0, command: "echo \\\na\n".into(), output: "a\n".into() }
        );
        assert_eq!(exchanges[1].command, "echo b\n");
        assert!(matches!(&pin.action, Action::Placeholder { word, .. } if word == "PIN"));
        assert!(matches!(&settings.action, Action::Settings { file, .. } if file == "/etc/x"));
    }

    #[test]
    fn nothing_slips_through_unrun() {
        for (source, says) in [
            ("```\nrelayd\n```\n", "line 1: ```: see"),
            ("```bash\nrelayd\n```\n", "```bash"),
            ("a\n\n    relayd\n", "line 3: a block made by indentation"),
            ("```sh in=node\nx\n```\n", "unknown attribute in=node"),
            ("```console\nx\n```\n", "no command"),
            ("```toml\nx\n```\n", "line 1"),
            ("<!-- not run: -->\n```sh\nx\n```\n", "why?"),
            ("<!-- not run: x -->\n```text\nx\n```\n", "without commands"),
            ("<!-- runs -->\n<!-- run: x -->\n", "unknown"),
            ("<!-- world: sites -->\n", "unknown world"),
        ] {
            let error = parse(source).unwrap_err();
            assert!(error.contains(says), "{source}: {error}");
        }
    }
}

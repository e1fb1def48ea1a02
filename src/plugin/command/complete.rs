//! What the Tab key offers, in the form that kubectl expects of `kubectl_complete-dbmig` (cobra's). The only user of
//! clap's completion engine, whose API is not stable yet. Says nothing but candidates: an error offers fewer of them.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::FromArgMatches;
use clap_complete::engine::{self, ArgValueCandidates, ArgValueCompleter, CompletionCandidate, ValueCompleter};

use crate::cli;
use crate::cli::connection::Connection;
use crate::cluster::kind::Kind;
use crate::ui::human::harmless;

/// The name under which kubectl calls us for completion (kubectl, `pkg/cmd/plugin/plugin_completion.go`).
pub const PROGRAM: &str = "kubectl_complete-dbmig";

/// The hidden first word by which the static scripts ask.
pub const ENTRY: &str = "__complete";

/// How long the cluster may take to name things before nothing is offered.
const PATIENCE: Duration = Duration::from_secs(1);

/// Cobra's directive bits: add no space; offer no files instead.
const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;

/// Names that only the cluster or the kubeconfig knows, as the connection flags on the line being typed say.
/// What cannot be learnt is empty.
pub trait Names: Send + Sync {
    /// Objects of a kind in the namespace.
    fn objects(&self, kind: Kind) -> Vec<String>;
    /// Containers of what was typed as the target.
    fn containers(&self, target: &[String]) -> Vec<String>;
    /// Contexts of the kubeconfig.
    fn contexts(&self) -> Vec<String>;
    /// Namespaces of the cluster.
    fn namespaces(&self) -> Vec<String>;
    /// Operations recorded in the namespace.
    fn operations(&self) -> Vec<String>;
}

/// Whether the program was called to complete, by its name or by the hidden word; then the words to complete.
#[must_use]
pub fn asked_by(argv: &[OsString]) -> Option<Vec<OsString>> {
    let program = std::path::Path::new(argv.first()?).file_stem()?;
    if program == PROGRAM {
        return Some(argv[1..].to_vec());
    }
    (argv.get(1)? == ENTRY).then(|| argv[2..].to_vec())
}

/// The candidates for the last of `words`, a line each, and cobra's directive.
#[must_use]
pub fn run(mut words: Vec<OsString>, names: impl FnOnce(&Connection) -> Arc<dyn Names>) -> String {
    let current = words.pop().unwrap_or_default();
    let typed = Typed::parse(&words);
    let mut definition = with_names(cli::definition(), &names(&typed.connection), &typed.target);
    words.insert(0, OsString::from("kubectl-dbmig"));
    let index = words.len();
    words.push(current.clone());
    let mut candidates = engine::complete(&mut definition, words, index, None).unwrap_or_default();
    let wants_flag = current.to_string_lossy().starts_with('-');
    candidates.retain(|candidate| wants_flag || !candidate.get_value().to_string_lossy().starts_with('-'));
    in_cobras_form(&candidates)
}

fn in_cobras_form(candidates: &[CompletionCandidate]) -> String {
    let mut text = String::new();
    let mut directive = NO_FILES;
    for candidate in candidates {
        let value = candidate.get_value().to_string_lossy();
        if value.ends_with(['/', '=']) {
            directive |= NO_SPACE;
        }
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().map(|line| format!("\t{}", harmless(line))).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{help}", harmless(&value));
    }
    let _ = writeln!(text, ":{directive}");
    text
}

/// What the finished words say, as far as they can be understood.
struct Typed {
    connection: Connection,
    target: Vec<String>,
}

impl Typed {
    fn parse(words: &[OsString]) -> Self {
        let program = OsString::from("kubectl-dbmig");
        let matches = cli::definition()
            .ignore_errors(true)
            .try_get_matches_from(std::iter::once(&program).chain(words))
            .unwrap_or_default();
        let words_of = |argument: &str| -> Option<Vec<String>> {
            let (_, command) = matches.subcommand()?;
            Some(command.try_get_many::<String>(argument).ok().flatten()?.cloned().collect())
        };
        let target = words_of("target").or_else(|| words_of("from")).or_else(|| words_of("offline")).unwrap_or_default();
        Self { connection: Connection::from_arg_matches(&matches).unwrap_or_default(), target }
    }
}

/// The command line with the names attached to the arguments that take them.
fn with_names(mut definition: clap::Command, names: &Arc<dyn Names>, target: &[String]) -> clap::Command {
    let commands: Vec<String> = definition.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    definition = attach(definition, "context", || candidates(names, |names| names.contexts()));
    definition = attach(definition, "namespace", || candidates(names, |names| names.namespaces()));
    for name in commands {
        definition = definition.mut_subcommand(name, |command| {
            let command = attach(command, "operation", || candidates(names, |names| names.operations()));
            let typed = target.to_vec();
            let command = attach(command, "container", || candidates(names, move |names| names.containers(&typed)));
            let operations = matches!(command.get_name(), "watch" | "logs" | "status" | "events");
            let targets = Targets { names: Arc::clone(names), typed: target.to_vec(), operations };
            let command = attach(command, "target", || ArgValueCompleter::new(targets));
            let from = Targets { names: Arc::clone(names), typed: Vec::new(), operations: false };
            let command = attach(command, "from", || ArgValueCompleter::new(from));
            let offline = Targets { names: Arc::clone(names), typed: Vec::new(), operations: false };
            attach(command, "offline", || ArgValueCompleter::new(offline))
        });
    }
    definition
}

/// Attaches to an argument that the command may or may not have.
fn attach<E: clap::builder::ArgExt + Clone + Send + Sync + std::fmt::Debug + 'static>(
    command: clap::Command,
    argument: &str,
    extension: impl FnOnce() -> E,
) -> clap::Command {
    if command.get_arguments().all(|known| known.get_id() != argument) {
        return command;
    }
    command.mut_arg(argument, |known| known.add(extension()))
}

fn candidates(
    names: &Arc<dyn Names>,
    ask: impl Fn(&dyn Names) -> Vec<String> + Clone + Send + Sync + 'static,
) -> ArgValueCandidates {
    let names = Arc::clone(names);
    ArgValueCandidates::new(move || patiently(&names, ask.clone()).into_iter().map(CompletionCandidate::new).collect())
}

/// Names for a target: after a word for their kind, or as the first word, which means pods.
struct Targets {
    names: Arc<dyn Names>,
    typed: Vec<String>,
    /// The first word may be an operation too.
    operations: bool,
}

impl Targets {
    fn all(&self, kind: &str) -> Vec<String> {
        if !kind.is_empty() {
            let Ok(kind) = Kind::parse(kind) else { return Vec::new() };
            return patiently(&self.names, move |names| names.objects(kind));
        }
        let operations = self.operations;
        patiently(&self.names, move |names| {
            let mut all = names.objects(Kind::Pod);
            all.extend(operations.then(|| names.operations()).into_iter().flatten());
            all
        })
    }
}

impl ValueCompleter for Targets {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let current = current.to_string_lossy();
        let (prefix, start) = current.split_once('/').map_or(("", &*current), |(kind, start)| (kind, start));
        let kind = self.typed.first().map_or(prefix, String::as_str);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let all = self.all(kind);
        all.iter()
            .filter(|name| name.starts_with(start))
            .map(|name| CompletionCandidate::new(format!("{prefix}{name}")))
            .collect()
    }
}

/// Asks on a thread of its own, which ends with the process if the answer comes too late.
fn patiently(names: &Arc<dyn Names>, ask: impl FnOnce(&dyn Names) -> Vec<String> + Send + 'static) -> Vec<String> {
    let (answer_tx, answer_rx) = mpsc::channel();
    let names = Arc::clone(names);
    std::thread::spawn(move || answer_tx.send(ask(&*names)));
    answer_rx.recv_timeout(PATIENCE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Played;

    impl Names for Played {
        fn objects(&self, kind: Kind) -> Vec<String> {
            match kind {
                Kind::Pod => vec!["upmeter-0".into(), "upmeter-1".into(), "web-0".into()],
                Kind::StatefulSet => vec!["upmeter".into()],
                _ => Vec::new(),
            }
        }
        fn containers(&self, target: &[String]) -> Vec<String> {
            vec![format!("of-{}", target.join("-"))]
        }
        fn contexts(&self) -> Vec<String> {
            vec!["prod".into(), "test".into()]
        }
        fn namespaces(&self) -> Vec<String> {
            panic!("no cluster answers")
        }
        fn operations(&self) -> Vec<String> {
            vec!["vacuum-1".into()]
        }
    }

    fn completed(words: &[&str]) -> Vec<String> {
        let text = run(words.iter().map(OsString::from).collect(), |_| Arc::new(Played));
        text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn names_come_where_they_belong() {
        assert_eq!(completed(&["vacuum", "up"]), ["upmeter-0", "upmeter-1", ":4"]);
        assert_eq!(completed(&["vacuum", "pod/w"]), ["pod/web-0", ":4"]);
        assert_eq!(completed(&["vacuum", "pod", "w"]), ["web-0", ":4"]);
        assert_eq!(completed(&["vacuum", "sts", ""]), ["upmeter", ":4"]);
        assert_eq!(completed(&["watch", "StatefulSets.apps/u"]), ["StatefulSets.apps/upmeter", ":4"]);
        assert_eq!(completed(&["vacuum", "gizmo", ""]), [":4"]);
        assert_eq!(completed(&["logs", "vac"]), ["vacuum-1", ":4"]);
        assert_eq!(completed(&["vacuum", "vac"]), [":4"]);
        assert_eq!(completed(&["vacuum", "upmeter-0", ""]), [":4"]);
        assert_eq!(completed(&["vacuum", "upmeter-0", "-c", ""]), ["of-upmeter-0", ":4"]);
        assert_eq!(completed(&["run", "sts/u"]), ["sts/upmeter", ":4"]);
        assert_eq!(completed(&["run", "--from", "sts/"]), ["sts/upmeter", ":4"]);
        assert_eq!(completed(&["run", "--from", "sts/upmeter", "-c", ""]), ["of-sts/upmeter", ":4"]);
        assert_eq!(completed(&["vacuum", "--context", "p"]), ["prod", ":4"]);
        assert_eq!(completed(&["--context=t"]), ["--context=test", ":4"]);
        assert_eq!(completed(&["undo", ""]), ["vacuum-1", ":4"]);
    }

    #[test]
    fn what_cannot_be_learnt_is_silence() {
        assert_eq!(completed(&["vacuum", "-n", ""]), [":4"]);
    }

    #[test]
    fn flags_are_offered_only_after_a_dash() {
        assert!(completed(&[""]).iter().all(|word| !word.starts_with('-')));
        assert!(completed(&["vacuum", "--ke"]).contains(&"--keep-old".to_owned()));
    }

    #[test]
    fn the_connection_flags_typed_so_far_decide_where_to_look() {
        let mut seen = None;
        let words = ["vacuum", "--context", "prod", "-n", "d8", "x"].map(OsString::from).to_vec();
        let _ = run(words, |connection| {
            seen = Some((connection.context.clone(), connection.namespace.clone()));
            Arc::new(Played)
        });
        assert_eq!(seen, Some((Some("prod".to_owned()), Some("d8".to_owned()))));
    }

    #[test]
    fn it_is_asked_by_name_or_by_the_hidden_word() {
        let asked = |argv: &[&str]| asked_by(&argv.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(asked(&["/usr/bin/kubectl_complete-dbmig", "v"]), Some(vec!["v".into()]));
        assert_eq!(asked(&["kubectl-dbmig", "__complete", "v", ""]), Some(vec!["v".into(), "".into()]));
        assert_eq!(asked(&["kubectl-dbmig", "vacuum"]), None);
        assert_eq!(asked(&[]), None);
    }
}

//! Actors: the tree, the list, one of them.

use std::fmt::Write as _;

use comet_kernel::contract::admin::{ActorRow, Answer, Command, Figures};
use serde_json::json;

use super::network;
use crate::cli::admin::{Admin, unexpected};
use crate::cli::failure::Failure;
use crate::cli::figures;
use crate::cli::output::Output;
use crate::cli::table::Table;

/// `comet ctl tree`.
pub(super) fn tree(admin: &mut Admin, output: &mut Output) -> Result<(), Failure> {
    let actors = ask(admin)?;
    if output.json { output.json(&actors) } else { output.text(&draw(&actors)) }
}

/// `comet ctl ps`.
pub(super) fn list(admin: &mut Admin, output: &mut Output) -> Result<(), Failure> {
    let actors = ask(admin)?;
    if output.json {
        return actors.iter().try_for_each(|actor| output.json(actor));
    }
    output.text(&tabulate(&actors))
}

/// `comet ctl inspect`.
pub(super) fn inspect(admin: &mut Admin, name: &str, output: &mut Output) -> Result<(), Failure> {
    let path = resolve(admin, name)?;
    match admin.ask(Command::Inspect { path })? {
        Answer::Actor(actor, figures) if output.json => output.json(&json!({ "actor": actor, "figures": figures })),
        Answer::Actor(actor, figures) => output.text(&describe(&actor, &figures)),
        other => Err(unexpected(&other)),
    }
}

/// The path of the actor that is meant: the name itself, or the one path that ends with it.
pub(super) fn resolve(admin: &mut Admin, name: &str) -> Result<String, Failure> {
    resolved(&ask(admin)?, name)
}

fn resolved(actors: &[ActorRow], name: &str) -> Result<String, Failure> {
    let end = format!("/{name}");
    let ends: Vec<_> = actors.iter().map(|actor| &*actor.path).filter(|path| path.ends_with(&end)).collect();
    match ends[..] {
        _ if actors.iter().any(|actor| actor.path == name) => Ok(name.to_owned()),
        [path] => Ok(path.to_owned()),
        [] => Err(Failure::Refused(format!("no actor {name}; `comet ctl tree` shows their names"))),
        _ => Err(Failure::Refused(format!("{name} may be any of {}; say which", ends.join(", ")))),
    }
}

fn ask(admin: &mut Admin) -> Result<Vec<ActorRow>, Failure> {
    match admin.ask(Command::Actors)? {
        Answer::Actors(actors) => Ok(actors),
        other => Err(unexpected(&other)),
    }
}

/// The tree, drawn. Actors stand behind their supervisors already.
fn draw(actors: &[ActorRow]) -> String {
    let mut table = Table::new(&["actor", "status", "for", "restarts", "last exit"]);
    for (place, actor) in actors.iter().enumerate() {
        let name = actor.path.rsplit('/').next().unwrap_or(&actor.path);
        table.row([
            format!("{}{name}", branches(&actors[place..])),
            actor.status.clone(),
            figures::seconds(actor.seconds),
            actor.restarts.to_string(),
            actor.last_exit.clone().unwrap_or_default(),
        ]);
    }
    table.figures(&[3]);
    table.to_string()
}

/// What stands before the name of the first actor: for each of its supervisors, whether that has more to come.
fn branches(from: &[ActorRow]) -> String {
    let path = &from[0].path;
    let levels: Vec<_> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
    let mut drawn = String::new();
    for (level, supervisor) in levels.iter().enumerate() {
        let child = levels.get(level + 1).copied().unwrap_or(path);
        let within =
            |other: &&ActorRow, of: &str| other.path.strip_prefix(of).is_some_and(|rest| rest.starts_with('/'));
        let more = from[1..]
            .iter()
            .take_while(|other| within(other, supervisor))
            .any(|other| other.path != child && !within(&other, child));
        let last = level + 1 == levels.len();
        drawn.push_str(match (last, more) {
            (true, true) => "├ ",
            (true, false) => "└ ",
            (false, true) => "│ ",
            (false, false) => "  ",
        });
    }
    drawn
}

fn tabulate(actors: &[ActorRow]) -> String {
    let mut table = Table::new(&["path", "status", "for", "restarts", "waiting", "handled", "refused", "mean wait"]);
    for actor in actors {
        let sum = |figure: fn(&comet_kernel::contract::admin::MailRow) -> u64| {
            if actor.supervisor { String::new() } else { actor.mail.iter().map(figure).sum::<u64>().to_string() }
        };
        let wait = actor.mail.iter().map(|mail| mail.wait_ns).max();
        table.row([
            actor.path.clone(),
            actor.status.clone(),
            figures::seconds(actor.seconds),
            actor.restarts.to_string(),
            sum(|mail| mail.depth),
            sum(|mail| mail.taken),
            sum(|mail| mail.refused),
            wait.map_or(String::new(), figures::nanoseconds),
        ]);
    }
    table.figures(&[3, 4, 5, 6, 7]);
    table.to_string()
}

fn describe(actor: &ActorRow, told: &[Figures]) -> String {
    let mut table = Table::new(&[]);
    table.row(["actor", &actor.path]);
    table.row(["kind", if actor.supervisor { "supervisor" } else { "actor" }]);
    table.row(["status", &format!("{} for {}", actor.status, figures::seconds(actor.seconds))]);
    table.row(["restarts", &actor.restarts.to_string()]);
    table.row(["last exit", actor.last_exit.as_deref().unwrap_or("-")]);
    told.iter().flat_map(tell).for_each(|(name, figure)| table.row([name, &figure]));
    let mut text = table.to_string();
    if !actor.mail.is_empty() {
        let mut mail = Table::new(&["message", "waiting", "handled", "refused", "mean wait"]);
        for row in &actor.mail {
            let figures = [row.depth, row.taken, row.refused].map(|figure| figure.to_string());
            let [depth, taken, refused] = figures;
            mail.row([row.message.clone(), depth, taken, refused, figures::nanoseconds(row.wait_ns)]);
        }
        mail.figures(&[1, 2, 3, 4]);
        let _infallible = write!(text, "\n{mail}");
    }
    text
}

/// An actor's own figures, with their names.
fn tell(told: &Figures) -> Vec<(&'static str, String)> {
    match told {
        Figures::Storage(status) => vec![
            ("objects", status.objects.to_string()),
            ("unreadable", status.unreadable.to_string()),
            ("journal pieces aside", status.journal_pieces.to_string()),
            ("damaged places", status.damaged_places.to_string()),
            ("read-only", status.read_only.clone().unwrap_or_else(|| "no".to_owned())),
            ("disk free", figures::bytes(status.disk_free)),
            ("disk used", figures::bytes(status.disk_used)),
            ("commits", status.commits.to_string()),
            ("writes", status.writes.to_string()),
        ],
        Figures::Timers(timers) => vec![
            ("armed", timers.armed.to_string()),
            ("index read", if timers.loaded { "yes" } else { "not yet" }.to_owned()),
            ("delivered", timers.delivered.to_string()),
            ("retried", timers.retried.to_string()),
            ("next tick", timers.next_ms.map_or("-".to_owned(), next_tick)),
        ],
        Figures::Buckets(buckets) => vec![
            ("buckets held", buckets.held.to_string()),
            ("leases granted", buckets.granted.to_string()),
            ("leases refused", buckets.refused.to_string()),
        ],
        Figures::Memory { keys, active, bytes } => vec![
            ("keys in memory", keys.to_string()),
            ("active objects", active.to_string()),
            ("memory", figures::bytes(*bytes)),
        ],
        Figures::Network(status) => network::tell(status),
        Figures::Silent(reason) => vec![("figures", format!("none: {reason}"))],
    }
}

fn next_tick(milliseconds: i64) -> String {
    let figure = figures::milliseconds(milliseconds.unsigned_abs());
    if milliseconds < 0 { format!("late by {figure}") } else { format!("in {figure}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::contract::admin::MailRow;
    use comet_kernel::contract::storage::Status;

    fn actor(path: &str) -> ActorRow {
        let mail = MailRow { message: "m".to_owned(), depth: 1, taken: 2, refused: 3, wait_ns: 4 };
        ActorRow {
            path: path.to_owned(),
            supervisor: false,
            status: "running".to_owned(),
            seconds: 61,
            restarts: 2,
            last_exit: Some("panicked: \u{1b}[2J".to_owned()),
            mail: vec![mail.clone(), mail],
        }
    }

    #[test]
    fn the_tree_is_drawn_with_its_branches() {
        let paths = ["comet", "comet/storage", "comet/aso", "comet/aso/0", "comet/aso/1", "comet/admin"];
        let drawn = draw(&paths.map(actor));
        let names: Vec<_> = drawn.lines().skip(1).map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(names, ["comet", "├ storage", "├ aso", "│ ├ 0", "│ └ 1", "└ admin"]);
        assert!(!drawn.contains('\u{1b}'));
    }

    #[test]
    fn the_last_branch_leaves_no_line() {
        let drawn = draw(&["c", "c/a", "c/a/x", "c/ab", "c/ab/y"].map(actor));
        let names: Vec<_> =
            drawn.lines().skip(1).map(|line| line.split("running").next().unwrap().trim_end()).collect();
        assert_eq!(names, ["c", "├ a", "│ └ x", "└ ab", "  └ y"]);
    }

    #[test]
    fn the_list_sums_up_the_mail() {
        let list = tabulate(&[actor("comet/storage")]);
        let words: Vec<_> = list.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["comet/storage", "running", "1", "min", "1", "s", "2", "2", "4", "6", "4", "ns"]);
    }

    #[test]
    fn an_actor_is_described_with_its_own_figures() {
        let text = describe(&actor("comet/storage"), &[Figures::Storage(Status { objects: 7, ..Status::default() })]);
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["objects", "7"]) && lines.contains(&vec!["read-only", "no"]), "{text}");
    }

    #[test]
    fn a_name_means_the_one_actor_whose_path_ends_with_it() {
        let actors = ["comet", "comet/aso", "comet/aso/shard", "comet/x/shard"].map(actor);
        assert_eq!(resolved(&actors, "aso").unwrap(), "comet/aso");
        assert_eq!(resolved(&actors, "aso/shard").unwrap(), "comet/aso/shard");
        assert_eq!(resolved(&actors, "comet").unwrap(), "comet");
        assert!(resolved(&actors, "shard").unwrap_err().to_string().contains("comet/x/shard"));
        assert!(resolved(&actors, "so").unwrap_err().to_string().contains("comet ctl tree"));
    }
}

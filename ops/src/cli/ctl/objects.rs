//! Objects: the list, one of them.

use comet_kernel::Key;
use comet_kernel::contract::admin::{Answer, Command, ObjectRow};
use comet_kernel::contract::aso::Info;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value as Json, json};

use crate::cli::admin::{Admin, unexpected};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::cli::{figures, json as documents};

/// Rows that are put into columns together. More are printed as they come, so that no list needs memory for all.
const BATCH: usize = 1_000;
/// So many objects take long enough to look at for somebody to wonder.
const MANY: u64 = 20_000;

/// `comet ctl objects` and `comet ctl quarantine`.
pub(super) fn list(admin: &mut Admin, mut command: Command, output: &mut Output) -> Result<(), Failure> {
    let limit = match &mut command {
        // One more than is shown tells whether there is one.
        Command::Objects { limit, .. } => std::mem::replace(limit, limit.saturating_add(1)),
        _ => u64::MAX,
    };
    admin.send(command)?;
    let (bar, mut batch, mut headed) = (progress(), Vec::new(), true);
    let (mut left, mut more) = (limit, false);
    loop {
        match admin.next()? {
            Answer::Objects(page) => {
                if page.total >= MANY && bar.is_hidden() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                bar.set_length(page.total.max(page.scanned));
                bar.set_position(page.scanned);
                let shown = page.rows.len().min(left as usize);
                left -= shown as u64;
                more |= shown < page.rows.len();
                batch.extend(page.rows.into_iter().take(shown));
            }
            Answer::End => break,
            other => return Err(unexpected(&other)),
        }
        if batch.len() >= BATCH {
            bar.suspend(|| print(&batch, headed, output))?;
            batch.clear();
            headed = false;
        }
    }
    bar.finish_and_clear();
    if headed || !batch.is_empty() {
        print(&batch, headed, output)?;
    }
    if more && !output.json {
        output.line(&format!("(the first {limit}; --limit shows more)"))?;
    }
    Ok(())
}

/// `comet ctl object`.
pub(super) fn show(admin: &mut Admin, key: Key, output: &mut Output) -> Result<(), Failure> {
    match admin.ask(Command::Object { key: key.clone() })? {
        Answer::Object(info, log) if output.json => {
            let mut document = documents::key(&key);
            document.insert("info".to_owned(), json!(info));
            document.insert("log".to_owned(), json!(log));
            output.json(&Json::Object(document))
        }
        Answer::Object(info, log) => {
            output.text(&describe(&key, &info))?;
            log.iter().try_for_each(|line| output.line(&format!("log  {line}")))
        }
        other => Err(unexpected(&other)),
    }
}

fn print(rows: &[ObjectRow], headed: bool, output: &mut Output) -> Result<(), Failure> {
    if output.json {
        return rows.iter().try_for_each(|row| output.json(&documents::object(row)));
    }
    output.text(&tabulate(rows, headed))
}

fn tabulate(rows: &[ObjectRow], headed: bool) -> String {
    let headings: &[&str] = if headed { &["key", "script", "size", "lives", "timer", "quarantined"] } else { &[] };
    let mut table = Table::new(headings);
    for row in rows {
        table.row([
            row.key.to_string(),
            row.script.clone().unwrap_or_else(|| "-".to_owned()),
            figures::bytes(row.size),
            row.ttl_ms.map_or("-".to_owned(), figures::milliseconds),
            row.timer_seconds.map_or("-".to_owned(), |seconds| figures::seconds(u64::from(seconds))),
            if row.quarantined { "yes" } else { "-" }.to_owned(),
        ]);
    }
    table.figures(&[2]);
    table.to_string()
}

fn describe(key: &Key, info: &Info) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
    let mut table = Table::new(&[]);
    for (name, text) in [
        ("key", key.to_string()),
        ("script", or_none(info.script.clone())),
        ("hash", or_none(info.hash.clone())),
        ("version", info.version.to_string()),
        ("size", figures::bytes(info.size as u64)),
        ("owner", or_none(info.owner.clone())),
        ("lives", or_none(info.ttl_ms.map(figures::milliseconds))),
        ("timer", or_none(info.timer_seconds.map(|seconds| figures::seconds(u64::from(seconds))))),
        ("next tick", or_none(info.timer_due_ms.map(figures::milliseconds))),
        ("calls", info.calls.to_string()),
        ("failures", info.failures.to_string()),
        ("quarantined", yes(info.quarantined)),
        ("active", yes(info.active)),
        ("replicas", info.replicas.to_string()),
    ] {
        table.row([name, &text]);
    }
    table.to_string()
}

/// A bar that is not seen yet. On standard error it will be, if that is a terminal.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} objects looked at");
    ProgressBar::hidden().with_style(style.expect("the template is well-formed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_keys_that_cannot_act_on_the_terminal() {
        let row = ObjectRow {
            key: Key::new(b"user:\x1b[2J").unwrap(),
            script: Some("vanish\n".to_owned()),
            size: 20,
            ttl_ms: Some(90_000),
            timer_seconds: None,
            quarantined: true,
        };
        let text = tabulate(std::slice::from_ref(&row), true);
        assert!(text.starts_with("KEY"), "{text}");
        assert!(text.contains("user:\\x1b[2J") && text.contains("vanish\\n") && text.contains("1 min 30 s"), "{text}");
        assert!(!tabulate(&[row], false).contains("KEY"));
    }

    #[test]
    fn an_object_is_described_with_all_that_is_known() {
        let info = Info { script: Some("counter".to_owned()), calls: 3, active: true, ..Info::default() };
        let text = describe(&Key::new(b"k").unwrap(), &info);
        assert!(text.contains("script       counter\n") && text.contains("active       yes\n"), "{text}");
    }
}

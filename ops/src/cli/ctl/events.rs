//! Events: what happens on the node, as it happens.

use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::events::Event;
use serde_json::json;

use crate::cli::admin::{Admin, unexpected};
use crate::cli::failure::Failure;
use crate::cli::figures;
use crate::cli::output::Output;

/// `comet ctl events`. Ends after `count` events, if that is given, or when the node stops.
pub(super) fn follow(admin: &mut Admin, count: Option<u64>, output: &mut Output) -> Result<(), Failure> {
    admin.send(Command::Events)?;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        match admin.wait()? {
            Answer::Event(event) => {
                show(&event, output)?;
                left -= 1;
            }
            Answer::Missed(missed) if output.json => output.json(&json!({ "missed": missed }))?,
            Answer::Missed(missed) => output.line(&format!("({missed} events were missed: they came too fast)"))?,
            Answer::End => break,
            other => return Err(unexpected(&other)),
        }
    }
    Ok(())
}

fn show(event: &Event, output: &mut Output) -> Result<(), Failure> {
    if output.json {
        return output.json(event);
    }
    let kind = format!("{:?}", event.kind).to_lowercase();
    output.line(&format!("{}  {kind:<10}  {}  {}", figures::time(event.at), event.subject, event.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;
    use comet_kernel::UnixMillis;
    use comet_kernel::events::Kind;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let event = Event {
            at: UnixMillis(0),
            kind: Kind::Audit,
            subject: "evil\n\u{1b}]0;title\u{7}".to_owned(),
            text: "restart by user 0".to_owned(),
        };
        let line = printed(false, false, |output| show(&event, output).unwrap());
        assert_eq!(line, "1970-01-01 00:00:00.000  audit       evil\\n\\u{1b}]0;title\\u{7}  restart by user 0\n");
        let json = printed(true, false, |output| show(&event, output).unwrap());
        assert!(json.contains(r#""kind":"audit""#) && json.lines().count() == 1, "{json}");
    }
}

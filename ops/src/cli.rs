//! The command line: what can be said, and with which code it ends.

mod admin;
mod ctl;
mod demo;
mod failure;
mod figures;
mod json;
mod keys;
mod node;
mod output;
mod script;
mod table;
mod value;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use comet_kernel::Settings;

use self::failure::Failure;
use self::output::Output;

const CODES: &str = "\
Exit codes:
  0  done
  1  refused, or not found
  2  wrong usage or configuration
  3  no node there
  4  not available now: try again";

/// Comet: an active distributed key-value store.
#[derive(Debug, Parser)]
#[command(name = "comet", version, propagate_version = true, after_help = CODES, max_term_width = 110)]
struct Cli {
    /// Print JSON for programs: one document, or one on each line for lists and streams.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Node(node::Args),
    /// Print the configuration: every field with its meaning, range and default.
    Config,
    /// Put an object.
    Put(value::Put),
    /// Get an object.
    Get(value::Get),
    /// Remove objects.
    Del(value::Del),
    /// Show what is known of an object.
    Info(value::Info),
    /// Check scripts, and manage the named scripts of a node.
    Script(script::Args),
    /// Make and show the keys with which publishers sign scripts.
    Keys(keys::Args),
    /// Supervise a node.
    Ctl(ctl::Args),
    /// Run a network of several nodes on this machine for a while, and walk through what it does.
    Demo(demo::Args),
}

/// Runs what the arguments of the process say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(()) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = output::harmless(&failure.to_string());
            let _nobody_may_read = writeln!(std::io::stderr(), "comet: {text}");
            ExitCode::from(failure.code())
        }
    }
}

impl Cli {
    fn run(self) -> Result<(), Failure> {
        let mut output = Output::stdout(self.json);
        match self.command {
            Command::Node(args) => node::run(args, self.json),
            Command::Config if self.json => output.json(&Settings::default()),
            Command::Config => output.text(&Settings::annotated()),
            Command::Put(put) => value::put(put, &mut output),
            Command::Get(get) => value::get(get, &mut output),
            Command::Del(del) => value::del(del, &mut output),
            Command::Info(info) => value::info(info, &mut output),
            Command::Script(args) => script::run(args, &mut output),
            Command::Keys(args) => keys::run(args, &mut output),
            Command::Ctl(args) => ctl::run(args, &mut output),
            Command::Demo(args) => demo::run(&args, &mut output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_understood_as_documented() {
        for line in [
            "comet node",
            "comet node --config c.toml --data d --resp 127.0.0.1:0 --set aso.cpu_ms=5 --set log.filter=debug",
            "comet node --p2p /ip4/0.0.0.0/tcp/7380 --p2p /ip4/0.0.0.0/udp/7380/quic-v1 --bootstrap /dns/a/tcp/1/p2p/x",
            "comet config",
            "comet put k v --json --script counter --ttl 5 --owned --pin",
            "comet put k - --source f.rhai",
            "comet put k v --xx --ttl 5 --script counter --replicas 3",
            "comet get k --answers 3 --json",
            "comet get k --payload 1 --json --node 127.0.0.1:1 --user u --password p",
            "comet get --json k",
            "comet del a b c",
            "comet info k",
            "comet script check a.rhai b.rhai",
            "comet script sign counter.rhai --key publisher.key",
            "comet keys new",
            "comet keys new publisher.key",
            "comet keys show --json",
            "comet script load counter counter.rhai --data d",
            "comet script load counter -",
            "comet script load --all scripts",
            "comet script list --socket s --json",
            "comet script show counter",
            "comet script drop counter",
            "comet script rollback counter",
            "comet script functions",
            "comet script definitions",
            "comet ctl tree",
            "comet ctl ps --json",
            "comet ctl inspect storage",
            "comet ctl --data d restart storage",
            "comet ctl suspend storage",
            "comet ctl resume storage",
            "comet ctl objects user:* --limit 5",
            "comet ctl objects",
            "comet ctl object k",
            "comet ctl quarantine",
            "comet ctl isolate k",
            "comet ctl release k",
            "comet ctl events --follow",
            "comet ctl peers",
            "comet ctl buckets --json",
            "comet ctl network",
            "comet ctl lookup k",
            "comet ctl lookup k --path",
            "comet ctl replicate",
            "comet ctl shutdown",
            "comet demo",
            "comet demo --nodes 3 --once --json",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn contradictions_are_refused_with_code_2() {
        for line in [
            "comet",
            "comet put k",
            "comet put k v --nx --xx",
            "comet put k v --script s --source f",
            "comet put k v --pin",
            "comet put k v --replicas 0",
            "comet get k --answers 21",
            "comet del",
            "comet script load",
            "comet script load counter",
            "comet script load counter f --all d",
            "comet script check",
            "comet script sign counter.rhai",
            "comet keys",
            "comet node --set aso.cpu=5",
            "comet node --resp nowhere",
            "comet ctl objects --limit x",
            "comet demo --nodes 1",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_help_tells_the_exit_codes() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("3  no node there"), "{help}");
    }
}

//! The benchmark: Comet beside Redis and OpenDHT, in one run on one machine.
//!
//! `cargo run --release -p comet-integration --bin bench [-- [--quick] [--only SECTION]...]`
//!
//! Rates mean little from one machine to the next, so that each is told as a ratio: both servers run side by side, each
//! workload goes to one and then to the other in turn, and medians of several rounds are compared. Every load is bounded
//! in count and time and stays on the loopback interface. Nothing here fails for being slow: a target that is missed is
//! a line that says so.
//!
//! | module | what |
//! |---|---|
//! | `report` | rows, tables, verdicts |
//! | `server` | the two servers as processes |
//! | `load` | loading objects, and `redis-benchmark` |
//! | `asker` | calls of objects from within the process of their node |
//! | `beside_redis` | rates, as ratios |
//! | `processor` | processor time of one get, within this process |
//! | `footprint` | memory, and how long a start takes |
//! | `endless` | what a handler that never ends costs others |
//! | `network` | networks of nodes, beside OpenDHT |
//! | `dhtnode` | OpenDHT: a network of its nodes, and the driver that measures it |
//! | `lookups` | what a look-up costs as the network grows, measured, simulated and plotted |
//! | `liars` | a network in which a fifth of the nodes lies |

mod asker;
mod beside_redis;
mod dhtnode;
mod endless;
mod footprint;
mod liars;
mod load;
mod lookups;
mod network;
mod processor;
mod report;
mod server;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Parser;
use comet_kernel::Clock;

use self::report::{Row, print};

/// Measures Comet, beside Redis where Redis can do the same.
#[derive(Debug, Parser)]
#[command(after_help = help(), max_term_width = 110)]
struct Cli {
    /// Fewer rounds and requests: two minutes instead of ten, for a first look.
    #[arg(long)]
    quick: bool,
    /// Run this section only; may be given several times.
    #[arg(long, value_name = "SECTION", value_parser = known)]
    only: Vec<String>,
}

/// What every section needs to know.
#[derive(Debug)]
pub(crate) struct Bench {
    quick: bool,
    comet: PathBuf,
    clock: Clock,
}

/// A part of the benchmark that can be run by itself.
struct Section {
    name: &'static str,
    about: &'static str,
    /// What Comet is measured beside, if it is.
    other: &'static str,
    run: fn(&Bench) -> anyhow::Result<Vec<Row>>,
}

const fn section(name: &'static str, about: &'static str, run: fn(&Bench) -> anyhow::Result<Vec<Row>>) -> Section {
    Section { name, about, other: "redis", run }
}

const fn network(name: &'static str, about: &'static str, run: fn(&Bench) -> anyhow::Result<Vec<Row>>) -> Section {
    Section { name, about, other: "opendht", run }
}

const SECTIONS: &[Section] = &[
    section("plain", "GET and SET of plain values, without durability", beside_redis::plain),
    section("hello", "gets of objects that answer \"hello\", beside FCALL", beside_redis::hello),
    section("counter", "gets of read counters, beside FCALL of the same", beside_redis::counter),
    section("durable", "durable SET, beside appendfsync always", beside_redis::durable),
    section("processor", "processor time of one get of a read counter", processor::run),
    section("object", "memory of an active object", footprint::object),
    section("stored", "a million stored objects: memory, and starts", footprint::stored),
    section("endless", "a handler that never ends", endless::run),
    network("network", "puts and gets in a network of 64 nodes, beside dhtnode", network::store::run),
    network("pair", "what two nodes carry between them", network::pair::run),
    network("killed", "half of the nodes killed at once", network::failures::killed),
    network("restarted", "all nodes restarted one after the other, under load", network::failures::restarted),
    network("churn", "nodes that come and go", network::failures::churn),
    network("parted", "a partition with writes on both sides", network::failures::parted),
    network("liars", "gets in a network of 100 nodes of which 20 lie", liars::run),
    network("lookups", "what a look-up costs as the network grows, measured and simulated", lookups::run),
];

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build says nothing about speed; use `cargo run --release -p comet-integration --bin bench`");
    }
    let bench = Bench { quick: cli.quick, comet: build_comet()?, clock: Clock::machine() };
    println!("{}", machine());
    let mut failed = 0;
    for section in SECTIONS.iter().filter(|it| cli.only.is_empty() || cli.only.iter().any(|only| only == it.name)) {
        println!("\n{}: {}", section.name, section.about);
        match (section.run)(&bench) {
            Ok(rows) => print(&rows, section.other),
            Err(error) => {
                failed += 1;
                println!("not measured: {error:#}");
            }
        }
    }
    if failed > 0 { Err(anyhow::anyhow!("{failed} sections could not be measured")) } else { Ok(()) }
}

/// Has cargo build the binary that users run, which `cargo run --bin bench` alone does not, in the profile of this one.
fn build_comet() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this process does not know its own file")?;
    let profile = own.parent().and_then(|folder| folder.file_name()).context("cargo puts binaries into folders")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The harness for networks starts nodes from a binary of its own name.
    let packages = ["-p", "comet-ops", "-p", "comet-integration", "--bin", "comet", "--bin", "comet-under-test"];
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--profile"]).arg(profile).args(packages);
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    let status = status.context("cargo cannot be run to build comet")?;
    if !status.success() {
        bail!("comet could not be built: cargo ended with {status}");
    }
    let comet = own.with_file_name("comet");
    if !comet.exists() {
        bail!("cargo built comet somewhere else than {}; run without --target-dir", comet.display());
    }
    Ok(comet)
}

/// What else the figures depend on: who shares the machine.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "{cores} cores, load {load} before the start; with much else going on, only ratios and counts mean anything"
    )
}

fn help() -> String {
    let list = SECTIONS.iter().map(|section| format!("  {:<10} {}", section.name, section.about));
    format!("Sections:\n{}", list.collect::<Vec<_>>().join("\n"))
}

fn known(name: &str) -> Result<String, String> {
    let found = SECTIONS.iter().any(|section| section.name == name);
    let names = || SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>().join(", ");
    if found { Ok(name.to_owned()) } else { Err(format!("the sections are {}", names())) }
}

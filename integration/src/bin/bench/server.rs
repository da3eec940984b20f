//! The two servers as processes on the loopback interface.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use comet_integration::wait::look;
use rustix::process::{Pid, Signal, kill_process};

use crate::Bench;

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs. It is killed, as by a crash, when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts a node on this data, with the defaults but for `settings`.
    pub(crate) fn comet(bench: &Bench, data: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(&bench.comet);
        command.args(["node", "--resp", "127.0.0.1:0", "--set", "log.filter=error", "--data"]).arg(data);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("comet cannot be started")?;
        let mut output = BufReader::new(child.stdout.take().context("its output is piped")?);
        // From here on the process is killed with its owner.
        let mut server = Server { child, port: 0 };
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            let port = line.strip_prefix("serving on ").and_then(|address| address.trim().rsplit(':').next());
            if let Some(port) = port {
                server.port = port.parse().with_context(|| format!("no port in {line:?}"))?;
                return Ok(server);
            }
            line.clear();
        }
        bail!("comet ended instead of serving")
    }

    /// Starts `redis-server` with its files in `folder`.
    pub(crate) fn redis(folder: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
        let child = command.args(options).stdout(Stdio::null()).spawn();
        let server = Server { child: child.context("redis-server cannot be started; is it installed?")?, port };
        look(PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
            .context("redis-server does not serve")?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Bytes of resident memory.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("Linux tells VmRSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1_024.0)
    }

    /// A connection for what is not measured by `redis-benchmark`.
    pub(crate) fn connect(&self) -> anyhow::Result<redis::Connection> {
        Ok(redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?.get_connection()?)
    }

    /// Lets it finish its work and end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = look(PATIENCE, || self.child.try_wait().ok().flatten());
        match status {
            Some(status) if status.success() => Ok(()),
            other => bail!("a server that was asked to stop ended with {other:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

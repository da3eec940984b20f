//! Clients that measure.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comet_integration::cluster::check::Ledger;
use comet_kernel::Clock;
use redis::{Connection, RedisResult};

use crate::report::in_seconds;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection with bounded waits.
pub(crate) fn connect(address: SocketAddr) -> RedisResult<Connection> {
    let client = redis::Client::open(format!("redis://{address}/"))?;
    let connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// What each of many operations took, and how many succeeded a second.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Seconds each, of those that succeeded.
    pub(crate) took: Vec<f64>,
    /// How many failed.
    pub(crate) failed: usize,
    /// Successes a second.
    pub(crate) rate: f64,
}

/// Runs an operation for each number below `count`, by so many clients at once, each with a connection of its own to the
/// same node. The operation says whether it succeeded.
pub(crate) fn measure(
    clock: &Clock,
    address: SocketAddr,
    clients: usize,
    count: usize,
    operation: impl Fn(&mut Connection, usize) -> RedisResult<bool> + Sync,
) -> anyhow::Result<Measured> {
    let connections = (0..clients).map(|_| connect(address)).collect::<RedisResult<Vec<_>>>()?;
    let start = clock.now();
    let parts: Vec<(Vec<f64>, usize)> = std::thread::scope(|scope| {
        let work = |(client, mut connection): (usize, Connection)| {
            let operation = &operation;
            scope.spawn(move || {
                let (mut took, mut failed) = (Vec::new(), 0);
                for number in (client..count).step_by(clients) {
                    let before = clock.now();
                    match operation(&mut connection, number) {
                        Ok(true) => took.push(in_seconds(clock.now().since(before))),
                        Ok(false) | Err(_) => failed += 1,
                    }
                }
                (took, failed)
            })
        };
        let clients: Vec<_> = connections.into_iter().enumerate().map(work).collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
    });
    let lasted = in_seconds(clock.now().since(start));
    let failed = parts.iter().map(|(_, failed)| failed).sum();
    let took: Vec<f64> = parts.into_iter().flat_map(|(took, _)| took).collect();
    Ok(Measured { rate: took.len() as f64 / lasted, took, failed })
}

/// What clients came to that go on while nodes come and go.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// What they wrote.
    pub(crate) ledger: Ledger,
    /// Gets, and those of them that failed at the first node and at another one, too.
    pub(crate) gets: usize,
    /// See `gets`.
    pub(crate) failed: usize,
}

/// Keys of each client.
const KEYS: usize = 100;

/// Has clients write and read through all of these nodes while something is done to them.
pub(crate) fn meanwhile(clients: usize, addresses: &[SocketAddr], action: impl FnOnce()) -> anyhow::Result<Account> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let start = |name| scope.spawn(move || Worker::new(name, addresses).work(stop));
        let workers: Vec<_> = (0..clients).map(start).collect();
        let done = super::caught(action);
        stop.store(true, Ordering::Relaxed);
        let mut sum = Account::default();
        for worker in workers {
            let account = worker.join().expect("a client does not panic");
            sum.ledger.merge(account.ledger);
            sum.gets += account.gets;
            sum.failed += account.failed;
        }
        done.map(|()| sum)
    })
}

/// One client: it stays with a node until that fails it.
struct Worker<'a> {
    name: usize,
    addresses: &'a [SocketAddr],
    turn: usize,
    connection: Option<Connection>,
    account: Account,
}

impl<'a> Worker<'a> {
    fn new(name: usize, addresses: &'a [SocketAddr]) -> Self {
        Worker { name, addresses, turn: name, connection: None, account: Account::default() }
    }

    fn work(mut self, stop: &AtomicBool) -> Account {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let key = format!("{}:{}", self.name, number % KEYS);
            if number < KEYS || number % 4 == 0 {
                self.write(&key);
            } else {
                self.account.gets += 1;
                self.account.failed += usize::from(!(self.get(&key) || self.get(&key)));
            }
        }
        self.account
    }

    fn write(&mut self, key: &str) {
        let Some(mut connection) = self.open() else { return };
        if self.account.ledger.write(&mut connection, key).is_ok() {
            self.connection = Some(connection);
        }
    }

    /// Whether what was written was read. If not, the next try goes to another node.
    fn get(&mut self, key: &str) -> bool {
        let Some(mut connection) = self.open() else { return false };
        let read = self.account.ledger.reads(&mut connection, key).unwrap_or(false);
        if read {
            self.connection = Some(connection);
        }
        read
    }

    /// The present connection, or one to the next node that takes one: a client knows at once that a port is closed.
    fn open(&mut self) -> Option<Connection> {
        self.connection.take().or_else(|| {
            (0..self.addresses.len()).find_map(|_| {
                self.turn += 1;
                connect(self.addresses[self.turn % self.addresses.len()]).ok()
            })
        })
    }
}

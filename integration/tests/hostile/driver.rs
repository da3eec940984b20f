//! Drives one case against a node, and looks at what it does to the node and to its neighbours.

use std::time::Duration;

use comet_integration::corpus::{Case, Observed, Op};
use comet_integration::node::Node;
use comet_integration::wait::look;
use comet_kernel::{Clock, Key};

use super::line::{Line, Reply, observed};
use super::neighbour::Neighbour;

/// How long an answer may take before it counts as none, where none is not expected. Past the bound on wall time, so
/// that what comes too late is told from what does not come.
const LATE: Duration = Duration::from_secs(10);
/// How long to wait for an answer that is known not to come.
const KNOWN: Duration = Duration::from_millis(20);
/// How long a tick may take: its interval of a second with jitter, and a busy machine.
const TICK: Duration = Duration::from_secs(10);
/// The version that an upgrade takes over from.
const FORMER: &[u8] = b"fn onGet() { \"former\" }";

/// The neighbours of every case: a plain value, and an object that counts its reads.
const PLAIN: &[u8] = b"neighbour/plain";
const COUNTER: &[u8] = b"neighbour/counter";
const COUNTS: &[u8] = b"let reads = 0; fn onGet() { this.reads += 1; this.reads }";

/// A node under attack.
pub struct Driver<'a> {
    node: &'a Node,
    /// Hands copies over, if the node is in a network.
    neighbour: Option<Neighbour>,
    lines: Vec<Line>,
    reads: i64,
    serial: usize,
}

/// What one run came to.
pub struct Run {
    /// What came of the last operation.
    pub verdict: Observed,
    /// What came of the plain get at the end.
    pub after: Option<Observed>,
    /// The longest that one operation took.
    pub wall: Duration,
    /// By how much the node's resident memory grew at its highest, bytes.
    pub growth: u64,
    /// Text with a control character that the operator or the client was shown.
    pub dirt: Vec<String>,
}

impl<'a> Driver<'a> {
    pub fn new(node: &'a Node) -> Self {
        let mut driver = Driver::beside(node);
        driver.settle();
        driver
    }

    /// One whose node is in a network with a neighbour that hands copies over.
    pub fn in_network(node: &'a Node, neighbour: Neighbour) -> Self {
        let mut driver = Driver { neighbour: Some(neighbour), ..Driver::beside(node) };
        driver.settle();
        driver
    }

    /// One that shares the node with others, and leaves its neighbours alone.
    pub fn beside(node: &'a Node) -> Self {
        Driver { node, neighbour: None, lines: Vec::new(), reads: 0, serial: 0 }
    }

    /// Makes the neighbours anew, and nothing else is there, unless the node is in a network, which nobody can clear.
    pub fn settle(&mut self) {
        if self.neighbour.is_none() {
            assert_eq!(self.ask(&[b"FLUSHDB"], LATE).0, Observed::Ok);
        }
        assert_eq!(self.ask(&[b"ASO.PUT", PLAIN, b"1", b"JSON"], LATE).0, Observed::Ok);
        assert_eq!(self.ask(&[b"ASO.PUT", COUNTER, b"1", b"SOURCE", COUNTS], LATE).0, Observed::Ok);
        self.reads = 0;
    }

    /// Runs a case on a fresh object.
    pub fn run(&mut self, case: &Case) -> Run {
        self.serial += 1;
        let name = format!("{}/{}", case.name, self.serial);
        self.node.forget_peak();
        let before = self.node.peak_rss();
        let mut attack = Attack { driver: self, case, key: name.clone().into_bytes(), name, wall: Duration::ZERO };
        let verdict = attack.drive();
        let after = case.after.as_ref().map(|_| attack.get(None));
        let dirt = if case.clean { attack.dirt(&verdict) } else { Vec::new() };
        let (key, wall) = (attack.key, attack.wall);
        let growth = self.node.peak_rss().saturating_sub(before);
        // What is parked hangs up; the object goes unless its script refuses that.
        self.lines.clear();
        self.ask(&[b"DEL", &key], LATE);
        Run { verdict, after, wall, growth, dirt }
    }

    /// Puts the same object and reads it so often.
    pub fn hammer(&mut self, case: &Case, times: usize) {
        let name = format!("{}/hammered", case.name);
        let key = name.clone().into_bytes();
        let mut attack = Attack { driver: self, case, key, name, wall: Duration::ZERO };
        for _ in 0..times {
            attack.put();
            attack.get(case.payload.as_deref());
        }
        self.lines.clear();
    }

    /// Reads the neighbours. What is wrong with their answers, if anything is.
    pub fn neighbours(&mut self) -> Option<String> {
        self.reads += 1;
        let expected = [(PLAIN, 1), (COUNTER, self.reads)];
        // Both are read whatever the first one says: the next look counts on it.
        let answers = expected.map(|(key, _)| self.ask(&[b"ASO.GET", key, b"JSON"], LATE));
        for ((key, right), (read, wall)) in expected.into_iter().zip(answers) {
            if read != Observed::Value(right.into()) {
                return Some(format!("{} answered {read} instead of {right}", key.escape_ascii()));
            }
            if wall > Duration::from_millis(250) {
                return Some(format!("{} took {wall:?}", key.escape_ascii()));
            }
        }
        None
    }

    fn raw(&mut self, words: &[&[u8]], patience: Duration) -> (Option<Reply>, Duration) {
        if self.lines.is_empty() {
            self.lines.push(Line::open(self.node.resp()));
        }
        let line = self.lines.last_mut().expect("there is one");
        let answer = line.ask(words, patience);
        if answer.reply.is_none() {
            // It stays open, and waits. The next request takes another.
            self.lines.push(Line::open(self.node.resp()));
        }
        (answer.reply, answer.wall)
    }

    fn ask(&mut self, words: &[&[u8]], patience: Duration) -> (Observed, Duration) {
        let (value, wall) = self.raw(words, patience);
        (observed(value), wall)
    }
}

/// One case on one object.
struct Attack<'a, 'b> {
    driver: &'a mut Driver<'b>,
    case: &'a Case,
    name: String,
    key: Vec<u8>,
    wall: Duration,
}

impl Attack<'_, '_> {
    fn drive(&mut self) -> Observed {
        let case = self.case;
        if let Some(child) = case.twin {
            let key = Key::new(&self.key).expect("names are short").child(child as usize);
            self.put_at(key.as_bytes());
        }
        if case.drive[0] != Op::Put {
            let put = if case.drive[0] == Op::Upgrade { self.upgrade() } else { self.put() };
            if put != Observed::Ok {
                return put;
            }
        }
        let (last, first) = case.drive.split_last().expect("something is driven");
        for op in first {
            self.operate(*op, Duration::from_millis(case.wall_ms));
        }
        let mut patience = Duration::from_millis(case.wall_ms);
        for _ in 1..case.repeat {
            if self.operate(*last, patience) == Observed::Parked {
                patience = KNOWN;
            }
        }
        self.operate(*last, LATE)
    }

    fn operate(&mut self, op: Op, patience: Duration) -> Observed {
        match op {
            Op::Put => self.put(),
            Op::Get | Op::Upgrade => self.get_within(self.case.payload.as_deref(), patience),
            Op::Update => self.update(),
            Op::Remove => self.timed(&[b"DEL", &self.key.clone()], LATE),
            Op::Timer => self.tick(),
            Op::Arrive | Op::Merge => self.hand_over(op),
        }
    }

    /// Asks, and notes how long that took. What is parked has been waited for, so that its time says nothing. Whoever is
    /// told to come back a moment later does, unless that is what the case is about.
    fn timed(&mut self, words: &[&[u8]], patience: Duration) -> Observed {
        let case = self.case;
        let expects = |observed: &Observed| case.expect.iter().any(|verdict| verdict.allows(observed));
        let expects_none = expects(&Observed::Parked);
        let patience = if expects_none { patience.min(Duration::from_millis(self.case.wall_ms)) } else { patience };
        let late = Clock::machine();
        loop {
            let (observed, wall) = self.driver.ask(words, patience);
            if observed != Observed::Parked {
                self.wall = self.wall.max(wall);
            }
            let limited = matches!(&observed, Observed::Error { word, .. } if word == "LIMITED");
            if !limited || expects(&observed) || late.now().elapsed() > LATE {
                return observed;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn put(&mut self) -> Observed {
        self.put_at(&self.key.clone())
    }

    fn put_at(&mut self, key: &[u8]) -> Observed {
        let case = self.case;
        self.timed(&[b"ASO.PUT", key, case.value.as_bytes(), b"JSON", b"SOURCE", &case.source], LATE)
    }

    fn get(&mut self, payload: Option<&str>) -> Observed {
        self.get_within(payload, LATE)
    }

    fn get_within(&mut self, payload: Option<&str>, patience: Duration) -> Observed {
        let key = self.key.clone();
        match payload {
            Some(payload) => self.timed(&[b"ASO.GET", &key, payload.as_bytes(), b"JSON"], patience),
            None => self.timed(&[b"ASO.GET", &key, b"JSON"], patience),
        }
    }

    /// Has the neighbour hand a copy over.
    fn hand_over(&mut self, op: Op) -> Observed {
        let neighbour = self.driver.neighbour.as_ref().expect("a case about copies is driven in a network");
        let (observed, wall) = neighbour.hand_over(op, &self.key);
        self.wall = self.wall.max(wall);
        observed
    }

    /// A put that is answered either took the object's place, which gives it another version, or the object stayed.
    fn update(&mut self) -> Observed {
        let key = self.key.clone();
        let before = self.info("version");
        match self.timed(&[b"SET", &key, b"y"], LATE) {
            Observed::Ok | Observed::Absent if self.info("version") == before => Observed::Kept,
            other => other,
        }
    }

    /// Has the object follow a name, and loads the source under that name.
    fn upgrade(&mut self) -> Observed {
        let (key, name) = (self.key.clone(), self.name.clone().into_bytes());
        let source = self.case.source.clone();
        assert_eq!(self.timed(&[b"ASO.SCRIPT", b"LOAD", &name, FORMER], LATE), Observed::Ok);
        let put = [b"ASO.PUT".as_slice(), &key, self.case.value.as_bytes(), b"JSON", b"SCRIPT", &name];
        assert_eq!(self.timed(&put, LATE), Observed::Ok);
        self.timed(&[b"ASO.SCRIPT", b"LOAD", &name, &source], LATE)
    }

    /// Waits for the next tick: calls or the time that it is due tell that it came. An object that set no timer has none.
    fn tick(&mut self) -> Observed {
        let (calls, failures, due) = (self.info("calls"), self.info("failures"), self.info("timer_due_ms"));
        if due.is_none() {
            return if calls.is_none() { Observed::Absent } else { Observed::Ok };
        }
        let mut last = due;
        let ticked = look(TICK, || {
            // What is left until the next tick only grows when there was one.
            let former = std::mem::replace(&mut last, self.info("timer_due_ms"));
            (last.is_none() || last > former || self.info("calls") > calls).then_some(())
        });
        assert!(ticked.is_some(), "{}: no tick within {TICK:?}", self.name);
        Observed::Ticked { failed: self.info("failures") > failures }
    }

    /// A figure of `ASO.INFO`; none if the object or the figure is not there.
    fn info(&mut self, field: &str) -> Option<i64> {
        let key = self.key.clone();
        let (value, _) = self.driver.raw(&[b"ASO.INFO", &key], LATE);
        // Without `HELLO 3`, a map is an array of names and values in turn.
        let Some(Reply::Array(items)) = value else { return None };
        let found = items.chunks(2).find(|pair| pair[0] == Reply::Bulk(field.as_bytes().to_vec()))?;
        match &found[1] {
            Reply::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Everything that the operator or the client is shown, as far as it holds a control character.
    fn dirt(&mut self, verdict: &Observed) -> Vec<String> {
        let mut shown = vec![self.driver.node.stderr()];
        if let Observed::Error { rest, .. } = verdict {
            shown.push(rest.clone());
        }
        let (log, _) = self.driver.raw(&[b"ASO.LOG", &self.key], LATE);
        if let Some(Reply::Array(lines)) = log {
            shown.extend(lines.iter().map(|line| match line {
                Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => panic!("a line of a log is text, not {other:?}"),
            }));
        }
        for words in [&["ctl", "object", &self.name][..], &["ctl", "objects"], &["script", "list"]] {
            let output = self.driver.node.try_comet(words);
            shown.extend([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()));
        }
        shown.retain(|text| text.chars().any(|letter| letter != '\n' && acts(letter)));
        shown
    }
}

/// Control characters, and what turns the direction of text around.
fn acts(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

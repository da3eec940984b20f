//! A connection that is watched: how long an answer takes, and that there may be none yet.
//!
//! It speaks version 2 of the protocol by itself, byte for byte, because clients give up a connection whose answer is
//! late, and that is what a parked request is.

use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use comet_integration::corpus::Observed;
use comet_kernel::Clock;

/// A connection with at most one request under way.
#[derive(Debug)]
pub struct Line(BufReader<TcpStream>);

/// A reply.
#[derive(Debug, PartialEq)]
pub enum Reply {
    Status(String),
    Error(String),
    Int(i64),
    Nil,
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
}

/// What came, and when.
#[derive(Debug)]
pub struct Answer {
    /// The reply; none if it did not come in time. The connection waits for it then and is good for nothing else.
    pub reply: Option<Reply>,
    /// How long it took.
    pub wall: Duration,
}

impl Line {
    pub fn open(address: SocketAddr) -> Line {
        let stream = TcpStream::connect(address).expect("a node that serves takes connections");
        stream.set_nodelay(true).expect("it is a TCP stream");
        Line(BufReader::new(stream))
    }

    /// Sends these words and waits this long for the answer.
    pub fn ask(&mut self, words: &[&[u8]], patience: Duration) -> Answer {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_ref().set_read_timeout(Some(patience)).expect("it is not zero");
        let clock = Clock::machine();
        self.0.get_mut().write_all(&request).expect("the node takes requests");
        let read = self.read();
        let wall = clock.now().elapsed();
        match read {
            Ok(reply) => Answer { reply: Some(reply), wall },
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Answer { reply: None, wall }
            }
            Err(error) => panic!("no answer to {}: {error}", words[0].escape_ascii()),
        }
    }

    fn read(&mut self) -> Result<Reply, Error> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        let (kind, rest) = line.split_at_checked(1).ok_or(ErrorKind::InvalidData)?;
        let number = || rest.parse::<i64>().map_err(|_| Error::from(ErrorKind::InvalidData));
        Ok(match kind {
            "+" => Reply::Status(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(number()?),
            "$" | "*" if number()? < 0 => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; number()? as usize + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => Reply::Array((0..number()?).map(|_| self.read()).collect::<Result<_, _>>()?),
            _ => return Err(ErrorKind::InvalidData.into()),
        })
    }
}

/// A reply as the corpus sees it. Values come as JSON text.
pub fn observed(reply: Option<Reply>) -> Observed {
    match reply {
        None => Observed::Parked,
        Some(Reply::Nil) => Observed::Absent,
        Some(Reply::Status(_) | Reply::Int(_) | Reply::Array(_)) => Observed::Ok,
        // What is no JSON is a hash.
        Some(Reply::Bulk(bytes)) => serde_json::from_slice(&bytes).map_or(Observed::Ok, Observed::Value),
        Some(Reply::Error(line)) => Observed::error(&line),
    }
}

//! What goes wrong around a node: its configuration, its port, its directory, its disk, its clients' bytes. Whatever it is,
//! the node says what and what to do, and serves on if it runs.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use comet_integration::node::{Node, comet};
use comet_integration::wait::{eventually, look};
use redis::{Commands as _, Connection};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// The exit code of wrong usage or configuration.
const WRONG_USAGE: i32 = 2;
/// The exit code of what was refused.
const REFUSED: i32 = 1;

/// Starts a node that must not serve; its exit code, and what it wrote to standard error.
fn start_in_vain(words: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = comet();
    command.arg("node").args(words).envs(variables.iter().copied());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = look(PATIENCE, || child.try_wait().unwrap());
    if ended.is_none() {
        child.kill().unwrap();
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    (status.code().unwrap_or_else(|| panic!("it did not end by itself: {stderr}")), stderr)
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// The node serves as ever.
#[track_caller]
fn serves(node: &Node) {
    let mut connection = node.connect();
    let () = connection.set("still", "here").unwrap();
    assert_eq!(connection.get::<_, String>("still").unwrap(), "here");
}

#[test]
fn a_wrong_configuration_is_refused_with_its_file_its_field_and_what_would_be_right() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.toml");
    let data = folder.path().join("data");
    let words = ["--resp", "127.0.0.1:0", "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    for (text, parts) in [
        ("[storage]\nflush = 3\n", ["flush", "comet config"]),
        ("[nonsense]\n", ["nonsense", "comet config"]),
        ("[aso]\ncpu_ms = 0\n", ["aso.cpu_ms is 0", "1 to 1000"]),
        ("[aso]\ncpu_ms = \"soon\"\n", ["aso.cpu_ms", "soon"]),
        ("[storage]\ndurability = \"perhaps\"\n", ["storage.durability", "perhaps"]),
        ("[aso\n", ["line 1", "comet config"]),
        ("[gateway]\nlisten = \"here\"\n", ["gateway.listen", "127.0.0.1:7379"]),
        ("[[gateway.users]]\nname = \"a\"\npassword_sha256 = \"x\"\n", ["gateway.users[0]", "64 hexadecimal digits"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, stderr) = start_in_vain(&words, &[]);
        assert_eq!(code, WRONG_USAGE, "{stderr}");
        says(&stderr, &["mine.toml"]);
        says(&stderr, &parts);
    }
    std::fs::remove_file(&file).unwrap();
    let (code, stderr) = start_in_vain(&words, &[]);
    assert_eq!(code, WRONG_USAGE);
    says(&stderr, &["cannot read the configuration", "mine.toml"]);
    assert!(!data.exists(), "a node that does not start leaves nothing behind");
}

#[test]
fn a_wrong_environment_or_flag_is_refused_with_its_name() {
    let folder = TempDir::new().unwrap();
    let data = ["--resp", "127.0.0.1:0", "--data", folder.path().to_str().unwrap()];
    for (name, value, parts) in [
        ("COMET_ASO__CPU", "7", ["cpu", "environment"]),
        ("COMET_ASO__CPU_MS", "soon", ["cpu_ms", "environment"]),
        ("COMET_ASO__CPU_MS", "0", ["aso.cpu_ms is 0", "1 to 1000"]),
    ] {
        let (code, stderr) = start_in_vain(&data, &[(name, value)]);
        assert_eq!(code, WRONG_USAGE, "{stderr}");
        says(&stderr, &parts);
    }
    for (flag, parts) in [
        ("aso.cpu=7", ["aso.cpu", "comet config"]),
        ("aso.cpu_ms", ["aso.cpu_ms", "section.field=value"]),
        ("aso.cpu_ms=0", ["aso.cpu_ms is 0", "1 to 1000"]),
    ] {
        let (code, stderr) = start_in_vain(&[&data[..], &["--set", flag]].concat(), &[]);
        assert_eq!(code, WRONG_USAGE, "{stderr}");
        says(&stderr, &parts);
    }
    let (code, stderr) = start_in_vain(&[&data[..], &["--set", "log.filter=a=b=c"]].concat(), &[]);
    assert_ne!(code, 0);
    says(&stderr, &["log.filter", "a=b=c"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stderr) = start_in_vain(&["--resp", &address, "--data", folder.path().to_str().unwrap()], &[]);
    assert_eq!(code, REFUSED, "{stderr}");
    says(&stderr, &[&address, "gateway.listen"]);
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let within = |name: &str| folder.path().join(name);
    let refused = |data: &Path, parts: &[&str]| {
        let (status, stderr) = Node::builder().data(data).start_in_vain();
        assert_eq!(status.code(), Some(REFUSED), "{stderr}");
        says(&stderr, &[data.to_str().unwrap()]);
        says(&stderr, parts);
    };
    // Nobody may write there, not even root.
    refused(Path::new("/proc/comet"), &["cannot write", "name another data directory"]);

    std::fs::write(within("file"), "text").unwrap();
    refused(&within("file"), &["is a file", "name a directory"]);

    std::fs::create_dir(within("photos")).unwrap();
    std::fs::write(within("photos").join("cat.jpg"), "cat").unwrap();
    refused(&within("photos"), &["not a data directory of Comet", "name another"]);
    assert_eq!(std::fs::read_dir(within("photos")).unwrap().count(), 1, "nothing was put there");

    drop(Node::builder().data(within("later")).start());
    std::fs::write(within("later").join("comet.format"), "99\n").unwrap();
    refused(&within("later"), &["format \"99\"", "use the version that wrote it"]);
}

#[test]
fn a_second_node_on_the_same_directory_is_refused_and_the_first_serves_on() {
    let node = Node::start();
    let (status, stderr) = Node::builder().data(node.data()).start_in_vain();
    assert_eq!(status.code(), Some(REFUSED));
    says(&stderr, &["another node uses", "stop it, or name another data directory"]);
    serves(&node);
    assert!(node.comet(&["ctl", "tree"]).contains("gateway"), "the second did not take the first one's socket away");
}

#[test]
fn a_node_with_too_little_room_reads_refuses_writes_and_says_so() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::builder().data(&data).start();
    let () = node.connect().set("k", "v").unwrap();
    let put = ["ASO.PUT", "page", "p", "SCRIPT", "read_counter"];
    let () = redis::cmd(put[0]).arg(&put[1..]).query(&mut node.connect()).unwrap();
    node.terminate();

    let needed = 1_048_576;
    let node = Node::builder().data(&data).set("storage.min_free_mib", needed).start();
    let mut connection = node.connect();
    assert_eq!(connection.get::<_, String>("k").unwrap(), "v");
    assert_eq!(connection.get::<_, (String, u64)>("page").unwrap(), ("p".to_owned(), 1), "handlers run on");
    refuses_writes(&mut connection);
    says(&node.inspect(&["storage/writer"]), &["read-only", "storage.min_free_mib"]);
    let failure = node.try_comet(&["put", "k", "w"]);
    assert_eq!(failure.status.code(), Some(4), "the command line calls it a matter of time");
    assert_eq!(connection.get::<_, String>("k").unwrap(), "v");

    let fresh = folder.path().join("fresh");
    let (_, stderr) = Node::builder().data(&fresh).set("storage.min_free_mib", needed).start_in_vain();
    says(&stderr, &["storage.min_free_mib", "make room, or lower the setting"]);
}

fn refuses_writes(connection: &mut Connection) {
    for words in [["SET", "k", "w"], ["SET", "new", "w"], ["INCRBY", "n", "1"]] {
        let error = redis::cmd(words[0]).arg(&words[1..]).query::<()>(connection).unwrap_err().to_string();
        says(&error, &["UNAVAILABLE", "read-only", "make room"]);
    }
    let error = connection.del::<_, u64>("k").unwrap_err().to_string();
    says(&error, &["UNAVAILABLE", "read-only"]);
}

#[test]
fn a_disk_that_fills_makes_the_node_read_only_until_there_is_room_again() {
    let Some(disk) = SmallDisk::mount(192) else {
        println!("skipped: needs the right to mount a file system");
        return;
    };
    let mut node = Node::builder().data(disk.0.join("data")).set("storage.min_free_mib", 16).start();
    let mut connection = node.connect();
    let () = connection.set("before", "v").unwrap();
    let ballast = disk.0.join("ballast");
    fill(&ballast, 512);
    eventually(PATIENCE, "writes are refused", || connection.set::<_, _, ()>("k", "v").is_err());
    let error = connection.set::<_, _, ()>("k", "v").unwrap_err().to_string();
    says(&error, &["UNAVAILABLE", "read-only"]);
    assert_eq!(connection.get::<_, String>("before").unwrap(), "v");
    says(&node.inspect(&["storage/writer"]), &["read-only", "storage.min_free_mib"]);
    assert!(node.lives());

    std::fs::remove_file(&ballast).unwrap();
    eventually(PATIENCE, "writes go on by themselves", || connection.set::<_, _, ()>("after", "v").is_ok());
    node.kill9();
    node.restart();
    assert_eq!(node.connect().get::<_, String>("after").unwrap(), "v");
}

/// A file system of its own in memory, so that filling it harms nobody.
struct SmallDisk(PathBuf, TempDir);

impl SmallDisk {
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = TempDir::with_prefix("comet-disk-").unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| SmallDisk(folder.path().to_owned(), folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the node on it may be dropped later.
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.1.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "what was mounted can be unmounted");
    }
}

/// Writes until the disk takes no more, at most so many mebibytes.
fn fill(path: &Path, mebibytes: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    let block = vec![1; 1 << 20];
    let written = (0..mebibytes).take_while(|_| file.write_all(&block).is_ok()).count();
    assert!(written < mebibytes, "the disk is as small as it was made");
}

#[test]
fn a_script_that_does_not_compile_is_refused_with_line_and_column() {
    let node = Node::start();
    let broken = "fn onGet() {\n    let = 3;\n}\n";
    let mut connection = node.connect();
    let load = redis::cmd("ASO.SCRIPT").arg(&["LOAD", "broken", broken]).query::<String>(&mut connection);
    says(&load.unwrap_err().to_string(), &["BADSCRIPT", "broken:2:9"]);
    let put = redis::cmd("ASO.PUT").arg(&["k", "v", "SOURCE", broken]).query::<()>(&mut connection);
    says(&put.unwrap_err().to_string(), &["BADSCRIPT", "line 2"]);
    assert!(!connection.exists::<_, bool>("k").unwrap(), "a refused put leaves nothing");

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("broken.rhai");
    std::fs::write(&file, broken).unwrap();
    let file = file.to_str().unwrap();
    for words in [&["script", "load", "broken", file][..], &["script", "check", file]] {
        let output = node.try_comet(words);
        assert_eq!(output.status.code(), Some(REFUSED), "{words:?}");
        let told = [output.stdout, output.stderr].concat();
        says(&String::from_utf8_lossy(&told), &["broken", ":2:9"]);
    }
    serves(&node);
}

#[test]
fn what_is_too_big_is_refused_with_the_limit() {
    let node = Node::start();
    let mut connection = node.connect();
    let large = vec![b'x'; (1 << 20) + 1];
    let error = connection.set::<_, _, ()>("k", &large).unwrap_err().to_string();
    says(&error, &["TOOBIG", "1048577 bytes", "at most 1048576"]);
    let error = connection.set::<_, _, ()>(&large[..1_025], "v").unwrap_err().to_string();
    says(&error, &["TOOBIG", "1025 bytes", "1024"]);
    let () = connection.set("k", &large[..1 << 20]).unwrap();
    assert_eq!(connection.strlen::<_, usize>("k").unwrap(), 1 << 20);
    let () = connection.set("k", "small").unwrap();

    let peak = node.peak_rss();
    let mut stream = raw(&node);
    let huge = vec![b'x'; 10 << 20];
    let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", huge.len());
    // The node hangs up in the middle of it.
    let _lost = stream.write_all(header.as_bytes()).and_then(|()| stream.write_all(&huge));
    assert_eq!(connection.get::<_, String>("k").unwrap(), "small");
    let error = refusal(&mut raw(&node), &header);
    says(&error, &["ERR Protocol error: invalid bulk length"]);
    let error = refusal(&mut raw(&node), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$104857600\r\n");
    says(&error, &["ERR Protocol error: invalid bulk length"]);
    let grown = node.peak_rss().saturating_sub(peak);
    assert!(grown < 16 << 20, "nothing is reserved on a claim, and yet memory grew by {grown} bytes");
    serves(&node);
}

fn raw(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.resp()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the node says to these bytes before it hangs up.
fn refusal(stream: &mut TcpStream, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn garbage_costs_its_own_connection_and_no_other() {
    let node = Node::start();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for length in [1, 10, 100, 1_000, 100_000] {
        for opening in ["", "*", "$", "*3\r\n$3\r\n", "GET ", "\0", "\r\n\r\n*0\r\n"] {
            let garbage: Vec<u8> = (0..length).map(|_| random(&mut seed)).collect();
            let mut stream = raw(&node);
            // The node may hang up before it has read it all.
            let _lost = stream.write_all(opening.as_bytes()).and_then(|()| stream.write_all(&garbage));
            let _closed = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _reset = stream.read_to_end(&mut answer);
            assert!(answer.len() < 1 << 20, "garbage is not answered with {} bytes", answer.len());
        }
    }
    serves(&node);
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered_and_holds_nobody_up() {
    let node = Node::start();
    let request = "*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$5\r\nvalue\r\n";
    let mut slow: Vec<TcpStream> = (0..50).map(|_| raw(&node)).collect();
    for byte in request.bytes() {
        for stream in &mut slow {
            stream.set_nodelay(true).unwrap();
            stream.write_all(&[byte]).unwrap();
        }
        serves(&node);
    }
    for stream in &mut slow {
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK\r\n");
    }
    drop(slow);
    // Half a request, and then nothing for ever.
    let mut half = raw(&node);
    half.write_all(&request.as_bytes()[..20]).unwrap();
    serves(&node);
}

#[test]
fn ten_thousand_commands_without_reading_an_answer_are_all_answered_in_the_end() {
    const COMMANDS: usize = 10_000;
    let node = Node::start();
    let value = "v".repeat(1_000);
    let () = node.connect().set("k", &value).unwrap();
    let mut stream = raw(&node);
    let mut sender = stream.try_clone().unwrap();
    let sending =
        std::thread::spawn(move || sender.write_all("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(COMMANDS).as_bytes()));
    for _ in 0..20 {
        serves(&node);
    }
    let peak = node.peak_rss();
    let answer = format!("$1000\r\n{value}\r\n");
    let mut answers = vec![0; answer.len() * COMMANDS];
    stream.read_exact(&mut answers).unwrap();
    assert!(answers.chunks(answer.len()).all(|it| it == answer.as_bytes()));
    sending.join().unwrap().unwrap();
    assert!(node.peak_rss() - peak < 32 << 20, "a client that does not read costs no more than its bounds");
    serves(&node);
}

/// Values that no compression changes, so that they stand in the files as they are.
fn noise(number: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
    (0..100).map(|_| random(&mut seed)).collect()
}

fn random(seed: &mut u64) -> u8 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 32) as u8
}

/// A node that has stored a lot of noise and has been stopped.
fn stopped_with_noise(objects: usize) -> Node {
    let mut node = Node::start();
    let mut pipe = redis::pipe();
    for number in 0..objects {
        pipe.set(format!("k{number}"), noise(number)).ignore();
    }
    let () = pipe.query(&mut node.connect()).unwrap();
    node.terminate();
    node
}

#[test]
fn a_value_with_a_flipped_bit_on_the_disk_is_reported_and_the_rest_is_served() {
    const OBJECTS: usize = 2_000;
    let mut node = stopped_with_noise(OBJECTS);
    let spoilt = spoil(&node.data().join("store/keyspaces"), &noise(1_000));
    assert!(spoilt > 0, "the value stands somewhere in the files");

    node.restart();
    let mut connection = node.connect();
    let (mut right, mut refused) = (0, Vec::new());
    for number in 0..OBJECTS {
        match connection.get::<_, Option<Vec<u8>>>(format!("k{number}")) {
            Ok(Some(read)) => {
                assert_eq!(read, noise(number), "what is served is right");
                right += 1;
            }
            Ok(None) => panic!("k{number} is missing and nobody says so"),
            Err(error) => refused.push((format!("k{number}"), error.to_string())),
        }
    }
    // The database checks whole blocks, and refuses those it cannot trust.
    assert!(!refused.is_empty() && right > OBJECTS * 9 / 10, "{right} right, {} refused", refused.len());
    says(&refused[0].1, &["UNAVAILABLE", "damaged", "restore the data directory from a copy", "put it anew"]);
    for (key, _) in &refused {
        let () = connection.set(key, "new").unwrap();
        assert_eq!(connection.get::<_, String>(key).unwrap(), "new");
    }
    serves(&node);
}

#[test]
fn a_journal_with_a_flipped_bit_is_set_aside_and_what_the_tables_have_is_served() {
    const OBJECTS: usize = 200;
    let mut node = stopped_with_noise(OBJECTS);
    let store = node.data().join("store");
    let journals = std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    let spoilt: usize = journals
        .filter(|path| path.extension().is_some_and(|it| it == "jnl"))
        .map(|path| spoil_file(&path, &noise(100)))
        .sum();
    assert!(spoilt > 0, "the value stands in the journal");
    node.restart();
    let mut connection = node.connect();
    for number in 0..OBJECTS {
        assert_eq!(connection.get::<_, Vec<u8>>(format!("k{number}")).unwrap(), noise(number));
    }
    assert_eq!(node.figure("writer", "Storage", "journal_pieces"), 1);
    says(&node.stderr(), &[store.to_str().unwrap(), "is damaged", "were set aside in", "aside/"]);
    assert_eq!(std::fs::read_dir(node.data().join("aside")).unwrap().count(), 1, "the piece is a file");
    serves(&node);
}

/// Flips a bit wherever these bytes stand in the files of a folder; in how many places.
fn spoil(folder: &Path, bytes: &[u8]) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { spoil(&path, bytes) } else { spoil_file(&path, bytes) }).sum()
}

fn spoil_file(path: &Path, bytes: &[u8]) -> usize {
    let content = std::fs::read(path).unwrap();
    let places = content.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes);
    let places: Vec<usize> = places.map(|(place, _)| place + 7).collect();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    for &place in &places {
        file.write_all_at(&[content[place] ^ 4], place as u64).unwrap();
    }
    places.len()
}

//! Under a service manager, which this test stands in for: what it is told, and the sockets that it stores.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::child::{COLLECTOR, Collector, PATIENCE, Process, anywhere, binary, last_words, number, wait_for};
use super::inherited::{member, nobody, with_descriptors};

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bind");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    /// The next message with what came beside it.
    fn hear(&self) -> (String, Vec<OwnedFd>) {
        let (mut octets, mut space) = ([0; 4_096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(&self.0, &mut [IoSliceMut::new(&mut octets)], &mut control, RecvFlags::empty());
        let length = message.expect("a message").bytes;
        let mut descriptors = Vec::new();
        for beside in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = beside {
                descriptors.extend(received);
            }
        }
        (String::from_utf8(octets[..length].to_vec()).expect("text"), descriptors)
    }

    /// The first message with `part` in it; what comes before it is dropped.
    fn wait_for(&self, part: &str) -> (String, Vec<OwnedFd>) {
        wait_for(&format!("a message with {part}"), || Some(self.hear()).filter(|(text, _)| text.contains(part)))
    }
}

#[test]
fn a_manager_is_told_of_the_course_and_keeps_the_sockets() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let manager = Manager::at(&path);
    let mut command = binary(COLLECTOR);
    let file = dir.path().join("changing.toml");
    std::fs::write(&file, "").expect("a file");
    command.arg("--config").arg(&file);
    // Nobody takes what is delivered, and nothing is sent but a few datagrams that no version has.
    command.arg(format!("--backend-url=http://{}", nobody()));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").env("FDSTORE", "16");
    let mut first = Collector::from_command(command, false);

    let (text, mut stored) = manager.hear();
    assert!(text.starts_with("FDSTORE=1\nFDNAME=kept-") && text.contains("FDPOLL=0\n"), "{text}");
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).expect("a name").to_owned();
    assert_eq!(stored.len(), 2, "one for each worker");
    let (ready, _) = manager.wait_for("READY=1");
    assert!(ready.contains("STATUS=receives on "), "{ready}");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    sender.send_to(b"while it runs", first.port).expect("sent");
    wait_for("the datagram", || (number(&first.ledger(), "/datagrams/received") == 1).then_some(()));
    // Read again, with success and without: the manager hears when it begins and when it is over.
    first.process.signal(&["HUP"]);
    let (began, _) = manager.wait_for("RELOADING=1");
    let since = began.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
    assert!(since.parse::<u64>().is_ok_and(|us| us > 0), "{began}");
    let (over, _) = manager.wait_for("READY=1");
    assert!(over.contains("STATUS=configuration read again\n"), "{over}");
    std::fs::write(&file, "[batch]\nsiez = 5\n").expect("a file");
    first.process.signal(&["HUP"]);
    manager.wait_for("RELOADING=1");
    let (over, _) = manager.wait_for("READY=1");
    assert!(over.contains("refused: everything stays as it was"), "{over}");
    first.process.signal(&["TERM"]);
    manager.wait_for("STOPPING=1");
    assert_eq!(first.process.wait(Duration::from_secs(60)).code(), Some(0), "{}", first.process.log());
    assert!(first.process.log().contains("\"how\":\"Kept\""), "{}", first.process.log());

    // What comes now waits in the stored sockets, and the next process reads it.
    for _ in 0..20 {
        UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(b"while none runs", first.port)).expect("sent");
    }
    let pair = [stored.remove(0), stored.remove(0)];
    let mut command = with_descriptors(pair, &format!("{name}:{name}"), ("flows", first.port), nobody(), dir.path());
    command.env("NOTIFY_SOCKET", &path).env("FDSTORE", "16");
    let mut second = Collector::from_process(Process::spawn(command));
    assert_eq!(second.port, first.port);
    wait_for("what waited", || (number(&second.ledger(), "/datagrams/received") == 20).then_some(()));
    second.process.signal(&["TERM"]);
    second.process.wait(Duration::from_secs(60));
    assert_eq!(number(&last_words(&second.process.log()), "/kernel_dropped"), 0);
}

#[test]
fn stored_sockets_that_nobody_wants_any_more_are_forgotten() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let manager = Manager::at(&path);
    let (one, _) = member(anywhere());
    let (other, wanted) = member(anywhere());
    let pair = [one.into(), other.into()];
    let mut command = with_descriptors(pair, "kept-old:kept-flows", ("flows", wanted), nobody(), dir.path());
    command.env("NOTIFY_SOCKET", &path).env("FDSTORE", "16");
    let collector = Collector::from_process(Process::spawn(command));
    assert_eq!(collector.port, wanted);
    assert_eq!(manager.hear().0, "FDSTOREREMOVE=1\nFDNAME=kept-old\n");
    // One came, two workers: the group is made whole and stored anew.
    let (text, stored) = manager.hear();
    assert!(text.contains("FDNAME=kept-flows\n"), "{text}");
    assert_eq!(stored.len(), 2);
}

#[test]
fn a_store_without_room_is_said_and_the_sockets_leave_as_ever() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let _manager = Manager::at(&path);
    let mut command = binary(COLLECTOR);
    command.arg(format!("--backend-url=http://{}", nobody())).env("NOTIFY_SOCKET", &path).env("FDSTORE", "1");
    let mut collector = Collector::from_command(command, false);
    collector.process.line("set FileDescriptorStoreMax=4 in the unit");
    collector.process.signal(&["TERM"]);
    assert_eq!(collector.process.wait(Duration::from_secs(60)).code(), Some(0));
    assert!(collector.process.log().contains("\"how\":\"Alone\""), "{}", collector.process.log());
}

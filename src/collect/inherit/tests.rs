use std::collections::HashMap;
use std::net::UdpSocket;

use super::*;
use crate::collect::tests::settings;

fn names(pairs: &[(&str, &str)], pid: u32) -> Result<Vec<String>, String> {
    let set: HashMap<String, OsString> = pairs.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
    announced(|key| set.get(key).cloned(), pid)
}

fn inherited(sockets: Vec<(&str, OwnedFd)>) -> Result<Inherited, String> {
    let mut all = Inherited::default();
    for (i, (name, descriptor)) in sockets.into_iter().enumerate() {
        all.sort_in(format!("descriptor {}", i + 3), name.to_owned(), descriptor)?;
    }
    Ok(all)
}

fn udp(address: &str) -> (OwnedFd, SocketAddr) {
    let socket = UdpSocket::bind(address).expect("bind");
    let address = socket.local_addr().expect("address");
    (socket.into(), address)
}

fn listener_on(address: SocketAddr, name: &str) -> ListenerSettings {
    let mut listener = settings(1, 1).listeners.remove(0);
    (listener.name, listener.address, listener.port) = (name.to_owned(), address.ip(), address.port());
    listener
}

#[test]
fn what_is_announced_is_checked() {
    assert_eq!(names(&[], 7), Ok(vec![]));
    assert_eq!(names(&[("LISTEN_FDS", "2")], 7), Ok(vec![]), "without a process id it is for nobody");
    assert_eq!(names(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "8")], 7), Ok(vec![]), "for another process");
    let named = [("LISTEN_FDS", "2"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "a:")];
    assert_eq!(names(&named, 7), Ok(vec!["a".to_owned(), String::new()]));
    assert_eq!(names(&[("LISTEN_FDS", "0"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "")], 7), Ok(vec![]));
    assert_eq!(names(&named[..2], 7), Ok(vec!["unknown".to_owned(); 2]));
    let long = "x".repeat(256);
    for (fds, pid, names_given) in [
        ("-1", "7", "a"),
        ("two", "7", "a"),
        ("4097", "7", "a"),
        ("99999999999999999999", "7", "a"),
        ("2", "7", "a"),
        ("2", "7", "a:b:c"),
        ("1", "seven", "a"),
        ("1", "7", long.as_str()),
    ] {
        let pairs = [("LISTEN_FDS", fds), ("LISTEN_PID", pid), ("LISTEN_FDNAMES", names_given)];
        let error = names(&pairs, 7).expect_err("refused");
        assert!(error.contains("LISTEN_") && error.contains(NOT_OURS), "{error}");
    }
}

#[test]
fn descriptors_of_a_wrong_kind_are_named() {
    let stream = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("bind"));
    let file = OwnedFd::from(std::fs::File::open("/dev/null").expect("it is there"));
    let unbound = OwnedFd::from(Socket::new(Domain::IPV4, Type::DGRAM, None).expect("socket"));
    let connected = UdpSocket::bind("127.0.0.1:0").expect("bind");
    connected.connect("127.0.0.1:9").expect("connect");
    let unix = OwnedFd::from(std::os::unix::net::UnixDatagram::unbound().expect("socket"));
    for (name, descriptor, part) in [
        ("flows", stream(), "is no UDP socket"),
        ("flows", file, "is no socket"),
        ("flows", unbound, "is not bound"),
        ("flows", unix, "is not bound"),
        ("flows", connected.into(), "is connected to"),
        (HTTP, udp("127.0.0.1:0").0, "no listening TCP socket"),
    ] {
        let error = inherited(vec![(name, descriptor)]).expect_err("refused");
        assert!(error.starts_with("descriptor 3 ") && error.contains(part), "{error}");
    }
    let error = inherited(vec![(HTTP, stream()), (HTTP, stream())]).expect_err("refused");
    assert!(error.starts_with("descriptor 4: ") && error.contains("second"), "{error}");
    assert!(inherited(vec![(HTTP, stream())]).expect("taken").take_http().is_some());
}

#[test]
fn sockets_go_to_the_listener_of_their_name_or_address() {
    let ((one, at_one), (two, at_two)) = (udp("127.0.0.1:0"), udp("[::1]:0"));
    let listeners = [listener_on(at_two, "two"), listener_on(at_one, "one")];
    let mut all = inherited(vec![("unknown", one), ("two", two)]).expect("taken");
    let dealt = all.deal(&listeners).expect("dealt");
    assert_eq!(dealt.iter().map(|d| d.sockets[0].address).collect::<Vec<_>>(), [at_two, at_one]);

    let (one, at_one) = udp("127.0.0.1:0");
    let mut all = inherited(vec![("two", one)]).expect("taken");
    let error = all.deal(&listeners).expect_err("another port").to_string();
    assert!(error.contains(&at_one.to_string()) && error.contains("listener two"), "{error}");

    let mut all = inherited(vec![("x", udp("127.0.0.1:0").0)]).expect("taken");
    let error = all.deal(&listeners).expect_err("nobody's").to_string();
    assert!(error.contains("no listener is") && error.contains("one (127.0.0.1:"), "{error}");

    let (one, at_one) = udp("127.0.0.1:0");
    let listeners = [listener_on(at_one, "one"), listener_on(at_two, "two")];
    let error = inherited(vec![("one", one)]).expect("taken").deal(&listeners).expect_err("one short").to_string();
    assert!(error.contains("listener two") && error.contains("ListenDatagram=[::1]:"), "{error}");
}

#[test]
fn what_the_store_has_and_nobody_wants_is_closed_and_forgotten() {
    let (wanted, address) = udp("127.0.0.1:0");
    let listeners = [listener_on(address, "one"), listener_on("127.0.0.1:1".parse().expect("address"), "new")];
    let stale = ("kept-old", udp("127.0.0.1:0").0);
    let mut all = inherited(vec![("kept-one", wanted), stale]).expect("taken");
    let dealt = all.deal(&listeners).expect("a listener may be new");
    assert_eq!(dealt.iter().map(|d| d.sockets.len()).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(all.forgotten(), ["kept-old"]);
}

#[test]
fn a_group_is_made_of_what_came_and_what_is_short() {
    let held = |name: &str| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("socket");
        socket.set_reuse_port(true).expect("option");
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("address").into()).expect("bind");
        let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("address");
        let mut all = inherited(vec![(name, socket.into())]).expect("taken");
        let listeners = [listener_on(address, "one")];
        let mut all_settings = settings(1, 3);
        all_settings.listeners = listeners.to_vec();
        let dealt = all.deal(&listeners).expect("dealt").remove(0);
        dealt.into_group(&listeners[0], &all_settings).expect("a group")
    };
    let unit = held("flows");
    assert_eq!((unit.sockets.len(), unit.sockets[0].is_kept()), (1, true));
    assert!(unit.warnings.iter().any(|w| w.contains("1 inherited sockets for 3 workers")), "{:?}", unit.warnings);
    assert_eq!(unit.leave(), crate::collect::LeavingSocket::Kept);
    let stored = held("kept-one");
    assert_eq!(stored.sockets.iter().map(|s| s.is_kept()).collect::<Vec<_>>(), [true, false, false]);
    // Offered to the store, all of them outlive the process; refused, they stay as they are.
    keep(std::slice::from_ref(&stored), |_, _| false);
    assert!(!stored.sockets[1].is_kept());
    keep(std::slice::from_ref(&stored), |name, sockets| name == "kept-one" && sockets.len() == 3);
    assert!(stored.sockets.iter().all(|s| s.is_kept()));
}

#[test]
fn names_for_the_store_are_plain_and_short() {
    assert_eq!(stored_name("2055"), "kept-2055");
    assert_eq!(stored_name("a:b\nc d"), "kept-a_b_c_d");
    assert_eq!(stored_name(&"x".repeat(400)).len(), DESCRIPTOR_NAME_OCTETS_MAX);
}

use super::*;
use crate::collect::tests::settings;

fn bind(listener: &ListenerSettings, workers: usize, exclusive: bool) -> Result<Group, CollectError> {
    Group::bind(listener, workers, 1 << 20, Steering::Kernel, exclusive)
}

fn listener() -> ListenerSettings {
    settings(1, 1).listeners.remove(0)
}

#[test]
fn a_free_port_is_shared_by_all_workers_and_the_buffer_is_divided() {
    let group = bind(&listener(), 4, false).expect("bind");
    assert_ne!(group.address.port(), 0);
    assert_eq!(group.sockets.len(), 4);
    for socket in &group.sockets {
        let address = socket.socket.local_addr().ok().and_then(|a| a.as_socket());
        assert_eq!(address, Some(group.address));
        let memory = sys::memory_info(&**socket).expect("memory");
        assert_eq!(u64::from(memory.rcvbuf) / 2, group.buffer.granted);
        assert_eq!(memory.drops, 0);
    }
    assert_eq!(group.buffer.asked, (1 << 20) / 4);
}

#[test]
fn a_capped_buffer_gives_one_warning_with_the_value_to_set() {
    let mut group = bind(&listener(), 2, false).expect("bind");
    assert!(group.warnings.is_empty(), "{:?}", group.warnings);
    group.buffer = ObtainedBuffer { asked: 16 << 20, granted: 4 << 20, forced: false };
    group.warn(&listener(), 2);
    assert_eq!(group.warnings.len(), 1);
    assert!(group.warnings[0].contains("net.core.rmem_max=16777216"), "{:?}", group.warnings);
}

#[test]
fn an_address_in_use_names_the_holder_and_what_to_do() {
    // Without SO_REUSEPORT: a program that does not share.
    let holder = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = holder.local_addr().expect("address").port();
    let message = bind(&ListenerSettings { port, ..listener() }, 1, false).expect_err("in use").to_string();
    assert!(message.contains(&format!("127.0.0.1:{port} is in use")), "{message}");
    assert!(message.contains("SO_REUSEPORT") && message.contains("l0"), "{message}");
    if !ports::sockets_on(port).is_empty() {
        assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
    }
}

#[test]
fn an_exclusive_port_is_refused_to_a_second_collector() {
    let first = bind(&listener(), 1, true).expect("bind");
    let again = ListenerSettings { port: first.address.port(), ..listener() };
    for exclusive in [true, false] {
        let error = bind(&again, 1, exclusive).expect_err("held");
        assert!(matches!(error, CollectError::AddressInUse(_)), "{error}");
        assert!(error.to_string().contains("exclusive = true"), "{error}");
    }
    drop(first);
    drop(bind(&again, 1, true).expect("free again"));
    // The other way round: the port is shared already, so nobody can have it alone.
    let _shared = bind(&again, 1, false).expect("bind");
    if ports::sockets_on(again.port).is_empty() {
        eprintln!("skipped in part: /proc/net/udp is not readable here");
        return;
    }
    let error = bind(&again, 1, true).expect_err("shared");
    assert!(error.to_string().contains("also bound"), "{error}");
}

#[test]
fn steering_without_exclusive_and_foreign_addresses_are_errors_that_help() {
    let mut s = settings(1, 1);
    s.steering = Steering::Random;
    assert!(steer::validate(&s).expect_err("refused").contains("exclusive = true"));
    s.exclusive = true;
    assert_eq!(steer::validate(&s), Ok(()));
    let foreign = ListenerSettings { address: IpAddr::from([192, 0, 2, 77]), ..listener() };
    let message = bind(&foreign, 1, false).expect_err("foreign").to_string();
    assert!(message.contains("192.0.2.77 is no address of this host"), "{message}");
    let device = ListenerSettings { interface: Some("no-such-if0".into()), ..listener() };
    let message = bind(&device, 1, false).expect_err("no interface").to_string();
    assert!(message.contains("no-such-if0") && message.contains("ip link"), "{message}");
}

#[test]
fn kernel_releases_compare_by_number() {
    assert!(kernel_at_least(5, 10), "the oldest kernel that this runs on");
    assert!(!kernel_at_least(999, 0));
}

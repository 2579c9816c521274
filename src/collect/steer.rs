//! Which socket of the group gets a datagram: the kernel's hash, or a classic BPF program of ours.
//!
//! A program returns an index in the order in which the sockets were bound, and it counts for the
//! whole group: the last one attached wins, and a process that joins later gets nothing. So the
//! programs are for a process that has its ports to itself, which [`PortLock`] sees to: its name is
//! an abstract socket address, which lives in the same network namespace as the port, needs no file
//! system, and goes with the process.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::sys::{self, Instruction};
use super::{CollectSettings, Steering};

// Opcodes of classic BPF.
const LOAD_OCTET: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const SHIFT_RIGHT: u16 = 0x74;
const MULTIPLY: u16 = 0x24;
const MODULO: u16 = 0x94;
const EXCLUSIVE_OR_X: u16 = 0xac;
const TO_X: u16 = 0x07;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x16;

/// Loads relative to the IP header (SKF_NET_OFF); offset 0 is the UDP payload.
const NETWORK: u32 = 0xfff0_0000;
/// Number of the CPU that received the datagram (SKF_AD_OFF + SKF_AD_CPU).
const RECEIVING_CPU: u32 = 0xffff_f000 + 36;
/// A random word (SKF_AD_OFF + SKF_AD_RANDOM).
const RANDOM: u32 = 0xffff_f000 + 56;
/// 2^32 / golden ratio: spreads neighbouring addresses (Knuth's multiplicative hash).
const GOLDEN: u32 = 0x9e37_79b1;

const fn step(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

/// The program of `steering` for a group of `sockets`; None where the kernel decides.
#[must_use]
pub fn program(steering: Steering, sockets: u32) -> Option<Vec<Instruction>> {
    let of_ancillary = |offset| vec![step(LOAD_WORD, offset), step(MODULO, sockets), step(RETURN, 0)];
    match steering {
        Steering::Kernel => None,
        Steering::Cpu => Some(of_ancillary(RECEIVING_CPU)),
        Steering::Random => Some(of_ancillary(RANDOM)),
        Steering::Source => Some(vec![
            // Version of the IP header: a dual-stack socket sees both.
            step(LOAD_OCTET, NETWORK),
            step(SHIFT_RIGHT, 4),
            Instruction { code: JUMP_EQUAL, jump_true: 2, jump_false: 0, operand: 6 },
            // IPv4: the source address; then past the 10 steps of IPv6.
            step(LOAD_WORD, NETWORK + 12),
            step(JUMP, 10),
            // IPv6: the four words of the source address folded into one.
            step(LOAD_WORD, NETWORK + 8),
            step(TO_X, 0),
            step(LOAD_WORD, NETWORK + 12),
            step(EXCLUSIVE_OR_X, 0),
            step(TO_X, 0),
            step(LOAD_WORD, NETWORK + 16),
            step(EXCLUSIVE_OR_X, 0),
            step(TO_X, 0),
            step(LOAD_WORD, NETWORK + 20),
            step(EXCLUSIVE_OR_X, 0),
            // Both: hash, keep the better half, reduce.
            step(MULTIPLY, GOLDEN),
            step(SHIFT_RIGHT, 16),
            step(MODULO, sockets),
            step(RETURN, 0),
        ]),
    }
}

/// Attaches `steering` to the group of `socket`, which must be complete: an index past the group's
/// size falls back to the kernel's hash, and sockets that bind later are refused.
///
/// # Errors
/// What the kernel says.
pub fn attach(socket: impl AsFd, steering: Steering, sockets: usize) -> io::Result<()> {
    let count = u32::try_from(sockets).unwrap_or(u32::MAX).max(1);
    program(steering, count).map_or(Ok(()), |steps| sys::attach_steering(socket, &steps))
}

/// Checks that steering and `exclusive` fit together.
///
/// # Errors
/// A sentence for the operator.
pub fn validate(settings: &CollectSettings) -> Result<(), String> {
    if settings.steering == Steering::Kernel || settings.exclusive {
        return Ok(());
    }
    Err(format!(
        "receive: steering = \"{}\" needs exclusive = true: a program that chooses sockets counts for all processes on \
         the port, and another collector on it would get nothing; set exclusive = true if this is the only one, or \
         steering = \"kernel\"",
        name(settings.steering)
    ))
}

/// Name of `steering` in the configuration.
#[must_use]
pub const fn name(steering: Steering) -> &'static str {
    match steering {
        Steering::Kernel => "kernel",
        Steering::Source => "source",
        Steering::Cpu => "cpu",
        Steering::Random => "random",
    }
}

/// Says that this process has a port to itself, for as long as it lives.
#[derive(Debug)]
pub struct PortLock {
    _held: UnixDatagram,
}

impl PortLock {
    fn address(port: u16) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(format!("clarion-collector-port-{port}"))
    }

    /// Takes the lock of `port`; None if another process has it.
    ///
    /// # Errors
    /// What the kernel says, a lock that is held excepted.
    pub fn take(port: u16) -> io::Result<Option<Self>> {
        match UnixDatagram::bind_addr(&Self::address(port)?) {
            Ok(socket) => Ok(Some(Self { _held: socket })),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// True if some process holds the lock of `port`.
    #[must_use]
    pub fn is_held(port: u16) -> bool {
        Self::address(port).and_then(|a| UnixDatagram::unbound()?.connect_addr(&a)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_stay_inside_the_program_and_all_ends_return() {
        for steering in [Steering::Source, Steering::Cpu, Steering::Random] {
            let steps = program(steering, 4).expect("program");
            assert_eq!(steps.last().map(|s| s.code), Some(RETURN));
            for (i, s) in steps.iter().enumerate() {
                let far = if s.code == JUMP { s.operand as usize } else { usize::from(s.jump_true.max(s.jump_false)) };
                assert!(i + 1 + far <= steps.len(), "{steering:?} step {i}");
            }
        }
        assert_eq!(program(Steering::Kernel, 4), None);
        // IPv4 continues at the hash, not inside the words of IPv6.
        let source = program(Steering::Source, 4).expect("program");
        assert_eq!(source[4 + 1 + source[4].operand as usize], step(MULTIPLY, GOLDEN));
    }

    #[test]
    fn a_port_lock_is_held_once_and_goes_with_its_holder() {
        // Port 1 of UDP: no collector of a test listens there.
        let lock = PortLock::take(1).expect("take").expect("free");
        assert!(PortLock::is_held(1));
        assert!(PortLock::take(1).expect("take").is_none());
        drop(lock);
        assert!(!PortLock::is_held(1));
        assert!(PortLock::take(1).expect("take").is_some());
    }
}

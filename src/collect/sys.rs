//! The system calls that std and socket2 lack, behind safe functions: the only file with `unsafe`.
//!
//! What enters is a borrowed descriptor, what leaves is plain data. A [`ReceiveArena`] owns every
//! buffer that the kernel writes to for as long as it lives, so no pointer outlives its memory.
//! What the kernel wrote is read back as octets, in safe code.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::limits::{ARENA_OCTETS, DESCRIPTORS_PER_MESSAGE_MAX, RECEIVE_BATCH};

/// Octets of a slot: the largest UDP payload fits, so the kernel never has to cut one.
const SLOT: usize = ARENA_OCTETS / RECEIVE_BATCH;

/// sockaddr_in6 takes 28 octets, sockaddr_in 16.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Name([u8; 32]);

/// Room for a timestamp (32 octets with its header on 64-bit systems) and one more message.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

/// One received datagram, borrowed from the arena.
#[derive(Debug, Clone, Copy)]
pub struct RawDatagram<'a> {
    /// Sender; IPv4-mapped IPv6 is folded to IPv4 (G-05).
    pub peer: SocketAddr,
    /// Kernel receive time, Unix nanoseconds; None if the kernel sent none.
    pub receive_ns: Option<u64>,
    /// UDP payload.
    pub octets: &'a [u8],
    /// The kernel cut the payload (MSG_TRUNC).
    pub truncated: bool,
}

/// Buffers for one recvmmsg call, built once: addresses, control messages and payload slots.
pub struct ReceiveArena {
    // Vec and not Box: the headers keep pointers into these buffers while the struct moves.
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
    octets: Vec<u8>,
    // Slots that the last call filled: their lengths must be set again.
    filled: usize,
}

impl std::fmt::Debug for ReceiveArena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveArena").field("slots", &self.vectors.len()).field("filled", &self.filled).finish()
    }
}

impl Default for ReceiveArena {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveArena {
    /// An arena of `RECEIVE_BATCH` slots; pages that no large datagram touches stay unbacked.
    #[must_use]
    pub fn new() -> Self {
        let mut arena = Self {
            headers: Vec::with_capacity(RECEIVE_BATCH),
            vectors: Vec::with_capacity(RECEIVE_BATCH),
            names: vec![Name([0; 32]); RECEIVE_BATCH],
            controls: vec![Control([0; 64]); RECEIVE_BATCH],
            octets: vec![0; ARENA_OCTETS],
            filled: 0,
        };
        let (octets, names, controls) =
            (arena.octets.as_mut_ptr(), arena.names.as_mut_ptr(), arena.controls.as_mut_ptr());
        for i in 0..RECEIVE_BATCH {
            arena.vectors.push(libc::iovec { iov_base: octets.wrapping_add(i * SLOT).cast(), iov_len: SLOT });
        }
        let vectors = arena.vectors.as_mut_ptr();
        for i in 0..RECEIVE_BATCH {
            // SAFETY: mmsghdr is plain integers and pointers; all zeroes is a valid value of each.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = vectors.wrapping_add(i);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = names.wrapping_add(i).cast();
            header.msg_hdr.msg_control = controls.wrapping_add(i).cast();
            arena.headers.push(header);
        }
        arena.filled = RECEIVE_BATCH;
        arena
    }

    /// Reads up to `RECEIVE_BATCH` datagrams that wait in `socket`, without blocking. Fewer than
    /// that means that the socket was empty at the end.
    ///
    /// # Errors
    /// What recvmmsg says; an empty socket is `Ok(0)`, and so is a call that a signal interrupted.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        for header in &mut self.headers[..self.filled] {
            header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            header.msg_hdr.msg_flags = 0;
        }
        self.filled = 0;
        let (fd, headers) = (socket.as_fd().as_raw_fd(), self.headers.as_mut_ptr());
        // SAFETY: `headers` has RECEIVE_BATCH entries, whose pointers lead to buffers that self owns
        // and does not resize, with their true lengths; a null timeout is allowed.
        let received =
            unsafe { libc::recvmmsg(fd, headers, RECEIVE_BATCH as _, libc::MSG_DONTWAIT as _, std::ptr::null_mut()) };
        match usize::try_from(received) {
            Ok(count) => {
                self.filled = count.min(RECEIVE_BATCH);
                Ok(self.filled)
            }
            Err(_) => match io::Error::last_os_error() {
                e if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                e => Err(e),
            },
        }
    }

    /// Octets of payload that the last [`ReceiveArena::receive`] read.
    #[must_use]
    pub fn received_octets(&self) -> u64 {
        self.headers[..self.filled].iter().map(|h| u64::from(h.msg_len)).sum()
    }

    /// Datagram `index` of the last [`ReceiveArena::receive`]; None behind its count, or if the
    /// sender's address is of no family that UDP has.
    #[inline]
    #[must_use]
    pub fn datagram(&self, index: usize) -> Option<RawDatagram<'_>> {
        let header = self.headers[..self.filled].get(index)?;
        let length = (header.msg_len as usize).min(SLOT);
        #[allow(clippy::unnecessary_cast, reason = "socklen_t with musl, usize with glibc")]
        let control = header.msg_hdr.msg_controllen as usize;
        Some(RawDatagram {
            peer: peer_of(&self.names[index].0)?,
            receive_ns: receive_time(&self.controls[index].0, control),
            octets: &self.octets[index * SLOT..][..length],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        })
    }
}

/// sockaddr_in or sockaddr_in6 -> address with IPv4-mapped folded.
fn peer_of(name: &[u8; 32]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([name[2], name[3]]);
    let ip = match libc::c_int::from(u16::from_ne_bytes([name[0], name[1]])) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(name[4], name[5], name[6], name[7])),
        libc::AF_INET6 => {
            let octets: [u8; 16] = name[8..24].try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Walks the control messages to SCM_TIMESTAMPNS; Unix nanoseconds.
fn receive_time(control: &[u8; 64], length: usize) -> Option<u64> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = size_of::<libc::cmsghdr>().next_multiple_of(WORD);
    let integer = |octets: &[u8], at: usize| octets.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes);
    let mut rest = control.get(..length)?;
    while rest.len() >= HEADER {
        let stated = usize::from_ne_bytes(rest.get(..WORD)?.try_into().ok()?);
        if stated < HEADER || stated > rest.len() {
            return None;
        }
        let level = integer(rest, offset_of!(libc::cmsghdr, cmsg_level))?;
        let kind = integer(rest, offset_of!(libc::cmsghdr, cmsg_type))?;
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS && stated >= HEADER + 16 {
            let seconds = i64::from_ne_bytes(rest[HEADER..HEADER + 8].try_into().ok()?);
            let nanoseconds = i64::from_ne_bytes(rest[HEADER + 8..HEADER + 16].try_into().ok()?);
            let total = seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?;
            return u64::try_from(total).ok();
        }
        rest = rest.get(stated.next_multiple_of(WORD)..)?;
    }
    None
}

/// A socket's receive memory (SO_MEMINFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Octets that queued datagrams are charged with.
    pub rmem_alloc: u32,
    /// Bound of `rmem_alloc`: twice what was asked for.
    pub rcvbuf: u32,
    /// Datagrams dropped since the socket was made; wraps.
    pub drops: u32,
}

/// Reads `socket`'s receive memory.
///
/// # Errors
/// What getsockopt says.
pub fn memory_info(socket: impl AsFd) -> io::Result<MemoryInfo> {
    let mut words = [0_u32; 9];
    let mut length = size_of::<[u32; 9]>() as libc::socklen_t;
    let (fd, value) = (socket.as_fd().as_raw_fd(), words.as_mut_ptr().cast());
    // SAFETY: `value` points to `length` octets of `words`, which outlives the call.
    let code = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, value, &raw mut length) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(MemoryInfo { rmem_alloc: words[0], rcvbuf: words[1], drops: words[8] })
}

fn set_option<T>(fd: BorrowedFd<'_>, name: libc::c_int, value: &T) -> io::Result<()> {
    let value: *const T = value;
    // SAFETY: `value` points to a T of exactly the length given, alive for the call; the kernel reads only.
    let code = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, value.cast(), size_of::<T>() as libc::socklen_t)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the kernel to stamp each datagram with its receive time.
///
/// # Errors
/// What setsockopt says.
pub fn set_receive_timestamps(socket: impl AsFd) -> io::Result<()> {
    set_option(socket.as_fd(), libc::SO_TIMESTAMPNS, &1_i32)
}

/// Sets the receive buffer past net.core.rmem_max, octets (the kernel doubles them).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN.
pub fn force_receive_buffer(socket: impl AsFd, octets: u64) -> io::Result<()> {
    // The kernel doubles, and its own value is an int.
    let octets = i32::try_from(octets).unwrap_or(i32::MAX).min(i32::MAX / 2);
    set_option(socket.as_fd(), libc::SO_RCVBUFFORCE, &octets)
}

/// One instruction of a classic BPF program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Opcode.
    pub code: u16,
    /// Instructions to skip if true.
    pub jump_true: u8,
    /// Instructions to skip if false.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Lets `program` choose the socket of the reuseport group that `socket` is in.
///
/// # Errors
/// EINVAL if the socket is in no group or the program is not valid.
pub fn attach_steering(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jump_true, jf: i.jump_false, k: i.operand })
        .collect();
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The kernel copies the program: `filter` need not outlive this call.
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    set_option(socket.as_fd(), libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Takes the steering program away from the group that `socket` is in.
///
/// # Errors
/// ENOENT if there is none.
pub fn detach_steering(socket: impl AsFd) -> io::Result<()> {
    set_option(socket.as_fd(), libc::SO_DETACH_REUSEPORT_BPF, &0_i32)
}

/// Descriptors that a worker waits on.
#[derive(Debug)]
pub struct PollSet(Vec<libc::pollfd>);

impl PollSet {
    /// Waits for any of `descriptors` to become readable. The caller keeps them open for as long as
    /// this set is used; a closed one only makes the wait return at once.
    #[must_use]
    pub fn new<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>) -> Self {
        let entry = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        Self(descriptors.into_iter().map(entry).collect())
    }

    /// Returns when one is readable, after `timeout`, or when a signal came.
    ///
    /// # Errors
    /// What ppoll says, an interruption excepted.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let limit = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
        };
        let (fds, count) = (self.0.as_mut_ptr(), self.0.len() as libc::nfds_t);
        // SAFETY: `fds` points to `count` entries that self owns; `limit` is alive; no signal mask.
        let code = unsafe { libc::ppoll(fds, count, &raw const limit, std::ptr::null()) };
        if code < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// First descriptor after standard input, output and error: where the inherited ones begin.
const FIRST_INHERITED: RawFd = 3;

/// Takes over the `count` descriptors from 3 on, which whoever started this process opened for it; each
/// with its number. They are closed with this process and not handed on. Only the first call of a process
/// finds any: the numbers may mean something else later. To be called before anything else is opened.
pub fn take_inherited(count: usize) -> Vec<(RawFd, io::Result<OwnedFd>)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    let end = FIRST_INHERITED.saturating_add(RawFd::try_from(count).unwrap_or(RawFd::MAX));
    let take = |fd: RawFd| {
        // SAFETY: fcntl with these commands reads and sets a flag of a number; EBADF if it is not open.
        let code = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        if code < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: open, as the call above has shown, and the protocol makes it ours alone: TAKEN lets one caller pass.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    (FIRST_INHERITED..end).map(|fd| (fd, take(fd))).collect()
}

/// Sends `octets` with copies of `descriptors` over `socket`, which is connected, without blocking.
///
/// # Errors
/// What sendmsg says; InvalidInput for more than `DESCRIPTORS_PER_MESSAGE_MAX`.
pub fn send_with_descriptors(socket: &UnixDatagram, octets: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > DESCRIPTORS_PER_MESSAGE_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    const HEADER: usize = size_of::<libc::cmsghdr>().next_multiple_of(size_of::<usize>());
    let stated = HEADER + descriptors.len() * size_of::<RawFd>();
    let mut control = Vec::with_capacity(stated.next_multiple_of(size_of::<usize>()));
    control.extend(stated.to_ne_bytes());
    control.extend(libc::SOL_SOCKET.to_ne_bytes());
    control.extend(libc::SCM_RIGHTS.to_ne_bytes());
    control.extend(descriptors.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes()));
    control.resize(stated.next_multiple_of(size_of::<usize>()), 0);
    let mut vector = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    // SAFETY: msghdr is plain integers and pointers; all zeroes is a valid value of each.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if !descriptors.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control.len() as _;
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: `message` leads to `octets` and `control` with their true lengths; both outlive the call, which reads only.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// CLOCK_MONOTONIC in microseconds, as the service manager compares it.
#[must_use]
pub fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that outlives the call.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    if code != 0 {
        return 0;
    }
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

/// Inode of a descriptor: how /proc/net/udp names a socket.
///
/// # Errors
/// What fstat says.
pub fn inode(socket: impl AsFd) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(File::from(socket.as_fd().try_clone_to_owned()?).metadata()?.ino())
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemRoom {
    /// Octets that a user without privileges may still write.
    pub free_octets: u64,
    /// Octets of the whole.
    pub octets: u64,
    /// Files that may still be made; 0 of 0 where the file system does not count them.
    pub free_files: u64,
    /// Files of the whole.
    pub files: u64,
}

/// Room on the file system that `path` is on.
///
/// # Errors
/// What statvfs says.
pub fn file_system_room(path: &std::ffi::CStr) -> io::Result<FileSystemRoom> {
    let mut room = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` ends with a zero octet and `room` has room for the result; both outlive the call.
    let code = unsafe { libc::statvfs(path.as_ptr(), room.as_mut_ptr()) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed above and filled by the call: every field is an integer.
    let room = unsafe { room.assume_init() };
    Ok(FileSystemRoom {
        free_octets: room.f_bavail.saturating_mul(room.f_frsize),
        octets: room.f_blocks.saturating_mul(room.f_frsize),
        free_files: room.f_favail,
        files: room.f_files,
    })
}

/// What the kernel thinks of its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// Something has told it that the clock follows a source (STA_UNSYNC is off).
    pub synchronised: bool,
    /// Largest error that it reckons with, microseconds.
    pub error_us: u64,
}

/// Asks the kernel about its clock; changes nothing.
///
/// # Errors
/// What adjtimex says: a sandbox may forbid it.
pub fn kernel_clock() -> io::Result<KernelClock> {
    let mut state = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `state` is a whole timex whose zero modes ask for nothing to be set; it outlives the call.
    let code = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed above and filled by the call: every field is an integer.
    let state = unsafe { state.assume_init() };
    let synchronised = code != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0;
    Ok(KernelClock { synchronised, error_us: u64::try_from(state.maxerror).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn receive_all(arena: &mut ReceiveArena, socket: &UdpSocket) -> usize {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let mut set = PollSet::new([socket.as_fd()]);
        loop {
            let count = arena.receive(socket).expect("receive");
            if count > 0 || std::time::Instant::now() > deadline {
                return count;
            }
            set.wait(Duration::from_millis(50)).expect("wait");
        }
    }

    #[test]
    fn datagrams_come_with_peer_time_and_all_octets() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        set_receive_timestamps(&receiver).expect("timestamps");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let mut arena = ReceiveArena::new();
        assert_eq!(arena.receive(&receiver).expect("empty"), 0);
        // Twice, so that lengths which the first call changed must have been set again; the largest
        // payload that IPv4 carries must come uncut.
        for round in 0..2_u8 {
            let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock");
            for length in [1_usize, 1_400, 0, 65_507] {
                sender.send_to(&vec![round + 1; length], receiver.local_addr().expect("address")).expect("send");
            }
            assert_eq!(receive_all(&mut arena, &receiver), 4);
            for (i, length) in [1_usize, 1_400, 0, 65_507].into_iter().enumerate() {
                let datagram = arena.datagram(i).expect("datagram");
                assert_eq!(datagram.peer, sender.local_addr().expect("address"));
                assert_eq!(datagram.octets.len(), length);
                assert!(datagram.octets.iter().all(|o| *o == round + 1));
                assert!(!datagram.truncated);
                assert!(u128::from(datagram.receive_ns.expect("kernel time")) >= before.as_nanos());
            }
            assert!(arena.datagram(4).is_none());
        }
    }

    #[test]
    fn control_messages_with_lying_lengths_give_no_time() {
        let mut control = [0_u8; 64];
        control[..8].copy_from_slice(&64_usize.to_ne_bytes());
        control[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        control[12..16].copy_from_slice(&libc::SCM_TIMESTAMPNS.to_ne_bytes());
        control[16..24].copy_from_slice(&7_i64.to_ne_bytes());
        control[24..32].copy_from_slice(&9_i64.to_ne_bytes());
        assert_eq!(receive_time(&control, 64), Some(7_000_000_009));
        for length in [0, 15, 16, 31, 63, 65, usize::MAX] {
            assert_eq!(receive_time(&control, length), None, "{length}");
        }
        for stated in [0_usize, 15, 31, 65, usize::MAX] {
            control[..8].copy_from_slice(&stated.to_ne_bytes());
            assert_eq!(receive_time(&control, 64), None, "{stated}");
        }
    }

    #[test]
    fn g_05_peers_of_both_families_are_folded() {
        let mut name = [0_u8; 32];
        name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        name[2..4].copy_from_slice(&2055_u16.to_be_bytes());
        name[18..24].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(peer_of(&name), "192.0.2.1:2055".parse().ok());
        name[8] = 0x20;
        assert!(peer_of(&name).is_some_and(|p| p.is_ipv6()));
        name[0] = 0xee;
        assert_eq!(peer_of(&name), None);
    }

    #[test]
    fn descriptors_travel_with_octets() {
        let (one, other) = UnixDatagram::pair().expect("a pair");
        let (sent, address) = {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
            let address = socket.local_addr().expect("address");
            (socket, address)
        };
        send_with_descriptors(&one, b"plain", &[]).expect("sent");
        send_with_descriptors(&one, b"two", &[sent.as_fd(), one.as_fd()]).expect("sent");
        let many = vec![sent.as_fd(); DESCRIPTORS_PER_MESSAGE_MAX + 1];
        let error = send_with_descriptors(&one, b"x", &many).expect_err("too many");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        drop(sent);
        let (mut octets, mut control) = ([0_u8; 16], [0_u64; 8]);
        for (text, stated) in [(&b"plain"[..], 0), (b"two", 16 + 8)] {
            let mut vector = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
            // SAFETY: all zeroes is a valid msghdr; its pointers are set below.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            (message.msg_iov, message.msg_iovlen) = (&raw mut vector, 1);
            (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 64);
            // SAFETY: `message` leads to buffers of this function with their true lengths.
            let length = unsafe { libc::recvmsg(other.as_raw_fd(), &raw mut message, 0) };
            assert_eq!(&octets[..usize::try_from(length).expect("received")], text);
            assert_eq!(if message.msg_controllen == 0 { 0 } else { control[0] }, stated);
        }
        let number = RawFd::from_ne_bytes(control[2].to_ne_bytes()[..4].try_into().expect("four octets"));
        // SAFETY: the kernel made it for this process just now.
        let received = unsafe { OwnedFd::from_raw_fd(number) };
        assert_eq!(UdpSocket::from(received).local_addr().expect("address"), address);
    }

    #[test]
    fn the_monotonic_clock_goes_on() {
        let before = monotonic_us();
        assert!(before > 0 && monotonic_us() >= before);
    }

    #[test]
    fn file_systems_and_the_clock_are_asked() {
        let room = file_system_room(c"/proc/self").expect("it is there");
        assert_eq!(room.free_octets, 0, "{room:?}");
        let room = file_system_room(c"/").expect("it is there");
        assert!(room.octets > 0 && room.free_octets <= room.octets, "{room:?}");
        assert_eq!(file_system_room(c"/nothing/here").unwrap_err().raw_os_error(), Some(libc::ENOENT));
        if let Ok(clock) = kernel_clock() {
            assert!(clock.error_us > 0 || clock.synchronised, "{clock:?}");
        }
    }
}

//! Seeds of the targets `section` and `list`: one of each shape that headers of packets and structured data have.

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn prefixed(octets: &[u8]) -> Vec<u8> {
    [&[octets.len() as u8][..], octets].concat()
}

fn macs() -> Vec<u8> {
    [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat()
}

fn tcp() -> Vec<u8> {
    [words(&[40_000, 443, 0, 1, 0, 2, 0x5012, 1_024, 0, 0])].concat()
}

fn ipv4(protocol: u8, fragment: u16, options: usize, payload: &[u8]) -> Vec<u8> {
    let header = 20 + 4 * options;
    let mut octets = vec![0x40 | (header / 4) as u8, 0xB8];
    octets.extend(words(&[(header + payload.len()) as u16, 7, fragment]));
    octets.extend([64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
    octets.resize(header, 1);
    [octets, payload.to_vec()].concat()
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = words(&[0x6B80, 0, payload.len() as u16]);
    octets.extend([next, 64]);
    octets.extend([0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    octets.extend([0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    [octets, payload.to_vec()].concat()
}

fn frame(types: &[u16], payload: &[u8]) -> Vec<u8> {
    [macs(), words(types), payload.to_vec()].concat()
}

/// Inputs of the target `section`: the first octet chooses the element.
pub fn sections() -> Vec<(&'static str, Vec<u8>)> {
    let chosen = |choice: u8, octets: Vec<u8>| [vec![choice], octets].concat();
    let stack = |bottom: u32| [(100_u32 << 12 | 64), (200 << 12 | bottom << 8 | 64)].map(u32::to_be_bytes).concat();
    let extensions = [&[43, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 9][..], &tcp()].concat();
    let vxlan =
        [words(&[50_000, 4_789, 50, 0]), vec![8, 0, 0, 0, 0, 0x12, 0x34, 0], frame(&[0x0800], &[0x45])].concat();
    let inner = [vec![0; 4], frame(&[0x8100, 7, 0x0800], &ipv4(6, 0, 0, &tcp()))].concat();
    vec![
        ("frame_ipv4_tcp", chosen(0, frame(&[0x0800], &ipv4(6, 0x4000, 0, &tcp())))),
        ("frame_qinq_ipv6", chosen(0, frame(&[0x88A8, 100, 0x8100, 200, 0x86DD], &ipv6(6, &tcp())))),
        ("frame_arp", chosen(0, frame(&[0x0806], &[0, 1, 8, 0, 6, 4, 0, 1]))),
        ("frame_mpls_ipv4", chosen(0, frame(&[0x8847], &[stack(1), ipv4(17, 0, 2, &tcp())].concat()))),
        ("frame_pseudowire", chosen(0, frame(&[0x8847], &[stack(1), inner].concat()))),
        ("frame_endless_stack", chosen(0, frame(&[0x8847], &stack(0).repeat(8)))),
        ("frame_vxlan", chosen(0, frame(&[0x0800], &ipv4(17, 0, 0, &vxlan)))),
        ("ip_fragment", chosen(1, ipv4(6, 0x0003, 0, &tcp()))),
        ("ip_v6_extensions", chosen(1, ipv6(0, &extensions))),
        ("ip_icmp", chosen(1, ipv4(1, 0, 0, &[3, 3, 0, 0]))),
        ("labels", chosen(2, [stack(1), ipv6(58, &[128, 0])].concat())),
        ("labelled", chosen(3, ipv4(132, 0, 0, &tcp()))),
        ("old_frame", chosen(4, frame(&[0x0800], &ipv4(6, 0, 0, &tcp())))),
        ("payload_tcp", chosen(5 + 36, tcp())),
    ]
}

fn basic(element: u16, length: u16, values: &[u8]) -> Vec<u8> {
    [vec![3], words(&[element, length]), values.to_vec()].concat()
}

fn sub(template: u16, records: &[u8]) -> Vec<u8> {
    [vec![3], words(&[template]), records.to_vec()].concat()
}

fn multi(entries: &[(u16, &[u8])]) -> Vec<u8> {
    let entry = |(id, records): &(u16, &[u8])| [words(&[*id, records.len() as u16 + 4]), records.to_vec()].concat();
    [vec![3], entries.iter().flat_map(entry).collect()].concat()
}

/// A record of three lists.
fn lists(basic: &[u8], sub: &[u8], multi: &[u8]) -> Vec<u8> {
    [prefixed(basic), prefixed(sub), prefixed(multi)].concat()
}

const PAIR: [u8; 9] = [10, 0, 0, 1, 10, 0, 0, 2, 77];

/// Records of a set: an even first octet for records of lists alone, an odd one for flows with lists.
fn lists_of(choice: u8, records: &[Vec<u8>]) -> Vec<u8> {
    [vec![choice], records.concat()].concat()
}

/// Inputs of the target `list`.
pub fn list_records() -> Vec<(&'static str, Vec<u8>)> {
    let flow = |lists: Vec<u8>| [PAIR[..8].to_vec(), vec![0, 0, 4, 0], lists].concat();
    let reverse = [&[0, 0, 3, 0][..], &1_735_689_600_000_u64.to_be_bytes()].concat();
    let mut itself = Vec::new();
    for _ in 0..8 {
        itself = flow(lists(&[], &sub(257, &itself), &[]));
    }
    let mut nested = basic(14, 4, &[0, 0, 0, 7]);
    for _ in 0..20 {
        nested = basic(291, 0xFFFF, &prefixed(&nested));
    }
    let named = [&PAIR[..4], &prefixed(b"Gi0/0"), &PAIR[4..8]].concat();
    let section = prefixed(&ipv4(6, 0, 0, &tcp()));
    vec![
        ("empty_lists", lists_of(0, &[lists(&[], &[], &[])])),
        ("values", lists_of(0, &[lists(&basic(14, 4, &[0, 0, 0, 7, 0, 0, 0, 8]), &[], &[])])),
        ("names", lists_of(0, &[lists(&basic(82, 0xFFFF, &prefixed(b"Gi0/0").repeat(2)), &[], &[])])),
        ("aggregate", lists_of(0, &[lists(&[], &sub(300, &PAIR.repeat(3)), &[])])),
        (
            "multi_biflow",
            lists_of(1, &[flow(lists(&[], &[], &multi(&[(301, &macs()), (303, &[2, 0x12]), (302, &reverse)])))]),
        ),
        ("itself", lists_of(1, &[itself])),
        ("nested_basic", lists_of(0, &[lists(&nested, &[], &[])])),
        ("variable", lists_of(0, &[lists(&[], &sub(304, &named.repeat(2)), &[])])),
        ("packets", lists_of(0, &[lists(&[], &sub(305, &section), &multi(&[(305, &section)]))])),
        ("unknown_template", lists_of(0, &[lists(&[], &sub(999, &[1, 2, 3]), &multi(&[(999, &[]), (306, &[6])]))])),
        ("lengths_lie", lists_of(0, &[lists(&basic(14, 0, &[1]), &[3, 1], &[3, 1, 44, 0, 3, 1, 44, 0, 0])])),
    ]
}

//! Seeds of the target `elements`: right files and each kind of wrong one, with the elements that come of them.

const HEAD: &str = "pen\tid\tname\tabstract_data_type\tsemantics\tunits";

pub fn files() -> Vec<(&'static str, Vec<u8>, usize)> {
    let file = |rows: &[&str]| [&[HEAD], rows].concat().join("\n");
    let plain = "77\t1\tours\tunsigned32\tquantity\tseconds";
    let files = [
        ("empty", String::new(), 0),
        ("head_alone", file(&[]), 0),
        ("plain", file(&[plain, "77\t2\ttheirs-2\tstring\tdefault\tnone"]), 2),
        (
            "comments_and_returns",
            file(&["# ours\r", "\r", "77\t1\tours\tmacAddress\tidentifier\t4-octet words\r", ""]),
            1,
        ),
        (
            "described",
            format!("{HEAD}\tdescription\n{plain}\tof our own, \"so\"\n0\t600\tnew\tbasicList\tlist\tnone\t\n"),
            2,
        ),
        (
            "instead_of_built_in",
            file(&["9\t1232\tsgt\tunsigned16\tidentifier\tnone", "0\t128\tas\tunsigned8\tflags\tnone"]),
            2,
        ),
        ("reverse", file(&["0\t600\tfoo\tunsigned8\tflags\tbits", "29305\t600\tback\tunsigned8\tflags\tbits"]), 2),
        ("cert", file(&["6871\t5000\tbar\tunsigned8\tflags\tbits", "6871\t16383\tbaz\tboolean\tflags\tbits"]), 2),
        (
            "netflow_v9_types",
            file(&["9\t34000\tsgt\tunsigned16\tidentifier\tnone", "78\t34000\tx\tfloat64\tdefault\thops"]),
            2,
        ),
        ("iana_fixed", file(&["0\t1\tmine\tunsigned64\tdefault\tnone"]), 0),
        ("number_twice", file(&[plain, "77\t1\tother\tstring\tdefault\tnone"]), 0),
        ("name_twice", file(&[plain, "77\t3\tours\tstring\tdefault\tnone"]), 0),
        ("name_of_another", file(&["9\t7\tctsSourceGroupTag\tstring\tdefault\tnone"]), 0),
        ("unknown_words", file(&["77\t1\ta\tunsigned65\tnormal\tfurlongs"]), 0),
        (
            "numbers_out_of_range",
            file(&["4294967296\t65536\ta\tstring\tdefault\tnone", "-1\t0\tb\tstring\tdefault\tnone"]),
            0,
        ),
        ("columns", file(&["77\t1\ta", "77\t1\ta\tstring\tdefault\tnone\tmore\tstill more"]), 0),
        ("escapes", file(&["77\t1\t\u{1b}[31m\u{202e}\tstring\tdefault\tnone"]), 0),
    ];
    files.into_iter().map(|(name, text, elements)| (name, text.into_bytes(), elements)).collect()
}

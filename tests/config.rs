//! The configuration from outside: precedence, aliases, lists, refusals, and that every document which
//! lists the keys says what the program does. CLARION_UPDATE=1 writes those documents anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clarion_collector::config::{
    self, KEYS, Kind, Loaded, Machine, NoteLevel, Overrides, Preset, alias_table, default_file, key_table, load,
};
use clarion_collector::decode::{PostCounters, Profile, SessionPolicy};
use clarion_collector::sink::{Balance, Output};

fn machine() -> Machine {
    Machine { cores: 4, memory: Some((8 << 30, "a test".into())), default_file: None }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (format!("CLARION_COLLECTOR_{name}"), (*value).to_owned())).collect()
}

/// Loads `text` as the file, with variables and flags over it.
fn with_file(text: &str, env: &[(&str, &str)], mut flags: Overrides) -> Result<Loaded, Vec<String>> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.toml");
    std::fs::write(&path, text).expect("the file can be written");
    flags.file = Some(path.clone());
    let prefix = format!("file {}", path.display());
    load(&flags, variables(env), &machine())
        .map_err(|errors| errors.0.iter().map(|e| e.to_string().replace(&prefix, "FILE")).collect())
}

fn without_file(env: &[(&str, &str)], flags: &Overrides) -> Result<Loaded, Vec<String>> {
    load(flags, variables(env), &machine()).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

fn source<'a>(loaded: &'a Loaded, id: &str) -> &'a str {
    &loaded.effective.iter().find(|key| key.name == id).expect("a key of the table").source
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "[batch]\nsize = 10\n";
    let none = Overrides::default;
    let loaded = without_file(&[], &none()).expect("right");
    assert_eq!((loaded.settings.queue.batch_size, source(&loaded, "batch.size")), (1_000, "default"));
    let loaded = with_file(file, &[], none()).expect("right");
    assert_eq!(loaded.settings.queue.batch_size, 10);
    assert!(source(&loaded, "batch.size").starts_with("file /"));
    let loaded = with_file(file, &[("BATCH_SIZE", "20")], none()).expect("right");
    assert_eq!(loaded.settings.queue.batch_size, 20);
    assert_eq!(source(&loaded, "batch.size"), "environment CLARION_COLLECTOR_BATCH_SIZE");
    let loaded = with_file(file, &[("BATCH_SIZE", "20")], none().with("batch.size", "30")).expect("right");
    assert_eq!((loaded.settings.queue.batch_size, source(&loaded, "batch.size")), (30, "flag --batch-size"));
    let again = none().with("batch.size", "30").with("batch.size", "40");
    assert_eq!(without_file(&[], &again).expect("right").settings.queue.batch_size, 40);
}

#[test]
fn an_alias_yields_to_the_name_with_a_warning_if_they_differ() {
    let both = [("UDP_RCVBUF", "1MiB"), ("RECEIVE_BUFFER", "2MiB")];
    let loaded = without_file(&both, &Overrides::default()).expect("right");
    assert_eq!(loaded.settings.collect.receive_buffer, 2 << 20);
    assert!(loaded.notes.iter().any(|note| note.level == NoteLevel::Warning && note.text.contains("UDP_RCVBUF")));
    let same = [("UDP_RCVBUF", "2MiB"), ("RECEIVE_BUFFER", "2097152")];
    assert_eq!(without_file(&same, &Overrides::default()).expect("right").notes, []);
    let alone = without_file(&[("UDP_RCVBUF", "33554432")], &Overrides::default()).expect("right");
    assert_eq!(source(&alone, "receive.buffer"), "alias CLARION_COLLECTOR_UDP_RCVBUF");
    // The file stays below the alias.
    let loaded = with_file("[receive]\nbuffer = \"4MiB\"\n", &[("UDP_RCVBUF", "1MiB")], Overrides::default());
    assert_eq!(loaded.expect("right").settings.collect.receive_buffer, 1 << 20);
}

#[test]
fn the_python_collectors_environment_works_as_it_stands() {
    let env = [
        ("BACKEND_URL", "http://backend:8000"),
        ("NETFLOW_PORT", "9995"),
        ("IPFIX_PORT", "9996"),
        ("SFLOW_PORT", "6343"),
        ("BIND_HOST", "0.0.0.0"),
        ("BATCH_SIZE", "250"),
        ("BATCH_INTERVAL", "2.5"),
        ("SWITCH_ID_FROM_IP", "False"),
        ("LOG_LEVEL", "WARNING"),
        ("UDP_RCVBUF", "1048576"),
        ("RETRY_ATTEMPTS", "5"),
        ("RETRY_BACKOFF", "0.5"),
        ("DATA_DIR", "/data"),
        ("HTTP_PORT", "tcp://10.0.0.1:8081"),
    ];
    let loaded = without_file(&env, &Overrides::default()).expect("right");
    let settings = &loaded.settings;
    assert_eq!(settings.sink.backend.display, "http://backend:8000");
    assert_eq!(settings.sink.backend.path, "/api/netflow/netflow");
    let ports: Vec<u16> = settings.collect.listeners.iter().map(|l| l.port).collect();
    assert_eq!(ports, [9_995, 9_996]);
    assert!(settings.collect.listeners.iter().all(|l| l.address.is_ipv4()));
    assert_eq!(settings.queue.batch_size, 250);
    assert_eq!(settings.queue.batch_interval, Duration::from_millis(2_500));
    assert!(!settings.collect.switch_id_from_ip && !settings.collect.switch_id.is_empty());
    assert_eq!(settings.log.level, "warn");
    assert_eq!(settings.collect.receive_buffer, 1 << 20);
    assert_eq!(settings.sink.retry_attempts, 5);
    assert_eq!(settings.sink.backoff, Duration::from_millis(500));
    assert_eq!(settings.data_dir, Some(PathBuf::from("/data")));
    assert_eq!(settings.web.ports, 8_081..=8_081);
    assert!(loaded.notes.iter().all(|note| note.level == NoteLevel::Info), "{:?}", loaded.notes);
    assert_eq!(loaded.notes.len(), 2, "{:?}", loaded.notes);
}

#[test]
fn all_errors_are_told_at_once_with_place_value_range_and_what_to_do() {
    let file =
        "[batch]\nsize = 0\ninterval = \"5 parsecs\"\nsise = 1\n[receive]\nsteering = \"source\"\nworkers = true\n";
    let flags = Overrides::default().with("backend.url", "ftp://user:secret@b");
    let mut errors = with_file(file, &[("LOG_LEVEL", "inof")], flags).expect_err("wrong");
    errors.sort();
    assert_eq!(
        errors,
        [
            "FILE, line 2: [batch] size = 0 is below the range 1 to 100000: raise it, or leave it out for the default (1000)",
            "FILE, line 3: [batch] interval = \"5 parsecs\" is no duration: write one such as \"150ms\", \"5s\", \"2m\" or \
             \"1h\" (a bare number is seconds)",
            "FILE, line 4: unknown key [batch] sise: is size meant?",
            "FILE, line 6: [receive] steering = \"source\" needs [receive] exclusive = true, because it decides for every \
             process on the port: set both, or steering = \"kernel\"",
            "FILE, line 7: [receive] workers = true is no whole number: write one from 1 to 256",
            "environment CLARION_COLLECTOR_LOG_LEVEL = \"inof\" is no log level (is info meant?): write one of trace, debug, \
             info, warn, error, off, or directives such as \"info,clarion_collector::sink=debug\"",
            "flag --backend-url = \"ftp://***@b\" has an unknown scheme: write http:// or https://host[:port][/path]",
        ]
    );
}

#[test]
fn a_wrong_value_is_an_error_even_where_something_beats_it() {
    let errors =
        with_file("[batch]\nsize = 0\n", &[], Overrides::default().with("batch.size", "5")).expect_err("wrong");
    assert_eq!(errors.len(), 1);
}

#[test]
fn a_wrong_value_brings_no_second_error_about_its_default() {
    let flags = Overrides::default().with("retry.backoff", "1m").with("retry.backoff_max", "x");
    assert_eq!(without_file(&[], &flags).expect_err("wrong").len(), 1);
    let flags = Overrides::default().with("batch.size", "100000").with("backend.in_flight_bytes", "x");
    assert_eq!(without_file(&[], &flags).expect_err("wrong").len(), 1);
}

#[test]
fn numbers_of_toml_are_understood_in_all_their_forms() {
    let file = "[batch]\nsize = 1_000\ninterval = 2.5\n[queue]\nbatches = 0x40\n[backend]\nthreads = +3\n[http]\nport = 0o17\n";
    let settings = with_file(file, &[], Overrides::default()).expect("right").settings;
    assert_eq!((settings.queue.batch_size, settings.queue.queue_batches, settings.sink.threads), (1_000, 64, 3));
    assert_eq!((settings.queue.batch_interval, settings.web.ports), (Duration::from_millis(2_500), 15..=15));
}

#[test]
fn relations_between_keys_are_checked() {
    let of = |pairs: &[(&str, &str)]| {
        let flags = pairs.iter().fold(Overrides::default(), |flags, (id, value)| flags.with(id, value));
        without_file(&[], &flags).expect_err("wrong").join("\n")
    };
    assert!(
        of(&[("retry.backoff", "1m"), ("retry.backoff_max", "1s")]).contains("is longer than [retry] backoff_max = 1s")
    );
    assert!(of(&[("batch.size", "100000"), ("backend.in_flight_bytes", "1MiB")]).contains("no room for two bodies"));
    assert!(of(&[("switch_id.from_ip", "false"), ("switch_id.fixed", "")]).contains("[switch_id] fixed is empty"));
    assert!(of(&[("instance.name", "k\u{f6}ln")]).contains("not ASCII"));
    assert!(of(&[("backend.endpoint", "/a b")]).contains("is no path"));
    assert!(of(&[("memory.limit", "64MiB")]).contains("the memory sum is"));
}

#[test]
fn modes_of_the_python_collector() {
    let of = |mode: &str| without_file(&[], &Overrides { mode: Some(mode.to_owned()), ..Overrides::default() });
    assert_eq!(of("native").expect("right").notes, []);
    assert_eq!(of("both").expect("right").notes.len(), 1);
    assert!(of("agent").expect_err("wrong")[0].contains("leave --mode out"));
    assert!(of("x").is_err());
    assert!(without_file(&[("MODE", "agent")], &Overrides::default()).is_err());
}

#[test]
fn listeners_of_the_file_replace_the_default_ones() {
    let file = "[bind]\nhost = \"192.0.2.1\"\n[[listener]]\nport = 9995\n[[listener]]\nport = 1\naddress = \"::1\"\nname = \"b\"\ntenant = \"t\"\ninterface = \"eth0\"\n";
    let loaded = with_file(file, &[("NETFLOW_PORT", "2056")], Overrides::default()).expect("right");
    let listeners = &loaded.settings.collect.listeners;
    assert_eq!(listeners.len(), 2);
    assert_eq!((listeners[0].name.as_str(), listeners[0].address.to_string()), ("9995", "192.0.2.1".to_owned()));
    assert_eq!((listeners[1].tenant.as_str(), listeners[1].interface.as_deref()), ("t", Some("eth0")));
    let warnings: Vec<&str> = loaded.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("[netflow] port = 2056 (environment CLARION_COLLECTOR_NETFLOW_PORT) has no effect"));
}

#[test]
fn wrong_listeners_are_told() {
    let file = "[[listener]]\n[[listener]]\nport = 70000\n[[listener]]\nport = 1\nname = \"a\"\n[[listener]]\nport = 1\nname = \"a\"\n[[listener]]\nport = 2\naddress = \"x\"\ninterface = \"a/b\"\n";
    let errors = with_file(file, &[], Overrides::default()).expect_err("wrong");
    for (line, text) in [
        ("line 1", "has no port"),
        ("line 3", "port = 70000 is no number from 0 to 65535"),
        ("line 7", "has port 1 of :: already"),
        ("line 7", "is named \"a\" already"),
        ("line 12", "address = \"x\" is no IP address"),
        ("line 13", "is no name of a network interface"),
    ] {
        assert!(errors.iter().any(|e| e.contains(line) && e.contains(text)), "{line}: {text} in {errors:#?}");
    }
    let many: String = (1..=17).fold(String::new(), |text, port| format!("{text}[[listener]]\nport = {port}\n"));
    assert!(with_file(&many, &[], Overrides::default()).expect_err("wrong")[0].contains("at most 16"));
}

#[test]
fn rules_for_exporters() {
    let file = "[[exporter]]\nprefix = \"192.0.2.0/24\"\nlistener = 2055\ndomain = 7\nname = \"n\"\ntenant = \"t\"\nswitch_id = \"s\"\nsampling_default = 10\nsampling_override = 20\nsession = \"port\"\n[[exporter]]\nlistener = \"4739\"\nsession = \"any\"\n";
    let loaded = with_file(file, &[], Overrides::default()).expect("right");
    let rules = &loaded.settings.collect.rules;
    // The second has no prefix: one rule for each family.
    assert_eq!(rules.len(), 3);
    assert_eq!(rules[0].prefix, ("192.0.2.0".parse().expect("an address"), 24));
    assert_eq!((rules[0].listener.as_deref(), rules[0].domain), (Some("2055"), Some(7)));
    assert_eq!((rules[0].sampling_default, rules[0].sampling_override), (Some(10), Some(20)));
    assert_eq!(rules[0].session, Some(SessionPolicy::Port));
    assert_eq!(rules[2].session, Some(SessionPolicy::Any));
    assert!(
        loaded.effective.iter().any(|key| key.name == "[[exporter]] 192.0.2.0/24" && key.value.contains("domain=7"))
    );

    let wrong = "[[exporter]]\nname = \"x\"\n[[exporter]]\nprefix = \"10.0.0.1/8\"\n[[exporter]]\nprefix = \"::/0\"\nlistener = \"2056\"\nsampling_default = 0\nsession = \"ports\"\n[[exporter]]\nprefix = \"::1\"\n[[exporter]]\nprefix = \"::1/128\"\n";
    let errors = with_file(wrong, &[], Overrides::default()).expect_err("wrong");
    for text in [
        "line 1: [[exporter]] matches nothing",
        "is \"10.0.0.0/8\" meant?",
        "listener = \"2056\" is no listener",
        "sampling_default = 0 is no number from 1 to 16777215",
        "is port meant?",
        "line 12: another [[exporter]] matches the same",
    ] {
        assert!(errors.iter().any(|e| e.contains(text)), "{text} in {errors:#?}");
    }
}

#[test]
fn profiles_of_exporters() {
    let file = "[[exporter]]\nprefix = \"192.0.2.1\"\nprofile = \"Palo Alto\"\npost_counters = \"reverse\"\nenterprise_in_v9 = true\nmediator = true\ndrop_odd_padding = true\nteach_elements = true\n[[exporter]]\nprefix = \"192.0.2.2\"\nprofile = 9\nmediator = false\n";
    let loaded = with_file(file, &[], Overrides::default()).expect("right");
    let rules = &loaded.settings.collect.rules;
    let all = Profile {
        maker: Some(25_461),
        post_counters: PostCounters::Reverse,
        enterprise_in_v9: true,
        is_mediator: true,
        drops_odd_padding: true,
        teaches_elements: true,
    };
    assert_eq!(rules[0].profile, all);
    // A maker implies nothing else.
    assert_eq!(rules[1].profile, Profile { maker: Some(9), ..Profile::default() });
    let shown = loaded.effective.iter().find(|key| key.name == "[[exporter]] 192.0.2.1/32").expect("is shown");
    assert!(shown.value.contains("profile=\"paloalto\"") && shown.value.contains("mediator=true"), "{}", shown.value);

    let wrong = "[[exporter]]\nprefix = \"::/0\"\nprofile = \"cisko\"\npost_counters = \"revers\"\nmediator = \"true\"\nteach_elements = 1\nprofil = 9\n";
    let errors = with_file(wrong, &[], Overrides::default()).expect_err("wrong");
    for text in [
        "line 3: profile = \"cisko\" is no maker (is cisco meant?): write one of a10, antrea, ",
        "line 4: post_counters = \"revers\" is not one of post, reverse (is reverse meant?)",
        "line 5: mediator = \"true\" is neither true nor false",
        "line 6: teach_elements = 1 is neither true nor false",
        "line 7: unknown key profil in [[exporter]]: is profile meant?",
    ] {
        assert!(errors.iter().any(|e| e.contains(text)), "{text} in {errors:#?}");
    }
}

#[test]
fn the_instance_is_the_setting_or_the_pods_name() {
    let pod = ("POD_NAME".to_owned(), "collector-0".to_owned());
    let loaded = load(&Overrides::default(), [pod.clone()], &machine()).expect("right");
    assert_eq!(loaded.settings.instance.as_deref(), Some("collector-0"));
    assert_eq!(source(&loaded, "instance.name"), "environment POD_NAME");
    let loaded = load(&Overrides::default().with("instance.name", "mine"), [pod], &machine()).expect("right");
    assert_eq!(loaded.settings.instance.as_deref(), Some("mine"));
    assert_eq!(without_file(&[], &Overrides::default()).expect("right").settings.instance, None);
}

#[test]
fn the_file_is_the_one_named_else_the_default_one_if_it_exists() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, size: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("[batch]\nsize = {size}\n")).expect("the file can be written");
        path
    };
    let (fallback, named, flagged) = (write("default.toml", 1), write("named.toml", 2), write("flagged.toml", 3));
    let machine = Machine { default_file: Some(fallback.clone()), ..machine() };
    let size = |flags: &Overrides, env: &[(&str, &str)], machine: &Machine| {
        let loaded = load(flags, variables(env), machine).expect("right");
        (loaded.settings.queue.batch_size, loaded.file)
    };
    let env = [("CONFIG", named.to_str().expect("a path in UTF-8"))];
    assert_eq!(size(&Overrides::default(), &[], &machine), (1, Some(fallback)));
    assert_eq!(size(&Overrides::default(), &env, &machine), (2, Some(named.clone())));
    let flags = Overrides { file: Some(flagged.clone()), ..Overrides::default() };
    assert_eq!(size(&flags, &env, &machine), (3, Some(flagged)));
    let absent = Machine { default_file: Some(dir.path().join("absent")), ..machine };
    assert_eq!(size(&Overrides::default(), &[], &absent), (1_000, None));
    let flags = Overrides { file: Some(dir.path().join("absent")), ..Overrides::default() };
    assert!(load(&flags, [], &absent).expect_err("wrong").to_string().contains("cannot be read"));
}

#[test]
fn computed_defaults_follow_the_machine() {
    let on = |cores, env: &[(&str, &str)]| {
        let machine = Machine { cores, memory: Some((64 << 30, "a test".into())), default_file: None };
        let settings = load(&Overrides::default(), variables(env), &machine).expect("right").settings;
        (settings.collect.workers, settings.queue.batchers, settings.memory_limit >> 30)
    };
    assert_eq!(on(1, &[]), (1, 1, 47));
    assert_eq!(on(8, &[]), (8, 4, 47));
    assert_eq!(on(8, &[("RECEIVE_WORKERS", "2"), ("MEMORY_LIMIT", "4GiB")]), (2, 1, 4));
    assert_eq!(on(10_000, &[]).0, 256);
}

#[test]
fn stdout_needs_no_backend() {
    let settings = without_file(&[], &Overrides::default().with("output.kind", "stdout")).expect("right").settings;
    assert_eq!(settings.sink.output, Output::Stdout);
    assert_eq!(settings.queue.encode.format, clarion_collector::sink::encode::Format::Ndjson);
}

#[test]
fn several_backends_are_a_list_or_a_text_with_commas() {
    let of = |file: &str, variables: &[(&str, &str)]| with_file(file, variables, Overrides::default());
    let list =
        of("[backend]\nurl = [\"http://a:1/x\", \"https://u:secret@b\"]\nbalance = \"spread\"\n", &[]).expect("right");
    let sink = &list.settings.sink;
    assert_eq!((sink.display().as_str(), sink.each_backend().len()), ("http://a:1/x, https://b", 2));
    assert_eq!(sink.access.routing.balance, Balance::Spread);
    let second = &sink.each_backend()[1];
    assert_eq!((second.backend.tls, second.backend.path.as_str()), (true, "/api/netflow/netflow"));
    assert_eq!((sink.access.credentials.username.as_str(), second.access.credentials.username.as_str()), ("", "u"));
    assert!(second.access.routing.others.is_empty());
    // The alias of the Python collector takes the same; what holds for both URLs is said once.
    let variables = [("BACKEND_URL", "http://a , http://b"), ("BACKEND_TOKEN", "a-long-enough-token")];
    let loaded = of("", &variables).expect("right");
    assert_eq!(loaded.settings.sink.display(), "http://a, http://b");
    assert_eq!(loaded.settings.sink.access.routing.balance, Balance::Failover);
    assert_eq!(loaded.notes.iter().filter(|note| note.text.contains("clear text")).count(), 1);
    let wrong = of("[backend]\nurl = [\"http://a\", \"http://u:secret@b:0\"]\n", &[]).unwrap_err().join("\n");
    assert!(wrong.contains("line 2: [backend] url") && wrong.contains("(URL 2)"), "{wrong}");
    assert!(!wrong.contains("secret"), "{wrong}");
}

#[test]
fn fields_of_the_output_are_a_text_or_a_list() {
    let of = |file: &str| with_file(file, &[], Overrides::default()).map(|loaded| loaded.settings);
    let text = of("[output]\nfields = \"ttl, tcpWindowScale\"\n").expect("right");
    let list = of("[output]\nfields = [\"ttl\", \"tcpWindowScale\"]\n").expect("right");
    assert_eq!(text.collect.decode.selection, list.collect.decode.selection);
    assert!(list.collect.decode.selection.fields.has(clarion_collector::flow::Field::Ttl));
    // Encoders and decoder ask one registry.
    assert_eq!(list.queue.fields.registry(), &list.collect.decode.registry);
    let clarion = of("").expect("right");
    assert!(clarion.queue.fields.is_clarion() && clarion.collect.decode.selection.fields.is_empty());
    for (file, fault) in [
        ("[output]\nfields = [\"ttl\",\n\"tcpWindowScal\"]\n", "line 2: [output] fields names \"tcpWindowScal\""),
        ("[output]\nfields = \"bytes,all\"\n", "has all beside other names"),
        ("[output]\nfields = \"\"\n", "is empty"),
        ("[output]\nfields = 5\n", "put it in quotes"),
        ("[output]\nfields = [5]\n", "takes one value"),
    ] {
        let errors = of(file).expect_err("wrong");
        assert!(errors.len() == 1 && errors[0].contains(fault), "{file}: {errors:?}");
    }
}

#[test]
fn sets_are_parked_in_memory_on_disk_or_not_at_all() {
    let of = |text: &str| with_file(text, &[], Overrides::default()).expect("right");
    let memory = of("");
    for same in ["[decode]\npark = true\n", "[decode]\npark = \"memory\"\n"] {
        assert_eq!(format!("{:?}", of(same).settings), format!("{:?}", memory.settings), "{same}");
    }
    for off in ["[decode]\npark = false\n", "[decode]\npark = \"off\"\n"] {
        assert_eq!(of(off).settings.collect.decode.park_age_ns, 0, "{off}");
    }
    let disk = of("[data]\ndir = \"/somewhere\"\n[decode]\npark = \"disk\"\npark_disk_age = \"20m\"\n");
    assert_eq!(disk.settings.collect.park_dir.as_deref(), Some("/somewhere/park".as_ref()));
    assert_eq!(disk.settings.collect.decode.park_disk_age_ns, 1_200_000_000_000);
    assert_eq!(disk.settings.collect.parked_disk_octets_max, 1 << 30);
    let parked = |loaded: &Loaded| {
        loaded.settings.memory_sum().iter().find(|post| post.name == "parked sets").map(|post| post.octets)
    };
    assert!(parked(&disk) > parked(&memory), "what is known of sets on disk is in memory");
    let nowhere = of("[decode]\npark = \"disk\"\n");
    assert_eq!(nowhere.settings.collect.park_dir, None);
    assert!(nowhere.notes.iter().any(|note| note.level == NoteLevel::Warning && note.text.contains("[data] dir")));
}

/// A value other than the default that each key takes.
fn another(key: &config::Key) -> String {
    match (key.kind, key.preset) {
        (Kind::Url, _) => "http://elsewhere:1".into(),
        (Kind::Text | Kind::Path | Kind::File | Kind::Secret, _) => "/another".into(),
        (Kind::Host, _) => "127.0.0.9".into(),
        (Kind::Port | Kind::Ports, _) => "12345".into(),
        (Kind::Flag, Preset::Text("true")) => "false".into(),
        (Kind::Flag, _) => "true".into(),
        (Kind::Choice(words), _) => words[1].into(),
        (Kind::Switch(words), _) => words[words.len() - 1].into(),
        (Kind::Level, _) => "debug".into(),
        (Kind::Names, _) => "app_name,tcpWindowScale".into(),
        (Kind::Count(range), Preset::Computed(_)) => (range.min + 2).to_string(),
        (Kind::Count(range), _) => (range.default + 1).to_string(),
        (Kind::Octets(range), _) => (range.default + 4_096).to_string(),
        (Kind::Duration(range, unit_ms), _) if range.default == range.max => format!("{}ms", (range.max - 1) * unit_ms),
        (Kind::Duration(range, unit_ms), _) => format!("{}ms", (range.default + 1) * unit_ms),
    }
}

#[test]
fn every_key_changes_the_settings() {
    let plain = format!("{:?}", without_file(&[], &Overrides::default()).expect("right").settings);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let elements = dir.path().join("elements.tsv");
    let row = "pen\tid\tname\tabstract_data_type\tsemantics\tunits\n77\t1\tours\tstring\tdefault\tnone\n";
    std::fs::write(&elements, row).expect("the file can be written");
    for key in KEYS {
        let id = format!("{}.{}", key.section, key.name);
        let mut flags = Overrides::default().with(&id, &another(key));
        if id == "receive.steering" {
            flags = flags.with("receive.exclusive", "true");
        }
        // What only works together.
        for (one, other) in [
            ("backend.tls_cert_file", "backend.tls_key_file"),
            ("backend.tls_key_file", "backend.tls_cert_file"),
            ("http.tls_cert_file", "http.tls_key_file"),
            ("http.tls_key_file", "http.tls_cert_file"),
            ("backend.password", "backend.username"),
            ("backend.password_file", "backend.username"),
            ("http.metrics_open", "http.token"),
        ] {
            if id == one {
                flags = flags.with(other, "/other");
            }
        }
        if id == "backend.proxy" {
            flags = Overrides::default().with(&id, "http://proxy.example:3128");
        }
        // A name of a host holds no slash.
        if id == "http.advertise_host" {
            flags = Overrides::default().with(&id, "node-3.example");
        }
        // It is read at once.
        if id == "decode.elements_file" {
            flags = Overrides::default().with(&id, elements.to_str().expect("a path in UTF-8"));
        }
        if id == "admission.allow" || id == "admission.deny" {
            flags = Overrides::default().with(&id, "192.0.2.0/24, 2001:db8::1");
        }
        // auto and text look the same by now.
        if id == "log.format" {
            flags = Overrides::default().with(&id, "json");
        }
        let changed = without_file(&[], &flags).unwrap_or_else(|e| panic!("{id}: {e:?}")).settings;
        assert_ne!(format!("{changed:?}"), plain, "{id} has no effect");
    }
}

#[test]
fn lists_of_senders_name_the_wrong_prefix_and_rates_hold_for_whole_exporters() {
    let told = |flags: Overrides| format!("{:?}", without_file(&[], &flags).expect_err("wrong"));
    let wrong = told(Overrides::default().with("admission.allow", "192.0.2.0/24, 192.0.2.9/24, routers"));
    assert!(wrong.contains("--admission-allow") && wrong.contains("192.0.2.9/24"), "{wrong}");
    assert!(wrong.contains("is \\\"192.0.2.0/24\\\" meant?") && wrong.contains("routers"), "{wrong}");
    let rate = told(Overrides::default().with("admission.datagrams_per_second", "10000001"));
    assert!(rate.contains("--admission-datagrams-per-second") && rate.contains("10000000"), "{rate}");
    let text = "[[exporter]]\nprefix = \"192.0.2.1\"\ndomain = 7\nbytes_per_second = 1000\n";
    let faults = format!("{:?}", with_file(text, &[], Overrides::default()).expect_err("wrong"));
    assert!(faults.contains("bytes_per_second = 1000 beside domain"), "{faults}");
}

#[test]
fn metrics_cannot_ask_for_a_token_that_is_not_set() {
    let closed = || Overrides::default().with("http.metrics_open", "false");
    let faults = format!("{:?}", without_file(&[], &closed()).expect_err("nobody could read them"));
    assert!(faults.contains("--http-metrics-open") && faults.contains("[http] token_file"), "{faults}");
    for (id, value) in [("http.token", "x"), ("http.token_file", "/x")] {
        assert!(without_file(&[], &closed().with(id, value)).is_ok(), "{id}");
    }
}

fn compare(path: &Path, right: &str) {
    if std::env::var_os("CLARION_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories can be made");
        std::fs::write(path, right).expect("the document can be written");
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let first = text.lines().zip(right.lines()).position(|(is, should)| is != should);
    assert!(
        text == right,
        "{} differs from the table of keys, first in line {:?}: run CLARION_UPDATE=1 cargo test --test config",
        path.display(),
        first.map(|line| line + 1)
    );
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_default_file_in_deploy_is_the_table() {
    compare(&root("deploy/clarion-collector.toml"), &default_file());
}

#[test]
fn the_tables_of_the_manual_are_the_table() {
    let path = root("docs/configuration.md");
    let text = std::fs::read_to_string(&path).expect("the manual exists");
    let mut right = text.clone();
    for (name, table) in [("keys", key_table()), ("aliases", alias_table())] {
        let begin = right.find(&format!("<!-- {name}:")).expect("the manual has the mark");
        let begin = begin + right[begin..].find("-->\n").expect("the mark ends") + 4;
        let end = right.find(&format!("<!-- /{name} -->")).expect("the manual has the end mark");
        right.replace_range(begin..end, &table);
    }
    compare(&path, &right);
}

#[test]
fn the_examples_of_the_manual_are_right() {
    let text = std::fs::read_to_string(root("docs/configuration.md")).expect("the manual exists");
    let mut examples = 0;
    for block in text.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        with_file(block, &[], Overrides::default()).unwrap_or_else(|e| panic!("{block}\n{e:#?}"));
        examples += 1;
    }
    assert!(examples >= 5);
}

#[test]
fn the_file_never_panics_however_it_is_cut() {
    let mut text = default_file().replace("\n#", "\n");
    let _ = write!(text, "[[listener]]\nport = 1\n[[exporter]]\nprefix = \"::/0\"\n");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.toml");
    let flags = Overrides { file: Some(path.clone()), ..Overrides::default() };
    for cut in (0..text.len()).step_by(37).filter(|cut| text.is_char_boundary(*cut)) {
        std::fs::write(&path, &text[..cut]).expect("the file can be written");
        let _ = load(&flags, [], &machine());
    }
}

/// Loads `before` and reads the file again as `after`: what changed, what needs a restart, and what is to run then.
fn reloaded(before: &str, after: &str, env: &[(&str, &str)]) -> Result<config::Reload, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.toml");
    std::fs::write(&path, before).expect("the file can be written");
    let flags = Overrides { file: Some(path.clone()), ..Overrides::default() };
    let running = load(&flags, variables(env), &machine()).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(&path, after).expect("the file can be written");
    config::reload(&running, variables(env)).map_err(|errors| errors.to_string())
}

#[test]
fn a_reload_takes_up_what_it_can_and_names_the_rest() {
    let after = "[admission]\ndeny = \"192.0.2.0/24\"\n[receive]\nworkers = 3\n[batch]\nsize = 7\n[[exporter]]\n\
                 prefix = \"192.0.2.1\"\nsampling_default = 5\n[[listener]]\nport = 0\n";
    let reload = reloaded("", after, &[]).expect("right");
    assert_eq!(reload.changed, ["[admission] deny", "[[exporter]]"]);
    assert_eq!(reload.restart, ["[receive] workers", "[batch] size", "[[listener]]"]);
    let settings = &reload.loaded.settings;
    assert_eq!((settings.collect.workers, settings.queue.batch_size), (4, 1_000), "as before");
    assert_eq!((settings.collect.listeners.len(), settings.collect.rules[0].sampling_default), (2, Some(5)));
    assert_eq!(settings.collect.admission.deny.len(), 1);
    let source = |id: &str| source(&reload.loaded, id).to_owned();
    assert!(source("admission.deny").starts_with("file /") && source("batch.size") == "default");
}

#[test]
fn the_same_words_in_other_places_are_no_change() {
    let before = "[batch]\ninterval = 5\n[[exporter]]\nname = \"a\"\nprefix = \"192.0.2.1\"\n";
    let after = "# a comment\n[[exporter]]\nname = \"a\"\nprefix = \"192.0.2.1\"\n\n[batch]\ninterval = \"5000ms\"\n";
    let reload = reloaded(before, after, &[]).expect("right");
    assert_eq!((reload.changed.len(), reload.restart.len()), (0, 0), "{:?} {:?}", reload.changed, reload.restart);
    // What a variable sets is not changed by a file.
    let reload = reloaded("", "[batch]\nsize = 7\n[log]\nlevel = \"debug\"\n", &[("BATCH_SIZE", "9")]).expect("right");
    assert_eq!((reload.changed, reload.restart), (vec!["[log] level".to_owned()], vec![]));
}

#[test]
fn each_key_that_reloads_shows_as_changed_and_each_other_as_a_restart() {
    for key in KEYS {
        let value = match (key.section, key.name) {
            // Relations to others, and files that would have to be there.
            ("receive", "steering" | "exclusive") | ("retry", _) | ("spool", _) => continue,
            (_, "token" | "username" | "password" | "headers" | "metrics_open") => continue,
            _ => match key.kind {
                Kind::Flag if matches!(key.preset, Preset::Text("true")) => "false".to_owned(),
                Kind::Flag => "true".to_owned(),
                Kind::Level => "\"debug\"".to_owned(),
                Kind::Url => "[\"http://other:1\", \"http://third:1\"]".to_owned(),
                Kind::Host => "\"127.0.0.1\"".to_owned(),
                Kind::Names => "\"all\"".to_owned(),
                Kind::Port | Kind::Ports => "1234".to_owned(),
                // A default may stand at its maximum.
                Kind::Duration(range, ms) if range.default < range.max => format!("\"{}ms\"", (range.default + 1) * ms),
                Kind::Duration(range, ms) => format!("\"{}ms\"", (range.default - 1) * ms),
                Kind::Choice(words) => {
                    let other =
                        words.iter().find(|word| !matches!(key.preset, Preset::Text(preset) if preset == **word));
                    format!("\"{}\"", other.expect("a choice has two words"))
                }
                _ => continue,
            },
        };
        let text = format!("[{}]\n{} = {value}\n", key.section, key.name);
        let reload = reloaded("", &text, &[]).unwrap_or_else(|e| panic!("{text}: {e}"));
        let named = if key.reloads { (&reload.changed, &reload.restart) } else { (&reload.restart, &reload.changed) };
        assert_eq!((named.0.as_slice(), named.1.len()), (&[key.display()][..], 0), "{text}");
    }
}

#[test]
fn a_reload_is_refused_as_a_whole_where_the_file_is_wrong_or_not_right_beside_what_runs() {
    let wrong = reloaded("", "[log]\nlevel = \"debug\"\n[batch]\nsize = 0\n", &[]).unwrap_err();
    assert!(wrong.contains("[batch] size = 0"), "{wrong}");
    let gone = reloaded("", "[decode]\nelements_file = \"/nowhere\"\n", &[]).unwrap_err();
    assert!(gone.contains("/nowhere"), "{gone}");
    // The rule is for a listener that only a restart brings.
    let text = "[[listener]]\nname = \"new\"\nport = 0\n[[exporter]]\nprefix = \"192.0.2.1\"\nlistener = \"new\"\n";
    let beside = reloaded("", text, &[]).unwrap_err();
    assert!(beside.contains("only a restart changes ([[listener]])") && beside.contains("\"new\""), "{beside}");
}

#[test]
fn what_elements_are_called_stays_that_of_the_start() {
    let reload = reloaded("", "[output]\nfields = \"all\"\n", &[]).expect("right");
    assert_eq!(reload.changed, ["[output] fields"]);
    let settings = &reload.loaded.settings;
    assert!(settings.queue.fields.is_all());
    assert_eq!(settings.queue.fields.registry(), &settings.collect.decode.registry);
}

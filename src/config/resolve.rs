//! Values and lists -> `Settings`: what depends on the machine, on each other and on memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::elements::read_elements;
use super::error::Faults;
use super::file::Content;
use super::memory::{self, Free};
use super::proxy::Variables;
use super::value::{Value, render};
use super::values::Values;
use super::written::Origin;
use super::{LogFormat, LogSettings, Machine, Note, Settings, access, backends, fields, lists, spool, state};
use crate::collect::{AdmissionSettings, CollectSettings, ListenerSettings, Pin, RateLimit, Steering};
use crate::decode::{DecodeSettings, Selection};
use crate::element::Registry;
use crate::limits;
use crate::queue::QueueSettings;
use crate::sink::encode::{Counters, EncodeSettings, Format, OutputFields};
use crate::sink::{Output, SinkSettings};
use crate::web::{TargetsSettings, WebSettings};

/// Memory that is assumed where nothing tells.
const MEMORY_UNKNOWN_OCTETS: u64 = limits::MEMORY_LIMIT.default;

/// Builds the settings, with elements called as in `known` if there is one; computed values are put back into `values` with what they came from.
pub(super) fn settings(
    values: &mut Values,
    file: &Content,
    machine: &Machine,
    proxies: &Variables,
    known: Option<Arc<Registry>>,
    faults: &mut Faults,
    notes: &mut Vec<Note>,
) -> Settings {
    let memory_limit = memory_limit(values, machine, notes);
    let listeners = listeners(values, file, faults, notes);
    let rules = lists::rules(&file.exporters, &listeners, faults);
    let output = if values.text("output.kind") == "stdout" { Output::Stdout } else { Output::Backend };
    // Where nothing goes to the backend, no proxy of the environment is worth a word.
    let proxies = if output == Output::Backend { proxies } else { &Variables::default() };
    let (backend, access) = backends::plan(values, proxies, faults, notes);
    let workers = values.count("receive.workers").unwrap_or(machine.cores.clamp(1, limits::WORKERS_MAX as usize));
    let interval = values.duration("batch.interval");
    let steering = match values.text("receive.steering") {
        "source" => Steering::Source,
        "cpu" => Steering::Cpu,
        "random" => Steering::Random,
        _ => Steering::Kernel,
    };
    let exclusive = values.flag("receive.exclusive");
    if steering != Steering::Kernel && !exclusive && values.are_right(&["receive.exclusive"]) {
        faults.add(format!(
            "{}: [receive] steering = \"{}\" needs [receive] exclusive = true, because it decides for every process on \
             the port: set both, or steering = \"kernel\"",
            values.origin("receive.steering").place(),
            values.text("receive.steering")
        ));
    }
    let (backoff, backoff_max) = (values.duration("retry.backoff"), values.duration("retry.backoff_max"));
    if backoff > backoff_max && values.are_right(&["retry.backoff", "retry.backoff_max"]) {
        faults.add(format!(
            "[retry] backoff = {} ({}) is longer than [retry] backoff_max = {} ({}): raise the second or lower the first",
            render(&Value::Duration(backoff)),
            values.origin("retry.backoff"),
            render(&Value::Duration(backoff_max)),
            values.origin("retry.backoff_max")
        ));
    }
    if !values.flag("switch_id.from_ip") && values.text("switch_id.fixed").is_empty() {
        faults.add(format!(
            "{}: [switch_id] fixed is empty while [switch_id] from_ip is false, and the backend refuses records without a \
             switch_id: give a text, or set from_ip = true",
            values.origin("switch_id.fixed").place()
        ));
    }
    let registry = known.unwrap_or_else(|| registry(values, faults));
    let fields = output_fields(values, &registry, faults);
    let instance = instance(values, faults);
    let spool = spool::plan(values, faults);
    let targets = targets(values, faults);
    let mut settings = Settings {
        data_dir: Some(values.text("data.dir")).filter(|dir| !dir.is_empty()).map(Into::into),
        memory_limit,
        collect: CollectSettings {
            listeners,
            workers,
            receive_buffer: values.size("receive.buffer"),
            pin: match values.text("receive.pin") {
                "on" => Pin::On,
                "off" => Pin::Off,
                _ => Pin::Auto,
            },
            steering,
            exclusive,
            admission: admission(values, faults),
            rules,
            decode: DecodeSettings {
                selection: {
                    let times = values.flag("decode.check_times");
                    fields::select(&fields, if times { Selection::CORE } else { Selection::CAPTURE })
                },
                registry,
                sampling_default: None,
                sampling_override: None,
                park_age_ns: match values.text("decode.park") {
                    "off" => 0,
                    _ => nanoseconds(values.duration("decode.park_age")),
                },
                park_disk_age_ns: nanoseconds(values.duration("decode.park_disk_age")),
                ..DecodeSettings::default()
            },
            switch_id_from_ip: values.flag("switch_id.from_ip"),
            switch_id: values.text("switch_id.fixed").to_owned(),
            parked_octets_max: values.size("decode.park_bytes"),
            park_dir: park_dir(values, notes),
            rejected_octets_max: values.size("receive.rejected_bytes"),
            parked_disk_octets_max: values.size("decode.park_disk_bytes"),
            learned_octets_max: values.size("decode.learned_bytes"),
            flow_batch_age: (interval / 4).min(Duration::from_millis(limits::FLOW_BATCH_AGE_MS_MAX)),
            silence_hint: Duration::from_secs(limits::SILENCE_HINT_S),
        },
        queue: QueueSettings {
            queue_batches: values.number("queue.batches"),
            flow_batch_records: limits::FLOW_BATCH_RECORDS,
            batchers: values.count("queue.batchers").unwrap_or((workers / 2).clamp(1, limits::BATCHERS_MAX as usize)),
            batch_size: values.number("batch.size"),
            batch_interval: interval,
            encode: EncodeSettings {
                format: if output == Output::Stdout { Format::Ndjson } else { Format::BackendJson },
                extra_keys: values.flag("output.extra_keys"),
                counters: if values.text("output.counters") == "scaled" { Counters::Scaled } else { Counters::Raw },
            },
            fields,
        },
        sink: SinkSettings {
            output,
            backend,
            instance: instance.clone().unwrap_or_default(),
            requests_in_flight: values.number("backend.requests_in_flight"),
            in_flight_octets: values.size("backend.in_flight_bytes"),
            request_timeout: values.duration("backend.request_timeout"),
            connect_timeout: values.duration("backend.connect_timeout"),
            idle_timeout: values.duration("backend.idle_timeout"),
            connection_max_age: values.duration("backend.connection_max_age"),
            retry_attempts: u32::try_from(values.number("retry.attempts")).unwrap_or(u32::MAX),
            backoff,
            backoff_max,
            threads: values.number("backend.threads"),
            access,
        },
        spool,
        state: state::plan(values),
        web: WebSettings {
            bind: values.host("http.bind_host"),
            ports: values.ports("http.port"),
            access: access::ingress(values, faults),
        },
        targets,
        log: LogSettings {
            level: values.text("log.level").to_owned(),
            format: match values.text("log.format") {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => LogFormat::Auto,
            },
        },
        drain_delay: values.duration("shutdown.drain_delay"),
        shutdown_timeout: values.duration("shutdown.timeout"),
        instance,
    };
    fit(&mut settings, values, faults, notes);
    settings
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Directory of the sets that wait on disk. Without a data directory memory must do.
fn park_dir(values: &Values, notes: &mut Vec<Note>) -> Option<PathBuf> {
    if values.text("decode.park") != "disk" {
        return None;
    }
    let dir = values.text("data.dir");
    if dir.is_empty() {
        notes.push(Note::warning(
            "[decode] park = disk needs [data] dir: without it sets wait for their template in memory alone",
        ));
        return None;
    }
    Some(Path::new(dir).join("park"))
}

/// The built-in elements and those of the operator's file.
fn registry(values: &Values, faults: &mut Faults) -> Arc<Registry> {
    let path = values.text("decode.elements_file");
    if path.is_empty() {
        return Arc::default();
    }
    let read = read_elements(path.as_ref()).map_err(|problems| {
        let place = values.origin("decode.elements_file").place();
        problems.iter().for_each(|problem| faults.add(format!("{place}: {problem}")));
    });
    read.map(Arc::new).unwrap_or_default()
}

/// What records go out with, by the names that `registry` knows.
fn output_fields(values: &Values, registry: &Arc<Registry>, faults: &mut Faults) -> OutputFields {
    fields::read(values.text("output.fields"), registry).unwrap_or_else(|problem| {
        faults.add(format!("{}: [output] fields {problem}", values.origin("output.fields").place()));
        OutputFields::default()
    })
}

fn memory_limit(values: &mut Values, machine: &Machine, notes: &mut Vec<Note>) -> u64 {
    if let Some(asked) = values.octets("memory.limit") {
        if let Some((octets, whose)) = &machine.memory
            && asked > *octets
        {
            notes.push(Note::warning(format!(
                "[memory] limit = {} is more than {whose} ({}): the kernel may end the process before the limit is reached",
                render(&Value::Octets(asked)),
                memory::approximate(*octets)
            )));
        }
        return asked;
    }
    let (octets, how) = match &machine.memory {
        Some((octets, whose)) => (
            octets / 100 * limits::MEMORY_SHARE_PERCENT,
            format!("{} % of {whose} ({})", limits::MEMORY_SHARE_PERCENT, memory::approximate(*octets)),
        ),
        None => (MEMORY_UNKNOWN_OCTETS, "neither a cgroup limit nor /proc/meminfo can be read".to_owned()),
    };
    values.set("memory.limit", Value::Octets(octets), Origin::Computed(how));
    octets
}

/// `[[listener]]` of the file, else the two default ports.
fn listeners(values: &Values, file: &Content, faults: &mut Faults, notes: &mut Vec<Note>) -> Vec<ListenerSettings> {
    let host = values.host("bind.host");
    if !file.listeners.is_empty() {
        for id in ["netflow.port", "ipfix.port"] {
            if !values.is_default(id) {
                notes.push(Note::warning(format!(
                    "{} = {} ({}) has no effect, because the file has [[listener]]: name the port there",
                    super::keys::KEYS[super::keys::position(id).unwrap_or_default()].display(),
                    values.port(id),
                    values.origin(id)
                )));
            }
        }
        return lists::listeners(&file.listeners, host, faults);
    }
    let (first, second) = (values.port("netflow.port"), values.port("ipfix.port"));
    let mut ports = vec![first, second];
    if first == second && first != 0 {
        ports.pop();
        notes.push(Note::info(format!(
            "[netflow] port and [ipfix] port are both {first}: one listener takes any version"
        )));
    }
    let mut listeners: Vec<ListenerSettings> = ports
        .into_iter()
        .map(|port| ListenerSettings {
            name: String::new(),
            address: host,
            port,
            interface: None,
            tenant: String::new(),
        })
        .collect();
    lists::name_listeners(&mut listeners);
    listeners
}

/// Who may send, and how much.
fn admission(values: &Values, faults: &mut Faults) -> AdmissionSettings {
    let mut list = |id: &str, shown: &str| lists::prefixes(shown, &values.origin(id).place(), values.text(id), faults);
    AdmissionSettings {
        allow: list("admission.allow", "[admission] allow"),
        deny: list("admission.deny", "[admission] deny"),
        limit: RateLimit {
            datagrams_per_second: values.number("admission.datagrams_per_second") as u64,
            octets_per_second: values.size("admission.bytes_per_second"),
            burst: values.duration("admission.burst"),
        },
    }
}

/// The instance's name, if one was given. It stands in a request's head, so it has to be ASCII.
fn instance(values: &Values, faults: &mut Faults) -> Option<String> {
    let name = values.text("instance.name");
    if !name.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        faults.add(format!(
            "{} = {name:?} holds a character that is not ASCII: it stands in the head of requests, write it in ASCII",
            values.origin("instance.name").place()
        ));
    }
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

/// The file for Prometheus. Its host stands before a colon and a port, so it is a bare name or address.
fn targets(values: &Values, faults: &mut Faults) -> TargetsSettings {
    let host = values.text("http.advertise_host");
    let name = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !name && host.parse::<std::net::IpAddr>().is_err() {
        faults.add(format!(
            "{}: [http] advertise_host = {host:?} is neither a name nor an address: give one without scheme, port or \
             brackets, such as node-3.example or 2001:db8::7",
            values.origin("http.advertise_host").place()
        ));
    }
    let dir = values.text("http.targets_dir");
    TargetsSettings {
        dir: Some(dir).filter(|dir| !dir.is_empty()).map(Into::into),
        host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        tls: !values.text("http.tls_cert_file").is_empty(),
    }
}

/// Shares memory out and tells whether it fits.
fn fit(settings: &mut Settings, values: &mut Values, faults: &mut Faults, notes: &mut Vec<Note>) {
    let free = Free {
        workers: values.is_default("receive.workers"),
        batchers: values.is_default("queue.batchers"),
        queue: values.is_default("queue.batches"),
        in_flight: values.is_default("backend.in_flight_bytes"),
        learned: values.is_default("decode.learned_bytes"),
        parked: values.is_default("decode.park_bytes"),
        buffer: values.is_default("receive.buffer"),
    };
    memory::share_out(settings, free);
    let computed = [
        ("receive.workers", Value::Count(settings.collect.workers as u64)),
        ("queue.batchers", Value::Count(settings.queue.batchers as u64)),
        ("queue.batches", Value::Count(settings.queue.queue_batches as u64)),
        ("backend.in_flight_bytes", Value::Octets(settings.sink.in_flight_octets)),
        ("decode.learned_bytes", Value::Octets(settings.collect.learned_octets_max)),
        ("decode.park_bytes", Value::Octets(settings.collect.parked_octets_max)),
        ("receive.buffer", Value::Octets(settings.collect.receive_buffer)),
    ];
    let computed_keys = computed.each_ref().map(|(id, _)| *id);
    let mut lowered = Vec::new();
    for (id, value) in computed {
        let before = values.value_text(id);
        if before == "auto" {
            let origin = values.origin(id).clone();
            values.set(id, value, origin);
        } else if before != render(&value) {
            let (section, name) = id.split_once('.').unwrap_or(("", id));
            lowered.push(format!("[{section}] {name} = {}", render(&value)));
            values.set(id, value, Origin::Computed("its share of [memory] limit".to_owned()));
        }
    }
    if !lowered.is_empty() {
        notes.push(Note::info(format!(
            "[memory] limit = {} is less than the defaults need, so these take a share: {}",
            memory::approximate(settings.memory_limit),
            lowered.join(", ")
        )));
    }
    // A relation to a value that is wrong already, and stands at its default here, would mislead.
    if !values.are_right(&computed_keys) || !values.are_right(&["memory.limit", "batch.size", "decode.park"]) {
        return;
    }
    // Less than two bodies would mean that hardly any batch is ever taken.
    let needed = 2 * settings.body_octets();
    if settings.sink.in_flight_octets < needed {
        faults.add(format!(
            "[backend] in_flight_bytes = {} ({}) has no room for two bodies of [batch] size = {} records (about {}): raise \
             the first or lower the second",
            render(&Value::Octets(settings.sink.in_flight_octets)),
            values.origin("backend.in_flight_bytes"),
            settings.queue.batch_size,
            memory::approximate(needed)
        ));
    }
    if let Some(text) = memory::misfit(settings) {
        faults.add(text);
    }
}

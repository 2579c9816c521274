//! The backends of `[backend] url`: where each is, and how it is reached.
//!
//! Values enter, an address with its access for each URL leaves, the first of them with the others and how they share
//! the work. Credentials, proxy and TLS keys are those of `[backend]` for all of them; what stands in a URL is that
//! URL's alone, and the proxy is chosen for each, because `NO_PROXY` and the scheme say for which it is.

use super::error::Faults;
use super::proxy::Variables;
use super::url::{BaseUrl, parse_list};
use super::values::Values;
use super::{Note, access};
use crate::sink::{Access, BackendUrl, Balance, Concurrency, Routing};

/// Where flows go first, and the rest.
pub(super) fn plan(
    values: &Values,
    proxies: &Variables,
    faults: &mut Faults,
    notes: &mut Vec<Note>,
) -> (BackendUrl, Access) {
    let endpoint = values.text("backend.endpoint");
    if !endpoint.chars().all(|c| c.is_ascii_graphic()) || endpoint.contains(['?', '#', '"']) {
        faults.add(format!(
            "{}: [backend] endpoint = {endpoint:?} is no path: write one such as \"/api/netflow/netflow\"",
            values.origin("backend.endpoint").place()
        ));
    }
    // What is in `values` has been parsed once already, so this cannot fail.
    let urls = parse_list(values.text("backend.url")).unwrap_or_default();
    let mut targets = Vec::new();
    for base in urls.iter().filter_map(|url| BaseUrl::parse(url).ok()) {
        let backend = base.with_endpoint(endpoint);
        let mut own = Vec::new();
        let access = access::egress(values, &backend, base.credentials(), proxies, faults, &mut own);
        // What holds for several is said once.
        for note in own {
            if !notes.iter().any(|said| said.text == note.text) {
                notes.push(note);
            }
        }
        targets.push((backend, access));
    }
    let mut targets = targets.into_iter();
    let Some((backend, access)) = targets.next() else {
        let (host, path, display) = (String::new(), String::new(), String::new());
        return (BackendUrl { tls: false, host, port: 0, path, display }, Access::default());
    };
    let routing = Routing {
        others: targets.collect(),
        balance: if values.text("backend.balance") == "spread" { Balance::Spread } else { Balance::Failover },
        concurrency: match values.text("backend.concurrency") {
            "fixed" => Concurrency::Fixed,
            _ => Concurrency::Adaptive,
        },
    };
    (backend, Access { routing, ..access })
}

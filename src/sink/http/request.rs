//! A parcel -> an HTTP request, in the form that its connection wants.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use uuid::Uuid;

use super::Parcel;
use super::body::CountedBody;
use super::credentials::{Badge, basic};
use crate::sink::{Compression, SinkError, SinkSettings};

/// How the target stands in the first line of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// HTTP/1.1 to the backend, perhaps through a tunnel: the path.
    Origin,
    /// HTTP/1.1 to a proxy: the whole URL.
    Proxied,
    /// HTTP/2: the whole URL, of which the library makes its fields.
    Two,
}

/// What all requests have in common, prepared once.
#[derive(Debug)]
pub(super) struct RequestTemplate {
    path: Uri,
    whole: Uri,
    host: HeaderValue,
    headers: HeaderMap,
    proxy_authorization: Option<HeaderValue>,
    badge: Badge,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CLARION_INSTANCE: HeaderName = HeaderName::from_static("clarion-instance");
const CLARION_RECORDS: HeaderName = HeaderName::from_static("clarion-records");

impl RequestTemplate {
    /// # Errors
    /// A setting that cannot stand in a request, or a file of credentials.
    pub(super) fn new(settings: &SinkSettings) -> Result<Self, SinkError> {
        let backend = &settings.backend;
        let authority = backend.authority();
        let scheme = if backend.tls { "https" } else { "http" };
        let wrong_path = || SinkError::Path { path: backend.path.clone() };
        let path = backend.path.parse().map_err(|_| wrong_path())?;
        let whole = format!("{scheme}://{authority}{}", backend.path).parse().map_err(|_| wrong_path())?;
        let agent = format!("clarion-collector/{} ({})", env!("CARGO_PKG_VERSION"), settings.instance);
        let value = |title: &'static str, value: &str| {
            HeaderValue::from_str(value).map_err(|_| SinkError::Header { header: title, value: value.to_owned() })
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, value("User-Agent", &agent)?);
        headers.insert(CLARION_INSTANCE, value("Clarion-Instance", &settings.instance)?);
        let credentials = settings.access.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref());
        let proxy_authorization = match credentials.map(|c| c.expose().split_once(':').unwrap_or((c.expose(), ""))) {
            Some((user, password)) => Some(basic(user, password).map_err(|what| SinkError::Proxy { what })?),
            None => None,
        };
        Ok(Self {
            path,
            whole,
            host: value("Host", &authority)?,
            headers,
            proxy_authorization,
            badge: Badge::new(&settings.access.credentials)?,
        })
    }

    /// Content-Length is set by hyper from the body's size. `taken` counts what of the body was taken.
    pub(super) fn request(&self, parcel: &Parcel, form: Form, taken: Arc<AtomicU64>) -> Request<CountedBody> {
        let mut request = Request::new(CountedBody::new(parcel.body.clone(), taken));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = if form == Form::Origin { self.path.clone() } else { self.whole.clone() };
        if form == Form::Two {
            *request.version_mut() = hyper::Version::HTTP_2;
        }
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if form != Form::Two {
            headers.insert(header::HOST, self.host.clone());
        }
        if let Some(value) = self.proxy_authorization.as_ref().filter(|_| form == Form::Proxied) {
            headers.insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        headers.insert(CLARION_RECORDS, HeaderValue::from(parcel.records));
        match parcel.encoding {
            Compression::None => {}
            Compression::Gzip => drop(headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
            Compression::Zstd => drop(headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
        }
        let mut text = Uuid::encode_buffer();
        if let Ok(key) = HeaderValue::from_str(parcel.key.hyphenated().encode_lower(&mut text)) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        self.badge.put(headers);
        request
    }

    /// `Proxy-Authorization` for a tunnel.
    pub(super) const fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.proxy_authorization.as_ref()
    }

    /// The credentials.
    pub(super) const fn badge(&self) -> &Badge {
        &self.badge
    }
}

//! Who may ask at all: the names that the server goes by, and the web pages that may use it.
//!
//! A browser sends a page's requests to any server that it can reach, this one on a laptop's
//! loopback included. `Host` tells whether the page was loaded under a name of this server (a
//! foreign name that was made to point here gives itself away), `Origin` and `Sec-Fetch-Site`
//! whether the page is one of this server's own.

mod cors;
mod host;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};

use self::cors::{expose, preflight_answer};
use self::host::{HostName, is_same, normal_origin};
use super::problem::{Kind, Problem};
use super::{App, routed};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a refusal of a page depends on.
const REFUSAL_VARIES: HeaderValue = HeaderValue::from_static("Accept, Prefer, Origin");

/// The names and origins that are let in.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The address listened on.
    local: IpAddr,
    hosts: Vec<HostName>,
    origins: Vec<String>,
    any_origin: bool,
}

/// An entry of [`Config::allow_hosts`](crate::Config::allow_hosts) or
/// [`Config::allow_origins`](crate::Config::allow_origins) that is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadEntry {
    Host(String),
    Origin(String),
}

impl Guard {
    pub(crate) fn new(
        local: IpAddr,
        hosts: &[String],
        origins: &[String],
    ) -> Result<Self, BadEntry> {
        let hosts = hosts
            .iter()
            .map(|text| HostName::entry(text).ok_or_else(|| BadEntry::Host(text.clone())))
            .collect::<Result<_, _>>()?;
        let any_origin = origins.iter().any(|origin| origin == "*");
        let origins = origins
            .iter()
            .filter(|origin| *origin != "*")
            .map(|origin| normal_origin(origin).ok_or_else(|| BadEntry::Origin(origin.clone())))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            local,
            hosts,
            origins,
            any_origin,
        })
    }

    /// The one name that the request was sent to, if it is one of this server's.
    fn host(&self, request: &Request) -> Result<HostName, Problem> {
        let mut fields = request.headers().get_all(HOST).into_iter();
        // A request for an absolute URL is meant for that URL's host (RFC 9112 §3.2.2).
        let text = match (request.uri().authority(), fields.next(), fields.next()) {
            (Some(authority), _, None) => authority.as_str().as_bytes(),
            (None, Some(field), None) => field.as_bytes(),
            _ => {
                let detail = "the request needs exactly one Host field";
                return Err(Problem::new(Kind::BadRequest, detail));
            }
        };
        let parsed = std::str::from_utf8(text).ok().and_then(HostName::parse);
        let host = parsed.ok_or_else(|| {
            Problem::new(
                Kind::BadRequest,
                format!(
                    "the Host {:?} is malformed; send a name or an IP address, with or without a \
                     port, such as localhost:8000",
                    String::from_utf8_lossy(text)
                ),
            )
        })?;
        if self.is_own(&host) {
            return Ok(host);
        }
        Err(Problem::new(
            Kind::ForeignHost,
            format!(
                "this server does not go by the name {}; start it with that name among its allowed \
                 hosts, or use the address that it listens on",
                host.name
            ),
        ))
    }

    fn is_own(&self, host: &HostName) -> bool {
        let listed = |own: &HostName| {
            own.name == host.name && own.port.is_none_or(|port| Some(port) == host.port)
        };
        if self.hosts.iter().any(listed) {
            return true;
        }
        // Whatever port: it may be forwarded, and tells nothing about the name.
        let bound = self.local;
        let near = bound.is_loopback() || bound.is_unspecified();
        match host.ip() {
            // An address is no name that somebody could make point here.
            Some(ip) => {
                ip == bound || bound.is_unspecified() || (bound.is_loopback() && ip.is_loopback())
            }
            None => near && host.name == "localhost",
        }
    }

    /// Whether the page that asks, if one does, may use the channels; the origin to be told so.
    fn origin(&self, headers: &HeaderMap, host: &HostName) -> Result<Option<HeaderValue>, Problem> {
        let mut fields = headers.get_all(ORIGIN).into_iter();
        let foreign = |whose: &str| {
            Problem::new(
                Kind::ForeignOrigin,
                format!(
                    "{whose} may not use this server; start it with that origin among its allowed \
                     ones to let it"
                ),
            )
        };
        match (fields.next(), fields.next()) {
            (Some(origin), None) => {
                let text = origin.to_str().unwrap_or_default();
                if is_same(text, host) {
                    return Ok(None);
                }
                let listed = normal_origin(text).is_some_and(|o| self.origins.contains(&o));
                if listed || self.any_origin {
                    return Ok(Some(origin.clone()));
                }
                Err(foreign(&format!("pages of {text}")))
            }
            (None, _) => {
                // No other value is a page's that is not this server's own.
                let site = headers.get(SEC_FETCH_SITE);
                let own = site.is_none_or(|site| site == "same-origin" || site == "none");
                if own || self.any_origin {
                    Ok(None)
                } else {
                    Err(foreign("pages of other sites"))
                }
            }
            (Some(_), Some(_)) => Err(Problem::new(Kind::BadRequest, "Origin is there twice")),
        }
    }

    /// The origin to name in the answer: any page gets the same answer where all may ask.
    fn allow(&self, origin: HeaderValue) -> HeaderValue {
        if self.any_origin {
            HeaderValue::from_static("*")
        } else {
            origin
        }
    }
}

/// The check before everything: on every URL the host, on all that pages could misuse the origin.
pub(crate) async fn check(app: &Arc<App>, request: Request, routes: Router) -> Response {
    let now = app.now();
    let guard = &now.guard;
    let host = match guard.host(&request) {
        Ok(host) => host,
        Err(problem) => return problem.into_response(),
    };
    let path = request.uri().path();
    // A link to the page itself may stand anywhere.
    if path == "/" || path.starts_with("/assets/") {
        return routed(app, routes, request).await;
    }
    let origin = match guard.origin(request.headers(), &host) {
        Ok(origin) => origin,
        Err(problem) => return problem.with_header(VARY, REFUSAL_VARIES).into_response(),
    };
    let preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if preflight => preflight_answer(),
        _ => routed(app, routes, request).await,
    };
    if let Some(origin) = origin {
        expose(&mut response, guard.allow(origin), preflight);
    }
    vary(guard, response)
}

/// The check of the operators' port, which is no page's: only the host counts.
pub(crate) async fn guarded(
    State((app, local)): State<(Arc<App>, IpAddr)>,
    request: Request,
    next: Next,
) -> Response {
    let own = Guard::new(local, &app.now().config.allow_hosts, &[]);
    match own.map(|own| own.host(&request)) {
        Ok(Ok(_)) => next.run(request).await,
        Ok(Err(problem)) => problem.into_response(),
        // The configuration was checked before it came into force.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Tells caches that the answer depends on who asks, where it does.
fn vary(guard: &Guard, mut response: Response) -> Response {
    if guard.any_origin || !guard.origins.is_empty() {
        response
            .headers_mut()
            .append(VARY, HeaderValue::from_static("Origin"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(local: &str, hosts: &[&str], origins: &[&str]) -> Guard {
        let own = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        Guard::new(local.parse().unwrap(), &own(hosts), &own(origins)).unwrap()
    }

    fn goes_by(guard: &Guard, host: &str) -> bool {
        HostName::parse(host).is_some_and(|host| guard.is_own(&host))
    }

    #[test]
    fn a_loopback_listener_goes_by_loopback_names() {
        for local in ["127.0.0.1", "::1"] {
            let guard = guard(local, &["push.example", "other.example:81"], &[]);
            for own in [
                "localhost:8000",
                "LOCALHOST:8000",
                "127.0.0.1:8000",
                "[::1]:8000",
                "localhost",
                "localhost:",
                "127.0.0.1:",
                "push.example",
                "push.example:1234",
                "other.example:81",
            ] {
                assert!(goes_by(&guard, own), "{own}");
            }
            for foreign in [
                "evil.example:8000",
                "localhost.evil.example:8000",
                "192.168.1.9:8000",
                "other.example",
                "user@localhost:8000",
                "localhost:x",
                "localhost::",
                "a b",
                "",
            ] {
                assert!(!goes_by(&guard, foreign), "{foreign}");
            }
        }
    }

    #[test]
    fn a_wildcard_listener_goes_by_every_address() {
        let guard = guard("0.0.0.0", &[], &[]);
        assert!(goes_by(&guard, "192.168.1.9"));
        assert!(goes_by(&guard, "[fe80::1]:80"));
        assert!(goes_by(&guard, "localhost"));
        assert!(!goes_by(&guard, "push.example"));
    }

    #[test]
    fn a_listener_on_one_address_goes_by_that() {
        let guard = guard("192.168.1.9", &[], &[]);
        assert!(goes_by(&guard, "192.168.1.9:8000"));
        assert!(!goes_by(&guard, "127.0.0.1:8000"));
        assert!(!goes_by(&guard, "localhost:8000"));
    }

    #[test]
    fn an_origin_is_the_same_by_name_and_port() {
        let same = |origin: &str, host: &str| is_same(origin, &HostName::parse(host).unwrap());
        assert!(same("http://localhost:8000", "localhost:8000"));
        assert!(same("https://Push.example", "push.example"));
        assert!(same("https://push.example", "push.example:443"));
        assert!(!same("http://localhost:3000", "localhost:8000"));
        assert!(!same("http://localhost", "localhost:8000"));
        assert!(!same("null", "localhost:8000"));
        assert!(!same("file://localhost:8000", "localhost:8000"));
        assert!(!same(
            "http://localhost:8000.evil.example",
            "localhost:8000"
        ));
    }

    #[test]
    fn entries_that_name_nothing_are_refused() {
        let local = "127.0.0.1".parse().unwrap();
        for host in [
            "",
            "a b",
            "http://a",
            "a/b",
            "u@a",
            "a:x",
            "*",
            "*:80",
            "*.push.example",
            "push.example:0",
        ] {
            let hosts = [host.to_owned()];
            assert!(
                matches!(Guard::new(local, &hosts, &[]), Err(BadEntry::Host(_))),
                "{host}"
            );
        }
        for origin in [
            "",
            "app.example",
            "https://",
            "https://a/path",
            "null",
            "://a",
            "https://*.app.example",
        ] {
            let origins = [origin.to_owned()];
            assert!(
                matches!(Guard::new(local, &[], &origins), Err(BadEntry::Origin(_))),
                "{origin}"
            );
        }
        assert!(Guard::new(local, &[], &["https://a".into(), "*".into()]).is_ok());
    }
}

//! `check = { }` of a pool. Each type has keys of its own; one that belongs to another type is an error, since whoever
//! wrote it counts on it.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, PathAndQuery};
use rustls::pki_types::ServerName;
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::schema::CHECK;
use super::secret::Secrets;
use super::trust;
use super::value::{self, Read, Reject};
use crate::model::{Check, CheckKind, Expect, HttpCheck, HttpMethod, StatusRange, TlsCheck, Trust};

/// Reads the check of `pool`.
pub fn read(pool: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Option<Check> {
    pool.demand("check");
    if is_of_later_version(pool) {
        return None;
    }
    let fields = pool.table("check", &CHECK)?;
    fields.demand("type");
    let of_type = fields.word("type", TYPES);
    if let Some(of_type) = of_type {
        refuse_keys_of_others(&fields, of_type);
    }
    let port = fields.must("port", value::port).map(|port| port.value);
    let interval = fields.get_or("interval", INTERVAL, |value| {
        value::duration(value, INTERVAL_MIN..=INTERVAL_MAX)
    });
    let timeout = fields.get_or("timeout", TIMEOUT.min(interval), |value| {
        timeout(value, interval)
    });
    let rise = fields.integer_or("rise", 2, 1..=100);
    let fall = fields.integer_or("fall", 3, 1..=100);
    // A missing port has been reported; the rest is read for its own errors.
    let port = port.unwrap_or_default();
    let kind = match of_type? {
        Type::Tcp => CheckKind::Tcp { port },
        Type::Http => CheckKind::Http(Arc::new(http(&fields, port))),
        Type::Https => {
            let mut http = http(&fields, port);
            http.tls = Some(tls(&fields, secrets)?);
            CheckKind::Http(Arc::new(http))
        }
    };
    Some(Check {
        kind,
        interval,
        timeout,
        rise,
        fall,
    })
}

const INTERVAL: Duration = Duration::from_secs(2);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
const TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Tcp,
    Http,
    Https,
}

const TYPES: &[(&str, Type)] = &[
    ("tcp", Type::Tcp),
    ("http", Type::Http),
    ("https", Type::Https),
];

/// Keys that not every type has.
const OF_TYPES: &[(&[&str], &[Type], &str)] = &[
    (
        &["method", "path", "host", "expect", "body"],
        &[Type::Http, Type::Https],
        "`type = \"http\"` and `type = \"https\"`",
    ),
    (
        &["server_name", "ca_file", "verify"],
        &[Type::Https],
        "`type = \"https\"`",
    ),
];

/// A type of a later version brings keys of its own: one error says it all.
fn is_of_later_version(pool: &Fields<'_, '_>) -> bool {
    let written = pool
        .raw("check")
        .and_then(|check| check.get_ref().as_table())
        .and_then(|check| check.get("type"));
    let Some((written, span)) =
        written.and_then(|written| Some((written.get_ref().as_str()?, written.span())))
    else {
        return false;
    };
    let is_later = CHECK
        .key("type")
        .is_some_and(|key| key.reserved.contains(&written));
    if is_later {
        let reject = Reject::not_supported(&format!("\"{written}\""))
            .help("this version has \"tcp\", \"http\" and \"https\"");
        pool.errors().add(reject.at("type", &span));
    }
    is_later
}

fn refuse_keys_of_others(fields: &Fields<'_, '_>, of_type: Type) {
    for (keys, types, words) in OF_TYPES {
        for key in keys.iter().filter(|_| !types.contains(&of_type)) {
            if let Some(place) = fields.key_place(key) {
                fields.errors().add(
                    Diagnostic::at(
                        &place,
                        format!("`{key}` means nothing to this type of check"),
                    )
                    .help(format!("remove it; it belongs to {words}")),
                );
            }
        }
    }
}

/// A check is over before the next one begins.
fn timeout(value: &DeValue<'_>, interval: Duration) -> Read<Duration> {
    let timeout = value::duration(value, TIMEOUT_MIN..=INTERVAL_MAX)?;
    if timeout > interval {
        return Err(Reject::value(&format!(
            "is longer than the interval, {}",
            value::in_words(interval)
        ))
        .help("a check must be over before the next one begins"));
    }
    Ok(timeout)
}

/// What `http` and `https` have in common.
fn http(fields: &Fields<'_, '_>, port: u16) -> HttpCheck {
    let method = fields.word(
        "method",
        &[("GET", HttpMethod::Get), ("HEAD", HttpMethod::Head)],
    );
    let method = method.unwrap_or(HttpMethod::Get);
    let body = fields.get("body", body);
    if let Some(body) = body.as_ref().filter(|_| method == HttpMethod::Head) {
        fields.errors().add(
            Diagnostic::at(&body.span, "an answer to HEAD has no body")
                .help("remove `body` or `method`"),
        );
    }
    HttpCheck {
        port,
        tls: None,
        method,
        path: fields.get_or("path", PathAndQuery::from_static("/"), path),
        host: fields.get("host", host).map(|host| host.value.header),
        expect: expect(fields),
        body: body.map(|body| body.value),
    }
}

fn path(value: &DeValue<'_>) -> Read<PathAndQuery> {
    let written = value::text(value, "a path in quotes")?;
    if !written.starts_with('/') {
        let fix = format!("write \"/{}\"", written.escape_debug());
        let is_url = written.contains("://");
        return Err(Reject::value("must begin with `/`")
            .help_if(!is_url, &fix)
            .help_if(is_url, "the path alone, such as \"/alive\""));
    }
    // The parser would take a fragment off without a word.
    let fits = |c: char| c.is_ascii_graphic() && c != '#';
    if let Some(c) = written.chars().find(|c| !fits(*c)) {
        return Err(Reject::value(&format!("has the character {c:?} in it"))
            .help("percent-encode it, such as %20 for a space")
            .help_if(
                c == '#',
                "leave it and what follows out: no server is sent that",
            ));
    }
    PathAndQuery::from_str(written)
        .map_err(|_| Reject::is_no(written, "path").help("such as \"/alive\""))
}

/// `host`, in both of its uses.
struct Host {
    header: HeaderValue,
    name: ServerName<'static>,
}

fn host(value: &DeValue<'_>) -> Read<Host> {
    let written = value::text(value, "a host in quotes")?;
    let reject =
        || Reject::is_no(written, "host").help("such as \"web.example\" or \"web.example:8080\"");
    let authority = Authority::from_str(written).map_err(|_| reject())?;
    let (host, port) = (authority.host(), authority.port_u16());
    let with_port = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
    // Unlike this, a user, an empty port and one above 65535 are no part of `host` and `port`.
    if with_port != written {
        return Err(reject());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Ok(Host {
        header: HeaderValue::from_str(written).map_err(|_| reject())?,
        name: ServerName::try_from(bare.to_owned()).map_err(|_| reject())?,
    })
}

fn body(value: &DeValue<'_>) -> Read<String> {
    match value::text(value, "a text in quotes")? {
        "" => Err(Reject::value("must not be empty")),
        text if text.len() > BODY_MAX => Err(Reject::value(&format!(
            "must have at most {BODY_MAX} bytes"
        ))),
        text => Ok(text.to_owned()),
    }
}

/// Far below what is read of an answer, and more than anybody needs to know it by.
const BODY_MAX: usize = 1000;

fn expect(fields: &Fields<'_, '_>) -> Expect {
    let written = fields.raw("expect");
    let is_list = written.is_some_and(|written| written.get_ref().is_array());
    if !is_list {
        let one = fields.get_or("expect", StatusRange::Class(2), status);
        return Expect(vec![one]);
    }
    let ranges = fields.list("expect", status);
    if let Some(list) = ranges.as_ref().filter(|_| fields.is_empty("expect")) {
        let reject = Reject::value("must name a status").help("such as [200, 204]");
        fields.errors().add(reject.at("expect", &list.span));
    }
    let ranges = ranges.map(|list| list.value).unwrap_or_default();
    Expect(ranges.into_iter().map(|range| range.value).collect())
}

fn status(value: &DeValue<'_>) -> Read<StatusRange> {
    let written = match value {
        DeValue::Integer(_) => return value::integer(value, 200..=599).map(StatusRange::One),
        other => value::text(other, "a status such as 200 or \"2xx\"")?,
    };
    let class = match written {
        "2xx" => 2,
        "3xx" => 3,
        "4xx" => 4,
        "5xx" => 5,
        _ => {
            let digits = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
            let fix = format!("write it without quotes: {written}");
            return Err(Reject::is_no(written, "status")
                .help("200 to 599, \"2xx\" to \"5xx\", or a list such as [200, 204]")
                .help_if(digits, &fix));
        }
    };
    Ok(StatusRange::Class(class))
}

/// What `https` has besides; `None` where no certificate could be taken.
fn tls(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Option<TlsCheck> {
    let host = fields.raw("host").and_then(|raw| host(raw.get_ref()).ok());
    let server_name = fields.get("server_name", server_name);
    let verify = fields.get("verify", value::flag);
    let ca_file = fields.get("ca_file", value::path);
    let unverified = verify.as_ref().filter(|verify| !verify.value);
    if let (Some(verify), Some(ca_file)) = (unverified, &ca_file) {
        fields.errors().add(
            Diagnostic::at(
                &ca_file.span,
                "`ca_file` is for certificates that are verified",
            )
            .related(&verify.span, "they are not")
            .help("remove one of the two"),
        );
    }
    let is_there = |key: &str| fields.raw(key).is_some();
    let trust = match (unverified, ca_file) {
        (Some(_), _) => Trust::Anything,
        (None, Some(path)) => Trust::Roots(trust::of_file(&path, secrets, fields.errors())?),
        // What is there and wrong has been reported, and may mean anything.
        (None, None) if is_there("ca_file") || (is_there("verify") && verify.is_none()) => {
            return None;
        }
        (None, None) => Trust::Roots(trust::of_system(&fields.place, secrets, fields.errors())?),
    };
    Some(TlsCheck {
        server_name: server_name
            .map(|name| name.value)
            .or(host.map(|host| host.name)),
        trust,
    })
}

fn server_name(value: &DeValue<'_>) -> Read<ServerName<'static>> {
    let written = value::text(value, "a name in quotes")?;
    ServerName::try_from(written.to_owned()).map_err(|_| {
        Reject::is_no(written, "server name")
            .help("the name that the certificate is for, such as \"web.example\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_type_is_a_key() {
        for key in OF_TYPES.iter().flat_map(|(keys, ..)| *keys) {
            assert!(CHECK.built().any(|known| known.name == *key), "{key}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        let name = |written: &str| {
            let value = DeValue::String(written.into());
            host(&value)
                .ok()
                .map(|host| host.name.to_str().into_owned())
        };
        for (written, expected) in [
            ("web.example", "web.example"),
            ("web.example:8080", "web.example"),
            ("web_1", "web_1"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
        ] {
            assert_eq!(name(written).as_deref(), Some(expected), "{written}");
        }
        for written in [
            "",
            "web example",
            "web.example/",
            "http://web.example",
            "user@web.example",
            "web.example:",
            "web.example:65536",
            "web.example:http",
            "web..example",
            "2001:db8::1",
            "wéb.example",
            "web\r\nX: y",
        ] {
            assert_eq!(name(written), None, "{written:?}");
        }
    }

    #[test]
    fn paths_go_out_as_they_are_written() {
        let read = |written: &str| {
            let value = DeValue::String(written.into());
            path(&value).ok().map(|path| path.as_str().to_owned())
        };
        for written in ["/", "/alive", "/a%20b?c=d&e", "//a"] {
            assert_eq!(read(written).as_deref(), Some(written));
        }
        for written in [
            "",
            "alive",
            "*",
            "/a b",
            "/a#b",
            "/é",
            "/a\r\nX: y",
            "http://web.example/",
        ] {
            assert_eq!(read(written), None, "{written:?}");
        }
    }
}

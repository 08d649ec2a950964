//! Spans as OTLP writes them in JSON (opentelemetry-proto 1.x, `ExportTraceServiceRequest`).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Kind, Span, Value};

/// The status of a span that failed.
const STATUS_ERROR: u8 = 2;
/// The trace is kept.
const SAMPLED: u32 = 1;
/// It is known whether the parent is of another process; and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The body of a request that hands `spans` over; `instance` is this process's name among others.
pub(super) fn request(spans: &[Span], instance: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [
        ("service.name", "openline"),
        ("service.version", version),
        ("service.instance.id", instance),
    ];
    let spans: Vec<_> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes.map(|(key, text)| attribute(key, &text.into()))},
        "scopeSpans": [{
            "scope": {"name": env!("CARGO_PKG_NAME"), "version": version},
            "spans": spans,
        }],
    }]})
    .to_string()
    .into_bytes()
}

fn span(span: &Span) -> Json {
    let kind = match span.kind {
        Kind::Server => 2,
        Kind::Producer => 4,
    };
    let remote = if span.is_remote { IS_REMOTE } else { 0 };
    let attributes = span.attributes.iter();
    let mut told = json!({
        "traceId": span.trace.to_string(),
        "spanId": id(span.id),
        "flags": SAMPLED | HAS_IS_REMOTE | remote,
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": nanoseconds(span.start).to_string(),
        "endTimeUnixNano": nanoseconds(span.start).saturating_add(span.time.as_nanos()).to_string(),
        "attributes": attributes.map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        told["parentSpanId"] = id(parent).into();
    }
    if span.error.is_some() {
        told["status"] = json!({"code": STATUS_ERROR});
    }
    told
}

fn id(id: u64) -> String {
    format!("{id:016x}")
}

fn nanoseconds(time: SystemTime) -> u128 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos()
}

fn attribute(key: &str, value: &Value) -> Json {
    // Numbers of 64 bits are texts in protobuf's JSON.
    json!({"key": key, "value": match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
    }})
}

/// How many spans of a request the collector refused, by its answer.
pub(super) fn rejected(answer: &[u8]) -> usize {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Answer {
        partial_success: Partial,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Partial {
        rejected_spans: Json,
    }
    let answer: Answer = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = answer.partial_success.rejected_spans;
    let number = match &rejected {
        Json::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_tells_what_it_refused_or_nothing() {
        for (answer, count) in [
            ("{}", 0),
            ("", 0),
            ("\x0a\x02", 0),
            (r#"{"partialSuccess":{}}"#, 0),
            (
                r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"full"}}"#,
                3,
            ),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, 2),
        ] {
            assert_eq!(rejected(answer.as_bytes()), count, "{answer}");
        }
    }
}

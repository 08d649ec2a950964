//! `Sec-WebSocket-Extensions`: parsed, printed, and permessage-deflate negotiated from it.
//!
//! What is parsed reads back as the same when it is printed; what a server grants is what one of the offers allows, and
//! the client that made it takes it.

use http::HeaderValue;
use openline_proto::Deflate;
use openline_proto::handshake::deflate::{NAME, Offer};
use openline_proto::handshake::extensions::{Extension, parse};

use crate::choices::Choices;

/// Tries one input: a server's settings, then the field's lines.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (flags, windows) = (choices.byte(), choices.byte());
    let policy = Deflate::default()
        .server_no_context_takeover(flags & 1 != 0)
        .client_no_context_takeover(flags & 2 != 0)
        .server_max_window_bits(15 - (windows & 7))
        .client_max_window_bits(15 - (windows >> 4 & 7))
        .policy();
    let lines: Result<Vec<_>, _> = choices
        .rest()
        .split(|byte| *byte == b'\n')
        .map(HeaderValue::from_bytes)
        .collect();
    let Ok(lines) = lines else { return };
    let Ok(extensions) = parse(&lines) else {
        return;
    };

    let items: usize = extensions
        .iter()
        .map(|extension| 1 + extension.parameters.len())
        .sum();
    assert!(items <= 64, "{items} items");
    let printed: Vec<_> = extensions.iter().map(print).collect();
    let printed = HeaderValue::from_str(&printed.join(", ")).expect("tokens are visible");
    assert_eq!(
        parse([&printed]).as_ref(),
        Ok(&extensions),
        "what is printed is read: {printed:?}"
    );

    let offers: Vec<Offer> = extensions
        .iter()
        .filter(|extension| extension.name == NAME)
        .filter_map(|extension| Offer::parse(extension).ok())
        .collect();
    for offer in &offers {
        let line = HeaderValue::from_str(&offer.to_string()).expect("an offer is visible");
        let read = parse([&line]).expect("an offer fits the grammar");
        assert_eq!(read.len(), 1);
        assert_eq!(
            Offer::parse(&read[0]).as_ref(),
            Ok(offer),
            "what is printed is read"
        );
        // Whatever an answer says: a client is given no more than it asked for.
        if let Some(answer) = extensions.last()
            && let Ok(agreed) = offer.check_answer(answer)
        {
            assert!(agreed.server_max_window_bits <= offer.server_max_window_bits.unwrap_or(15));
            assert!(agreed.server_no_context_takeover || !offer.server_no_context_takeover);
            assert!(offer.client_max_window_bits.is_some() || agreed.client_max_window_bits == 15);
        }
    }
    let Some(grant) = policy.negotiate(&extensions) else {
        let lowers = |offer: &Offer| offer.client_max_window_bits.is_some();
        assert!(
            offers.is_empty() || (policy.client_max_window_bits < 15 && !offers.iter().any(lowers)),
            "a valid offer is declined only if the client can't lower its window: {offers:?}"
        );
        return;
    };
    let agreed = grant.agreed;
    assert!((8..=policy.server_max_window_bits).contains(&agreed.server_max_window_bits));
    assert!((8..=policy.client_max_window_bits).contains(&agreed.client_max_window_bits));
    assert!(agreed.server_no_context_takeover || !policy.server_no_context_takeover);
    assert!(agreed.client_no_context_takeover || !policy.client_no_context_takeover);
    let answer = HeaderValue::from_str(&grant.answer).expect("an answer is visible");
    let answer = parse([&answer]).expect("an answer fits the grammar");
    let says_server_bits = grant.answer.contains("server_max_window_bits");
    let allows = |offer: &Offer| {
        // §7.1.2.1: it is granted by repeating it.
        let asks = offer.server_max_window_bits.is_some();
        offer.check_answer(&answer[0]) == Ok(agreed) && (says_server_bits || !asks)
    };
    assert!(
        offers.iter().any(allows),
        "one of {offers:?} allows {answer:?} and means {agreed:?}"
    );
}

fn print(extension: &Extension<'_>) -> String {
    let mut out = extension.name.to_owned();
    for (name, value) in &extension.parameters {
        out.push_str("; ");
        out.push_str(name);
        if let Some(value) = value {
            out.push('=');
            out.push_str(value);
        }
    }
    out
}

/// Offers as clients make them, and lists that break the grammar.
pub fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=\"1\\0\"; server_max_window_bits=8",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=10",
        "x-webkit-deflate-frame, permessage-deflate\npermessage-deflate; client_max_window_bits=15",
        "permessage-deflate; server_max_window_bits=15",
        "foo, bar; baz=2 , , ;",
        "a;b=\"c d\"",
        "a;b=\"c\\",
    ];
    let settings = [[0u8, 0], [3, 0x77], [1, 0x50], [2, 0x05]];
    lines
        .iter()
        .flat_map(|line| {
            settings
                .iter()
                .map(move |settings| [&settings[..], line.as_bytes()].concat())
        })
        .collect()
}

//! The heads of HTTP messages: read in pieces, and read once more by a parser that knows nothing but lines.

use http::{HeaderMap, Request, Response};
use openline_proto::Config;
use openline_proto::handshake::{HeadError, HeadReader};

use crate::choices::Cuts;
use crate::pair::start;

/// What was read of a head, in a form that can be compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Method, target and version, or version and status.
    pub line: String,
    /// The fields.
    pub fields: HeaderMap,
    /// What came behind the head.
    pub rest: Vec<u8>,
}

/// Shows a reader `bytes` in pieces.
///
/// # Errors
/// The head is too long, or not whole.
fn collect(config: &Config, bytes: &[u8], cuts: Cuts) -> Result<(HeadReader, Vec<u8>), HeadError> {
    let mut reader = HeadReader::new(config, start());
    let mut pieces = cuts.pieces(bytes);
    while let Some(piece) = pieces.next() {
        if reader.handle_input(piece)? {
            return Ok((reader, pieces.flatten().copied().collect()));
        }
    }
    Err(HeadError::Eof)
}

/// Reads a request.
///
/// # Errors
/// As [`HeadReader`].
pub fn request(
    config: &Config,
    bytes: &[u8],
    cuts: Cuts,
) -> Result<(Request<()>, Read), HeadError> {
    let (reader, unread) = collect(config, bytes, cuts)?;
    let (request, rest) = reader.into_request()?;
    let read = Read {
        line: format!(
            "{} {} {:?}",
            request.method(),
            request.uri(),
            request.version()
        ),
        fields: request.headers().clone(),
        rest: [&rest[..], &unread].concat(),
    };
    Ok((request, read))
}

/// Reads a response.
///
/// # Errors
/// As [`HeadReader`].
pub fn response(
    config: &Config,
    bytes: &[u8],
    cuts: Cuts,
) -> Result<(Response<()>, Read), HeadError> {
    let (reader, unread) = collect(config, bytes, cuts)?;
    let (response, rest) = reader.into_response()?;
    let read = Read {
        line: format!("{:?} {}", response.version(), response.status()),
        fields: response.headers().clone(),
        rest: [&rest[..], &unread].concat(),
    };
    Ok((response, read))
}

/// The fields of a head, as someone on the way might read them: every line that is not empty, names in lower case.
#[derive(Debug)]
pub struct Lines(Vec<(String, Vec<u8>)>);

impl Lines {
    /// Reads `head`, its first line left out.
    pub fn of(head: &[u8]) -> Self {
        let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let fields = lines.filter(|line| !line.is_empty()).skip(1);
        Self(
            fields
                .map(|line| {
                    let colon = line
                        .iter()
                        .position(|byte| *byte == b':')
                        .unwrap_or(line.len());
                    let (name, value) = line.split_at(colon);
                    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                    (
                        name,
                        value.get(1..).unwrap_or_default().trim_ascii().to_vec(),
                    )
                })
                .collect(),
        )
    }

    /// How many fields there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The values of a field.
    pub fn values<'l>(&'l self, name: &'l str) -> impl Iterator<Item = &'l [u8]> {
        self.0
            .iter()
            .filter(move |field| field.0 == name)
            .map(|field| &field.1[..])
    }

    /// The value of a field that stands once.
    ///
    /// # Panics
    /// If it does not.
    pub fn one<'l>(&'l self, name: &'l str) -> &'l [u8] {
        let values: Vec<_> = self.values(name).collect();
        assert_eq!(values.len(), 1, "`{name}` stands once in {self:?}");
        values[0]
    }

    /// Whether a field's values, joined, hold a word.
    pub fn mention(&self, name: &str, word: &str) -> bool {
        let values: Vec<_> = self.values(name).collect();
        String::from_utf8_lossy(&values.join(&b','))
            .to_ascii_lowercase()
            .contains(word)
    }

    /// # Panics
    /// If a body is announced.
    pub fn announce_no_body(&self) {
        assert_eq!(
            self.values("transfer-encoding").count(),
            0,
            "a body: {self:?}"
        );
        assert!(
            self.values("content-length").all(|length| length == b"0"),
            "a body: {self:?}"
        );
    }
}

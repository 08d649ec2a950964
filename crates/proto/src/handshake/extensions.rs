//! `Sec-WebSocket-Extensions` (RFC 6455 §9.1): `name; parameter; parameter=value, name …`.

use std::borrow::Cow;

use http::HeaderValue;

use super::fields::is_token_byte;

/// One element of the list: an extension's name and its parameters, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'h> {
    /// The extension's name.
    pub name: &'h str,
    /// Names and values; a value that stood in quotes comes without them.
    pub parameters: Vec<(&'h str, Option<Cow<'h, str>>)>,
}

/// The field does not fit the grammar, or has more than 64 elements and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Sec-WebSocket-Extensions does not fit the grammar of RFC 6455 §9.1")]
pub struct InvalidExtensions;

/// More is no honest offer.
const MAX_ITEMS: usize = 64;

/// Parses all lines of the field, in time linear in their length.
///
/// # Errors
/// [`InvalidExtensions`]: §9.1 wants the connection to fail then.
pub fn parse<'h>(
    lines: impl IntoIterator<Item = &'h HeaderValue>,
) -> Result<Vec<Extension<'h>>, InvalidExtensions> {
    let mut extensions = Vec::new();
    let mut items = 0;
    for line in lines {
        let mut rest = Scanner(line.to_str().map_err(|_| InvalidExtensions)?);
        loop {
            rest.spaces();
            if rest.eat(b',') {
                continue; // an empty element (RFC 9110 §5.6.1)
            }
            if rest.0.is_empty() {
                break;
            }
            let mut extension = Extension {
                name: rest.token()?,
                parameters: Vec::new(),
            };
            items += 1;
            rest.spaces();
            while rest.eat(b';') {
                extension.parameters.push(rest.parameter()?);
                items += 1;
                if items > MAX_ITEMS {
                    return Err(InvalidExtensions);
                }
                rest.spaces();
            }
            extensions.push(extension);
            if items > MAX_ITEMS || !(rest.0.is_empty() || rest.eat(b',')) {
                return Err(InvalidExtensions);
            }
        }
    }
    Ok(extensions)
}

/// What is left of a line.
struct Scanner<'h>(&'h str);

impl<'h> Scanner<'h> {
    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.0.strip_prefix(char::from(byte)) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Result<&'h str, InvalidExtensions> {
        let end = self
            .0
            .bytes()
            .position(|b| !is_token_byte(b))
            .unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() {
            Err(InvalidExtensions)
        } else {
            Ok(token)
        }
    }

    fn parameter(&mut self) -> Result<(&'h str, Option<Cow<'h, str>>), InvalidExtensions> {
        self.spaces();
        let name = self.token()?;
        self.spaces();
        if !self.eat(b'=') {
            return Ok((name, None));
        }
        self.spaces();
        if self.0.starts_with('"') {
            self.quoted().map(|v| (name, Some(v)))
        } else {
            Ok((name, Some(self.token()?.into())))
        }
    }

    /// A quoted string, whose content must be a token once it is unescaped (§9.1).
    fn quoted(&mut self) -> Result<Cow<'h, str>, InvalidExtensions> {
        let mut value = String::new();
        let mut bytes = self.0.bytes().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            let byte = match byte {
                b'"' if value.is_empty() => return Err(InvalidExtensions),
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(value.into());
                }
                b'\\' => bytes.next().ok_or(InvalidExtensions)?.1,
                byte => byte,
            };
            if !is_token_byte(byte) {
                return Err(InvalidExtensions);
            }
            value.push(char::from(byte));
        }
        Err(InvalidExtensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Vec<(String, Vec<String>)>, InvalidExtensions> {
        let value = HeaderValue::from_str(line).unwrap();
        let shown = |(name, value): &(&str, Option<Cow<'_, str>>)| match value {
            Some(value) => format!("{name}={value}"),
            None => (*name).to_owned(),
        };
        let extensions = parse([&value])?;
        Ok(extensions
            .iter()
            .map(|e| (e.name.to_owned(), e.parameters.iter().map(shown).collect()))
            .collect())
    }

    #[test]
    fn the_rfcs_examples() {
        assert_eq!(parsed("foo").unwrap(), [("foo".into(), vec![])]);
        assert_eq!(
            parsed("bar; baz=2, foo;a ; b=\"quo\\ted\"").unwrap(),
            [
                ("bar".into(), vec!["baz=2".into()]),
                ("foo".into(), vec!["a".into(), "b=quoted".into()])
            ]
        );
        assert_eq!(parsed("").unwrap(), []);
        assert_eq!(parsed(" , a ,, ").unwrap(), [("a".into(), vec![])]);
    }

    #[test]
    fn what_breaks_the_grammar_fails() {
        for wrong in [
            "a b",
            ";",
            "a;",
            "a;;b",
            "a;b=",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a=b",
            "a;b=c d",
            "a\"",
            "=",
            "a;b=\"c\\",
        ] {
            assert_eq!(parsed(wrong), Err(InvalidExtensions), "{wrong}");
        }
    }

    #[test]
    fn a_list_without_end_is_refused() {
        assert!(parsed(&"a,".repeat(64)).is_ok());
        assert!(parsed(&"a,".repeat(65)).is_err());
        assert!(parsed(&format!("a{}", ";b".repeat(64))).is_err());
    }
}

//! What header blocks say, as far as CONNECT needs it (RFC 9113 8.3 and 8.5).

use http::StatusCode;

use crate::promise::Promise;

/// Longest method that is repeated to an operator, bytes.
const METHOD_MAX: usize = 32;

/// A request of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its method, if that is not CONNECT.
    pub other_method: Option<Box<str>>,
    /// Where it wants to go: visible characters of ASCII, as the peer wrote them.
    pub authority: Box<str>,
}

/// Reads a request, field by field.
#[derive(Debug, Default)]
pub(crate) struct Request {
    rules: Rules,
    method: Option<Box<str>>,
    is_connect: bool,
    authority: Option<Box<str>>,
    scheme_or_path: bool,
}

impl Request {
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if !self.rules.allow(name, value) {
            return;
        }
        match name {
            b":method" => {
                self.rules.once(self.is_connect || self.method.is_some());
                self.is_connect = value == b"CONNECT";
                if !self.is_connect {
                    self.method = self.rules.text(&value[..value.len().min(METHOD_MAX)]);
                }
            }
            b":authority" => {
                self.rules.once(self.authority.is_some());
                self.authority = self.rules.text(value);
            }
            b":scheme" | b":path" => self.scheme_or_path = true,
            _ => self.rules.pseudo_must_be_known(name),
        }
    }

    /// What is asked; none if it is malformed (RFC 9113 8.1.1).
    pub(crate) fn asked(self) -> Option<Asked> {
        let sound = if self.is_connect {
            // RFC 9113 8.5.
            self.authority.is_some() && !self.scheme_or_path
        } else {
            self.method.is_some()
        };
        (sound && !self.rules.broken).then(|| Asked {
            other_method: self.method,
            authority: self.authority.unwrap_or_default(),
        })
    }
}

/// Reads an answer, field by field.
#[derive(Debug, Default)]
pub(crate) struct Response {
    rules: Rules,
    status: Option<StatusCode>,
    promise: Promise,
}

impl Response {
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if !self.rules.allow(name, value) {
            return;
        }
        if name == b":status" {
            self.rules.once(self.status.is_some());
            self.status = StatusCode::from_bytes(value).ok();
        } else {
            self.rules.pseudo_must_be_known(name);
            self.promise = self.promise.with(name, value);
        }
    }

    /// What was answered; none if it is malformed.
    pub(crate) fn answer(self) -> Option<(StatusCode, Promise)> {
        let promise = self.promise.answered();
        let status = self.status?;
        (!self.rules.broken).then_some((status, promise))
    }
}

/// What holds for every block (RFC 9113 8.2 and 8.3).
#[derive(Debug, Default)]
struct Rules {
    regular: bool,
    broken: bool,
}

impl Rules {
    fn allow(&mut self, name: &[u8], value: &[u8]) -> bool {
        let pseudo = name.first() == Some(&b':');
        let legal = |b: &u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
        let bad_name = name.is_empty()
            || !name.iter().all(legal)
            || name[1..].contains(&b':')
            || matches!(
                name,
                b"connection"
                    | b"proxy-connection"
                    | b"keep-alive"
                    | b"upgrade"
                    | b"transfer-encoding"
            );
        let bad_value = value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'));
        // Pseudo fields come first.
        self.broken |= bad_name || bad_value || (pseudo && self.regular);
        self.regular |= !pseudo;
        !self.broken
    }

    const fn once(&mut self, again: bool) {
        self.broken |= again;
    }

    fn pseudo_must_be_known(&mut self, name: &[u8]) {
        self.broken |= name.first() == Some(&b':');
    }

    /// Visible text; anything else is malformed: it is for logs and decisions.
    fn text(&mut self, value: &[u8]) -> Option<Box<str>> {
        let visible = value.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        self.broken |= !visible;
        std::str::from_utf8(value).ok().map(Box::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&str, &str)]) -> Option<Asked> {
        let mut request = Request::default();
        for (name, value) in fields {
            request.field(name.as_bytes(), value.as_bytes());
        }
        request.asked()
    }

    #[test]
    fn a_connect_is_method_and_authority() {
        let connect = (":method", "CONNECT");
        let to = (":authority", "10.0.0.1:80");
        let sound = asked(&[connect, to, ("baggage", "a=b")]);
        assert_eq!(
            sound.map(|asked| asked.authority),
            Some("10.0.0.1:80".into())
        );
        for malformed in [
            &[connect][..],
            &[to],
            &[connect, to, to],
            &[connect, connect, to],
            &[connect, to, (":path", "/")],
            &[connect, ("a", "b"), to],
            &[connect, to, ("A", "b")],
            &[connect, to, ("a", "b\nc")],
            &[connect, to, (":protocol", "x")],
            &[connect, (":authority", "10.0.0.1:80\u{1b}")],
            &[connect, to, ("connection", "close")],
        ] {
            assert_eq!(asked(malformed), None, "{malformed:?}");
        }
        let get = asked(&[(":method", "GET"), (":scheme", "https"), to, (":path", "/")]);
        let other = get.and_then(|asked| asked.other_method);
        assert_eq!(other.as_deref(), Some("GET"));
    }

    #[test]
    fn an_answer_is_a_status_and_a_promise() {
        let answered = |fields: &[(&str, &str)]| {
            let mut response = Response::default();
            for (name, value) in fields {
                response.field(name.as_bytes(), value.as_bytes());
            }
            response.answer()
        };
        let ok = (":status", "200");
        assert_eq!(answered(&[ok]), Some((StatusCode::OK, Promise::Nothing)));
        let promised = answered(&[ok, ("x-ambient-answer-first", "1")]);
        assert_eq!(promised, Some((StatusCode::OK, Promise::AnswersFirst)));
        let other = answered(&[ok, ("x-ambient-answer-first", "2")]);
        assert_eq!(other, Some((StatusCode::OK, Promise::Nothing)));
        assert_eq!(answered(&[("a", "b")]), None);
        assert_eq!(answered(&[ok, ok]), None);
    }
}

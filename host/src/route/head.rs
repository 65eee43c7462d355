//! The head of a request, kept to send it again.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

/// What a plugin sees of a request before its messages.
///
/// Nearly all of them are dropped unread, and every call makes one: a list costs one allocation, where a copy of
/// the map would cost three.
#[derive(Debug)]
pub(super) struct Head {
    method: Method,
    uri: Uri,
    headers: Box<[(HeaderName, HeaderValue)]>,
}

impl Head {
    /// That of `parts`.
    pub(super) fn of(parts: &Parts) -> Self {
        let mut headers = Vec::with_capacity(parts.headers.len());
        headers.extend(parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self { method: parts.method.clone(), uri: parts.uri.clone(), headers: headers.into() }
    }

    /// A request that begins with it.
    pub(super) fn request<B>(&self, body: B) -> Request<B> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_was_made_of() {
        let request = Request::post("http://localhost/a.B/C")
            .header("te", "trailers")
            .header("x-several", "one")
            .header("x-other", "between")
            .header("x-several", "two")
            .body(());
        let (before, ()) = request.unwrap().into_parts();
        let after = Head::of(&before).request(7);
        assert_eq!(
            (after.method(), after.uri(), after.headers()),
            (&before.method, &before.uri, &before.headers)
        );
        assert_eq!(*after.body(), 7);
        let several: Vec<_> = after.headers().get_all("x-several").iter().collect();
        assert_eq!(several, ["one", "two"]);
    }
}

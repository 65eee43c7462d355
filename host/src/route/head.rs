//! The head of a request, kept to send it again.

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tonic::GrpcMethod;

/// What a plugin sees of a request before its messages.
///
/// Nearly all of them are dropped unread, and every call makes one: a list costs one allocation, where a copy of
/// the map would cost three.
#[derive(Debug)]
pub(super) struct Head {
    method: Method,
    uri: Uri,
    headers: Box<[(HeaderName, HeaderValue)]>,
    /// For services of this process: nothing else sees them.
    extensions: Extensions,
}

impl Head {
    /// That of `parts`.
    pub(super) fn of(parts: &Parts) -> Self {
        let mut headers = Vec::with_capacity(parts.headers.len());
        headers.extend(parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        // Generated clients put one there that no server looks at, and to copy it takes three allocations.
        let is_plain = match parts.extensions.len() {
            0 => true,
            1 => parts.extensions.get::<GrpcMethod<'static>>().is_some(),
            _ => false,
        };
        let extensions = if is_plain { Extensions::new() } else { parts.extensions.clone() };
        Self { method: parts.method.clone(), uri: parts.uri.clone(), headers: headers.into(), extensions }
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
        *request.extensions_mut() = self.extensions.clone();
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
            .extension(GrpcMethod::new("a.B", "C"))
            .extension("who calls")
            .body(());
        let (before, ()) = request.unwrap().into_parts();
        let after = Head::of(&before).request(7);
        assert_eq!(
            (after.method(), after.uri(), after.headers()),
            (&before.method, &before.uri, &before.headers)
        );
        assert_eq!(*after.body(), 7);
        assert_eq!(after.extensions().get(), Some(&"who calls"));
        let several: Vec<_> = after.headers().get_all("x-several").iter().collect();
        assert_eq!(several, ["one", "two"]);
    }
}

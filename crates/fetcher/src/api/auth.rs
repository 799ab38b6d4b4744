//! The bearer token of whatever changes state.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::api::problem::Problem;
use crate::metrics;

/// The digest of the token that is wanted: comparing digests takes the same time for any length of the token
/// presented.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token of the configuration.
    #[must_use]
    pub fn new(token: &SecretString) -> Self {
        Self(Sha256::digest(token.expose_secret().as_bytes()).into())
    }

    fn is(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        self.0.ct_eq(&presented).into()
    }
}

/// Proof that the request presented the token; extracted before the body is read.
#[derive(Debug)]
pub struct Authorized;

impl<S> FromRequestParts<S> for Authorized
where
    Token: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let checked = check(parts, &Token::from_ref(state));
        if checked.is_err() {
            metrics::unauthorized();
        }
        checked.map(|()| Self).map_err(Problem::unauthorized)
    }
}

fn check(parts: &Parts, token: &Token) -> Result<(), &'static str> {
    let header =
        parts.headers.get(AUTHORIZATION).ok_or("the header `Authorization: Bearer TOKEN` is missing")?;
    let presented = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, presented)| presented.trim())
        .ok_or("the header Authorization is not `Bearer TOKEN`")?;
    if token.is(presented) { Ok(()) } else { Err("the token is wrong") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(header: Option<&str>) -> Result<(), &'static str> {
        let mut request = axum::http::Request::builder();
        if let Some(value) = header {
            request = request.header(AUTHORIZATION, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, &Token::new(&SecretString::from("right")))
    }

    #[test]
    fn only_the_token_is_let_in() {
        assert!(checked(Some("Bearer right")).is_ok());
        assert!(checked(Some("bearer right")).is_ok());
        for wrong in [None, Some(""), Some("right"), Some("Bearer"), Some("Bearer "), Some("Bearer righ")] {
            assert!(checked(wrong).is_err(), "{wrong:?}");
        }
        assert!(checked(Some("Bearer right2")).is_err() && checked(Some("Basic right")).is_err());
    }
}

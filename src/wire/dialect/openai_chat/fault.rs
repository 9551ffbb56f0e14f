//! Why a body cannot be decoded, in the words that the client reads.

use jiter::{JiterError, LinePosition, Peek};

use crate::error::ProxyError;
use crate::wire::json_walk::kind_of;

/// Why a body cannot be decoded.
pub(in crate::wire::dialect) enum Fault {
    /// It is not JSON.
    Json(JiterError),
    /// A member is wrong.
    Field(Box<Refusal>),
}

/// A member that is wrong, and how.
pub(in crate::wire::dialect) struct Refusal {
    param: String,
    message: String,
}

impl From<JiterError> for Fault {
    fn from(error: JiterError) -> Self {
        Self::Json(error)
    }
}

impl Fault {
    pub(in crate::wire::dialect) fn field(
        param: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let (param, message) = (param.into(), message.into());
        Self::Field(Box::new(Refusal { param, message }))
    }

    /// `param` has a value of the wrong type.
    pub(in crate::wire::dialect) fn wrong_type(param: &str, allowed: &str, found: Peek) -> Self {
        Self::field(
            param,
            format!("`{param}` must be {allowed}, not {}", kind_of(found)),
        )
    }

    pub(in crate::wire::dialect) fn missing(param: &str, allowed: &str) -> Self {
        Self::field(param, format!("`{param}` is missing; it must be {allowed}"))
    }

    pub(in crate::wire::dialect) fn twice(param: &str) -> Self {
        Self::field(
            param,
            format!("`{param}` stands more than once; it is allowed once"),
        )
    }

    pub(in crate::wire::dialect) fn into_error(self, body: &[u8]) -> ProxyError {
        match self {
            Self::Json(error) => {
                let at = LinePosition::find(body, error.index);
                let message = format!("the body is not valid JSON: {} at {at}", error.error_type);
                ProxyError::invalid("", message)
            }
            Self::Field(refusal) => ProxyError::invalid(refusal.param, refusal.message),
        }
    }
}

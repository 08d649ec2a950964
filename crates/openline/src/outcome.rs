//! How a handler that the library runs may end.

use std::fmt::Display;

use openline_proto::CloseCode;

/// What a handler may return: nothing, or a result.
///
/// If its connection is still open then, that is closed: with 1000, or with 1011 after an error, which is logged at debug
/// level.
pub trait Outcome: sealed::Sealed {
    #[doc(hidden)]
    fn close_code(self) -> CloseCode;
}

impl Outcome for () {
    fn close_code(self) -> CloseCode {
        CloseCode::NORMAL
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn close_code(self) -> CloseCode {
        match self {
            Ok(()) => CloseCode::NORMAL,
            Err(error) => {
                tracing::debug!(%error, "a WebSocket's handler ended by an error");
                CloseCode::INTERNAL
            }
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}

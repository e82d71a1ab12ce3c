// SPDX-License-Identifier: Apache-2.0
//! How a node becomes known: it sends a certificate request and hears how that stands.
//!
//! | file | what |
//! |---|---|
//! | `request` | the PKCS#10 request, and how it is made |
//! | `reader` | how it is read |
//! | `answer` | what the root decided, or waits for |

mod answer;
mod reader;
mod request;

pub use answer::{Answer, State};
pub use request::{Request, RequestError, Token};

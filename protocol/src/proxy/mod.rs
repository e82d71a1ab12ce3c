// SPDX-License-Identifier: Apache-2.0
//! The HTTP proxy on the way to another server: which one, when it is used, how it is asked for a tunnel.
//!
//! | file | what |
//! |---|---|
//! | [`address`] | where the proxy is and who may use it, from its URL |
//! | [`rule`], [`exempt`] | which servers are reached through it: by setting or by environment |
//! | [`tunnel`] | `CONNECT`, and what answers mean (RFC 9110 9.3.6) |
//!
//! A proxy carries TLS and sees none of it: pins, names and client certificates are checked end to end.
//! Invariant: no error, `Debug` or `Display` of this module shows a user or a password.

pub mod address;
pub mod exempt;
pub mod rule;
pub mod tunnel;

pub use self::{
    address::{Proxy, ProxyError},
    rule::{FromEnvironment, ProxyRule, RuleError},
    tunnel::{Answer, TunnelError, request},
};

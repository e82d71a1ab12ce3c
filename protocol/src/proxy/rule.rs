// SPDX-License-Identifier: Apache-2.0
//! Which servers are reached through which proxy.

use std::net::IpAddr;

use super::{Proxy, ProxyError, exempt::Exempt};

/// What a setting says about proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyRule {
    /// There is none.
    #[default]
    None,
    /// As the environment said.
    Environment(FromEnvironment),
    /// This one, for every server.
    Fixed(Proxy),
    /// One that this process was not told.
    Untold,
}

/// What the usual variables say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FromEnvironment {
    /// `https_proxy`, or `all_proxy`.
    proxy: Option<Result<Proxy, RuleError>>,
    /// `no_proxy`.
    exempt: Exempt,
}

/// Why it cannot be said how a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A variable of the environment is wrong.
    #[error("the proxy of the environment variable {variable} is not usable: {error}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// Why.
        error: ProxyError,
    },
    /// There is a proxy, and this process was not told which.
    #[error("which proxy leads there is not known to this process")]
    Untold,
}

const PROXY: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

impl ProxyRule {
    /// Where to ask for a tunnel to this server; `None` when it is reached directly. **Errors**: the environment
    /// names a proxy for it that cannot be used; going past it would be no answer to that.
    pub fn towards(&self, host: &str, port: u16) -> Result<Option<&Proxy>, RuleError> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(proxy) => Ok(Some(proxy)),
            Self::Untold => Err(RuleError::Untold),
            Self::Environment(said) if is_here(host) || said.exempt.has(host, port) => Ok(None),
            Self::Environment(said) => match &said.proxy {
                None => Ok(None),
                Some(proxy) => proxy.as_ref().map(Some).map_err(|error| *error),
            },
        }
    }
}

impl FromEnvironment {
    /// Takes the variables: the first that is not empty, in the order `https_proxy`, `HTTPS_PROXY`, `all_proxy`,
    /// `ALL_PROXY`; then `no_proxy`, `NO_PROXY`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            let given =
                |name: &&'static str| Some((*name, variable(name).filter(|value| !value.is_empty())?));
            names.iter().find_map(given)
        };
        let proxy = first(&PROXY)
            .map(|(name, url)| url.parse().map_err(|error| RuleError::Variable { variable: name, error }));
        let exempt = first(&NO_PROXY).map(|(_, list)| Exempt::read(&list)).unwrap_or_default();
        Self { proxy, exempt }
    }

    /// What is wrong with them.
    pub fn problem(&self) -> Option<RuleError> {
        self.proxy.as_ref()?.as_ref().err().copied()
    }
}

/// This machine: for a proxy the same name would be another one.
fn is_here(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> ProxyRule {
        let find =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        ProxyRule::Environment(FromEnvironment::read(find))
    }

    fn way(rule: &ProxyRule, host: &str) -> String {
        match rule.towards(host, 443) {
            Ok(proxy) => proxy.map_or("direct".to_owned(), Proxy::to_string),
            Err(RuleError::Variable { variable, .. }) => variable.to_owned(),
            Err(RuleError::Untold) => "untold".to_owned(),
        }
    }

    #[test]
    fn variables_have_an_order() {
        let all =
            [("ALL_PROXY", "d:1"), ("all_proxy", "c:1"), ("HTTPS_PROXY", "b:1"), ("https_proxy", "a:1")];
        for (from, expected) in [(0, "a:1"), (1, "b:1"), (2, "c:1"), (3, "d:1"), (4, "direct")] {
            assert_eq!(way(&environment(&all[..4 - from]), "x"), expected);
        }
        assert_eq!(way(&environment(&[("https_proxy", ""), ("HTTPS_PROXY", "b:1")]), "x"), "b:1");
        assert_eq!(way(&environment(&[("http_proxy", "a:1")]), "x"), "direct");
    }

    #[test]
    fn the_own_machine_and_exempt_servers_are_reached_directly() {
        let rule = environment(&[("https_proxy", "a:1"), ("NO_PROXY", "x.example,10.0.0.0/8")]);
        for direct in
            ["localhost", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "a.x.example", "10.9.9.9"]
        {
            assert_eq!(way(&rule, direct), "direct", "{direct}");
        }
        assert_eq!(way(&rule, "y.example"), "a:1");
        assert_eq!(way(&ProxyRule::Fixed("b:2".parse().unwrap()), "127.0.0.1"), "b:2");
        assert_eq!(way(&ProxyRule::None, "y.example"), "direct");
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_an_error_where_it_would_be() {
        let rule = environment(&[("HTTPS_PROXY", "socks5://u:secret@a:1"), ("no_proxy", "x")]);
        assert_eq!((way(&rule, "x"), way(&rule, "y")), ("direct".to_owned(), "HTTPS_PROXY".to_owned()));
        let ProxyRule::Environment(said) = &rule else { unreachable!() };
        let text = said.problem().unwrap().to_string();
        assert!(
            text.contains("HTTPS_PROXY") && text.contains("socks5") && !text.contains("secret"),
            "{text}"
        );
    }
}

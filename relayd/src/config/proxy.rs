// SPDX-License-Identifier: Apache-2.0
//! Which HTTP proxy connections to other servers go through.

use protocol::proxy::{FromEnvironment, Proxy, ProxyRule};
use toml::de::DeValue;

use super::{
    declare::Given,
    resolve::Resolver,
    value::{Absent, Secret, Value},
};

/// The setting `proxy` as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxySetting {
    /// As the environment says.
    System,
    /// None.
    None,
    /// This one.
    Url(Proxy),
    /// One that this process cannot read.
    Absent(Absent),
}

impl Resolver<'_> {
    /// What applies in this process. A variable that is wrong is an error only where it would be used.
    pub(super) fn proxy(&mut self, setting: &Given<ProxySetting>) -> ProxyRule {
        match &setting.value {
            ProxySetting::System => {
                let said = FromEnvironment::read(|name| std::env::var(name).ok());
                let warning = said.problem().map(|problem| problem.to_string());
                self.warnings.extend(warning.filter(|text| !self.warnings.contains(text)));
                ProxyRule::Environment(said)
            }
            ProxySetting::None => ProxyRule::None,
            ProxySetting::Url(proxy) => ProxyRule::Fixed(proxy.clone()),
            ProxySetting::Absent(_) => ProxyRule::Untold,
        }
    }
}

impl Value for ProxySetting {
    fn kind() -> String {
        "\"system\", \"none\", \"http://[user:password@]host[:port]\" or \"credential:NAME\"".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let secret = Secret::read(value)?;
        if let Some(absent) = secret.absent {
            return Ok(Self::Absent(absent));
        }
        match secret.text.as_str() {
            "system" => Ok(Self::System),
            "none" | "" => Ok(Self::None),
            url => {
                let proxy = url.parse().map(Self::Url);
                proxy.map_err(|error| format!("the URL is not usable: {error}; write {}", Self::kind()))
            }
        }
    }
    fn show(&self) -> Option<String> {
        let text = match self {
            Self::System => "system".to_owned(),
            Self::None => "none".to_owned(),
            Self::Url(proxy @ Proxy { authorization: None, .. }) => format!("http://{proxy}"),
            Self::Url(proxy) => format!("http://***@{proxy}"),
            Self::Absent(absent) => format!("credential:{}", absent.name),
        };
        Some(format!("{text:?}"))
    }
    fn absent(&self) -> Option<&Absent> {
        match self {
            Self::Absent(absent) => Some(absent),
            Self::System | Self::None | Self::Url(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ProxySetting, String> {
        ProxySetting::read(&DeValue::String(text.into()))
    }

    #[test]
    fn is_read_and_shown_without_credentials() {
        assert_eq!(read("system").unwrap().show().unwrap(), "\"system\"");
        assert_eq!(read("").unwrap(), ProxySetting::None);
        let proxy = read("http://user:secret@[2001:db8::1]:3128").unwrap();
        assert_eq!(proxy.masked().unwrap(), "\"http://***@[2001:db8::1]:3128\"");
        assert!(!format!("{proxy:?}").contains("secret"));
        let error = read("socks5://user:secret@proxy").unwrap_err();
        assert!(error.contains("socks5") && error.contains("write") && !error.contains("secret"), "{error}");
    }
}
